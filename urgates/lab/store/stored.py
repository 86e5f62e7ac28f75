"""Reading what training left (records.py), and refusing what is not as it was left.

The JSON of a run knows the checksums of its CSV and of its model; a stack of runs is complete when
the JSONs of all its models say so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file
from torch import Tensor

from urgates.lab.store.files import check_keys, read_json, sha256
from urgates.lab.store.record import model_path, run_stem

if TYPE_CHECKING:
    from urgates.lab.experiments import Protocol


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
    check_keys(record["protocol"], {"lr": float}, f"{path}: protocol")
    csv = path.with_suffix(".csv")
    if record["status"] not in ("partial", *COMPLETE):
        raise ValueError(f"{path} is damaged: 'status' is {record['status']!r:.40}")
    if not csv.exists():
        raise ValueError(f"{csv} is missing, though {path.name} speaks of it. {_RESTORE}")
    if record["status"] == "partial":  # its CSV goes on growing
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
    if not all(_complete(path.with_name(f"{mate}.json")) for mate in _mates(record)):
        record["status"] = "partial"
    return record


def _mates(record: dict) -> list[str]:
    """Stems of the runs that trained in this run's stack, its own included."""
    stem = "_".join(record[name] for name in ("task", "cell", "gate", "preset"))
    members = (str(member).partition(" at ") for member in record["stack"])
    return [stem + f"_lr{rate}" * bool(rate) + f"_s{seed}" for seed, _, rate in members]


def _complete(path: Path) -> bool:
    return path.exists() and read_json(path, {"status": str})["status"] in COMPLETE


def read_model(
    folder: Path, protocol: Protocol, cell: str, gate: str, seed: int
) -> dict[str, Tensor]:
    """The weights that a finished run left in `folder`.

    Raises ValueError if there are none, if they are not those that its JSON speaks of, or if they
    were trained under another protocol.
    """
    path = model_path(folder, protocol, cell, gate, seed)
    record = Path(folder) / f"{run_stem(protocol, cell, gate, seed)}.json"
    if not (record.exists() and read_record(record)["status"] in COMPLETE and path.exists()):
        raise ValueError(f"{path} is missing: train {protocol.task} {cell} {gate}, seed {seed}")
    digest = read_record(record)["digest"]
    if digest != protocol.digest:
        raise ValueError(f"{path} is of protocol {digest}, not {protocol.digest}")
    return load_file(path)
