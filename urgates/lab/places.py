"""Where a checkout keeps its things: `notebooks/`, `figures/` (committed) and `runs/` (not).

Read without importing torch or a notebook's tools, so that the command line answers at once.
"""

import re
from collections.abc import Sequence
from pathlib import Path

PRESETS = ("smoke", "laptop", "paper")
"""The sizes of an experiment: seconds, minutes, the paper's own."""
LANDING = Path("runs/publish/landing.json")
"""There while published notebooks are being put in their places (publishing.py)."""


def checkout() -> Path:
    """The nearest folder at or above the working directory with `notebooks/` and `urgates/`.

    The working directory itself if there is none, so that results land where one works.
    """
    here = Path.cwd()
    for place in (here, *here.parents):
        if (place / "notebooks").is_dir() and (place / "urgates").is_dir():
            return place
    return here


def find(names: Sequence[str] = (), root: Path | None = None) -> list[Path]:
    """The scripts of the named notebooks, or of all, in the order of the book.

    Args:
        names: "31", "31_synthetic_memory" or a path to either file of the pair.
        root: the checkout; the present one if not given.
    Raises:
        ValueError: for a name that no notebook has; the message lists the notebooks. If there are
            no notebooks at all, it says where they were looked for.
    """
    place = root or checkout()
    scripts = {path.stem: path for path in sorted(place.glob("notebooks/*_*.py"))}
    if not scripts:
        above = "" if root else ", nor in a folder above it that also holds urgates/"
        raise ValueError(
            f"no notebooks in {place / 'notebooks'}{above}: work in a clone of urgates"
        )
    chosen = []
    for name in map(str, names):
        stem = Path(name.removesuffix(".py").removesuffix(".ipynb")).name
        matches = [s for s in scripts if stem in (s, s.split("_")[0])]
        if not matches:
            raise ValueError(f"notebook must be one of {', '.join(scripts)}, got {name!r}")
        chosen += matches
    return [path for stem, path in scripts.items() if not names or stem in chosen]


def headline(script: Path) -> tuple[str, str]:
    """A notebook's title and the question below it."""
    cell = script.read_text(encoding="utf-8").split("# %% [markdown]\n", 1)[-1].split("# %%")[0]
    text = re.sub(r"^# ?", "", cell, flags=re.MULTILINE)
    title, *parts = (part.replace("\n", " ").strip() for part in text.split("\n\n"))
    question = next((part for part in parts if part.startswith("**")), "")
    return title.removeprefix("# "), question.strip("*")


def trains(script: Path) -> bool:
    """Whether a notebook shows runs of a preset."""
    return bool(re.search(r"^preset: str", script.read_text(encoding="utf-8"), re.MULTILINE))


def stored(script: Path) -> list[str]:
    """The presets of which `figures/` holds runs or tables of a notebook."""
    runs = (script.parents[1] / "figures" / script.stem / "runs").glob("*.csv")
    words = {word for path in runs for word in path.stem.split("_")}
    return [preset for preset in PRESETS if preset in words]
