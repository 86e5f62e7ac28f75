"""Tasks, tensors in and tensors out (§3.1–§3.3, App. D, E.3).

Copy, Adding, images by pixels, texts, programs, the n-th farthest vector, matching games.
"""

from functools import partial

from urgates.lab.tasks.base import Score, Task
from urgates.lab.tasks.farthest import Farthest
from urgates.lab.tasks.images import Pixels, bit_reversal
from urgates.lab.tasks.match import Rules
from urgates.lab.tasks.programs import CATEGORIES, Programs
from urgates.lab.tasks.synthetic import Adding, Copy
from urgates.lab.tasks.text import Text

__all__ = [
    "TASKS",
    "Adding",
    "Copy",
    "Farthest",
    "Pixels",
    "Programs",
    "Score",
    "Task",
    "Text",
    "bit_reversal",
]

TASKS = {
    "copy": Copy,
    "adding": Adding,
    "forgetting": Adding,
    "smnist": Pixels,
    "pmnist": Pixels,
    "scifar": Pixels,
    "passive": partial(Rules, "passive"),
    "active": partial(Rules, "active"),
    "ptb": partial(Text, dataset="ptb"),
    "wikitext103": partial(Text, dataset="wikitext103"),
    "farthest": Farthest,
    **{category: partial(Programs, category) for category in CATEGORIES},
}
"""By the word that a protocol's task starts with, "pmnist" in "pmnist-long"."""
