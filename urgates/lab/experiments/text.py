"""Language modelling (§3.3, D.3): what the paper prints, to stand beside ours."""

import pandas as pd

TABLE_6A = pd.DataFrame(
    {
        "valid.": [34.3, 35.0, 34.3, 34.6, 34.0, 33.8, 33.6],
        "test": [35.8, 36.4, 36.1, 35.8, 34.7, 34.9, 34.6],
    },
    index=["-", "C", "C, Tmax 8", "C, Tmax 11", "OM", "U", "UR"],
)
"""Perplexities on WikiText-103, by gate."""

RAE_LSTM = pd.Series({"valid.": 36.0, "test": 36.4})
"""The LSTM of 2,048 units of Rae et al. (2018), which D.3 starts from."""
