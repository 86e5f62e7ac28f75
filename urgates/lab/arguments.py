"""The command line: commands, their options, examples and limits, and how wrong usage is told."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from urgates import __version__
from urgates.lab import places

Action = Callable[[argparse.Namespace], int]
_ABOUT = (
    "The command `urgates` (also `python -m urgates`): the notebooks, timings, claims and data."
)


def _whole(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _several(kind: Callable = str) -> Callable[[str], list]:
    """Reads values joined by commas, each once."""

    def read(text: str) -> list:
        try:
            values = [kind(part.strip()) for part in text.split(",")]
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(
                f"must be whole numbers of at least 1, joined by commas, got {text!r}"
            ) from None
        if len({*values}) < len(values) or "" in values:
            raise argparse.ArgumentTypeError(
                f"must be different values joined by commas, got {text!r}"
            )
        return values

    return read


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(known)}, got {text!r}")
        return text

    return read


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value


class _Parser(argparse.ArgumentParser):
    """Wrong usage is an error like any other: one line, exit code 2."""

    def error(self, message: str) -> None:
        raise ValueError(f"{message} (see {self.prog} --help)")


_RUN = """examples:
  urgates run                                   every notebook, training at smoke size
  urgates run 31 --preset laptop                one notebook, from stored runs
  urgates run 31 --preset laptop --recompute    the same, trained again
  urgates run 31 --preset paper --recompute -p device=cuda:1 -p limit_minutes=600

parameters of the notebooks that train (-p NAME=VALUE; others are in a notebook's first code cell):
  gates=UR,R,-       gates joined by commas, or all
  seeds=1            so many seeds; 0 takes the protocol's
  device=cuda:1      auto (a GPU if there is one), cpu, cuda, or cuda:N, the GPU of that number:
                     one process uses one GPU
  limit_minutes=600  stop training after so long, with a checkpoint; the same command goes on
"""
_SWEEP = """examples:
  urgates sweep --status
  nice -n 19 urgates sweep copy forgetting
  urgates sweep table2 --preset paper --gpus 0.5 --jobs 8
  urgates sweep copy adding --preset paper --address 10.0.0.1:6379

Interrupt it whenever you like; the same line goes on. `urgates publish` takes over what is
finished, once it lies in figures/<notebook>/runs/.
"""
_EXAMPLES = {
    "run": _RUN,
    "publish": "examples:\n  urgates publish 31\n  urgates publish --jobs 1",
    "sweep": _SWEEP,
    "plan": "examples:\n  urgates plan\n  urgates plan fig3 --preset paper --device cuda\n"
    "  urgates plan pmnist --preset paper --gates UR,- --models 4\n\n"
    "Nothing is stored. A stack is trained by one process; hours for several are those of stacks\n"
    "begun in this order, each where a process is free.",
    "train": "examples:\n  urgates train ptb --preset laptop --gate UR --seeds 1,2,3\n"
    "  urgates train copy --preset paper --gate - --device cuda:1 --limit-minutes 600\n"
    "  torchrun --nproc-per-node 8 -m urgates train wikitext103 --preset paper\n\n"
    "Interrupt it whenever you like; the same line goes on, with any number of processes. Under\n"
    "torchrun they share the batches of one language model, each on a GPU of its own.",
    "list": "example:\n  urgates list",
    "time": "examples:\n  urgates time --gates UR,- --hidden 64,256\n"
    "  urgates time --device cuda:1 --graphs --dtype bfloat16 --csv times.csv",
    "gpu": "examples:\n  urgates gpu\n  urgates gpu --minutes 25 --device cuda:1 --out results\n"
    "  urgates gpu --device cpu --preset smoke\n\n"
    "Every row is stored as soon as it is known; the same line goes on where one ended. Checks\n"
    "take a quarter of the time at most, and training of Copy gets 30 % or more. Files in\n"
    "DIR are as in figures/: copied there, they are part of the book.",
    "claims": "examples:\n  urgates claims\n  urgates claims --diff main",
    "links": "example:\n  urgates links",
    "site": "examples:\n  urgates site\n  urgates site --out ~/public_html/urgates\n\n"
    "It needs the extra [site]. Dead links, requests to other hosts and pages of more than 2 MB\n"
    "are told, and make the exit code 1.",
    "data": "examples:\n  urgates data mnist ptb\n  URGATES_DATA=/data urgates data\n\n"
    "Files lie below $URGATES_DATA, or else in your cache folder. One that is not as published is\n"
    "refused; URGATES_DATA_UNCHECKED=mnist,cifar10 names those to take as they are.",
}


def _parser(actions: Mapping[str, Action]) -> _Parser:
    parser = _Parser("urgates", description=_ABOUT)
    parser.add_argument("--version", action="version", version=f"urgates {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=_EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )  # fmt: skip
        sub.set_defaults(action=actions[name], parser=sub)
        return sub

    run = command("run", "execute notebooks into runs/, leaving committed files alone")
    _add_run(run)
    publish = command("publish", "execute notebooks as they are and commit the results")
    for sub in (run, publish):
        sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="e.g. 31; default: all")
        sub.add_argument("--jobs", type=_whole, default=2, help="so many side by side (default 2)")
    _add_sweep(command("sweep", "train what the book still wants to know, or all that tasks take"))
    _add_plan(command("plan", "measure steps on this device: hours until all that is left is done"))
    _add_train(command("train", "train one task, or go on, where a notebook reads it"))
    command("list", "the notebooks, and which presets have stored runs")
    _add_time(command("time", "time layers turn about with torch's of the same size"))
    _add_gpu(
        command("gpu", "check and time all kernels on a GPU, then train Copy, in half an hour")
    )
    claims = command("claims", "print the scoreboard and refresh README.md's part of it")
    text = "tell instead which verdicts and numbers have moved since a revision of git"
    claims.add_argument("--diff", metavar="REV", help=text)
    command("links", "write neighbours and verdicts below the title of every notebook")
    site = command("site", "make the book as a static site that needs no network")
    site.add_argument("--out", metavar="DIR", help="where to (default: runs/site)")
    data = command("data", "download data sets, and compare them with the published ones")
    data.add_argument(
        "names", nargs="*", metavar="NAME", type=_one_of("mnist", "cifar10", "ptb", "wikitext103"),
        help="mnist, cifar10 (default: these two), ptb, wikitext103 (190 MB to fetch, 1 GB here)",
    )  # fmt: skip
    return parser


def _add_run(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--preset", type=_one_of(*places.PRESETS), default="smoke",
        metavar=f"{{{','.join(places.PRESETS)}}}",
        help="size of what is trained or read: seconds (default), minutes, the paper's own",
    )  # fmt: skip
    sub.add_argument("--recompute", action="store_true", help="train instead of reading results")
    sub.add_argument(
        "-p", "--parameter", metavar="NAME=VALUE", type=_pair, action="append", default=[],
        help="any other parameter of the notebooks, e.g. -p gates=UR,R",
    )  # fmt: skip


def _add_sweep(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "tasks", nargs="*", metavar="TASK", help="e.g. copy, or table2; default: the whole queue"
    )
    sub.add_argument("--status", action="store_true", help="only tell what is done and left")
    _add_size(sub, "all that the tasks take at this size, rather than the queue")
    sub.add_argument("--jobs", type=_whole, default=2, help="so many side by side (default 2)")
    sub.add_argument(
        "--engine", type=_one_of("processes", "ray"), metavar="{processes,ray}",
        help="default: ray, where it is installed and there is more than one job",
    )  # fmt: skip
    sub.add_argument("--address", default="", help="HOST:PORT of a Ray cluster, in --jobs' place")
    sub.add_argument("--gpus", type=_positive, metavar="X", help="of a training (default 1)")
    sub.add_argument(
        "--limit-minutes", type=_whole, metavar="N", help="stop each training after N minutes"
    )


def _add_plan(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("tasks", nargs="*", metavar="TASK", help="e.g. copy, or table2 (see sweep)")
    _add_size(sub, "plan for all that the tasks take at this size, rather than for the queue")
    sub.add_argument("--gates", type=_several(), help="only these, joined by commas")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    sub.add_argument("--steps", type=_whole, default=3, help="so many are timed (default 3)")


def _add_size(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument(
        "--preset", type=_one_of(*places.PRESETS),
        metavar=f"{{{','.join(places.PRESETS)}}}", help=text,
    )  # fmt: skip
    sub.add_argument("--models", type=_whole, metavar="N", help="at most N in a stack")
    sub.add_argument("--cell", help="lstm (default), gru, …")
    sub.add_argument("--notebook", help="whose runs they are (default: of the one that reads them)")


def _add_train(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("task", metavar="TASK", help="e.g. wikitext103, as protocols call it")
    sub.add_argument(
        "--preset", type=_one_of(*places.PRESETS), required=True,
        metavar=f"{{{','.join(places.PRESETS)}}}", help="its size",
    )  # fmt: skip
    sub.add_argument("--cell", default="lstm", help="lstm (default), gru or gru-no-reset")
    sub.add_argument("--gate", default="UR", help="its name, like UR (default) or -")
    text = "seeds joined by commas, trained side by side (default 1)"
    sub.add_argument("--seeds", type=_several(_whole), default="1", help=text)
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    sub.add_argument("--limit-minutes", type=_whole, metavar="N", help="stop after N minutes")
    sub.add_argument("--notebook", help="whose runs they are (default: of the one that reads them)")


def _add_time(sub: argparse.ArgumentParser) -> None:
    for name, default in {
        "hidden": "64,128,256,512", "time": "100", "batch": "50", "inputs": "1", "models": "1",
    }.items():  # fmt: skip
        text = f"sizes joined by commas (default {default})"
        sub.add_argument(f"--{name}", type=_several(_whole), default=default, help=text)
    sub.add_argument("--gates", type=_several(), default="UR", help="names, like UR,-")
    sub.add_argument("--cell", default="lstm", help="lstm (default) or gru")
    sub.add_argument("--provider", default="urgates", help="or plain loop, compiled loop, …")
    sub.add_argument("--rival", default="torch.nn", help="torch.nn (default) or urgates")
    sub.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    sub.add_argument("--graphs", action="store_true", help="capture CUDA graphs first (GPU only)")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    sub.add_argument("--threads", type=_whole, help="torch's threads (default: as it chooses)")
    sub.add_argument("--pairs", type=_whole, default=9, help="turns of each (default 9)")
    sub.add_argument("--csv", help="also write the numbers to this file")


def _add_gpu(sub: argparse.ArgumentParser) -> None:
    text = "stop after so many (default 30)"
    sub.add_argument("--minutes", type=_positive, default=30.0, metavar="N", help=text)
    sub.add_argument("--out", metavar="DIR", help="where results go (default: runs/gpu)")
    sub.add_argument(
        "--preset", type=_one_of("smoke", "paper"), default="paper", metavar="{smoke,paper}",
        help="the paper's sizes (default), or tiny ones, which is all that a CPU takes",
    )  # fmt: skip
    sub.add_argument("--device", default="cuda", help="cuda (default) or cuda:N; cpu to rehearse")


def read(arguments: Sequence[str], actions: Mapping[str, Action]) -> argparse.Namespace:
    """What a command line asks for: options, the action of its command, and the line itself.

    Raises:
        ValueError: for wrong usage; it names what came and what was expected.
    """
    tied: list[str] = []
    for text in arguments:  # argparse takes a value like -,UR or -2,3 for an option
        if tied and re.fullmatch(r"--\w+", tied[-1]) and re.match(r"-[\d,]", text):
            tied[-1] += f"={text}"
        else:
            tied.append(text)
    options, unknown = _parser(actions).parse_known_args(tied)
    if unknown:
        usage = " ".join(options.parser.format_usage().split())
        raise ValueError(f"unknown argument {unknown[0]!r}, expected {usage}")
    options.line = shlex.join(["urgates", *arguments])
    return options
