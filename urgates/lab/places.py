"""Where a checkout keeps its things: `notebooks/`, `figures/` (committed) and `runs/` (not)."""

from pathlib import Path


def checkout() -> Path:
    """The nearest folder at or above the working directory with `notebooks/` and `urgates/`.

    The working directory itself if there is none, so that results land where one works.
    """
    here = Path.cwd()
    for place in (here, *here.parents):
        if (place / "notebooks").is_dir() and (place / "urgates").is_dir():
            return place
    return here
