"""Reads programs of both languages on its own: what they compute, and how a person would read them.

Nothing here knows how programs are written: a text becomes a tree, and Python's whole numbers do
the rest.  So it is the oracle for the answers of `writer`.
"""

from __future__ import annotations

import re

from urgates.checks import refusal

Tree = int | tuple
"""A number, or (operation, operands): ("+", a, b), ("-", a, b), ("*", a, b);
("<", a, b, then, other) and (">", …); ("+=", start, times, step) and ("-=", …)."""

_TOKEN = re.compile(r"\d+|if|else|for|in|range|print|[a-jx]|[-+]=|[-+*<>=()\[\]:#@]|( )|(.)")


def parse(text: str) -> Tree:
    """The tree of a program; ValueError if it is none of either language."""
    return _Reader(text).program()


def evaluate(tree: Tree) -> int:
    """The value of a tree, step by step."""
    if isinstance(tree, int):
        return tree
    operation, *parts = tree
    a, b, *more = map(evaluate, parts)
    match operation:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "<":
            return more[0] if a < b else more[1]
        case ">":
            return more[0] if a > b else more[1]
    for _ in range(b):
        a = a + more[0] if operation == "+=" else a - more[0]
    return a


def answer(text: str) -> str:
    """What a program asks for: its value modulo 10^(L + 1), or with a stop after it ("@")."""
    value = evaluate(parse(text))
    if text.endswith("@"):
        return f"{value}."
    return str(value % 10 ** (1 + len(re.findall(r"\d+", text)[-1])))


def pretty(text: str) -> str:
    """The program as lines of Python, innermost operation first; the last line is its value."""
    lines: list[str] = []

    def name(tree: Tree) -> str:
        if isinstance(tree, int):
            return str(tree)
        operation, *parts = tree
        a, b, *more = map(name, parts)
        result = f"v{1 + sum(line.startswith('v') for line in lines)}"
        if operation in ("<", ">"):
            lines.append(f"{result} = {more[0]} if {a} {operation} {b} else {more[1]}")
        elif operation in ("+=", "-="):
            loop = f"for _ in range({b}): {result} {operation} {more[0]}"
            lines.extend([f"{result} = {a}", loop])
        else:
            lines.append(f"{result} = {a} {operation} {b}")
        return result

    last = name(parse(text))
    return "\n".join([*lines, last])


class _Reader:
    """Recursive descent over the tokens of a text."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.variables: dict[str, Tree] = {}
        found = list(_TOKEN.finditer(text))
        self.tokens = [match[0] for match in found if not match[1]]
        if strange := [match[2] for match in found if match[2]]:
            raise self.refusal("be a program", strange[0])

    def refusal(self, expected: str, got: str) -> ValueError:
        """The error, which shows the text."""
        return refusal("text", expected, f"{got!r} in {self.text!r}")

    @property
    def next(self) -> str:
        """The token that is to be read, "" at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        """Read a token; one of those expected, if any are."""
        token = self.next
        if not token or (expected and token not in expected):
            wanted = " or ".join(expected) or "more"
            raise self.refusal(f"go on with {wanted}", token or "its end")
        self.at += 1
        return token

    def number(self) -> int:
        """A numeral."""
        if not self.next.isdigit():
            raise self.refusal("go on with a number", self.next or "its end")
        return int(self.take())

    def program(self) -> Tree:
        """The whole text."""
        tree = self.lines() if "print" in self.tokens else self.body()
        if self.next:
            raise self.refusal("end there", self.next)
        return tree

    def lines(self) -> Tree:
        """Assignments and loops, each ended by "#", then print( ) and "@"."""
        while self.next != "print":
            if self.next == "for":
                self.loop()
            else:
                variable = self.take(*"abcdefghij")
                self.take("=")
                self.variables[variable] = self.body()
            self.take("#")
        self.take("print")
        tree = self.operand()
        self.take("@")
        return tree

    def loop(self) -> None:
        """`for x in range(K):v+=b`."""
        for token in ("for", "x", "in", "range", "("):
            self.take(token)
        times = self.number()
        for token in (")", ":"):
            self.take(token)
        variable = self.take(*self.variables)
        operation = self.take("+=", "-=")
        self.variables[variable] = operation, self.variables[variable], times, self.body()

    def body(self) -> Tree:
        """What may stand between parentheses."""
        if self.next == "x":
            return self.inline_loop()
        left = self.operand()
        if self.next in ("+", "-", "*"):
            return self.take(), left, self.operand()
        if self.next == "if":
            self.take("if")
            a, order, b = self.operand(), self.take("<", ">"), self.operand()
            self.take("else")
            return order, a, b, left, self.operand()
        return left

    def inline_loop(self) -> Tree:
        """`x=afor[K]x+=b`."""
        for token in ("x", "="):
            self.take(token)
        start = self.operand()
        for token in ("for", "["):
            self.take(token)
        times = self.number()
        for token in ("]", "x"):
            self.take(token)
        return self.take("+="), start, times, self.operand()

    def operand(self) -> Tree:
        """A numeral, a variable, or what stands between parentheses."""
        if self.next == "(":
            self.take("(")
            tree = self.body()
            self.take(")")
            return tree
        return self.variables[self.take()] if self.next in self.variables else self.number()
