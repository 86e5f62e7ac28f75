"""What the paper prints of pixel images, to stand beside ours (§3.2, Tables 2 and 3)."""

import pandas as pd

_GATES = ["-", "C", "O", "U", "R", "OM", "OR", "UM", "UR"]

TABLE_2 = pd.DataFrame(
    {
        "pMNIST": [94.77, 94.69, 96.17, 96.05, 95.84, 95.98, 96.40, 95.50, 96.43],
        "sCIFAR": [63.24, 65.60, 67.78, 67.63, 71.85, 67.73, 70.41, 67.29, 71.05],
        "sCIFAR (GRU)": [71.30, 64.61, 69.81, 70.10, 70.74, 70.20, 71.40, 69.17, 71.04],
    },
    index=_GATES,
)
"""Best validation accuracy of any run [%], by gate."""

TABLE_2_DIVERGED = pd.DataFrame(
    {
        "pMNIST": [2, 0, 0, 0, 1, 0, 0, 0, 0],
        "sCIFAR": [2, 0, 0, 0, 1, 1, 0, 1, 0],  # the PDF's text layer has 63.24" for the LSTM
        "sCIFAR (GRU)": [1, 0, 2, 0, 1, 1, 2, 1, 0],
    },
    index=_GATES,
)
"""How many of the three seeds diverged at the learning rate of that run (the asterisks)."""

_NONE = float("nan")
TABLE_3 = pd.DataFrame(
    [
        ("LSTM (the paper's)", "", 98.9, 95.11, 63.01),
        ("Dilated GRU", "Chang et al. 2017", 99.0, 94.6, _NONE),
        ("IndRNN", "Li et al. 2018", 99.0, 96.0, _NONE),
        ("r-LSTM, auxiliary loss", "Trinh et al. 2018", 98.4, 95.2, 72.2),
        ("Transformer", "Trinh et al. 2018", 98.9, 97.9, 62.2),
        ("Temporal convolution", "Bai et al. 2018a", 99.0, 97.2, _NONE),
        ("TrellisNet", "Bai et al. 2018b", 99.20, 98.13, 73.42),
        ("UR-LSTM", "", 99.28, 96.96, 71.00),
        ("UR-LSTM + zoneout", "", 99.21, 97.58, 74.34),
        ("UR-GRU + zoneout", "", 99.27, 96.51, 74.4),
    ],
    columns=["model", "source", "sMNIST", "pMNIST", "sCIFAR"],
).set_index("model")
"""Test accuracies [%]; `source` names the authors of rows that are not the paper's own."""

NON_RECURRENT = ["Transformer", "Temporal convolution", "TrellisNet"]


def starred(values: pd.DataFrame, diverged: pd.DataFrame) -> pd.DataFrame:
    """Percentages as text, with an asterisk for every diverged seed, as Table 2 prints them."""
    return values.map("{:.2f}".format) + diverged.reindex_like(values).map("*".__mul__)
