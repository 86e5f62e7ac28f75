"""What is run: one file a family, the rows of Appendix D with their sources and their scores."""

from urgates.checks import choice, require
from urgates.lab.experiments import forgetting, images, memory, text
from urgates.lab.places import PRESETS
from urgates.lab.protocol import Protocol

__all__ = ["PROTOCOLS", "STANDS_FOR", "Protocol", "protocol", "scale"]

STANDS_FOR = {"ptb": "wikitext103"}
"""Tasks that are not the paper's, and which of its own they stand for."""

PROTOCOLS: dict[tuple[str, str], Protocol] = {
    (row.task, row.preset): row
    for family in (memory, forgetting, images, text)
    for row in family.ROWS
}


def protocol(task: str, preset: str) -> Protocol:
    """Look up a protocol by task and preset; ValueError names the known ones."""
    known = dict.fromkeys(name for name, _ in PROTOCOLS)
    choice("task", task, known)
    choice("preset", preset, PRESETS)
    fine, own = (task, preset) in PROTOCOLS, [size for name, size in PROTOCOLS if name == task]
    require("preset", fine, f"be one of {', '.join(own)} for task {task!r}", preset)
    return PROTOCOLS[task, preset]


def scale(protocol: Protocol) -> str:
    """Its size beside the paper's, where they differ: text, units, task length, lr × steps."""
    task = protocol.task.partition("-")[0]
    full = PROTOCOLS.get((STANDS_FOR.get(task, task), "paper"), protocol)
    pairs = {
        "H": (protocol.hidden, full.hidden),
        "N": (protocol.make_task().length, full.make_task().length),
        "lr × steps": (protocol.lr * protocol.steps, full.lr * full.steps),
    }
    text = [f"{task} for {STANDS_FOR[task]}"] if task in STANDS_FOR else []
    sizes = [f"{k} {a:.4g} of {b:.4g}" for k, (a, b) in pairs.items() if a != b]
    return ", ".join(text + sizes)
