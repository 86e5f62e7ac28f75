"""What the notebooks run on: tasks, protocols, training, results, claims and figures."""

from urgates.lab.results import Bench, show_source

__all__ = ["Bench", "show_source"]
