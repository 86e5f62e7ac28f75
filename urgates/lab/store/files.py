"""Files that survive: atomic writes, append-only CSV logs, checkpoints without code, one-run locks.

A process may be killed at any byte. Whole files are therefore written beside their place, synced
and renamed; a log loses at most its unfinished last line; a checkpoint keeps its predecessor.
Checkpoints hold tensors and JSON only (safetensors), so loading one can run no code.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

# A checkpoint starts with eight bytes of length and this; then follow the checksum of the whole
# file (with blanks in its own place) and the state.
_HEAD, _BLANK = b'{"__metadata__":{"urgates":"', b"0" * 64
_SUM = slice(8 + len(_HEAD), 8 + len(_HEAD) + len(_BLANK))


PUT_BACK = "Put the file back, or delete the checkpoint beside it to train from the start"


class CheckpointError(RuntimeError):
    """A checkpoint (and its predecessor) cannot be read; the message says what to do."""


class BusyError(RuntimeError):
    """Another process is at it."""


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


def owned(place: Path, home: Path) -> Path:
    """`place`, to delete in it; ValueError unless it lies below `home`."""
    if Path(home).resolve() not in Path(place).resolve().parents:
        raise ValueError(f"{place} must lie below {home}: nothing else is deleted")
    return place


def write_json(path: Path, content: dict) -> None:
    """Write a JSON object atomically, one line per key (`nan` is refused: JSON has none)."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in content.items()
    )
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_json(path: Path, keys: Mapping[str, object] | None = None) -> dict:
    """A JSON object, checked as by `check_keys`; ValueError names the file and what is wrong."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: no JSON ({error}); put a good copy back") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: expected a JSON object, got {content!r:.40}")
    check_keys(content, keys or {}, path)
    return content


def check_keys(content: Mapping, keys: Mapping, where: object, many: int = 0) -> None:
    """Raise ValueError, naming `where` and the key, unless each key is there with its type.

    `keys` holds a type (or `int | None` …) by key; [type] stands for a list of `many` of it.
    """
    for key, kind in keys.items():
        listed, each = isinstance(kind, list), kind[0] if isinstance(kind, list) else kind
        value = content.get(key)
        values = value if listed else [value]
        if not (
            key in content
            and isinstance(values, list)
            and len(values) == (many if listed else 1)
            and all(isinstance(one, each) for one in values)
        ):
            wanted = f"{f'a list of {many} ' * listed}{getattr(each, '__name__', each)}"
            got = f"{value!r:.60}" if key in content else "nothing"
            raise ValueError(f"{where} is damaged: {key!r} must be {wanted}, got {got}")


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

    Raises ValueError if the file has other columns, fewer complete rows than asked for, or other
    ones than those of that `sha256`.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], rows: int = 0, sha256: str = ""):
        self.path = Path(path)
        header = ",".join(columns)
        lines = [header]
        if rows:
            lines = complete_lines(path) if self.path.exists() else []
            if lines[:1] != [header] or len(lines) < rows + 1:
                raise ValueError(
                    f"{path} has {max(len(lines) - 1, 0)} complete rows under {lines[:1]}; its "
                    f"checkpoint expects {rows} under {header!r}. {PUT_BACK}"
                )
        text = "".join(line + "\n" for line in lines[: rows + 1]).encode()
        self._sum = hashlib.sha256(text)
        if rows and self.sha256 != sha256:
            raise ValueError(
                f"the first {rows} rows of {path} are not those that its checkpoint knows "
                f"(sha256 {self.sha256:.8}…, expected {sha256:.8}…). {PUT_BACK}"
            )
        write_atomically(path, text)
        self._file = open(path, "ab", buffering=0)

    @property
    def sha256(self) -> str:
        """Of the rows so far and their header."""
        return self._sum.hexdigest()

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
        self._sum.update(line)

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
    """Write tensors and a JSON state; the checkpoint that was there becomes `<path>.prev`.

    The same content gives the same bytes.
    """
    data = bytearray(packed(tensors, f"{_BLANK.decode()} {json.dumps(state)}"))
    data[_SUM] = sha256(data).encode()
    # Between two renames only the predecessor exists; load_checkpoint copes with that.
    write_atomically(path, data, keep_as=_previous(path))


def packed(tensors: dict[str, Tensor], note: str) -> bytes:
    """Tensors and a note in safetensors' format, the same bytes for the same content."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(tensors, {"urgates": note})  # of two notes the order would be random


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
            tensors, state = _read(candidate)
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            problems.append(f"{candidate} is damaged ({error})")
            continue
        if problems:
            print(f"{problems[0]}; going on from its predecessor {candidate.name}")
        return {name: tensor.to(device) for name, tensor in tensors.items()}, state
    if problems:
        raise CheckpointError(
            f"{'; '.join(problems)}. Put a good copy back, or delete the file(s) to train this "
            "stack from the start; the CSV rows stay until then"
        )
    return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    data = bytearray(path.read_bytes())
    expected, data[_SUM] = data[_SUM], _BLANK
    if sha256(data).encode() != expected:
        raise ValueError("its checksum does not match")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return load(bytes(data)), json.loads(header["__metadata__"]["urgates"][len(_BLANK) :])


def sha256(data: bytes) -> str:
    """The checksum that files are known by, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".prev")


@contextmanager
def locked(path: Path, doing: str = "training this run", patience: float = 0.0):
    """Hold a lock that the system drops when the process ends.

    BusyError if another has it for more than `patience` seconds.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise BusyError(
            f"another process is {doing} (it holds {path}): wait for it, or end it"
        ) from None
    try:
        yield
    finally:
        lock.release()
