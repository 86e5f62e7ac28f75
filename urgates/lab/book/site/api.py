"""The API reference: a page for each module that others import, with every public name of it.

Public is what `__all__` lists, or else what a module defines without an underscore.  A name stands
on the first page that has it; the text is its docstring.
"""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from itertools import pairwise
from types import ModuleType

MODULES = (
    *("urgates", "urgates.gates", "urgates.activations", "urgates.starts", "urgates.heads"),
    *(
        "urgates.cores",
        "urgates.symbolic",
        "urgates.tape",
        "urgates.kernels",
        "urgates.kernels.reference",
    ),
    *("urgates.theory", "urgates.theory.saturation", "urgates.theory.learnability"),
    *("urgates.lab.tasks", "urgates.lab.learners", "urgates.lab.experiments", "urgates.lab.jobs"),
    *("urgates.lab.train", "urgates.lab.sweep", "urgates.lab.store.runs", "urgates.lab.book.bench"),
)
_INHERITED = "Module, tuple, object"  # whose methods are described elsewhere


def public(module: str) -> list[str]:
    """The names that a module offers, those of classes and functions before constants."""
    found = import_module(module)
    names = getattr(found, "__all__", None) or [*_constants(found), *_defined(found)]
    return sorted((n for n in names if n[0] != "_"), key=lambda n: not callable(getattr(found, n)))


def reference() -> dict[str, list[str]]:
    """By module, the names that are on its page: each object once."""
    pages: dict[str, list[str]] = {}
    seen: set[int] = set()
    for module in MODULES:
        found = import_module(module)
        fresh = [n for n in public(module) if id(getattr(found, n)) not in seen]
        seen |= {id(getattr(found, n)) for n in fresh}
        pages[module] = [n for n in fresh if not isinstance(getattr(found, n), ModuleType)]
    return pages


def contents() -> str:
    """The modules and what each is, Markdown: a table, and Sphinx's toctree."""
    rows = [f"| [{m}]({m}.md) | {_first_line(m)} |" for m in MODULES]
    tree = ["```{toctree}", ":hidden:", "", *MODULES, "```"]
    return "\n".join(["| module | what is in it |", "|---|---|", *rows, "", *tree])


def _first_line(module: str) -> str:
    return inspect.getdoc(import_module(module)).split("\n")[0].replace("|", "\\|")


def page(module: str, names: list[str]) -> str:
    """A module's page, Markdown around Sphinx's directives."""
    directives = [f".. automodule:: {module}", *(_directive(module, name) for name in names)]
    body = "\n\n".join(directives)
    return f"# {module}\n\n```{{eval-rst}}\n{body}\n```\n"


def _directive(module: str, name: str) -> str:
    value = getattr(import_module(module), name)
    if inspect.isclass(value):
        own = f"   :members:\n   :inherited-members: {_INHERITED}"
        return f".. autoclass:: {module}.{name}\n{own}"
    if inspect.isroutine(value):
        return f".. autofunction:: {module}.{name}"
    lines = [f"   {part}" for part in text(module, name).split("\n")]
    return "\n".join([f".. py:data:: {name}", "", *lines])


def described(module: str, name: str) -> str:
    """The docstring below a constant's definition, wherever the module has it from.

    Raises:
        ValueError: if there is none.
    """
    body = list(ast.walk(ast.parse(inspect.getsource(import_module(module)))))
    for statement in body:
        if isinstance(statement, ast.ImportFrom) and name in (a.name for a in statement.names):
            return described(statement.module, name)
    top = ast.parse(inspect.getsource(import_module(module))).body
    for statement, after in pairwise(top):
        text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if text and name in _assigned(statement):
            return after.value.value
    raise ValueError(f"{module}.{name} must have a docstring below it, got none")


def text(module: str, name: str) -> str:
    """What the reference says of a name; nothing if there is no docstring."""
    value = getattr(import_module(module), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return inspect.getdoc(value) or ""
    return inspect.cleandoc(described(module, name))


def _assigned(statement: ast.stmt) -> list[str]:
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _constants(module: ModuleType) -> list[str]:
    """A module's own constants that have a docstring."""
    tree = ast.parse(inspect.getsource(module)).body
    names = [name for statement in tree for name in _assigned(statement)]
    return [n for n in names if _has_text(module.__name__, n)]


def _has_text(module: str, name: str) -> bool:
    try:
        return bool(described(module, name))
    except ValueError:
        return False


def _defined(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) or inspect.isroutine(value)
        if value.__module__ == module.__name__
    ]
