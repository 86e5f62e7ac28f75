"""What X1 times, table by table, and the parts of a table, which can be measured one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product

import pandas as pd

from urgates.gates import GATES
from urgates.lab.book.contenders import Case, installed
from urgates.lab.book.kernel_checks import checks, look
from urgates.lab.book.roof import roof
from urgates.lab.book.timing import error_ratios, gemm_peak, measure, where
from urgates.lab.devices import float32_products

PRESETS = ("smoke", "paper")  # of a GPU
_NAMES = ("smoke", "laptop", "paper")
_SIZES = {
    "hidden": ((16, 32), (64, 128, 256, 512), (256, 512, 2048, 3072)),
    "time": (20, 100, 520),
    "batch": (8, 50, 50),
    "downsize": (4, 16, 16),
    "pairs": (3, 9, 9),
    "times": ((10, 40), (100, 200, 400, 800, 1600, 3200), (520, 2000)),
    "batches": ((1, 8), (1, 8, 32, 128, 512), (8, 50, 512)),
    "inputs": ((1, 8), (1, 16, 64, 256), (1, 256)),
    "models": ((1, 3), (1, 3, 9, 27, 108), (1, 27, 108)),
    "models' batch": (8, 32, 50),
    "Copy": ((20, 4, 10, 16), (520, 10, 10, 256), (520, 10, 10, 256)),
    "errors' times": ((20,), (100, 2000), (520, 2000)),
}


def sizes(preset: str) -> dict:
    """By name: what the tables of a preset are measured at."""
    return {name: row[_NAMES.index(preset)] for name, row in _SIZES.items()}


def pace(preset: str) -> tuple[dict, dict]:
    """How often and how long `timing.measure` repeats: as a rule, and where cases take long."""
    how: dict = {"pairs": sizes(preset)["pairs"]}
    how |= {"threads": 1, "seconds": 0.005} if preset == "smoke" else {}
    return how, how | {"pairs": min(how["pairs"], 5)}


ORDER = (  # of interest on a GPU
    *("checks", "dtypes", "models", "lstm", "limits", "loops", "others", "stacks", "strict"),
    *("types", "roof", "growth_time", "errors", "gru", "growth_batch", "growth_inputs", "masters"),
)
FEW = (
    "models",
    "stacks",
    "loops",
    "growth_time",
    "growth_batch",
    "growth_inputs",
)  # turns: at most five


@dataclass(frozen=True)
class Part:
    """Rows of a table that are made together: the columns that name them, and what makes them."""

    key: dict
    make: Callable[[], pd.DataFrame]


def tables(preset: str, device: str) -> dict[str, list[Part]]:
    """By name as X1 stores them; besides "checks", "stacks", "strict" and, if installed, "others".

    A GPU multiplies float32 as cuDNN's layers do by default ("tf32"), the loops beside them too;
    in "strict" and "errors" nobody does.
    """
    how, few = (own | {"device": device} for own in pace(preset))
    found = {"checks": [Part(asdict(c), partial(look, c, device)) for c in checks(preset, device)]}
    for name, some in cases(preset).items():
        wanted = some if device.startswith("cuda") or name != "dtypes" else []
        own = (few if name in FEW else how) | ({"threads": 1} if name == "types" else {})
        fp32 = "ieee" if name == "strict" else "tf32"
        found[name] = [Part(asdict(c), partial(timed, fp32, c, own)) for c in wanted]
    large = {"size": 4096} if device.startswith("cuda") else {}
    found["limits"] = [Part({}, partial(_under, "tf32", partial(gemm_peak, device, **large)))]
    found["roof"] = [Part({}, partial(_under, "tf32", partial(roof, device, **large)))]
    pairs = product(sizes(preset)["errors' times"], gates(preset))
    found["errors"] = [
        Part({"gate": g, "time": t}, partial(_errors, g, t, device)) for t, g in pairs
    ]
    return {name: found[name] for name in ORDER}


def _under(fp32: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Rows made while a GPU multiplies float32 so, which they say."""
    with float32_products(fp32):
        return make().assign(fp32=fp32)


def timed(fp32: str, case: Case, how: dict) -> pd.DataFrame:
    """A row of `measure`."""
    return _under(fp32, partial(measure, [case], **how))


def _errors(name: str, time: int, device: str) -> pd.DataFrame:
    made = _under("ieee", lambda: pd.DataFrame(error_ratios(name, time, device=device)))
    return made.assign(**where(device))


def gates(preset: str) -> list[str]:
    """Those that are timed."""
    return ["-", "UR", "OM"] if preset == "smoke" else list(GATES)


def cases(preset: str) -> dict[str, list[Case]]:
    """What is timed, by table."""
    size, names = sizes(preset), gates(preset)
    base = {name: size[name] for name in ("time", "batch", "downsize")}
    hidden, plain = size["hidden"], {**base, "hidden": size["hidden"][0]}
    stack = {"hidden": hidden[0], "time": size["time"], "batch": size["models' batch"]}
    copy = dict(zip(("time", "batch", "inputs", "hidden"), size["Copy"], strict=True))
    loops = ("plain loop", "compiled loop", "reference", "torch without oneDNN")
    kinds, masters = ("float32", "bfloat16", "float16"), ("OM", "UM")[: len(hidden) // 2]

    def each(*columns: Iterable, names: str, **fixed) -> list[Case]:
        rows = (dict(zip(names.split(), row, strict=True)) for row in product(*columns))
        return [Case(**(base | fixed | row)) for row in rows]

    models = [Case(gate=g, models=m, **stack) for g, m in product(("-", "UR"), size["models"])]
    many = {"batch": size["models' batch"], "downsize": 16, "gate": "UR"}
    stacks = each(hidden[:2], size["models"][1:], kinds[:2], names="hidden models dtype", **many)
    others = each(hidden[:2], kinds, installed(), names="hidden dtype provider", gate="-")
    return {
        "dtypes": each(hidden[:2], kinds, (False, True), names="hidden dtype graphs"),
        "models": models,
        "lstm": each(hidden, names, names="hidden gate", cell="lstm"),
        "loops": each(hidden[::2], loops, names="hidden provider", rival="urgates"),
        "stacks": [c for c in stacks if c not in models],
        "strict": each(hidden[:2], ("-", "UR"), names="hidden gate"),
        "others": [c for c in others if c.provider != "haste" or c.dtype == "float32"],
        "types": [
            Case(dtype=d, **one)
            for d, one in product(kinds[:2], [*({**base, "hidden": h} for h in hidden), copy])
        ],
        "growth_time": [Case(**(plain | {"time": t})) for t in size["times"]],
        "gru": each(hidden, names, names="hidden gate", cell="gru"),
        "growth_batch": [Case(**(plain | {"batch": b})) for b in size["batches"]],
        "growth_inputs": [Case(**(plain | {"inputs": i})) for i in size["inputs"]],
        "masters": each(hidden, masters, names="hidden gate", downsize=1),
    }
