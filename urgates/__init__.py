"""Gated recurrent networks that remember: the gates, layers and kernels of the UR-gates paper."""

from urgates.cells import GRUCell, LSTMCell
from urgates.gates import GATES, Gate, gate
from urgates.rnn import GRU, LSTM

__version__ = "0.1.0"
__all__ = ["GATES", "GRU", "LSTM", "GRUCell", "Gate", "LSTMCell", "gate"]
