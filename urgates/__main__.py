"""The command `urgates` (also `python -m urgates`): the notebooks, timings, claims and data.

Thin: what it does is in urgates.lab (runner.py, claims.py, sweep.py, timing.py …), which is
imported only when a command needs it: help and wrong usage (urgates.lab.arguments) are answered at
once, and the slim package works without the extra [lab].
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from urgates.lab import places
from urgates.lab.arguments import Action, read


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
    from urgates.lab import executors, sweep

    root, queue = places.checkout(), _queue(options)
    if options.status:
        table = sweep.table(queue, root)
        print(table.round(2).to_string(index=False, na_rep="?"))
        print(f"{(table.state == 'done').sum()} of {len(table)} done; '?': nothing measured yet")
        return 0
    if options.preset:
        queue = sweep.stacks(queue, root, options.models or 0)
    own = options.address or (options.jobs > 1 and executors.here_is_ray())
    how = {"engine": options.engine or ("ray" if own else "processes")}
    how |= {"address": options.address, "share": options.gpus}
    minutes = options.limit_minutes or 0.0
    return int(sweep.work(queue, root, jobs=options.jobs, minutes=minutes, **how) > 0)


def _queue(options: argparse.Namespace) -> list:
    """The trainings that a sweep is about: what tasks take at a preset, or (part of) the queue."""
    from urgates.lab import sweep

    if options.preset:
        if not options.tasks:
            raise ValueError("TASK must be given with --preset, got none")
        home = places.find([options.notebook])[0].stem if options.notebook else ""
        return sweep.wanted(options.tasks, options.preset, options.cell or "lstm", home)
    for name in ("cell", "notebook", "models"):
        if getattr(options, name):
            raise ValueError(f"--{name} must be given with --preset, got no preset")
    queue = [t for t in sweep.QUEUE if not options.tasks or t.job.protocol.task in options.tasks]
    if not queue:
        known = ", ".join(dict.fromkeys(t.job.protocol.task for t in sweep.QUEUE))
        raise ValueError(f"tasks must be among {known}, got {', '.join(options.tasks)}")
    return queue


def _plan(options: argparse.Namespace) -> int:
    places.find()  # or there is no checkout to plan for
    from functools import partial

    from urgates.gates import gate
    from urgates.lab import plans
    from urgates.lab.devices import choose_device, device_name

    chosen = {gate(name).name for name in options.gates or ()}
    queue = [t for t in _queue(options) if not chosen or t.job.gate in chosen]
    device, root, most = choose_device(options.device), places.checkout(), options.models or 0
    measure = partial(plans.step_seconds, device=device, steps=options.steps)
    stacks = plans.plan(queue, root, measure, most=most)
    table = plans.by_gate(stacks)
    print(table.to_string(index=False, na_rep="?", float_format="{:.3g}".format))
    hours = {n: plans.hours_on(stacks.hours.fillna(0), n) for n in (1, 2, 8, 64)}
    said = ", ".join(f"{spent:.1f} h on {n}" for n, spent in hours.items())
    unknown = f"; {stacks.hours.isna().sum()} unknown" * bool(stacks.hours.isna().any())
    print(f"{device_name(device)}: {len(stacks)} stacks, {said} such processes{unknown}")
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


def _claims(options: argparse.Namespace) -> int:
    places.find()  # or there is no checkout to speak of
    if options.diff is None:
        print(_refresh_readme())
    else:
        from urgates.lab.book import changes

        print(changes.moved(options.diff, places.checkout()))
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


def _gpu(options: argparse.Namespace) -> int:
    from urgates.lab.book import gpu
    from urgates.lab.store.files import BusyError, CheckpointError

    root = places.checkout()
    out, known = Path(options.out or root / "runs/gpu").absolute(), root / "figures"
    how = {"device": options.device, "minutes": options.minutes, "known": known}
    try:
        return int(gpu.visit(out, options.preset, **how) > 0)
    except (BusyError, CheckpointError) as error:
        raise ValueError(str(error)) from None


def _data(options: argparse.Namespace) -> int:
    from urgates.lab.tasks import corpus, data

    for name in options.names or ("mnist", "cifar10"):
        (corpus.load if name in corpus.names() else data.load)(name)
        files = data.download(name)
        state = "not compared with the published" if name in data.unchecked() else "as published"
        print(f"{name}: {len(files)} files in {files[0].parent}, {state}")
    return 0


ACTIONS: dict[str, Action] = {
    "run": _run, "publish": _publish, "sweep": _sweep, "plan": _plan, "train": _train,
    "list": _list, "time": _time, "gpu": _gpu, "claims": _claims, "links": _links, "site": _site,
    "data": _data,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 something failed, 2 wrong usage."""
    try:
        options = read(sys.argv[1:] if arguments is None else arguments, ACTIONS)
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
