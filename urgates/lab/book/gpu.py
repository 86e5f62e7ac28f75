"""All that a machine with a GPU is needed for, in a given time: check, time, train Copy.

Every row is on the disk as soon as it is known, in files as `figures/` has them, and the same call
goes on where one ended. Checks and timings are made by a process of their own: a kernel may hang,
or leave the device useless to the process that ran it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pandas as pd

from urgates.checks import choice, refusal, require
from urgates.lab import sweep
from urgates.lab.apart import Apart
from urgates.lab.book.kernel_tables import PRESETS, Part, tables
from urgates.lab.book.timing import store, stored, table, where
from urgates.lab.devices import choose_device, device_name
from urgates.lab.store.files import locked
from urgates.lab.train import run_missing

HOME = "X1_kernels"
UNTIL = {"check": 0.25, "time": 0.7}  # of all minutes, at the latest
REHEARSAL = "urgates gpu --device cpu --preset smoke rehearses it"
Tell = Callable[[str], None]


def visit(
    out: Path,
    preset: str = "paper",
    device: str = "cuda",
    minutes: float = 30.0,
    known: Path | None = None,
    told: Tell = print,
) -> int:
    """Check, time, and train Copy on a GPU for so many minutes; returns how much went wrong.

    Args:
        out: `<out>/X1_kernels/runs/<table>_<preset>.csv`, `<out>/31_…/runs/` and `problems.csv`.
        preset: "paper", or "smoke" (tiny, and all that a CPU takes).
        known: a folder like `out`; what is finished there is not trained again.
        told: hears a line of everything.
    Raises:
        ValueError: for a device or preset that cannot be, and for an `out` of another device.
        BusyError: while another visit writes there; and what training raises.
    """
    device = _usable(device, choice("preset", preset, PRESETS))
    require("minutes", minutes > 0, "be above 0", minutes)
    begun = time.time()
    end = begun + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / "gpu.lock", "visiting a GPU"):
        told(f"{device_name(device)}: {minutes:g} minutes, into {out}")
        wrong = _measure(out, preset, device, begun, end, told)
        doubtful = {row["gate"] for row in wrong if _trained_so(row)}
        _train(out, preset, device, end, known, doubtful, told)
    if wrong:
        told(f"{len(wrong)} parts went wrong, in {', '.join({row['table']: 0 for row in wrong})}")
    if device == "cpu":
        told("rehearsed without a GPU: X1's tables for one stay 'not measured'")
    return len(wrong)


def _usable(device: str, preset: str) -> str:
    """The device, if it serves that preset."""
    try:
        found = choose_device(device)
    except ValueError:
        if not device.startswith("cuda"):
            raise
        why = f"torch finds none here, so X1's tables stay 'not measured'; {REHEARSAL}"
        raise refusal("device", "be a CUDA device", repr(device), why) from None
    gpu = found.startswith("cuda")
    require("device", gpu or found == "cpu", "be cuda, cuda:N or cpu", device)
    require("preset", gpu or preset == "smoke", "be smoke on a CPU", preset)
    return found


# ------------------------------------------------------------------ check and time


def _measure(
    out: Path, preset: str, device: str, begun: float, end: float, told: Tell
) -> list[dict]:
    """Add to all tables what is missing of them; what went wrong: its table, key and why."""
    folder, wrong = out / HOME / "runs", []
    with Apart(end) as work:
        for name, parts in tables(preset, device).items():
            share = UNTIL["check" if name == "checks" else "time"]
            deadline, path = begun + share * (end - begun), folder / f"{name}_{preset}.csv"
            left, problems = fill(path, parts, work, deadline, device, told)
            _note(out / "problems.csv", name, problems, device)
            wrong += [{"table": name, **key} for key, _ in problems]
            if name == "checks" and path.exists():
                rows = stored(path)
                wrong += rows[rows.verdict != "fine"].assign(table=name).to_dict("records")
            if parts:
                told(f"{path.name}: {len(parts) - left} of {len(parts)} parts")
    return wrong


def fill(
    path: Path, parts: Sequence[Part], work: Callable, deadline: float, device: str, told: Tell
) -> tuple[int, list[tuple[dict, str]]]:
    """Add to a stored table the parts that it lacks, until the clock shows `deadline`.

    Returns:
        How many it still lacks; and what went wrong with which, to be tried again another time.
    Raises:
        ValueError: if the table is of another device.
    """
    rows = stored(path) if path.exists() else pd.DataFrame()
    others = {*rows.get("device", ())} - {device_name(device)}
    if others:
        raise refusal("out", f"hold rows of {device_name(device)} alone", f"{path}: {others}")
    left, problems = 0, []
    for part in parts:
        if _has(rows, part.key):
            continue
        if time.time() > deadline:
            left += 1
            continue
        try:
            made = work(part.make)
        except RuntimeError as error:
            left, problems = left + 1, [*problems, (part.key, str(error))]
            told(f"{path.stem}: {_words(part.key)}: {error}")
            continue
        store(pd.concat([rows, made]), path)
        rows = stored(path)
        told(_line(path.stem, part.key, made))
    return left, problems


def _has(rows: pd.DataFrame, key: dict) -> bool:
    """Whether a table has rows of this key."""
    if rows.empty:
        return False
    return bool(rows[list(key)].eq(pd.Series(key, dtype=object)).all(axis=1).any())


def _words(key: dict) -> str:
    return " ".join(f"{name}={value}" for name, value in key.items())


def _line(name: str, key: dict, made: pd.DataFrame) -> str:
    """What a part has brought."""
    if "ratio" in made:
        return table(made)
    if "verdict" in made:
        r = made.iloc[0]
        what = f"{r.how} {r['cell']} {r.gate} {r['dtype']} {r.fp32} H={r.hidden} M={r.models}"
        return f"{what:44} {r.kernel} {r.verdict}: {r.error:.1e} of at most {r.limit:.1e}"
    return f"{name}: {_words(key)}".rstrip(": ")


def _trained_so(row: dict) -> bool:
    """Whether what went wrong is a check of what Copy's training is made of."""
    return row["table"] == "checks" and (row["cell"], row["dtype"]) == ("lstm", "float32")


def _note(path: Path, name: str, problems: Sequence[tuple[dict, str]], device: str) -> None:
    """Keep what went wrong."""
    if problems:
        before = [stored(path)] if path.exists() else []
        rows = [{"table": name, "what": _words(key), "why": why} for key, why in problems]
        store(pd.concat([*before, pd.DataFrame(rows).assign(**where(device))]), path)


# ------------------------------------------------------------------ train


def _train(
    out: Path,
    preset: str,
    device: str,
    end: float,
    known: Path | None,
    doubtful: Collection[str],
    told: Tell,
) -> None:
    """Train Copy as the book's queue has it (at smoke, each gate), until the clock shows `end`.

    Gates that are doubtful are left out.
    """
    wanted = [t for t in sweep.QUEUE if t.job.group.stem.startswith("copy_lstm")]
    wanted = [t for t in wanted if t.job.protocol.preset == preset]
    done, queue = 0, wanted or sweep.wanted(["copy"], preset)
    for training in queue:
        folder = out / training.notebook / "runs"
        if known and training.state_in(known / training.notebook / "runs")[0] == "done":
            done += 1
            continue
        if training.job.gate in doubtful:
            told(f"{training.job.key.stem}: not trained, as a check of its kernel went wrong")
            continue
        if training.state_in(folder)[0] != "done":
            run_missing([training.job], folder, device=device, deadline=end)
        state, steps, _ = training.state_in(folder)
        done += state == "done"
        if state != "waiting":
            told(f"{training.job.key.stem}: {state}, {steps:,} of {training.steps:,} steps")
    told(f"copy: {done} of {len(queue)} trainings done")
