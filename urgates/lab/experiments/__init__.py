"""What is run: one file a family, the rows of Appendix D with their sources and their scores."""

from collections.abc import Iterable
from fnmatch import fnmatch

from urgates.checks import choice, refusal, require
from urgates.lab.experiments import farthest, forgetting, images, match, memory, programs, text
from urgates.lab.experiments.rows import OTHER_STARTS
from urgates.lab.places import PRESETS
from urgates.lab.protocol import Protocol
from urgates.starts import WEIGHT_INITS

__all__ = ["PROTOCOLS", "STANDS_FOR", "Protocol", "notebook", "protocol", "scale"]

STANDS_FOR = {"ptb": "wikitext103"}
"""Tasks that are not the paper's, and which of its own they stand for."""

PROTOCOLS: dict[tuple[str, str], Protocol] = {
    (row.task, row.preset): row
    for family in (memory, forgetting, images, text, match, programs, farthest)
    for row in family.ROWS
}
"""By task and preset."""

_NOTEBOOKS = {
    **dict.fromkeys(("copy", "adding", "*-short"), "31_synthetic_memory"),
    **dict.fromkeys(("copy-tmax*", "copy-forget*"), "31_synthetic_memory"),
    **dict.fromkeys(("copy-downsize*", "adding-downsize*"), "31_synthetic_memory"),
    **{f"copy-{start}": "32d_open_choices" for start in OTHER_STARTS},
    **{f"pmnist-{start}": "32d_open_choices" for start in WEIGHT_INITS},
    **dict.fromkeys(("pmnist-mean-logits", "pmnist-all-steps"), "32d_open_choices"),
    "pmnist-swept*": "32_pixel_images",
    "*-downsize16": "32b_gru",
    "[ps]mnist": "32_pixel_images",
    "scifar": "32a_sequential_cifar",
    **dict.fromkeys(("*-wide", "*-zoneout"), "32c_zoneout"),
    "pmnist-long": "32e_inside_a_reader",
    "ptb*": "33_language_modeling",
    "wikitext103*": "33_language_modeling",
    "forgetting*": "E1_synthetic_forgetting",
    "active-5*": "E2_more_reinforcement_learning",
    **dict.fromkeys(("passive*", "active*"), "34_reinforcement_learning"),
    **{f"{category}*": "E3_program_execution" for category in programs.CATEGORIES},
    "farthest*": "E3_program_execution",
}  # by task, the first that fits, of LSTMs unless the task names another cell


def protocol(task: str, preset: str) -> Protocol:
    """Look up a protocol by task and preset; ValueError names the known ones."""
    known = dict.fromkeys(name for name, _ in PROTOCOLS)
    choice("task", task, known)
    choice("preset", preset, PRESETS)
    fine, own = (task, preset) in PROTOCOLS, [size for name, size in PROTOCOLS if name == task]
    require("preset", fine, f"be one of {', '.join(own)} for task {task!r}", preset)
    return PROTOCOLS[task, preset]


def scale(protocol: Protocol, rates: Iterable[float] = (), tried: Iterable[int] = ()) -> str:
    """Its size beside the paper's, where they differ: text, units, task length, lr × steps, rates.

    `rates` are the learning rates it was run at, if not its own, `tried` from how many each gate's
    was chosen.
    """
    task, own = protocol.task.partition("-")[0], sorted(rates) or [protocol.lr]
    fulls = ((name, "paper") for name in (protocol.task, STANDS_FOR.get(task, task)))
    full = next((PROTOCOLS[key] for key in fulls if key in PROTOCOLS), protocol)
    sizes = {
        "H": ([protocol.hidden], full.hidden),
        "N": ([protocol.make_task().length], full.make_task().length),
        "lr × steps": ([rate * protocol.steps for rate in own], full.lr * full.steps),
    }
    text = [f"{task} for {STANDS_FOR[task]}"] if task in STANDS_FOR else []
    for name, (ours, theirs) in sizes.items():
        if ours != [theirs]:
            span = "–".join(dict.fromkeys(f"{size:.4g}" for size in (ours[0], ours[-1])))
            text.append(f"{name} {span} of {theirs:.4g}")
    numbers = sorted(set(tried))
    if numbers and numbers[-1] > 1:
        span = " to ".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))
        text.append(f"best of {span} rates")
    elif len(own) > 1:
        text.append(f"{len(own)} rates")
    elif full.sweep:
        text.append(f"one rate of {len(full.sweep)}")
    return ", ".join(text)


def notebook(task: str, cell: str = "lstm") -> str:
    """The one notebook that reads the runs of a task; ValueError if it is not one."""
    own = cell == "lstm" or task.endswith(f"-{cell}")
    found = [home for tasks, home in _NOTEBOOKS.items() if own and fnmatch(task, tasks)]
    if not found:
        raise refusal("notebook", f"be given for {task} with {cell}", "none", "several may read it")
    return found[0]
