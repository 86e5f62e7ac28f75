"""Files that survive: atomic writes, append-only CSV logs, checkpoints without code, one-run locks.

A process may be killed at any byte. Whole files are therefore written beside their place, synced
and renamed; a log loses at most its unfinished last line; a checkpoint keeps its predecessor.
Checkpoints hold tensors and JSON only (safetensors), so loading one can run no code.
"""

import errno
import json
import os
import zlib
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


class CheckpointError(RuntimeError):
    """A checkpoint (and its predecessor) cannot be read; the message says what to do."""


def write_atomically(path: Path, data: bytes, keep_as: Path | None = None) -> None:
    """Replace `path` by `data` (the old file becomes `keep_as`), or leave it; OSError names it."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            os.replace(path, keep_as)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _explained(error, path) from error


def write_json(path: Path, content: dict) -> None:
    """Write a JSON object atomically, one line per key (`nan` is refused: JSON has none)."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in content.items()
    )
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def _explained(error: OSError, path: Path) -> OSError:
    reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return OSError(
        error.errno,
        f"cannot write {path}: {reason}. Rows and checkpoints written before are kept: "
        "make room, then start the same run again and it resumes",
    )


def complete_lines(path: Path) -> list[str]:
    """The finished lines of a text file; a half-written last line (a killed run) is left out."""
    text = Path(path).read_text(encoding="utf-8")
    return text.split("\n")[:-1]


class CsvLog:
    """An append-only CSV whose first column is `step`; reopening cuts it back to `rows` rows.

    Raises ValueError if the file has other columns, or fewer complete rows than asked for.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], rows: int = 0):
        self.path = Path(path)
        header = ",".join(columns)
        lines = [header]
        if rows:
            lines = complete_lines(path) if self.path.exists() else []
            if lines[:1] != [header] or len(lines) < rows + 1:
                raise ValueError(
                    f"{path} has {max(len(lines) - 1, 0)} complete rows under {lines[:1]}; its "
                    f"checkpoint expects {rows} under {header!r}. Put the file back, or delete "
                    "the checkpoint beside it to train from the start"
                )
        write_atomically(path, "".join(line + "\n" for line in lines[: rows + 1]).encode())
        self._file = open(path, "ab", buffering=0)

    def append(self, values: list) -> None:
        """Add one row: whole numbers as they are, floats with six digits, None as an empty cell."""
        cells = (
            "" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for v in values
        )
        line = (",".join(cells) + "\n").encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise _explained(error, self.path) from error

    def last(self, column: int, count: int) -> list[float]:
        """The numbers of a column in the last `count` rows, fewer if there are not so many."""
        return [float(row.split(",")[column]) for row in complete_lines(self.path)[1:][-count:]]

    def sync(self) -> None:
        """Return once every row is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict) -> None:
    """Write tensors and a JSON state; the checkpoint that was there becomes `<path>.prev`."""
    # Between two renames only the predecessor exists; load_checkpoint copes with that.
    write_atomically(path, _packed(tensors, state), keep_as=_previous(path))


def save_model(path: Path, tensors: dict[str, Tensor], state: dict) -> None:
    """Write what `load_checkpoint` reads, without a predecessor; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _packed(tensors, state))


def _packed(tensors: dict[str, Tensor], state: dict) -> bytes:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(tensors, {"state": json.dumps(state), "crc32": str(_crc32(tensors))})


def load_checkpoint(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict] | None:
    """Read (tensors, state), or None if there is no checkpoint.

    A damaged file gives way to its predecessor, with a printed line. CheckpointError if the
    predecessor is missing or damaged as well.
    """
    problems = []
    for candidate in (path, _previous(path)):
        if not candidate.exists():
            continue
        try:
            content = _read(candidate, device)
        except (SafetensorError, KeyError, ValueError) as error:
            problems.append(f"{candidate} is damaged ({error})")
            continue
        if problems:
            print(f"{problems[0]}; going on from its predecessor {candidate.name}")
        return content
    if problems:
        raise CheckpointError(
            f"{'; '.join(problems)}. Put a good copy back, or delete the file(s) to train this "
            "stack from the start; the CSV rows stay until then"
        )
    return None


def _read(path: Path, device: str) -> tuple[dict[str, Tensor], dict]:
    with safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if str(_crc32(tensors)) != metadata["crc32"]:
        raise ValueError("its checksum does not match")
    return {name: t.to(device) for name, t in tensors.items()}, json.loads(metadata["state"])


def _crc32(tensors: dict[str, Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].numpy().tobytes(), crc)
    return crc


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".prev")


@contextmanager
def locked(path: Path):
    """Hold a lock that the system drops when the process ends; RuntimeError if another has it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"another process is training this run (it holds {path}): wait for it, or end it"
        ) from None
    try:
        yield
    finally:
        lock.release()
