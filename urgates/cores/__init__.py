"""Recurrent cores with a memory, each with a slot for a gate."""

from urgates.cores.dnc import DNC
from urgates.cores.reconstructive import RMA
from urgates.cores.relational import RMC

__all__ = ["DNC", "RMA", "RMC"]
