"""What training leaves on disk: a CSV of losses and a JSON of provenance per model, a checkpoint.

File names are run keys, `{task}_{cell}_{gate}_{preset}_s{seed}`, with `_lr{rate}` before the seed
where the learning rate is not the protocol's. M models (rates × seeds) in a stack.

A stack ends in one point: the checkpoint of its last step, which holds all that follows, the
JSONs included. Models and JSONs are written from it, however often it takes; a run counts as
complete once the JSONs of its whole stack say so, and its JSON binds the CSV and the model.
"""

from __future__ import annotations

import platform
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from urgates import kernels
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

if TYPE_CHECKING:
    from urgates.lab.experiments import Protocol


_NUMBER = int | float
_STATE = {
    **{"digest": str, "seconds": _NUMBER, "step": int, "rows": [int], "csv_sha256": [str]},
    **{"best_valid_accuracy": [_NUMBER], "best_step": [int], "died_at": [int | None]},
    "before": [dict],
}


def run_stem(
    protocol: Protocol,
    cell: str,
    gate: str,
    seeds: int | Iterable[int] = (),
    rates: float | Iterable[float] = (),
) -> str:
    """The run key that file names start with; without seeds, that of all of them."""
    seeds, rates = (
        tuple(dict.fromkeys(value)) if isinstance(value, Iterable) else (value,)
        for value in (seeds, rates)
    )
    stem = f"{protocol.task}_{cell}_{gate}_{protocol.preset}"
    if rates not in ((), (protocol.lr,)):
        stem += "_lr" + "+".join(f"{rate:g}" for rate in rates)
    return stem + ("_s" + "+".join(map(str, seeds)) if seeds else "")


def begun(
    out_dir: Path, protocol: Protocol, cell: str, gate: str
) -> list[tuple[tuple[float, ...], tuple[int, ...]]]:
    """Rates and seeds of each stack of this run that has a checkpoint in `out_dir`."""
    stem = run_stem(protocol, cell, gate)
    name = re.compile(rf"{re.escape(stem)}(?:_lr(?P<rates>[^_]+))?_s(?P<seeds>[\d+]+)\.safetensors")
    found = {name.match(path.name) for path in Path(out_dir).glob(f"{stem}_*.safetensors*")}
    return sorted(
        {
            (
                tuple(map(float, match["rates"].split("+"))) if match["rates"] else (protocol.lr,),
                tuple(map(int, match["seeds"].split("+"))),
            )
            for match in found
            if match
        }
    )


def model_path(folder: Path, *key) -> Path:
    """Where a trained model's weights are, those of its best validation; `key` as `run_stem`'s."""
    return Path(folder) / "models" / f"{run_stem(*key)}.safetensors"


class Record:
    """The files of one stack. Making it resumes the stack from its checkpoint, where there is one,
    and cuts the CSVs back to the rows that the checkpoint knows.
    """

    def __init__(self, stack, cell: str, gate: str, out_dir: Path):
        self.stack, self.cell, self.gate, self.out_dir = stack, cell, gate, Path(out_dir)
        self.protocol: Protocol = stack.protocol
        self.validates = self.protocol.eval_every > 0
        stem = run_stem(self.protocol, cell, gate, stack.seeds, stack.rates)
        self.checkpoint = self.out_dir / f"{stem}.safetensors"
        M = len(stack.seeds)
        self.sums = torch.zeros(len(stack.metrics), M, dtype=torch.float64, device=stack.device)
        self.best: dict[str, Tensor] = {}  # weights at the best validation accuracy
        self.state = {
            "digest": self.protocol.digest,
            "seconds": 0.0,
            "rows": [0] * M,
            "csv_sha256": [""] * M,
            "best_valid_accuracy": [0.0] * M,
            "best_step": [0] * M,
        }
        if found := load_checkpoint(self.checkpoint, stack.device):
            self._resume(*found)
        else:
            self.state["before"] = stack.unit_gates()
        columns = ("step", *stack.metrics, *["valid_accuracy"] * self.validates)
        self.logs = [
            CsvLog(
                self._path(m, ".csv"), columns, self.state["rows"][m], self.state["csv_sha256"][m]
            )
            for m in range(M)
        ]
        self.stopped = ""
        self._clock = time.monotonic()

    def _path(self, m: int, suffix: str) -> Path:
        stem = run_stem(self.protocol, self.cell, self.gate, *self._key(m))
        return self.out_dir / (stem + suffix)

    def _key(self, m: int) -> tuple[int, float]:
        return self.stack.seeds[m], self.stack.rates[m]

    def _resume(self, tensors: dict[str, Tensor], state: dict) -> None:
        digest = state.get("digest")
        if isinstance(digest, str) and digest != self.protocol.digest:
            raise ValueError(
                f"{self.checkpoint} was trained under protocol {digest}, not "
                f"{self.protocol.digest}: move the files of that run away, or delete them"
            )
        try:
            results = {"results": [dict]} if "results" in state else {}
            check_keys(state, _STATE | results, self.checkpoint, many=len(self.stack.seeds))
            self._check(tensors, state["step"])
        except ValueError as error:
            raise CheckpointError(f"{error}. {PUT_BACK}") from None
        self.state = state
        self.sums = tensors.pop("sums")
        best = [name for name in tensors if name.startswith("best/")]
        self.best = {name.removeprefix("best/"): tensors.pop(name) for name in best}
        self.stack.restore(tensors, state["step"], state["died_at"])

    def _check(self, tensors: dict[str, Tensor], step: int) -> None:
        """Raise ValueError unless these are the tensors of this stack after so many steps."""
        damaged = f"{self.checkpoint} is damaged"
        if not 0 <= step <= self.protocol.steps:
            raise ValueError(f"{damaged}: 'step' must be in 0 … {self.protocol.steps}, got {step}")
        kinds = ["weights", *["exp_avg", "exp_avg_sq"] * (step > 0)]
        kinds += ["best"] * any(name.startswith("best/") for name in tensors)
        parameters = self.stack.parameters.items()
        like = {f"{kind}/{name}": p for kind in kinds for name, p in parameters}
        like["sums"] = self.sums
        for name in sorted(like.keys() | tensors.keys()):
            wanted, got = (
                (tuple(found[name].shape), found[name].dtype) if name in found else "none"
                for found in (like, tensors)
            )
            if wanted != got:
                raise ValueError(f"{damaged}: tensor {name!r} must be {wanted}, got {got}")

    def add(self, scores: dict[str, Tensor]) -> None:
        """Count one step's loss and metrics, each [M], towards the next row."""
        self.sums += torch.stack([value.double() for value in scores.values()])

    def row(self) -> list[float]:
        """Log each score's mean since the last row, and the validation accuracy when due.

        Returns the mean losses [M].
        """
        step = self.stack.step
        means = (self.sums / self.protocol.log_every).T.tolist()
        self.sums.zero_()
        valid = [[]] * len(means)
        if self.validates:
            due = step % self.protocol.eval_every == 0
            valid = [[a] for a in self._validate()] if due else [[None]] * len(means)
        for m, log in enumerate(self.logs):
            if self.stack.alive[m]:
                log.append([step, *means[m], *valid[m]])
                self.state["rows"][m] += 1
        return [mean[0] for mean in means]

    def _validate(self) -> list[float]:
        """Validation accuracies [M]; weights better than their best so far are kept."""
        accuracy = self.stack.accuracy("valid").tolist()
        for m, value in enumerate(accuracy):
            if self.stack.alive[m] and value > self.state["best_valid_accuracy"][m]:
                self.state["best_valid_accuracy"][m] = value
                self.state["best_step"][m] = self.stack.step
                for name, p in self.stack.parameters.items():
                    self.best.setdefault(name, p.detach().clone())[m] = p.detach()[m]
        return accuracy

    def stop(self, until: int, goal: float) -> str:
        """Why to stop before the protocol's last step, for the JSON; "" to go on.

        `until` steps are enough, or every living model's mean loss over its last ten rows is below
        `goal` (0: no limit).
        """
        step = self.stack.step
        self.stopped = f"at {step} steps, as asked" if 0 < until <= step else ""
        if goal and step and step % self.protocol.log_every == 0:
            logs = [log for log, living in zip(self.logs, self.stack.alive, strict=True) if living]
            recent = [log.last(1, 10) for log in logs]
            if all(len(losses) == 10 and sum(losses) < 10 * goal for losses in recent):
                self.stopped = f"at {step} steps: loss below {goal:.4g}"
        return self.stopped

    def save(self) -> None:
        """Sync the CSVs, write the checkpoint, then what follows from it: models, then JSONs.

        After the last step the checkpoint is final; saving again writes what follows anew.
        """
        if "results" in self.state:
            contents = self.state["results"]
        else:
            contents = self._checkpoint()
        if self.stack.done and self.protocol.keep_models:
            for m, content in enumerate(contents):
                path = model_path(self.out_dir, self.protocol, self.cell, self.gate, *self._key(m))
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, self._model(m, content["digest"]))
        for m, content in enumerate(contents):
            write_json(self._path(m, ".json"), content)

    def _checkpoint(self) -> list[dict]:
        """Sync the CSVs and write the checkpoint; the contents of the JSONs."""
        now = time.monotonic()
        self.state["seconds"] += now - self._clock
        self._clock = now
        for log in self.logs:
            log.sync()
        self.state |= {"step": self.stack.step, "died_at": self.stack.died_at}
        self.state["csv_sha256"] = [log.sha256 for log in self.logs]
        contents = self._contents()
        if self.stack.done:
            self.state["results"] = contents
        tensors = self.stack.tensors() | {"sums": self.sums}
        tensors |= {f"best/{name}": t for name, t in self.best.items()}
        save_checkpoint(self.checkpoint, tensors, self.state)
        return contents

    def _contents(self) -> list[dict]:
        """What the JSON of each model says."""
        done, state = self.stack.done, self.state
        probes = {"before": state["before"]}
        results: dict[str, list] = {}
        if done:
            probes["after"] = self.stack.unit_gates()
        if self.best:
            results = {k: state[k] for k in ("best_valid_accuracy", "best_step")}
            if done:
                results["test_accuracy"] = self.stack.accuracy("test", self.best).tolist()
        stopped = {"stopped": self.stopped} if self.stopped and not done else {}
        shared = stopped | provenance(self.stack) | {"wall_seconds": round(state["seconds"], 1)}
        contents = []
        for m, died_at in enumerate(self.stack.died_at):
            seed, rate = self._key(m)
            status = "partial" if not done else "finished" if died_at is None else "diverged"
            content = {"task": self.protocol.task, "cell": self.cell, "gate": self.gate}
            content |= {"preset": self.protocol.preset, "seed": seed, "status": status}
            content |= {"steps": self.stack.step, "died_at": died_at, "rows": state["rows"][m]}
            content |= {"sha256": {"csv": state["csv_sha256"][m]}} | shared
            if rate != self.protocol.lr:
                protocol = replace(self.protocol, lr=rate)
                content |= {"protocol": protocol.numbers, "digest": protocol.digest}
            if done and self.protocol.keep_models:
                content["sha256"]["model"] = sha256(self._model(m, content["digest"]))
            content |= {name: round(values[m], 6) for name, values in results.items()}
            content["probes"] = {when: units[m] for when, units in probes.items()}
            contents.append(content)
        return contents

    def _model(self, m: int, digest: str) -> bytes:
        """The file of model m: its weights at the best validation, or the last ones."""
        weights = self.best or self.stack.parameters
        return packed({name: p[m] for name, p in weights.items()}, digest)

    def close(self) -> None:
        """Close the CSVs."""
        for log in self.logs:
            log.close()


def provenance(stack) -> dict:
    """What a number depends on besides its seed: protocol, code, device, versions, threads."""
    rnn = stack.network.rnn
    return {
        "protocol": stack.protocol.numbers,
        "digest": stack.protocol.digest,
        "stack": [
            seed if rate == stack.protocol.lr else f"{seed} at {rate:g}"
            for seed, rate in zip(stack.seeds, stack.rates, strict=True)
        ],
        "device": device_name(stack.device),
        "kernel": kernels.choose(rnn.kernel, rnn.recurrence, rnn.weight_hh_l0),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def device_name(device: str) -> str:
    """ "CPU", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


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
