"""The command `urgates` (also `python -m urgates`): the notebooks, timings, claims and data.

Thin: what it does is in urgates.lab (runner.py, claims.py, timing.py, tasks/data.py), which is
imported only when a command needs it: help and wrong usage are answered at once, and the slim
package works without the extra [lab].
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from urgates import __version__
from urgates.lab import places


def _run(options: argparse.Namespace) -> int:
    scripts, given = places.find(options.notebooks), _given(options.parameter)
    bare = [] if options.recompute else _without_runs(scripts, options)
    from urgates.lab.book import bench as results
    from urgates.lab.book import notebooks

    parameters = {"preset": options.preset, "recompute": options.recompute}
    for script in scripts:
        parameters |= notebooks.convert(script, given)
    results.check_settings(**parameters)
    code = _execute(options, [s for s in scripts if s not in bare], parameters=parameters)
    if bare:
        print(f"left out: {_nothing_stored(bare, options.preset)}")
    return code


def _given(pairs: list[tuple[str, str]]) -> dict[str, str]:
    given = dict(pairs)
    names = [name for name, _ in pairs]
    for name in given:
        if names.count(name) > 1:
            values = " and ".join(repr(value) for key, value in pairs if key == name)
            raise ValueError(f"parameter {name} must be given once, got {values}")
        if name in ("preset", "recompute"):
            raise ValueError(f"{name} must be given as --{name}, got -p {name}={given[name]}")
    return given


def _without_runs(scripts: list[Path], options: argparse.Namespace) -> list[Path]:
    """The notebooks that would show nothing: smoke trains, but other presets read what is stored.

    Nobody who names a notebook wants it left out, so that raises ValueError.
    """
    preset = options.preset
    bare = [s for s in scripts if places.trains(s) and preset not in ("smoke", *places.stored(s))]
    if bare and options.notebooks:
        raise ValueError(_nothing_stored(bare, preset))
    return bare


def _nothing_stored(bare: list[Path], preset: str) -> str:
    numbers = " ".join(script.stem.split("_")[0] for script in bare)
    return (
        f"preset {preset} has no stored runs of {', '.join(script.stem for script in bare)}; "
        f"this trains them: urgates run {numbers} --preset {preset} --recompute"
    )


def _publish(options: argparse.Namespace) -> int:
    from urgates.lab.book import titles

    scripts = places.find(options.notebooks)
    code = _execute(options, scripts, publishing=True)
    if code:
        print("nothing was published: that takes all of the notebooks")
    else:
        titles.link(scripts)
        _refresh_readme()
    return code


def _execute(options: argparse.Namespace, scripts: list[Path], **how) -> int:
    from urgates.lab import progress
    from urgates.lab.book import runner

    start = time.monotonic()
    with progress.Progress() as told:
        try:
            reports = runner.run(scripts, jobs=options.jobs, progress=told, **how)
            print(runner.summary(reports, time.monotonic() - start))
        finally:  # the time limit, Ctrl-C, an error: say how to go on
            if left := told.unfinished(options.line):
                print(left)
    return int(any(report.error for report in reports))


def _list(_: argparse.Namespace) -> int:
    for script in places.find():
        kept = ", ".join(places.stored(script)) or "–" if places.trains(script) else "exact"
        print(f"{script.stem:32}{kept:16}{places.headline(script)[0]}")
    print("\nnotebook, presets with stored runs (exact: it trains nothing), title")
    return 0


def _sweep(options: argparse.Namespace) -> int:
    places.find()  # or there is no checkout to train in
    from urgates.lab import sweep

    queue = [t for t in sweep.QUEUE if not options.tasks or t.job.protocol.task in options.tasks]
    if not queue:
        known = ", ".join(dict.fromkeys(t.job.protocol.task for t in sweep.QUEUE))
        raise ValueError(f"tasks must be among {known}, got {', '.join(options.tasks)}")
    root = places.checkout()
    if not options.status:
        failed = sweep.work(queue, root, jobs=options.jobs, minutes=options.limit_minutes or 0.0)
        return int(failed > 0)
    table = sweep.table(queue, root)
    print(table.round(2).to_string(index=False, na_rep="?"))
    print(f"{(table.state == 'done').sum()} of {len(table)} done; '?': nothing measured yet")
    return 0


def _train(options: argparse.Namespace) -> int:
    places.find()  # or there is no checkout to train in
    from urgates.gates import gate
    from urgates.lab import experiments, sweep
    from urgates.lab.jobs import Job
    from urgates.lab.store.files import BusyError, CheckpointError
    from urgates.lab.train import train_together

    p = experiments.protocol(options.task, options.preset)
    job = Job(p, options.cell, gate(options.gate).name, tuple(options.seeds))
    home = options.notebook or experiments.notebook(options.task, options.cell)
    training, root = sweep.Training(places.find([home])[0].stem, job), places.checkout()
    minutes = options.limit_minutes or 0.0
    try:
        train_together(job, training.folder(root), options.device, limit_minutes=minutes)
    except (BusyError, CheckpointError) as error:
        raise ValueError(str(error)) from None
    if int(os.environ.get("RANK", 0)) == 0:
        state, steps, _ = training.state(root)
        left = "" if state == "done" else "; the same command goes on"
        where = training.folder(root).relative_to(root)
        print(f"{job.key.stem}: {steps:,} of {training.steps:,} steps, in {where}{left}")
    return 0


def _claims(_: argparse.Namespace) -> int:
    places.find()  # or there is no checkout to speak of
    print(_refresh_readme())
    return 0


def _links(_: argparse.Namespace) -> int:
    from urgates.lab.book import titles

    changed = titles.link()
    print(f"links and verdicts written anew in {len(changed)} notebooks")
    return 0


def _site(options: argparse.Namespace) -> int:
    places.find()  # or there is no book
    from urgates.lab.book.site import build

    root = places.checkout()
    site = build.build(Path(options.out or root / "runs/site").absolute(), root)
    print("\n".join([*site.problems, str(site)]))
    return int(bool(site.problems))


def _refresh_readme() -> str:
    """Write README's generated parts anew; returns the scoreboard."""
    from urgates.lab.book import claims, notebooks

    readme = places.checkout() / "README.md"
    notebooks.refresh(readme, "claims", claims.summary())
    notebooks.refresh(readme, "notebooks", notebooks.contents("notebooks/"))
    return claims.scoreboard()


def _time(options: argparse.Namespace) -> int:
    csv = Path(options.csv) if options.csv else None
    if csv and (csv.is_dir() or not csv.absolute().parent.is_dir()):
        raise ValueError(f"csv must be a file in a folder that exists, got {options.csv!r}")
    from itertools import product

    from urgates.lab.book import contenders, timing
    from urgates.lab.devices import choose_device

    sizes = ("hidden", "time", "batch", "inputs", "models")
    cases = [
        contenders.Case(
            provider=options.provider, rival=options.rival, cell=options.cell, gate=gate,
            dtype=options.dtype, graphs=options.graphs, **dict(zip(sizes, size, strict=True)),
        )
        for *size, gate in product(*(getattr(options, name) for name in sizes), options.gates)
    ]  # fmt: skip
    frame = timing.measure(
        cases, options.pairs, choose_device(options.device), options.threads, progress=print
    )
    if csv:
        frame.to_csv(csv, index=False)
    return 0


def _data(options: argparse.Namespace) -> int:
    from urgates.lab.tasks import corpus, data

    for name in options.names or ("mnist", "cifar10"):
        (corpus.load if name in corpus.names() else data.load)(name)
        files = data.download(name)
        state = "not compared with the published" if name in data.unchecked() else "as published"
        print(f"{name}: {len(files)} files in {files[0].parent}, {state}")
    return 0


# ------------------------------------------------------------------ reading the command line


def _whole(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


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
_EXAMPLES = {
    "run": _RUN,
    "publish": "examples:\n  urgates publish 31\n  urgates publish --jobs 1",
    "sweep": "examples:\n  urgates sweep --status\n  nice -n 19 urgates sweep copy forgetting\n\n"
    "Interrupt it whenever you like; the same line goes on. `urgates publish` takes over what is\n"
    "finished, once it lies in figures/<notebook>/runs/.",
    "train": "examples:\n  urgates train ptb --preset laptop --gate UR --seeds 1,2,3\n"
    "  urgates train copy --preset paper --gate - --device cuda:1 --limit-minutes 600\n"
    "  torchrun --nproc-per-node 8 -m urgates train wikitext103 --preset paper\n\n"
    "Interrupt it whenever you like; the same line goes on, with any number of processes. Under\n"
    "torchrun they share the batches of one language model, each on a GPU of its own.",
    "list": "example:\n  urgates list",
    "time": "examples:\n  urgates time --gates UR,- --hidden 64,256\n"
    "  urgates time --device cuda:1 --graphs --dtype bfloat16 --csv times.csv",
    "claims": "example:\n  urgates claims",
    "links": "example:\n  urgates links",
    "site": "examples:\n  urgates site\n  urgates site --out ~/public_html/urgates\n\n"
    "It needs the extra [site]. Dead links, requests to other hosts and pages of more than 2 MB\n"
    "are told, and make the exit code 1.",
    "data": "examples:\n  urgates data mnist ptb\n  URGATES_DATA=/data urgates data\n\n"
    "Files lie below $URGATES_DATA, or else in your cache folder. One that is not as published is\n"
    "refused; URGATES_DATA_UNCHECKED=mnist,cifar10 names those to take as they are.",
}


def _parser() -> _Parser:
    parser = _Parser("urgates", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=f"urgates {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(action: Callable, name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, epilog=_EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )  # fmt: skip
        sub.set_defaults(action=action, parser=sub)
        return sub

    run = command(_run, "run", "execute notebooks into runs/, leaving committed files alone")
    _add_run(run)
    publish = command(_publish, "publish", "execute notebooks as they are and commit the results")
    for sub in (run, publish):
        sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="e.g. 31; default: all")
        sub.add_argument("--jobs", type=_whole, default=2, help="so many side by side (default 2)")
    sweep = command(_sweep, "sweep", "train what the book still wants to know, in order of worth")
    sweep.add_argument("tasks", nargs="*", metavar="TASK", help="e.g. copy; default: all")
    sweep.add_argument("--status", action="store_true", help="only tell what is done and left")
    sweep.add_argument("--jobs", type=_whole, default=2, help="so many side by side (default 2)")
    sweep.add_argument(
        "--limit-minutes", type=_whole, metavar="N", help="stop each training after N minutes"
    )
    _add_train(command(_train, "train", "train one task, or go on, where a notebook reads it"))
    command(_list, "list", "the notebooks, and which presets have stored runs")
    _add_time(command(_time, "time", "time layers turn about with torch's of the same size"))
    command(_claims, "claims", "print the scoreboard and refresh README.md's part of it")
    command(_links, "links", "write neighbours and verdicts below the title of every notebook")
    site = command(_site, "site", "make the book as a static site that needs no network")
    site.add_argument("--out", metavar="DIR", help="where to (default: runs/site)")
    data = command(_data, "data", "download data sets, and compare them with the published ones")
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


def _read(arguments: list[str]) -> argparse.Namespace:
    tied: list[str] = []
    for text in arguments:  # argparse takes a value like -,UR or -2,3 for an option
        if tied and re.fullmatch(r"--\w+", tied[-1]) and re.match(r"-[\d,]", text):
            tied[-1] += f"={text}"
        else:
            tied.append(text)
    options, unknown = _parser().parse_known_args(tied)
    if unknown:
        usage = " ".join(options.parser.format_usage().split())
        raise ValueError(f"unknown argument {unknown[0]!r}, expected {usage}")
    options.line = shlex.join(["urgates", *arguments])
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a notebook failed, 2 wrong usage."""
    try:
        options = _read(sys.argv[1:] if arguments is None else arguments)
        return options.action(options)
    except ModuleNotFoundError as missing:
        message = f"this command needs {missing.name}: pip install 'urgates[lab]'"
    except (ValueError, OSError) as error:
        message = str(error)
    except KeyboardInterrupt:
        print("urgates: interrupted; what was trained is kept", file=sys.stderr)
        return 130
    print(f"urgates: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
