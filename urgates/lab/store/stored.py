"""Reading what training left (record.py), and refusing what is not as it was left.

The JSON of a run knows the checksums of its CSV and of its model; a stack of runs is complete when
the JSONs of all its models say so.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from urgates.lab.jobs import Job, RunKey
from urgates.lab.store.files import check_keys, load_checkpoint, read_json, sha256
from urgates.lab.store.record import GOAL, keys, model_path

COMPLETE = ("finished", "diverged")
_RESTORE = "Put the file back; or delete that JSON, and start the run again"
_TEXTS = ("task", "cell", "gate", "preset", "status", "digest", "device", "commit")
_RECORD = dict.fromkeys(_TEXTS, str) | {
    **{"seed": int, "wall_seconds": int | float, "stack": list, "protocol": dict, "probes": dict}
}


def read_record(path: Path) -> dict:
    """The JSON of a run, once its CSV and its model have been found to be those it speaks of.

    The status is "partial" until the whole stack is complete. ValueError names the file that is
    damaged, missing or another one than recorded, and says what to do.
    """
    path = Path(path)
    record = read_json(path, _RECORD)
    check_keys(record["protocol"], {"lr": float, "downsize": int}, f"{path}: protocol")
    csv = path.with_suffix(".csv")
    if record["status"] not in ("partial", *COMPLETE):
        raise ValueError(f"{path} is damaged: 'status' is {record['status']!r:.40}")
    if not csv.exists():
        raise ValueError(f"{csv} is missing, though {path.name} speaks of it. {_RESTORE}")
    if record["status"] == "partial" and not met_goal(record):  # its CSV goes on growing
        return record
    if "sha256" in record:  # the records of earlier versions have none
        check_keys(record, {"sha256": dict, "rows": int}, path)
    sums = record.get("sha256", {})
    files = {"csv": csv, "model": path.parent / "models" / f"{path.stem}.safetensors"}
    for kind in sums.keys() & files.keys():
        file = files[kind]
        data = file.read_bytes() if file.exists() else b""
        if sha256(data) != sums[kind]:
            expected, got = f"sha256 {sums[kind]:.8}…", f"{sha256(data):.8}…"
            if kind == "csv":
                expected = f"{record['rows']} rows, {expected}"
                got = f"{len(data.splitlines()) - 1} rows, {got}"
            raise ValueError(
                f"{file} is not the file that {path.name} speaks of: expected {expected}, got "
                f"{got if file.exists() else 'no file'}. {_RESTORE}"
            )
    group = RunKey(*(record[name] for name in ("task", "cell", "gate", "preset")))
    mates = (group.member(text) for text in record["stack"])  # its own key among them
    if not all(_complete(path.with_name(f"{mate.stem}.json")) for mate in mates):
        record["status"] = "partial"
    return record


def _complete(path: Path) -> bool:
    return path.exists() and read_json(path, {"status": str})["status"] in COMPLETE


def met_goal(record: dict) -> bool:
    """Whether a run was stopped because nothing was left to learn (`Job.goal`)."""
    return GOAL in record.get("stopped", "")


def read_model(folder: Path, job: Job) -> dict[str, Tensor]:
    """The weights that the finished run of a job's one model left in `folder`.

    Raises ValueError if there are none, if they are not those that its JSON speaks of, or if they
    were trained under another protocol.
    """
    (key,) = job.runs
    path, file = model_path(folder, key), Path(folder) / f"{key.stem}.json"
    record = read_record(file) if file.exists() else {}
    if record.get("status") not in COMPLETE or not path.exists():
        raise ValueError(f"{path} is missing: train {key.stem}")
    if not job.fits(record, None):
        raise ValueError(f"{path} is of protocol {record['digest']}, not {job.protocol.digest}")
    return load_file(path)


def read_best(folder: Path, job: Job) -> dict[str, Tensor]:
    """The weights at the best validation of a job's one model, from its stack's last checkpoint.

    For models that are too large to be kept beside the runs.  ValueError if `folder` has no
    checkpoint of a finished stack of this protocol with that model.
    """
    (run,) = job.runs
    for key in keys(folder, job.group, ".safetensors"):
        if key.rates == run.rates and run.seeds[0] in key.seeds:
            tensors, state = load_checkpoint(Path(folder) / f"{key.stem}.safetensors")
            if state["digest"] == job.protocol.digest and "results" in state:
                m, best = key.seeds.index(run.seeds[0]), "best/"
                names = (name for name in tensors if name.startswith(best))
                return {name.removeprefix(best): tensors[name][m] for name in names}
    raise ValueError(f"{folder} has no checkpoint of a finished {run.stem}: train it there")
