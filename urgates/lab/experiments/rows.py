"""How the rows of Appendix D are written: families of entries, each number with its source.

`smoke` shows every code path in seconds, `laptop` the effect in minutes on two CPU cores, `paper`
holds the paper's own values (§3 and Appendix D). A bare number is our own choice for its preset;
`(value, source)` pairs say where a number comes from or why we chose it.
"""

from collections.abc import Mapping

from urgates.lab.protocol import Protocol
from urgates.starts import WEIGHT_INITS

_OUR_CHOICE = {
    "smoke": "our choice: every code path within seconds",
    "laptop": "our choice: shows the effect within minutes on two CPU cores",
    "paper": "our choice: not stated in the paper",
}


def row(task: str, preset: str, family: Mapping, **numbers) -> Protocol:
    """One protocol: a family's entries, then its own; `value` (our choice) or `(value, source)`."""
    pairs = {
        name: entry
        if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], str)
        else (entry, _OUR_CHOICE[preset])
        for name, entry in (family | numbers).items()
    }
    values = {name: value for name, (value, _) in pairs.items()}
    sources = {name: source for name, (_, source) in pairs.items()}
    return Protocol(task=task, preset=preset, source=sources, **values)


def with_options(options, **more):
    """Task options and some more of them, with the source they have."""
    options, *source = options if isinstance(options, tuple) else (options,)
    return (options | more, *source) if source else options | more


# What the paper fixes, or leaves open, for every family of experiments.
ADAM = {"clip": (1.0, "D.1, D.2; by global norm over all parameters of a model: our choice")}
CHRONO = {"t_max": (None, "§3: proportional to the hidden size (None: equal to it, our choice)")}
SMALL = ADAM | CHRONO | {"seeds": 1}
LAPTOP = ADAM | CHRONO | {"downsize": (16, "D"), "seeds": (3, "D.1, D.2")}
OPEN = {  # what the paper leaves open and results depend on: 32d and E1 measure the other ways
    "weight_init": (
        "fan-in",
        "unstated; of the four ways in `WEIGHT_INITS` the best for the plain LSTM on pMNIST",
    ),
    "variant_bias": (0.0, "§3 states a forget bias for the vanilla LSTM alone"),
}
THREE_WAYS = OPEN | {
    "gates": (("-", "R", "UR"), "our choice: the vanilla LSTM, and the two that claims turn on")
}
FEW_MASTERS = {
    "gates": (("OM", "UM"), "those with master gates"),
    "downsize": (16, "D: at 64 units 4 of a master gate, where the paper's networks have more"),
}
OTHER_STARTS = tuple(start for start in WEIGHT_INITS if start != OPEN["weight_init"][0])


def started(start: str) -> dict[str, tuple[str, str]]:
    """The entry of a family whose weights start in one of the `WEIGHT_INITS`."""
    return {"weight_init": (start, WEIGHT_INITS[start])}
