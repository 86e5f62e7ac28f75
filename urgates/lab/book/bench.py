"""What a notebook holds: the Bench that loads or trains runs, decides claims and saves figures.

Committed results lie in `figures/<notebook>/`, whatever is computed afresh in
`runs/<preset>/<notebook>/`; stored runs are the only source of a figure's numbers.
"""

import base64
import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from urgates.checks import choice, flag, refusal, require
from urgates.gates import Gate
from urgates.gates import gate as find_gate
from urgates.lab import experiments
from urgates.lab.book.claims import CLAIMS, IMPRECISE, MISSING, UNTESTABLE, verdict
from urgates.lab.book.contenders import Case
from urgates.lab.book.timing import measure, store, stored
from urgates.lab.devices import choose_device, device_name
from urgates.lab.experiments import Protocol
from urgates.lab.jobs import Job
from urgates.lab.learners.networks import Network
from urgates.lab.learners.supervised import Stack
from urgates.lab.places import PRESETS, checkout
from urgates.lab.store.files import write_json
from urgates.lab.store.record import commit
from urgates.lab.store.runs import Runs, completed, provenance, several
from urgates.lab.train import run_missing, trained

__all__ = ["Bench", "show_source"]


def check_settings(
    preset: str | None = None,
    recompute: bool = False,
    seeds: int = 0,
    gates: str = "all",
    limit_minutes: float = 0.0,
    device: str = "cpu",
    **others,
) -> tuple[str, ...]:
    """Refuse what `Bench` cannot work with; the names in `gates`, none for "all"."""
    if preset is not None:
        choice("preset", preset, PRESETS)
    flag("recompute", recompute)
    whole = isinstance(seeds, int) and seeds >= 0
    require("seeds", whole, "be a whole number, 0 for the protocol's", seeds)
    require("limit_minutes", limit_minutes >= 0, "be 0 (no limit) or more", limit_minutes)
    choose_device(device)
    names = [] if gates == "all" else [find_gate(name.strip()).name for name in gates.split(",")]
    require("gates", len({*names}) == len(names), "have every name once", gates)
    return tuple(names)


class Bench:
    """A notebook's workbench. Unknown or impossible values raise ValueError.

    Args:
        notebook: its name, as in `notebooks/<name>.py`.
        preset: "smoke", "laptop" or "paper"; None for notebooks that train nothing.
        recompute: train what is missing instead of reading committed runs (smoke always does).
        seeds: how many; 0 takes the protocol's.
        gates: "all" (those of the protocol) or names joined by commas, like "UR,R,-".
        device: "auto", "cpu" or "cuda".
        limit_minutes: stop training after so many minutes, to be resumed; 0 is no limit.
    """

    def __init__(
        self,
        notebook: str,
        preset: str | None = None,
        recompute: bool = False,
        seeds: int = 0,
        gates: str = "all",
        device: str = "auto",
        limit_minutes: float = 0.0,
    ):
        self.gates = check_settings(preset, recompute, seeds, gates, limit_minutes)
        self.notebook, self.preset, self.recompute = notebook, preset or "exact", recompute
        self.seeds, self.device = seeds, choose_device(device)
        self.deadline = time.time() + 60 * limit_minutes if limit_minutes else float("inf")
        self.trains = recompute or preset == "smoke"
        self.out = checkout() / "runs" / self.preset / notebook
        self._home = f"runs/{preset}/{notebook}" if self.trains else f"figures/{notebook}"
        self.runs_folder = checkout() / self._home / "runs"
        self._claims: dict[str, dict] = {}

    def protocol(self, task: str) -> Protocol:
        """The protocol of a task at this preset."""
        return experiments.protocol(task, self.preset)

    def runs(
        self,
        task: str,
        cell: str = "lstm",
        *,
        gates: Iterable[str] | None = None,
        rates: Iterable[float] | None = None,
        of: str | None = None,
        preset: str | None = None,
        where: Callable[[str], bool] | None = None,
    ) -> Runs:
        """The stored runs of a task; at smoke, or to recompute, train what is missing first.

        Args:
            gates: the protocol's, if not given; the notebook's own parameter goes before both.
            rates: learning rates, the protocol's only if not given; trained as one stack.
            of: another notebook, whose runs are read (trained at this preset, or else the stored)
                and never trained here.
            preset: another preset, whose stored runs are read and never trained here.
            where: which of those gates the task is for, all if not given.
        """
        p = self.protocol(task) if preset is None else experiments.protocol(task, preset)
        wanted, seeds = tuple(gates or p.gates), range(1, (self.seeds or p.seeds) + 1)
        gates = self.gates or wanted
        if where is not None:
            wanted, gates = (tuple(filter(where, names)) for names in (wanted, gates))
        folder = self._folder(of, preset)
        if self.trains and of is preset is None:
            run_missing(
                [Job(p, cell, gate, seeds, rates or ()) for gate in gates],
                folder,
                device=self.device,
                deadline=self.deadline,
                progress=self.recompute,
            )
        runs = Runs(folder, p, cell, seeds, dict.fromkeys(wanted + gates), gates, rates)
        if gates and not runs:
            print(
                f"no stored runs of {task} ({cell}) at {p.preset}; this trains them: "
                f"urgates run {of or self.notebook} --preset {p.preset} --recompute"
            )
        return runs

    def _folder(self, of: str | None, preset: str | None) -> Path:
        """Where the runs are that `runs` reads: this notebook's, another's or another preset's."""
        if of is preset is None:
            return self.runs_folder
        home = of or self.notebook
        trained = checkout() / "runs" / self.preset / home / "runs"
        fresh = preset is None and self.trains and trained.exists()
        return trained if fresh else checkout() / "figures" / home / "runs"

    def cost(self, *groups: Runs) -> None:
        """Print what the training of these runs took, a line for each group that has any."""
        for runs in filter(None, groups):
            print(f"{runs.cell} {runs.cost}")

    def trial(self, gate: str | Gate, seed: int = 0, steps: int = 40) -> list[float]:
        """Losses of the first steps of Copy at smoke's size, with any gate; nothing is stored."""
        stack = Stack(Job(experiments.protocol("copy", "smoke"), "lstm", gate, (seed,)), "cpu")
        return [stack.advance()["loss"].item() for _ in range(steps)]

    def network(self, task: str, cell: str, gate: str, seed: int = 1) -> Network:
        """A trained network, ready to answer; ValueError if no finished run has left one."""
        return trained(Job(self.protocol(task), cell, gate, (seed,)), self.runs_folder)

    def table(
        self, name: str, make: Callable[[], pd.DataFrame], *, once: bool = False
    ) -> pd.DataFrame:
        """The stored table of that name; at smoke, or to recompute, made now.

        For numbers that need a data set, minutes or a clock. ValueError if nothing is stored.

        Args:
            make: gives the rows, which are stored with six digits and read back.
            once: at smoke, rows that an earlier execution made will do.
        """
        path = self.runs_folder / f"{name}_{self.preset}.csv"
        if self.recompute or (self.trains and not (once and path.exists())):
            store(make(), path)
        if not path.exists():
            raise ValueError(
                f"no stored table {name!r} at {self.preset}; this makes it: "
                f"urgates run {self.notebook} --preset {self.preset} --recompute"
            )
        return stored(path)

    def timings(
        self, name: str, cases: Iterable[Case] = (), measure: Callable = measure, **how
    ) -> pd.DataFrame:
        """The stored timings of that name; at smoke, or to recompute, measured now.

        Args:
            cases: what to time against what.
            measure: what else gives the rows; called without arguments if there are no cases.
            how: passed on to `timing.measure`.
        """
        how |= {"device": self.device, "progress": print} if cases else {}
        return self.table(name, lambda: measure(*([cases] if cases else []), **how), once=True)

    def claim(
        self,
        name: str,
        holds: bool | str | None,
        ours: str,
        runs: Runs | Sequence[Runs] | None = None,
    ) -> None:
        """Decide a claim: print its line, and keep verdict and evidence in claims.json.

        Where none of its runs is stored, nothing is kept: the claim was not attempted yet.

        Args:
            name: "G01" …
            holds: what the predicate says; None, or a word of claims.py, if it cannot tell.
            ours: our numbers, rounded, in a few words.
            runs: what the claim rests on (`runs.only(…)` the gates that it is about), one or more.
        Raises:
            ValueError: unknown claim, or one about training without runs.
        """
        claim = CLAIMS[choice("name", name, CLAIMS)]
        if claim.kind == "trained" and runs is None:
            raise refusal("runs", f"be those that decide {name}", "None")
        known = (None, True, False, IMPRECISE, UNTESTABLE)
        if not isinstance(holds, bool | np.bool_ | str | None) or holds not in known:
            raise refusal("holds", f"be one of {known}", repr(holds))
        if runs is not None and not any(several(runs)):
            print(f"{name} {MISSING} · {claim.sentence} · paper {claim.paper}")
            return
        if runs is None:
            word = verdict(claim.kind, holds, self.preset, None)
            evidence = {"preset": claim.kind, "seeds": [], "device": device_name(self.device)}
            evidence["commit"] = commit()
        else:
            word = verdict(claim.kind, holds, several(runs)[0].protocol.preset, completed(runs))
            evidence = provenance(runs)
            sizes = (
                experiments.scale(group.protocol, set(group.info.lr), group.tried.values())
                for group in several(runs)
                if group
            )
            evidence["scale"] = "; ".join(filter(None, dict.fromkeys(sizes)))
        self._claims[name] = {"verdict": word, "ours": ours, "notebook": self.notebook, **evidence}
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "claims.json", self._claims)
        print(f"{name} {word} · {claim.sentence} · paper {claim.paper} · ours {ours}")

    def save(
        self,
        fig,
        name: str,
        *,
        data: pd.DataFrame,
        paper: str = "",
        runs: Runs | Sequence[Runs] | None = None,
    ) -> None:
        """Save a figure as NAME.png, .csv and .json, show the picture, print its caption.

        The figure's title, its alternative text and how to read it are in `lab/figures.ini`.
        Without numbers there is nothing to save, and a line says so.

        Args:
            fig: a matplotlib figure.
            name: the files' stem, like "fig3_left".
            data: the plotted numbers; rows of `timings` bring their provenance along.
            paper: which of the paper's figures it is, like "Fig. 3 left".
            runs: what it was drawn from; None for closed forms and samples.
        """
        from urgates.lab.book import figures

        if data.empty:
            print(f"{name}: nothing to draw yet")
            return
        timed = {"device", "commit"} <= set(data.columns)
        meta = {"notebook": self.notebook, "paper": paper}
        found = self._here(data if timed else None)
        meta |= found if runs is None else _drawn_from(several(runs), self.runs_folder)
        texts = figures.described(self.notebook, name)
        record = figures.save(fig, self.out / name, data, meta, texts)
        _show(self.out / f"{name}.png", texts)
        caption = f"{name}.csv · {meta['preset']}"
        if runs is not None:  # stored numbers: the notebook's test sees any change of them
            seeds = ", ".join(map(str, meta["seeds"]))
            caption += f" · seeds {seeds} · data {record['sha256']['csv'][:8]}"
        elif timed:
            caption += f" · {meta['device']}, measured at {meta['commit']}"
        print(caption)

    def _here(self, timings: pd.DataFrame | None = None) -> dict:
        """Provenance of what was computed here and now, or of `timings`, which know theirs."""
        here = {"preset": "exact", "seeds": [], "device": device_name(self.device)}
        here |= {"commit": commit()}
        if timings is not None:
            here |= {key: ", ".join(sorted(set(timings[key]))) for key in ("device", "commit")}
            here["preset"] = self.preset
        return here

    def __repr__(self) -> str:
        return f"Bench({self.notebook!r}, {self.preset}, {'trains' if self.trains else 'reads'})"

    def _repr_markdown_(self) -> str:
        rows = {
            "notebook": self.notebook,
            "preset": self.preset,
            "seeds": self.seeds or "the protocol's",
            "gates": ", ".join(self.gates) or "the protocol's",
            "device": device_name(self.device),
            "runs": f"{'trained into' if self.trains else 'read from'} `{self._home}/runs`",
        }
        if self.preset == "exact":
            rows = {"notebook": self.notebook, "preset": "exact: nothing is trained"}
        return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def _drawn_from(groups: Sequence[Runs], here: Path) -> dict:
    """Provenance of a figure of runs, and their files as seen from the figure's folder."""
    groups = list(filter(None, groups)) or groups  # those that there are
    digests = ", ".join(dict.fromkeys(group.protocol.digest for group in groups))
    minutes = sum(group.minutes.sum() for group in groups if group)
    places = {g: "" if g.folder == here else f"../{g.folder.parent.name}/" for g in groups}
    files = [f"{place}runs/{path.name}" for g, place in places.items() for path in g.paths]
    more = {"protocol": digests, "wall_seconds": round(60 * minutes, 1), "runs": files}
    return provenance(groups) | more


def _show(picture: Path, texts: Mapping[str, str]) -> None:
    """Display a saved picture with its alternative text, and how to read it."""
    from IPython.display import Markdown, display

    alt = texts.get("alt", picture.stem)
    shown = {"image/png": base64.b64encode(picture.read_bytes()).decode(), "text/plain": alt}
    display(shown, raw=True, metadata={"image/png": {"alt": alt}})
    if "read" in texts:
        display(Markdown(f"*How to read it.* {texts['read']}"))


def show_source(*things):
    """The library's source of functions or classes, as a Markdown cell output."""
    from IPython.display import Markdown

    sources = "\n\n\n".join(inspect.getsource(thing).rstrip() for thing in things)
    return Markdown(f"```python\n{sources}\n```")
