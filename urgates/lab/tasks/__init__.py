"""Tasks, tensors in and tensors out: Copy, Adding, images by pixels, texts (§3.1–§3.3, App. D)."""

from urgates.lab.tasks.base import Task
from urgates.lab.tasks.images import Pixels, bit_reversal
from urgates.lab.tasks.synthetic import Adding, Copy
from urgates.lab.tasks.text import Text

__all__ = ["Adding", "Copy", "Pixels", "Task", "Text", "bit_reversal"]
