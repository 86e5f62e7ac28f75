"""Reads MNIST and CIFAR-10 in their official formats, and fetches them where they are missing.

n images of T pixels in scanline order with C channels. Files lie below `$URGATES_DATA`, or in the
user's cache folder where that is unset. Whatever is not exactly as published is refused.
"""

import gzip
import os
import sys
import tarfile
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

with warnings.catch_warnings():  # in a notebook its progress bar would ask for ipywidgets
    warnings.simplefilter("ignore")
    import pooch

CLASSES = 10

Images = tuple[Tensor, Tensor, Tensor, Tensor]
"""Training images [n, T, C] uint8 and their classes [n] int64, then the same of the test set."""


class MissingData(FileNotFoundError):
    """A data file is neither on this machine nor could it be fetched."""


@dataclass(frozen=True)
class Format:
    """How a data set is published."""

    pixels: int
    channels: int
    white: int
    """The largest value of a pixel."""
    train: int
    test: int
    folder: str = ""
    url: str = ""
    """Where the files are: a folder (ends in "/"), or one archive of all of them."""
    files: tuple[str, ...] = ()
    md5: tuple[str, ...] = ()
    """Of each file, or of the archive."""


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
    ),
    "digits": Format(pixels=8 * 8, channels=1, white=16, train=1500, test=297),
}


def data_root() -> Path:
    """The folder of all data sets: `$URGATES_DATA`, else `urgates` in the user's cache folder."""
    return Path(os.environ.get("URGATES_DATA") or pooch.os_cache("urgates")).expanduser()


def load(name: str) -> Images:
    """All images of "mnist", "cifar10" or "digits"; missing files are fetched first.

    Raises ValueError for an unknown name and for a file that is not as published, MissingData for
    a file that cannot be fetched.
    """
    paths = download(name)
    return READERS[name](FORMATS[name], *paths)


def download(name: str) -> list[Path]:
    """Fetch what is missing of a data set; where its files lie. Raises as `load` does."""
    if name not in FORMATS:
        raise ValueError(f"dataset={name!r}: expected one of {', '.join(FORMATS)}")
    return [_locate(FORMATS[name], file) for file in FORMATS[name].files]


def _locate(form: Format, file: str) -> Path:
    path = data_root() / form.folder / file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(form, path)
        except (OSError, ValueError) as error:
            raise MissingData(
                f"{path} is missing and fetching it failed ({error}). Put {file} (source: "
                f"{form.url}) into {path.parent}, or set URGATES_DATA to a folder that holds "
                f"{form.folder}/{file}."
            ) from error
    return path


def _fetch(form: Format, path: Path) -> None:
    """Fetch one file, or all files of an archive; each appears whole or not at all."""
    pooch.get_logger().setLevel("WARNING")  # its log lines would end up in notebooks' outputs
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
    if form.url.endswith("/"):
        known = f"md5:{form.md5[form.files.index(path.name)]}"
        pooch.retrieve(form.url + path.name, known, path.name, path.parent, downloader=downloader)
        return
    with TemporaryDirectory(dir=path.parent) as folder:
        archive = pooch.retrieve(form.url, f"md5:{form.md5[0]}", path=folder, downloader=downloader)
        with tarfile.open(archive) as members:
            for file in form.files:
                part = Path(folder, file)
                part.write_bytes(members.extractfile(f"{form.folder}/{file}").read())
                part.replace(path.parent / file)


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A gzipped idx file of bytes as uint8 of exactly `shape`; ValueError for anything else.

    The header is big-endian: 2048 + the number of dimensions, then the dimensions.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _refuse(path, f"not a whole gzip file ({error})") from error
    header = np.array([2048 + len(shape), *shape], dtype=">u4").tobytes()
    found = raw[: len(header)]
    if found != header:
        raise _refuse(path, f"it starts with {found.hex(' ', 4)}, expected {header.hex(' ', 4)}")
    pixels = np.frombuffer(raw, np.uint8, offset=len(header))
    if pixels.size != np.prod(shape):
        raise _refuse(path, f"{pixels.size} bytes after the header, expected {np.prod(shape)}")
    return torch.from_numpy(pixels.reshape(shape).copy())


def read_cifar(path: Path, count: int) -> tuple[Tensor, Tensor]:
    """`count` records of a binary CIFAR-10 file: images [n, 1024, 3] uint8, classes [n] int64.

    A record is a class byte and the red, green and blue planes. ValueError for anything else.
    """
    raw = np.fromfile(path, np.uint8)
    if raw.size != count * 3073:
        raise _refuse(path, f"{raw.size} bytes, expected {count} records of 3073 bytes")
    records = torch.from_numpy(raw).view(count, 3073)
    pixels = records[:, 1:].view(count, 3, 1024).transpose(1, 2).contiguous()
    return pixels, _classes(path, records[:, 0])


def _classes(path: Path, labels: Tensor) -> Tensor:
    if labels.max() >= CLASSES:
        raise _refuse(path, f"it has label {labels.max()}, expected 0 to {CLASSES - 1}")
    return labels.long()


def _refuse(path: Path, why: str) -> ValueError:
    return ValueError(f"{path}: {why}; delete the file and it is fetched anew")


def _mnist(form: Format, *paths: Path) -> Images:
    sets = []
    for n, images, labels in ((form.train, *paths[:2]), (form.test, *paths[2:])):
        x = read_idx(images, (n, 28, 28)).view(n, form.pixels, 1)
        sets += [x, _classes(labels, read_idx(labels, (n,)))]
    return tuple(sets)


def _cifar10(form: Format, *paths: Path) -> Images:
    *train, test = paths
    parts = [read_cifar(path, form.train // len(train)) for path in train]
    x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return x, y, *read_cifar(test, form.test)


def _digits(form: Format) -> Images:
    """Scikit-learn's real handwritten digits, its last images as a test set."""
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    digits = load_digits()
    x = torch.from_numpy(digits.images.astype(np.uint8)).view(-1, form.pixels, 1)
    y = torch.from_numpy(digits.target).long()
    n = form.train
    return x[:n], y[:n], x[n:], y[n:]


READERS = {"mnist": _mnist, "cifar10": _cifar10, "digits": _digits}
