"""Supervised tasks, tensors in and tensors out: Copy, Adding, pixel images (§3.1, §3.2, App. D)."""

from urgates.lab.tasks.base import Task
from urgates.lab.tasks.images import Pixels, bit_reversal
from urgates.lab.tasks.synthetic import Adding, Copy

__all__ = ["Adding", "Copy", "Pixels", "Task", "bit_reversal"]
