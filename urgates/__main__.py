"""The command `urgates` (also `python -m urgates`): the notebooks, timings, claims and data.

Thin: what it does is in urgates.lab (runner.py, claims.py, tasks/data.py), which is imported
only when a command needs it, because the slim package works without the extra [lab].
"""

from __future__ import annotations

import argparse
import sys
import time


def _run(options: argparse.Namespace) -> int:
    from urgates.lab import notebooks, protocols

    if options.preset not in protocols.PRESETS:
        choices = ", ".join(protocols.PRESETS)
        raise ValueError(f"preset must be one of {choices}, got {options.preset!r}")
    parameters = {"preset": options.preset, "recompute": options.recompute}
    for script in notebooks.find(options.notebooks):
        parameters |= notebooks.convert(script, dict(options.parameter))
    return _execute(options, parameters=parameters)


def _publish(options: argparse.Namespace) -> int:
    code = _execute(options, publishing=True)
    _refresh_readme()
    return code


def _execute(options: argparse.Namespace, **how) -> int:
    from urgates.lab import notebooks, runner

    start = time.monotonic()
    scripts = notebooks.find(options.notebooks)
    reports = runner.run(scripts, jobs=options.jobs, **how)
    print(runner.summary(reports, time.monotonic() - start))
    return int(any(report.error for report in reports))


def _claims(_: argparse.Namespace) -> int:
    print(_refresh_readme())
    return 0


def _refresh_readme() -> str:
    """Write README's generated parts anew; returns the scoreboard."""
    from urgates.lab import claims, notebooks
    from urgates.lab.places import checkout

    table, readme = claims.scoreboard(), checkout() / "README.md"
    notebooks.refresh(readme, "scoreboard", table)
    notebooks.refresh(readme, "notebooks", notebooks.contents("notebooks/"))
    return table


def _bench(options: argparse.Namespace) -> int:
    from itertools import product

    from urgates.lab import timing
    from urgates.lab.training import choose_device

    sizes = ("hidden", "time", "batch", "inputs", "models")
    cases = [
        timing.Case(
            provider=options.provider, rival=options.rival, cell=options.cell, gate=gate,
            dtype=options.dtype, graphs=options.graphs, **dict(zip(sizes, size, strict=True)),
        )
        for *size, gate in product(*(getattr(options, name) for name in sizes), options.gates)
    ]  # fmt: skip
    frame = timing.measure(
        cases, options.pairs, choose_device(options.device), options.threads, progress=print
    )
    if options.csv:
        frame.to_csv(options.csv, index=False)
    return 0


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _data(options: argparse.Namespace) -> int:
    from urgates.lab.tasks import data

    for name in options.names or ("mnist", "cifar10"):
        files = data.download(name)
        print(f"{name}: {len(files)} files in {files[0].parent}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("urgates", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(action, name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        return sub

    run = command(_run, "run", "execute notebooks into runs/, leaving committed files alone")
    run.add_argument("--preset", default="smoke", help="smoke (default), laptop or paper")
    run.add_argument("--recompute", action="store_true", help="train instead of reading results")
    run.add_argument(
        "-p", "--parameter", metavar="NAME=VALUE", type=_pair, action="append", default=[],
        help="any other parameter of the notebooks, e.g. -p gates=UR,R",
    )  # fmt: skip
    publish = command(_publish, "publish", "execute notebooks as they are and commit the results")
    for sub in (run, publish):
        sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="e.g. 31; default: all")
        sub.add_argument("--jobs", type=int, default=2, help="notebooks side by side (default 2)")
    bench = command(_bench, "bench", "time layers turn about with torch's of the same size")
    for name, default in {
        "hidden": "64,128,256,512", "time": "100", "batch": "50", "inputs": "1", "models": "1",
    }.items():  # fmt: skip
        text = f"sizes joined by commas (default {default})"
        bench.add_argument(f"--{name}", type=_numbers, default=default, help=text)
    bench.add_argument("--gates", type=lambda text: text.split(","), default="UR", help="like UR,-")
    bench.add_argument("--cell", default="lstm", help="lstm (default) or gru")
    bench.add_argument("--provider", default="urgates", help="or plain loop, compiled loop, …")
    bench.add_argument("--rival", default="torch.nn", help="torch.nn (default) or urgates")
    bench.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    bench.add_argument("--graphs", action="store_true", help="capture CUDA graphs first")
    bench.add_argument("--device", default="auto", help="auto, cpu or cuda")
    bench.add_argument("--threads", type=int, help="torch's threads (default: as it chooses)")
    bench.add_argument("--pairs", type=int, default=9, help="turns of each (default 9)")
    bench.add_argument("--csv", help="also write the numbers to this file")
    command(_claims, "claims", "print the scoreboard and refresh it in README.md")
    data = command(_data, "data", "download data sets")
    data.add_argument("names", nargs="*", metavar="NAME", help="mnist, cifar10; default: both")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a notebook failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.action(options)
    except ModuleNotFoundError as missing:
        message = f"this command needs {missing.name}: pip install 'urgates[lab]'"
    except (ValueError, OSError) as error:
        message = str(error)
    except KeyboardInterrupt:
        print("urgates: interrupted; finished results are kept", file=sys.stderr)
        return 130
    print(f"urgates: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
