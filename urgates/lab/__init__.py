"""What the notebooks run on: tasks, protocols, training, results, claims and figures."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urgates.lab.results import Bench, show_source

__all__ = ["Bench", "show_source"]


def __getattr__(name: str):
    """Import what a notebook asks for; the command line finds the notebooks without it."""
    if name in __all__:
        from urgates.lab import results

        return getattr(results, name)
    raise AttributeError(f"module 'urgates.lab' has no attribute {name!r}")
