"""Writes random programs and computes their answers, thousands at once and exactly (App. E.3).

B programs, L digits of a literal, N operations, D columns for a literal, W for a program.
Text is assembled in columns that may be empty (0), and then moved together.
"""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from urgates.lab.tasks.languages import Language

_FREE = np.uint64(10**10)  # the rest by it makes a literal, what is left chooses its length


class Rows(NamedTuple):
    """B programs and their answers in characters, each [B, ·] uint8."""

    text: np.ndarray  # [B, W], flush right: zeros come first
    answer: np.ndarray  # flush left


class Writer:
    """Programs of some operations, literals of up to L digits, nested up to N deep."""

    def __init__(self, language: Language, operations: Iterable[str], length: int, nesting: int):
        self.language, self.length, self.nesting = language, length, nesting
        forms = [language.operations[name] for name in operations]
        self.forms = [form for some in forms for form in some]
        self.counts = np.array([len(some) for some in forms], np.uint64)
        self.starts = np.cumsum(self.counts) - self.counts
        self.digits = length + (not language.fixed)  # 10^L has one more
        self.answer_size = language.answer_size(length, nesting)
        first, nested = self._tables("X"), self._tables("(X)" if language.fixed else "X")
        self.tables = [first] + [nested] * (nesting - 1)
        growth = (sum(np.count_nonzero(part, axis=1) for part in parts) for parts in self.tables)
        self.width = self.digits + sum(map(max, growth)) + len("".join(language.wrap))

    @property
    def draws(self) -> int:
        """How many random numbers a program takes."""
        return 3 + len(self.language.variables) + 5 * self.nesting

    def write(self, raw: np.ndarray, mix: bool) -> Rows:
        """Programs from random numbers [B, `draws`] uint64.

        All of full size; or a mix, in which every program draws its L and N from 1 to the largest.
        """
        numbers = iter(raw.T)
        L, N = (_up_to(size, next(numbers), mix) for size in (self.length, self.nesting))
        variables = self._variables(numbers, len(raw))
        X, modulus = self._literal(next(numbers), L, mix), self._whole(10 ** (L + 1))
        lines, last = numeral(X, 0), numeral(X, self.digits)
        for level, tables in enumerate(self.tables):
            form = self._draw(next(numbers))
            form[level >= N] = len(self.forms)
            v = self._fresh(numbers, L, mix)
            v.X, v.M, v.V = X, modulus, variables[:, level]
            lines, last = self._extend(form, tables, self._pool(v), lines, last)
            X = self._values(form, v)
        before, after = (self._constant(part, len(raw)) for part in self.language.wrap)
        wide = np.concatenate([lines, before, last, after], axis=1)
        return Rows(gathered(wide, self.width, right=True), self._answer(X))

    # ---------------------------------------------------------------- values

    def _whole(self, number: np.ndarray) -> np.ndarray:
        """As what is computed with: answers without a sign have the widest range."""
        return number.astype(np.uint64 if self.language.fixed else np.int64)

    def _length(self, number: np.ndarray, L: np.ndarray, mix: bool) -> np.ndarray:
        """The L of a literal: its program's, or its own."""
        return L if self.language.fixed else _up_to(self.length, number // _FREE, mix)

    def _literal(self, number: np.ndarray, L: np.ndarray, mix: bool) -> np.ndarray:
        L = self._length(number, L, mix)
        if not self.language.fixed:
            return self._whole(1 + number % 10**L)
        least = 10 ** (L - 1)
        return self._whole(least + number % (9 * least))

    def _fresh(self, numbers: Iterator[np.ndarray], L: np.ndarray, mix: bool) -> SimpleNamespace:
        """The operands A, B, C and K of an operation."""
        v = SimpleNamespace(**{name: self._literal(next(numbers), L, mix) for name in "ABC"})
        number = next(numbers)
        v.K = self._whole(1 + number % self.language.small(self._length(number, L, mix)))
        return v

    def _variables(self, numbers: Iterator[np.ndarray], count: int) -> np.ndarray:
        """For each operation a variable [B, N] in characters, each once; 0 if there are none."""
        names = self.language.variables
        if not names:
            return np.zeros((count, self.nesting), np.uint8)
        order = np.stack([next(numbers) for _ in names], axis=1).argsort(axis=1)
        return np.take_along_axis(self._constant(names, count), order, axis=1)

    def _draw(self, number: np.ndarray) -> np.ndarray:
        """Which form [B], operations being equally likely."""
        which = (number % len(self.counts)).astype(np.intp)
        chosen = number // len(self.counts) % self.counts[which]
        return (self.starts[which] + chosen).astype(np.intp)

    def _values(self, form: np.ndarray, v: SimpleNamespace) -> np.ndarray:
        """What the operations make of X."""
        values = v.X.copy()
        for n, (_, value) in enumerate(self.forms):
            rows = form == n
            values[rows] = value(SimpleNamespace(**{k: a[rows] for k, a in vars(v).items()}))
        return values % v.M if self.language.fixed else values

    def _answer(self, X: np.ndarray) -> np.ndarray:
        """[B, k] characters of the answers, k that of the longest."""
        digits = numeral(abs(X), self.answer_size)
        if not self.language.fixed:
            minus, stop = (1 + self.language.endings.index(c) for c in "-.")
            sign = np.where(X < 0, minus, 0).astype(np.uint8)[:, None]
            digits = np.concatenate([sign, digits, np.full_like(sign, stop)], axis=1)
        return gathered(digits, self.answer_size)

    # ---------------------------------------------------------------- text

    def _tables(self, nested: str) -> list[np.ndarray]:
        """In which columns of `_pool` a form's text is: four parts [forms + 1, ·].

        Before and after X in the lines that are done with, and in the last; the last row is for no
        operation at all.
        """
        n, D = 1 + len(self.language.alphabet), self.digits
        places = {c: [code] for c, code in self.language.codes.items()}
        places |= {name: [*range(n + k * D, n + (k + 1) * D)] for k, name in enumerate("ABC")}
        places |= {"K": [n + 3 * D, n + 3 * D + 1], "V": [n + 3 * D + 2]}
        rows = []
        for form in self.forms:
            done, newline, last = form.text.replace("X", nested).rpartition("#")
            parts = (*(done + newline).partition("X")[::2], *last.partition("X")[::2])
            rows.append([[place for c in part for place in places[c]] for part in parts])
        rows.append([[]] * 4)
        tables = []
        for part in zip(*rows, strict=True):
            table = np.zeros((len(part), max(map(len, part))), np.intp)
            for row, columns in zip(table, part, strict=True):
                row[: len(columns)] = columns
            tables.append(table)
        return tables

    def _pool(self, v: SimpleNamespace) -> np.ndarray:
        """[B, ·] every character there is, then A, B, C, K and V as written."""
        alphabet = np.arange(1 + len(self.language.alphabet), dtype=np.uint8)
        parts = [np.broadcast_to(alphabet, (len(v.X), len(alphabet)))]
        parts += [numeral(number, self.digits) for number in (v.A, v.B, v.C)]
        return np.concatenate([*parts, numeral(v.K, 2), v.V[:, None]], axis=1)

    def _extend(self, form, tables, pool, lines, last) -> tuple[np.ndarray, np.ndarray]:
        """The lines that are done with, and the last, after one more operation."""
        before, after, *around = (np.take_along_axis(pool, table[form], axis=1) for table in tables)
        if before.shape[1]:
            done = np.array(["X" in f.text.rpartition("#")[0] for f in self.forms] + [False])[form]
            lines = np.concatenate([lines, before, last * done[:, None], after], axis=1)
            last = last * ~done[:, None]
        return lines, np.concatenate([around[0], last, around[1]], axis=1)

    def _constant(self, text: str, count: int) -> np.ndarray:
        """The same characters in so many rows."""
        return np.tile(np.array([self.language.codes[c] for c in text], np.uint8), (count, 1))


def _up_to(size: int, number: np.ndarray, mix: bool) -> np.ndarray:
    """1 … size in a mix, else size."""
    return 1 + number % size if mix else np.full_like(number, size)


def numeral(number: np.ndarray, columns: int) -> np.ndarray:
    """Decimal digits [B, columns] in characters, flush right and without leading zeros."""
    powers = 10 ** np.arange(columns - 1, -1, -1, dtype=number.dtype)
    digits = (number[:, None] // powers % 10 + 1).astype(np.uint8)
    powers[-1:] = 0  # a zero is written
    return digits * (number[:, None] >= powers)


def gathered(wide: np.ndarray, width: int, *, right: bool = False) -> np.ndarray:
    """Characters [B, ·] moved together to [B, width], flush left or right."""
    there = wide != 0
    count, column = there.sum(axis=1, keepdims=True), np.arange(width)
    rows = np.zeros((len(wide), width), np.uint8)
    rows[column >= width - count if right else column < count] = wide[there]
    return rows
