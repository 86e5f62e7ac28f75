"""What training leaves on disk: a CSV of scores and a JSON of provenance per model, a checkpoint.

File names are run keys (jobs.py). M models (rates × seeds) in a stack.

A stack ends in one point: the checkpoint of its last step, which holds all that follows, the
JSONs included. Models and JSONs are written from it, however often it takes; a run counts as
complete once the JSONs of its whole stack say so, and its JSON binds the CSV and the model.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from urgates.lab.jobs import Job, RunKey
from urgates.lab.learners import Learner
from urgates.lab.store.files import (
    PUT_BACK,
    CheckpointError,
    CsvLog,
    check_keys,
    load_checkpoint,
    packed,
    save_checkpoint,
    sha256,
    write_atomically,
    write_json,
)

GOAL = "loss below"
_NUMBER = int | float
_STATE = {
    **{"digest": str, "seconds": _NUMBER, "rows": [int], "csv_sha256": [str], "learner": dict},
    **{"best_valid": [_NUMBER | None], "best_step": [int], "before": list},
}


def keys(folder: Path, group: RunKey, suffix: str) -> Iterator[RunKey]:
    """The keys below a group's that have a file of this suffix in `folder`."""
    for path in Path(folder).glob(f"{group.stem}_*{suffix}"):
        yield RunKey.parse(path.name.removesuffix(suffix))


def model_path(folder: Path, key: RunKey) -> Path:
    """Where a trained model's weights are, those of its best validation."""
    return Path(folder) / "models" / f"{key.stem}.safetensors"


class Record:
    """The files of one stack. Making it resumes the stack from its checkpoint, where there is one,
    and cuts the CSVs back to the rows that the checkpoint knows.
    """

    def __init__(self, learner: Learner, job: Job, out_dir: Path):
        self.learner, self.job, self.out_dir = learner, job, Path(out_dir)
        self.protocol, self.runs = job.protocol, job.runs
        self.select = learner.select if self.protocol.eval_every else None
        self.checkpoint = self.out_dir / f"{job.key.stem}.safetensors"
        M = len(self.runs)
        self.sums = torch.zeros(len(learner.scores), M, dtype=torch.float64)
        self.best: dict[str, Tensor] = {}  # weights at the best validation
        self.state = {
            "digest": self.protocol.digest,
            "seconds": 0.0,
            "rows": [0] * M,
            "csv_sha256": [""] * M,
            "best_valid": [None] * M,
            "best_step": [0] * M,
        }
        if found := load_checkpoint(self.checkpoint):
            self._resume(*found)
        else:
            self.state["before"] = learner.probe()
        valid = [f"valid_{self.select.name}"] if self.select else []
        columns = ("step", *(score.name for score in learner.scores), *valid)
        known = zip(self.runs, self.state["rows"], self.state["csv_sha256"], strict=True)
        self.logs = [
            CsvLog(self.out_dir / f"{key.stem}.csv", columns, *rows) for key, *rows in known
        ]
        self.stopped = ""
        self._clock = time.monotonic()

    @property
    def _living(self) -> list[bool]:
        return [step is None for step in self.learner.died_at]

    def _resume(self, tensors: dict[str, Tensor], state: dict) -> None:
        digest = state.get("digest")
        if isinstance(digest, str) and digest != self.protocol.digest:
            raise ValueError(
                f"{self.checkpoint} was trained under protocol {digest}, not "
                f"{self.protocol.digest}: move the files of that run away, or delete them"
            )
        try:
            results = {"results": [dict]} if "results" in state else {}
            check_keys(state, _STATE | results, self.checkpoint, many=len(self.runs))
            self._check(tensors, state["learner"])
            self.learner.restore(tensors, state["learner"])
        except ValueError as error:
            where = "" if str(self.checkpoint) in str(error) else f"{self.checkpoint} is damaged: "
            raise CheckpointError(f"{where}{error}. {PUT_BACK}") from None
        self.state, self.sums = state, tensors["sums"]
        self.best = {
            name: tensors[f"best/{name}"].to(w.device)
            for name, w in self.learner.weights().items()
            if f"best/{name}" in tensors
        }

    def _check(self, tensors: dict[str, Tensor], plain: dict) -> None:
        """Raise ValueError unless names, shapes and types are those of this stack."""
        like, own = self.learner.state()
        like |= {"sums": self.sums}
        if any(name.startswith("best/") for name in tensors):
            like |= {f"best/{name}": w for name, w in self.learner.weights().items()}
        for name in sorted(like.keys() | tensors.keys()):
            wanted, got = (
                (tuple(found[name].shape), found[name].dtype) if name in found else "none"
                for found in (like, tensors)
            )
            if wanted != got:
                raise ValueError(f"tensor {name!r} must be {wanted}, got {got}")
        if own.keys() != plain.keys():
            raise ValueError(f"'learner' must have {sorted(own)}, got {sorted(plain)}")

    def add(self, scores: dict[str, Tensor]) -> None:
        """Count one step's scores, each [M], towards the next row."""
        found = torch.stack([value.double() for value in scores.values()])
        self.sums = self.sums.to(found.device) + found

    def row(self) -> list[float]:
        """Log each score's mean since the last row, and the validation when due.

        Returns the means [M] of the first score.
        """
        step, p = self.learner.step, self.protocol
        means = (self.sums / p.log_every).T.tolist()
        self.sums.zero_()
        valid: list[list] = [[]] * len(means)
        if self.select:
            due = step % p.eval_every == 0
            valid = [[value] for value in self._validate()] if due else [[None]] * len(means)
        for m, (log, living) in enumerate(zip(self.logs, self._living, strict=True)):
            if living:
                log.append([step, *means[m], *valid[m]])
                self.state["rows"][m] += 1
        return [mean[0] for mean in means]

    def _validate(self) -> list[float]:
        """The score [M] that selects on the validation set; weights at their best are kept."""
        found = self.learner.evaluate("valid")[self.select.name].tolist()
        weights = self.learner.weights()
        for m, (value, living) in enumerate(zip(found, self._living, strict=True)):
            if living and self.select.beats(value, self.state["best_valid"][m]):
                self.state["best_valid"][m] = value
                self.state["best_step"][m] = self.learner.step
                for name, w in weights.items():
                    self.best.setdefault(name, w.clone())[m] = w[m]
        return found

    def stop(self) -> str:
        """Why the job ends before the protocol's last step, for the JSON; "" to go on."""
        step, goal = self.learner.step, self.job.goal
        self.stopped = f"at {step} steps, as asked" if 0 < self.job.until <= step else ""
        if goal and step and step % self.protocol.log_every == 0:
            logs = [log for log, living in zip(self.logs, self._living, strict=True) if living]
            recent = [log.last(1, 10) for log in logs]
            if all(len(losses) == 10 and sum(losses) < 10 * goal for losses in recent):
                self.stopped = f"at {step} steps: {GOAL} {goal:.4g}"
        return self.stopped

    def save(self) -> None:
        """Sync the CSVs, write the checkpoint, then what follows from it: models, then JSONs.

        After the last step the checkpoint is final; saving again writes what follows anew.
        """
        contents = self.state.get("results") or self._save_checkpoint()
        if self.learner.done and self.protocol.keep_models:
            for m, content in enumerate(contents):
                path = model_path(self.out_dir, self.runs[m])
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, self._model(m, content["digest"]))
        for key, content in zip(self.runs, contents, strict=True):
            write_json(self.out_dir / f"{key.stem}.json", content)

    def _save_checkpoint(self) -> list[dict]:
        """Sync the CSVs and write the checkpoint; the contents of the JSONs."""
        now = time.monotonic()
        self.state["seconds"] += now - self._clock
        self._clock = now
        for log in self.logs:
            log.sync()
        self.state["csv_sha256"] = [log.sha256 for log in self.logs]
        tensors, self.state["learner"] = self.learner.state()
        contents = self._contents()
        if self.learner.done:
            self.state["results"] = contents
        tensors |= {"sums": self.sums} | {f"best/{name}": w for name, w in self.best.items()}
        save_checkpoint(self.checkpoint, tensors, self.state)
        return contents

    def _contents(self) -> list[dict]:
        """What the JSON of each model says."""
        shared = {} if self.learner.done or not self.stopped else {"stopped": self.stopped}
        shared |= {"protocol": self.protocol.numbers, "digest": self.protocol.digest}
        shared |= {"stack": self.job.members} | self.learner.provenance() | software()
        shared |= {"wall_seconds": round(self.state["seconds"], 1)}
        results, probes = self._results(), {"before": self.state["before"]}
        if self.learner.done or self.stopped:
            probes["after"] = self.learner.probe()
        contents = []
        for m, (rate, seed) in enumerate(self.job.models):
            content = self._status(m, seed) | shared
            if rate != self.protocol.lr:
                own = self.job.at(rate)
                content |= {"protocol": own.numbers, "digest": own.digest}
            if self.learner.done and self.protocol.keep_models:
                content["sha256"]["model"] = sha256(self._model(m, content["digest"]))
            content |= {name: values[m] for name, values in results.items()}
            content["probes"] = {when: units[m] for when, units in probes.items() if units}
            contents.append(content)
        return contents

    def _status(self, m: int, seed: int) -> dict:
        """Model m's key, and how far it has come."""
        died_at = self.learner.died_at[m]
        ended = "finished" if died_at is None else "diverged"
        content = {"task": self.protocol.task, "cell": self.job.cell, "gate": self.job.gate}
        content |= {"preset": self.protocol.preset, "seed": seed}
        content |= {"status": ended if self.learner.done else "partial"}
        content |= {"steps": self.learner.step, "died_at": died_at, "rows": self.state["rows"][m]}
        return content | {"sha256": {"csv": self.state["csv_sha256"][m]}}

    def _results(self) -> dict[str, list]:
        """The best validation, its step and, at the end, its weights' test, by key: each [M]."""
        if not self.best:
            return {}
        name, best = self.select.name, self.state["best_valid"]
        found = {f"best_valid_{name}": best, "best_step": self.state["best_step"]}
        if self.learner.done:
            found[f"test_{name}"] = self.learner.evaluate("test", self.best)[name].tolist()
        return {
            key: [None if b is None else round(v, 6) for v, b in zip(values, best, strict=True)]
            for key, values in found.items()
        }

    def _model(self, m: int, digest: str) -> bytes:
        """The file of model m: its weights at the best validation, or the last ones."""
        weights = self.best or self.learner.weights()
        return packed({name: w[m] for name, w in weights.items()}, digest)

    def close(self) -> None:
        """Close the CSVs."""
        for log in self.logs:
            log.close()


def software() -> dict:
    """What a number depends on besides its protocol, seed and device: threads, code, versions."""
    return {
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@cache
def commit() -> str:
    """Short hash of the checkout this library runs from, "+" if it was changed; else "unknown"."""
    here = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        if head.returncode:
            return "unknown"
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], capture_output=True)
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return head.stdout.strip() + "+" * bool(changed.returncode)
