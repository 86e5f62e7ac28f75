"""How far a notebook's training is: told where it trains, read where the notebook is executed.

Training happens in a notebook's kernel, or in processes of its own below that.  Each appends lines
[stack, step, steps, time] to the file that $URGATES_PROGRESS names, if it names one: when a stack
is planned, when it begins, every second and when it ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

_FILE = "URGATES_PROGRESS"
_TELL_SECONDS = 1.0


def tell(stack: str, step: int, steps: int, planned: bool = False) -> None:
    """Note that a stack of models has made `step` of its `steps`, or is planned to."""
    if place := os.environ.get(_FILE):
        with open(place, "a", encoding="utf-8") as file:
            file.write(json.dumps([stack, step, steps, None if planned else time.time()]) + "\n")


class Bar:
    """A bar on a terminal, else a printed line for every tenth of the steps, or nothing.

    Whoever executes the notebook is told in any case.
    """

    def __init__(self, label: str, name: str, start: int, steps: int, wanted: bool):
        self.label, self.step, self.steps, self.wanted = label, start, steps, wanted
        self.name = name
        tell(name, start, steps)
        self.told = time.monotonic()
        on_terminal = wanted and sys.stderr.isatty()
        self.bar = tqdm(total=steps, initial=start, desc=label) if on_terminal else None

    def count(self, step: int) -> None:
        """Tell of the step, once in a while."""
        if time.monotonic() - self.told > _TELL_SECONDS:
            tell(self.name, step, self.steps)
            self.told = time.monotonic()

    def row(self, step: int, losses: list[float]) -> None:
        """Show the losses of a new row."""
        text = " ".join(f"{loss:.4g}" for loss in losses)
        if self.bar is not None:
            self.bar.update(step - self.step)
            self.bar.set_postfix_str(f"loss {text}")
        elif self.wanted and 10 * step // self.steps > 10 * self.step // self.steps:
            print(f"{self.label}: step {step} of {self.steps}, loss {text}", flush=True)
        self.step = step

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()


@dataclass
class Told:
    """What one notebook has told: steps made and wanted by stack, and how fast they were made."""

    path: Path
    stacks: dict[str, tuple[int, int]] = field(default_factory=dict)
    made: int = 0  # while watched
    seconds: float = 0.0  # that took so long
    _read: int = 0
    _times: dict[str, float | None] = field(default_factory=dict)

    def update(self) -> None:
        """Read what is new; a half-written last line waits."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            stack, step, steps, now = json.loads(line)
            before, since = self.stacks.get(stack, (0, 0))[0], self._times.get(stack)
            if since is not None and step > before:
                self.made += step - before
                self.seconds += now - since
            self.stacks[stack], self._times[stack] = (step, steps), now

    @property
    def done(self) -> int:
        """Steps made, earlier ones included."""
        return sum(step for step, _ in self.stacks.values())

    @property
    def wanted(self) -> int:
        """Steps of all stacks told of so far."""
        return sum(steps for _, steps in self.stacks.values())

    @property
    def minutes_left(self) -> float:
        """At the speed so far; nan as long as there is none."""
        per_step = self.seconds / self.made if self.made else float("nan")
        return (self.wanted - self.done) * per_step / 60


class Progress:
    """What the notebooks of one execution have told; close it, or use it with `with`."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="urgates-", ignore_cleanup_errors=True)
        self.notebooks: dict[str, Told] = {}
        self._counted = False  # steps, on a bar

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        self._folder.cleanup()

    def watch(self, notebook: str) -> dict[str, str]:
        """The environment in which a notebook's kernel tells what it does."""
        told = self.notebooks[notebook] = Told(Path(self._folder.name, notebook))
        return {_FILE: str(told.path)}

    def steps(self) -> tuple[int, int]:
        """Training steps made and wanted, of all notebooks."""
        told = list(self.notebooks.values())
        for one in told:
            one.update()
        return sum(one.done for one in told), sum(one.wanted for one in told)

    @contextmanager
    def shown(self, bar: tqdm, seconds: float = 1.0) -> Iterator[None]:
        """While this lasts, let a bar of cells count training steps as soon as there are any."""
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(seconds):
                self.show(bar)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def cells(self, bar: tqdm, count: int = 1) -> None:
        """Move a bar by finished cells, as long as it counts cells."""
        bar.update(count * (not self._counted))

    def show(self, bar: tqdm) -> None:
        """Bring a bar up to date with the steps; once there are any, it counts nothing else."""
        done, wanted = self.steps()
        if bar.disable or not wanted:
            return
        if not self._counted:  # time and speed count from here
            bar.reset()
            bar.unit, bar.initial, self._counted = "step", done, True
        bar.n, bar.total = done, wanted
        bar.refresh()

    def unfinished(self, command: str) -> str:
        """What is left of training that did not end, and how to go on; empty if all of it did.

        A notebook plans a task when it comes to it, so one that was interrupted does not know all.
        """
        done, wanted = self.steps()
        left = {name: told for name, told in self.notebooks.items() if told.done < told.wanted}
        if not left:
            return ""
        minutes = sum(told.minutes_left for told in left.values())
        time_left = f"about {minutes:.0f} min" if minutes >= 1 else "less than a minute"
        return (
            f"{', '.join(left)} not finished: {done / wanted:.0%} of {wanted:,} training steps "
            f"planned so far are done, {time_left if minutes == minutes else 'unknown time'} "
            f"left; to go on: {command}"
        )
