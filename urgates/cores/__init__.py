"""Recurrent cores with a memory, each with a slot for a gate."""

from urgates.cores.relational import RMC

__all__ = ["RMC"]
