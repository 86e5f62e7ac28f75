"""Gated recurrent networks that remember: the gates, layers and kernels of the UR-gates paper."""

__version__ = "0.1.0"
