"""The lab: tasks, learners, experiments, training, its store, and the book that reads it.

Notebooks take what they need most from here: `from urgates.lab import Bench, figures`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urgates.lab.book import figures, notebooks
    from urgates.lab.book.bench import Bench, show_source

__all__ = ["Bench", "figures", "notebooks", "show_source"]


def __getattr__(name: str):
    """Import what a notebook asks for; the command line finds the notebooks without it."""
    if name in ("figures", "notebooks"):
        return import_module(f"urgates.lab.book.{name}")
    if name in __all__:
        return getattr(import_module("urgates.lab.book.bench"), name)
    raise AttributeError(f"module 'urgates.lab' has no attribute {name!r}")
