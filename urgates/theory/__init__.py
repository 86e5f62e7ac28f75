"""Closed forms and solvers of both papers; no model imports them.

The first paper's time scales are here by name; saturation and learnability are the second's.
"""

from urgates.theory.timescales import (
    STARTS,
    chrono_bias_mean,
    decay_density,
    gradient_bounds,
    gradient_ratio,
    main_gate,
    on_lstm_start,
    refine_gradient,
    refined_period,
    tail,
)

__all__ = [
    "STARTS",
    "chrono_bias_mean",
    "decay_density",
    "gradient_bounds",
    "gradient_ratio",
    "main_gate",
    "on_lstm_start",
    "refine_gradient",
    "refined_period",
    "tail",
]
