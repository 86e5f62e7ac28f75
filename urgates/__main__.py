"""The command `urgates` (also `python -m urgates`): run and publish the notebooks, claims, data.

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
