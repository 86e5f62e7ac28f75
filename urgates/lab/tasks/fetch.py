"""Downloads that go on where they were cut: what has arrived stays in `<file>.part`.

The rest is asked for as an HTTP range; a server without ranges sends everything again.  pooch
checks the hash of the whole and puts the file into its place.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError as TransferError

with warnings.catch_warnings():  # in a notebook its progress bar would ask for ipywidgets
    warnings.simplefilter("ignore")
    import pooch

TRIES = 5
_SECONDS = 30  # without a byte
_PIECE = 1 << 20


def fetch(url: str, path: Path, md5: str) -> None:
    """Fetch a file into `path`, where it appears whole or not at all; a bar on a terminal.

    Raises OSError if it did not arrive (`<path>.part` keeps what did, and the next call goes on
    from there), ValueError if its MD5 is another (nothing of it is kept then).
    """

    def receive(_: str, arrived: str, __: object) -> None:
        part = path.with_name(path.name + ".part")
        _complete(url, part)
        os.replace(part, arrived)

    pooch.get_logger().setLevel("WARNING")  # its log lines would end up in notebooks' outputs
    pooch.retrieve(url, f"md5:{md5}", path.name, path.parent, downloader=receive)


def _complete(url: str, part: Path) -> None:
    """Add to `part` until it is all of the file, in a few tries as long as something arrives."""
    for left in reversed(range(TRIES)):
        before = _size(part)
        try:
            return _add(url, part)
        except (requests.ConnectionError, requests.Timeout, TransferError) as error:
            if left and _size(part) > before:
                continue
            kept = f"; {part} keeps {_size(part):,} bytes, the next try goes on from there"
            raise OSError(f"{error}{kept * part.exists()}") from error


def _add(url: str, part: Path) -> None:
    """One request for what `part` lacks; ConnectionError if it ends too soon."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "urgates"}  # some refuse libraries
    headers |= {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as reply:
        span = re.fullmatch(
            r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", reply.headers.get("Content-Range", "")
        )
        if reply.status_code == 416 and span and span[2] == str(have):
            return  # nothing is missing
        if reply.status_code == 416 or (reply.status_code == 206 and not _goes_on(span, have)):
            part.unlink()  # not the beginning of this file
            return _add(url, part)
        reply.raise_for_status()
        begin = have if reply.status_code == 206 else 0
        total = _number(span[2]) if begin else _number(reply.headers.get("Content-Length"))
        bar = tqdm(
            total=total, initial=begin, desc=part.stem, unit="B", unit_scale=True, leave=False,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        with bar, open(part, "ab" if begin else "wb", buffering=0) as file:
            for piece in reply.raw.stream(_PIECE, decode_content=False):
                file.write(piece)
                bar.update(len(piece))
    if total is not None and _size(part) < total:
        raise requests.ConnectionError(f"cut after {_size(part):,} of {total:,} bytes")


def _goes_on(span: re.Match | None, have: int) -> bool:
    return bool(span) and span[1] == str(have)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
