"""Programs as text, and what they compute: the two languages of Learning to Execute (App. E.3).

A program nests N operations: each takes what the one before it gave, and fresh literals.
L digits of a literal, N operations.  A character is a number, 1 for the alphabet's first; 0 is
none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from operator import add, gt, lt, sub
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

DIGITS = "0123456789"
_SIGNS, _ORDERS = {"+": add, "-": sub}, {"<": lt, ">": gt}


class Form(NamedTuple):
    """How an operation is written, and what it computes.

    In the text X stands for what came before (a literal at first), A B C for fresh literals, K for
    a small constant, V for a fresh variable.  "#" ends a line; only the last line is nested on.
    `value` reads them as whole numbers or arrays, and M, the modulus of answers.
    """

    text: str
    value: Callable[[SimpleNamespace], np.ndarray]


@dataclass(frozen=True)
class Language:
    """How programs are made.

    Args:
        alphabet: the characters of programs, digits first.
        endings: the characters of answers, digits first, then a sign and a stop if there are any.
        operations: the forms of each; operations are equally likely, and so are one's forms.
        wrap: what stands before and after the whole.
        fixed: literals have L digits, what is nested stands in parentheses, and answers are taken
            modulo 10^(L + 1).  Else literals lie in 1 … 10^L, each with its own L in a mix.
        small: what the largest small constant is, from L.
        variables: their names, drawn without repetition; without them no form has a V.
    """

    alphabet: str
    endings: str
    operations: dict[str, tuple[Form, ...]]
    wrap: tuple[str, str]
    fixed: bool
    small: Callable[[int | np.ndarray], int | np.ndarray]
    variables: str = ""

    @cached_property
    def codes(self) -> dict[str, int]:
        """The number of each character."""
        return {character: 1 + n for n, character in enumerate(self.alphabet)}

    def largest(self, length: int, nesting: int) -> int:
        """A bound of every value on the way to an answer: 64 bits hold it, or sums are wrong."""
        if self.fixed:  # a product of what is below the modulus with a literal
            return 10 ** (2 * length + 1)
        return 10**length * (1 + self.small(length)) ** nesting

    def holds(self, length: int, nesting: int) -> bool:
        """Whether programs of that size are computed exactly."""
        named = nesting <= len(self.variables) or not self.variables
        below = 2**64 if self.fixed else 2**63
        return length < 10 and named and self.largest(length, nesting) < below

    def answer_size(self, length: int, nesting: int) -> int:
        """Characters of the longest answer."""
        if self.fixed:
            return length + 1
        return len(f"-{self.largest(length, nesting)}.")

    def text(self, row: np.ndarray) -> str:
        """A row of characters as a string."""
        return "".join(self.alphabet[code - 1] for code in row if code)


# ------------------------------------------------------------------ the two languages


SANTORO = Language(
    alphabet=f"{DIGITS}()+-*<>=[]xifelsor",
    endings=DIGITS,
    operations={
        "add": (Form("X+A", lambda v: v.X + v.A),),
        "subtract": (Form("X-A", lambda v: v.X + v.M - v.A),),  # unsigned
        "multiply": (Form("X*A", lambda v: v.X * v.A),),
        "if": tuple(
            Form(f"XifA{sign}BelseC", lambda v, true=true: np.where(true(v.A, v.B), v.X, v.C))
            for sign, true in _ORDERS.items()
        ),
        "for": (Form("x=Xfor[K]x+=A", lambda v: v.X + v.K * v.A),),
    },
    wrap=("", ""),
    fixed=True,
    small=lambda length: 0 * length + 9,
)
"""Santoro et al. (2018), as released; expressions in one line, no spaces."""


def _pairs(text: str, value: Callable) -> tuple[Form, ...]:
    """With either sign, and X and A in either place."""
    forms = []
    for (sign, apply), turned in product(_SIGNS.items(), (False, True)):
        swap = {"X": "A", "A": "X"} if turned else {}
        written = "".join(swap.get(c, c) for c in text).replace("±", sign)

        def compute(v, apply=apply, turned=turned):
            return value(v, apply, *((v.A, v.X) if turned else (v.X, v.A)))

        forms.append(Form(written, compute))
    return tuple(forms)


def _choices() -> tuple[Form, ...]:
    """With either order, and X in each of four places: (then, left, right, else)."""
    forms = []
    for (sign, true), at in product(_ORDERS.items(), range(4)):
        names = [*"ABC"[:at], "X", *"ABC"[at:]]

        def compute(v, true=true, names=names):
            then, left, right, other = (getattr(v, name) for name in names)
            return np.where(true(left, right), then, other)

        forms.append(Form("({} if {}{sign}{} else {})".format(*names, sign=sign), compute))
    return tuple(forms)


ZAREMBA = Language(
    alphabet=f"{DIGITS}()+-*<>=:# @abcdefghijlnoprstx",
    endings=f"{DIGITS}-.",
    operations={
        "pair": _pairs("(X±A)", lambda v, apply, a, b: apply(a, b)),
        "multiply": tuple(Form(text, lambda v: v.X * v.K) for text in ("(X*K)", "(K*X)")),
        "identity": (Form("X", lambda v: v.X),),
        "assign": _pairs("V=X#(V±A)", lambda v, apply, a, b: apply(a, b)),
        "for": _pairs("V=X#for x in range(K):V±=A#V", lambda v, apply, a, b: apply(a, v.K * b)),
        "if": _choices(),
    },
    wrap=("print(", ")@"),
    fixed=False,
    small=lambda length: 4 * length,
    variables="abcdefghij",
)
"""Zaremba and Sutskever (2014): lines of Python, "#" for a new line, "@" at the end."""
