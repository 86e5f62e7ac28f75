"""Texts as streams of numbers: the official token files, their vocabulary, and a cache of both.

N tokens of a split, V words.  A token is what stands between white space, and an <eos> at the end
of every line, blank lines too: so published counts have it.  A word's number is its rank by
frequency in the training file, first come first among equals.
The streams lie beside the texts as int32 and are mapped, not read; making them takes memory for
the vocabulary and a megabyte of text at a time, however long the text is.
A small text that needs no file, scikit-learn's descriptions of its data sets, is for quick checks.
"""

import hashlib
import json
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from urgates.checks import choice
from urgates.lab.tasks import data

EOS, UNK = "<eos>", "<unk>"
SPLITS = ("train", "valid", "test")
_FILES = (*SPLITS, "words.txt", "starts.json")  # of the cache
_PIECE = 1 << 20  # bytes of text, or tokens, at a time
_FORM = 2  # of the cache: a new one for every change of what its files hold
_HEADING = 1000  # tokens; no title is longer
_DESCRIBED = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in numbers."""

    name: str
    words: tuple[str, ...]
    """Word by number; V of them, from the training file alone."""
    streams: dict[str, np.ndarray]
    """The tokens [N] int32 of each split; what the vocabulary lacks is <unk>."""
    starts: dict[str, np.ndarray]
    """Where the articles of each split begin [A] int64, in order; none if it has no headings."""
    published: bool
    """Whether the files are those that everyone has: perplexities of others compare with none."""

    @cached_property
    def number(self) -> dict[str, int]:
        """Number by word."""
        return {word: number for number, word in enumerate(self.words)}

    @property
    def articles(self) -> bool:
        """Whether the text comes in articles."""
        return any(len(starts) for starts in self.starts.values())


def names() -> list[str]:
    """The texts that `load` knows."""
    return [name for name, form in data.FORMATS.items() if isinstance(form, data.Text)]


def load(name: str) -> Corpus:
    """The text "ptb" or "wikitext103"; fetched if it is missing, numbered if that is not done yet.

    "descriptions" is a text of some 2,000 words that scikit-learn carries along.

    Raises ValueError for an unknown name and for a file that is not as published (any that holds
    text will do if $URGATES_DATA_UNCHECKED names it), MissingData for one that cannot be fetched.
    """
    choice("dataset", name, names())
    if not data.FORMATS[name].files:
        return _descriptions(name)
    paths, published = data.download(name), data.FORMATS[name].sha1
    found = tuple(map(_sha1, paths))
    if name not in data.unchecked():
        for path, ours, theirs in zip(paths, found, published, strict=True):
            data.vouch(path, "SHA-1", ours, theirs)
    key = hashlib.sha1(f"{_FORM} {' '.join(found)}".encode()).hexdigest()
    cache = paths[0].parent / f".numbers-{key[:16]}"
    if not _whole(cache):
        with FileLock(data.data_root() / f".{paths[0].parent.name}.lock"):
            if not _whole(cache):  # another process may have been faster
                _number(paths, cache)
    words = (cache / "words.txt").read_text(encoding="utf-8").split("\n")[:-1]
    streams = {split: np.memmap(cache / split, "<i4", "r") for split in SPLITS}
    starts = json.loads((cache / "starts.json").read_text(encoding="utf-8"))
    starts = {split: np.array(starts[split], np.int64) for split in SPLITS}
    return Corpus(name, tuple(words), streams, starts, found == published)


# ------------------------------------------------------------------ the cache


def _sha1(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def _whole(cache: Path) -> bool:
    """Whether a cache is there, and every file as it was written."""
    try:
        sums = json.loads((cache / "sums.json").read_text(encoding="utf-8"))
        return sums == {file: _sha1(cache / file) for file in _FILES}
    except (FileNotFoundError, ValueError):
        return False


def _number(paths: list[Path], cache: Path) -> None:
    """Fill a cache, which appears whole or not at all; those of other contents go."""
    part = cache.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir()
    try:
        words = _training(paths[0], part / "train")
        number = {word: rank for rank, word in enumerate(words)}
        for path, split in zip(paths[1:], SPLITS[1:], strict=True):
            _write(path, part / split, defaultdict(lambda: number[UNK], number))
        (part / "words.txt").write_bytes("".join(f"{word}\n" for word in words).encode())
        starts = {s: article_starts(np.memmap(part / s, "<i4", "r"), number) for s in SPLITS}
        (part / "starts.json").write_text(json.dumps(starts), encoding="utf-8")
        sums = {file: _sha1(part / file) for file in _FILES}
        (part / "sums.json").write_text(json.dumps(sums), encoding="utf-8")
    except BaseException:
        shutil.rmtree(part)
        raise
    for old in set(cache.parent.glob(".numbers-*")) - {part}:
        shutil.rmtree(old)
    part.rename(cache)


def _training(path: Path, out: Path) -> list[str]:
    """Write the training file's numbers; the vocabulary that it makes."""
    seen = defaultdict()
    seen.default_factory = seen.__len__  # numbers in the order of appearance, one pass of the text
    _write(path, out, seen)
    if UNK not in seen:
        raise data.refuse(path, f"it must hold {UNK}, which stands for words without a number")
    stream = np.memmap(out, "<i4", "r+")
    counts = np.zeros(len(seen), np.int64)
    for _, piece in _pieces(stream):
        counts += np.bincount(piece, minlength=len(seen))
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(seen), np.int32)
    rank[order] = np.arange(len(seen))
    for _, piece in _pieces(stream):
        piece[:] = rank[piece]
    words = list(seen)
    return [words[number] for number in order]


def _write(path: Path, out: Path, number: dict[str, int]) -> None:
    """The tokens of a file as int32; `number` says what becomes of a word that it lacks."""
    with open(out, "wb") as file:
        for lines in _lines(path):
            tokens = lines.replace("\n", f" {EOS} ").split()
            np.fromiter(map(number.__getitem__, tokens), "<i4", len(tokens)).tofile(file)


def _lines(path: Path) -> Iterator[str]:
    """Whole lines of a text, about a megabyte at a time; a bar on a terminal."""
    size, at = path.stat().st_size, 0
    if not size:
        raise data.refuse(path, "it must hold text, got an empty file")
    bar = tqdm(
        total=size, desc=path.name, unit="B", unit_scale=True, leave=False,
        disable=not sys.stderr.isatty(),
    )  # fmt: skip
    with bar, open(path, "rb") as file:
        while lines := file.read(_PIECE) + file.readline():
            try:
                text = lines.decode()
            except UnicodeDecodeError as error:
                what = f"0x{lines[error.start]:02x} at byte {at + error.start:,}"
                raise data.refuse(path, f"it must be UTF-8 text, got {what}") from None
            yield text if text.endswith("\n") else text + "\n"
            at += len(lines)
            bar.update(len(lines))


def _pieces(stream: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for at in range(0, len(stream), _PIECE):
        yield at, stream[at : at + _PIECE]


# ------------------------------------------------------------------ a text without files


@cache
def _descriptions(name: str) -> Corpus:
    """Each description is an article; of ten of its lines one validates, and one tests."""
    from sklearn import datasets  # slow to import, and only needed here

    articles: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    for subject in _DESCRIBED:
        lines = _spelled(getattr(datasets, f"load_{subject}")().DESCR)
        train = [line for place, line in enumerate(lines) if place % 10 > 1]
        for split, part in zip(SPLITS, (train, lines[::10], lines[1::10]), strict=True):
            articles[split].append(list(chain(*part)))
    seen = Counter(chain(*articles["train"]))
    ranked = Counter(token if seen[token] > 1 else UNK for token in seen.elements()).most_common()
    number = {word: rank for rank, (word, _) in enumerate(ranked)}
    streams, starts = {}, {}
    for split, parts in articles.items():
        tokens = [number.get(token, number[UNK]) for token in chain(*parts)]
        streams[split] = np.array(tokens, np.int32)
        starts[split] = np.cumsum([0, *map(len, parts[:-1])])
    return Corpus(name, tuple(number), streams, starts, True)


def _spelled(text: str) -> list[list[str]]:
    """The lines that say something: words in small letters, numbers and stops, and an <eos>."""
    lines = (re.findall(r"[a-z]+|[0-9]+|[.,:;()]", line) for line in text.lower().split("\n"))
    return [[*line, EOS] for line in lines if line]


# ------------------------------------------------------------------ articles


def article_starts(stream: np.ndarray, number: dict[str, int]) -> list[int]:
    """Where articles begin in tokens [N]: at the blank line before a heading.

    A heading is a line "= Title =" (sections have more signs) between blank lines: formulas and
    legends have lines that begin and end with the sign, too.
    """
    eos, sign = number[EOS], number.get("=")
    if sign is None:
        return []
    at = np.concatenate([at + np.flatnonzero(piece == sign) for at, piece in _pieces(stream)])
    at = at[(at > 0) & (at < len(stream) - 4)]  # at least "Title = <eos> <eos>" follow
    blank = (stream[at - 1] == eos) & (stream[at - 2] == eos)  # the last of a text is one, too
    at = at[blank & (stream[at + 1] != sign)]
    return [int(begin) - 1 for begin in at if _is_heading(stream[begin:][:_HEADING], eos, sign)]


def _is_heading(line: np.ndarray, eos: int, sign: int) -> bool:
    """Whether tokens that begin with a sign are one title, its second sign, and a blank line."""
    end = int((line == eos).argmax())
    titled = end > 2 and line[end - 2] != sign == line[end - 1]
    return bool(titled and end + 1 < len(line) and line[end + 1] == eos)
