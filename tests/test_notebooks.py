"""The book: committed pairs, what `check` and nbval catch, and the runner on a toy book."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import kills
import nbformat
import pytest
from jupyter_server.services.contents.filemanager import FileContentsManager

from urgates.__main__ import main
from urgates.lab.book import notebooks, publishing, runner, titles
from urgates.lab.store.files import load_checkpoint, locked, owned
from urgates.lab.store.runs import Runs

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = notebooks.find(root=ROOT)
HEADER = SCRIPTS[0].read_text(encoding="utf-8").split("# %%")[0]
STEM = "copy_lstm_UR_smoke"
TITLE = "# %% [markdown]\n# # A toy\n#\n# **Does it run?**\n"
SEED = '# %% tags=["parameters"]\nseed: int = 0  # of nothing\n'


def toy(root: Path, name: str, *cells: str, parameters: str = SEED) -> Path:
    """A notebook's script in a small checkout of its own."""
    (root / "urgates").mkdir(exist_ok=True)
    script = root / "notebooks" / f"{name}.py"
    script.parent.mkdir(exist_ok=True)
    code = [f"# %%\n{cell}\n" for cell in cells]
    script.write_text("\n".join([HEADER + TITLE, parameters, *code]), encoding="utf-8")
    return script


# ------------------------------------------------------------------ the committed book


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_committed_pair_is_in_order(script):
    assert notebooks.check(script) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_cells_are_short(script):
    assert re.fullmatch(r"(\d\d[a-e]?|[A-FX](\d[ab]?)?)_\w+", script.stem)
    cells = notebooks.read(script).cells
    titled = cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert titled, "the title comes first (two blank lines below the header make an empty cell)"
    assert cells[1].source.startswith("**In short.** ") and len(cells[1].source.split("\n")) <= 5
    assert all(cell.source for cell in cells)
    code = sum(cell.cell_type == "code" for cell in cells)
    assert code <= 30, f"{code} cells of code"
    for cell in cells:
        lines = cell.source.split("\n")
        if cell.cell_type == "code":
            assert len(lines) <= 25, f"{len(lines)} lines: {lines[0]}"
            assert not lines[-1].endswith(";"), f"nbval sees what ';' hides: {lines[-1]}"
        else:
            text = re.sub(r"\$\$.*?\$\$|```.*?```", "", cell.source, flags=re.DOTALL)
            prose = [line for line in text.split("\n") if not line.startswith((">", "|"))]
            words = " ".join(prose).split()
            assert len(words) <= 90, f"{len(words)} words: {' '.join(words[:8])} …"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_links_and_verdicts_below_the_title_are_up_to_date(script):
    assert titles.linked(script) == script.read_text(encoding="utf-8"), "run `urgates links`"


def test_every_twin_has_a_script_and_every_figure_its_numbers():
    twins = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert twins == {script.stem for script in SCRIPTS}
    for picture in (ROOT / "figures").glob("*/*.png"):
        record = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
        for suffix, digest in record["sha256"].items():
            content = picture.with_suffix(f".{suffix}").read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest, picture
        assert picture.with_suffix(".csv").stat().st_size <= 200_000
        assert picture.parent.name in twins


# ------------------------------------------------------------------ check


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A toy book of one notebook, published."""
    root = tmp_path_factory.mktemp("book")
    script = toy(root, "20_toy", "print('the answer is', 42)", "1 + 1")
    (report,) = runner.run([script], publishing=True)
    assert not report.error and report.changed and notebooks.check(script) == []
    return root


@pytest.fixture
def pair(published, tmp_path):
    """A copy of the published book, to spoil: its script and its twin."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    script = tmp_path / "notebooks" / "20_toy.py"
    return script, script.with_suffix(".ipynb")


def spoil(twin: Path, change) -> None:
    notebook = nbformat.read(twin, as_version=4)
    change(notebook)
    nbformat.write(notebook, twin)


def unrun(notebook):
    for cell in notebook.cells[1:]:
        cell.execution_count, cell.outputs = None, []


def reorder(notebook):
    notebook.cells[2].execution_count = 7


def warn(notebook):
    notebook.cells[2].outputs[0].name = "stderr"


def widget(notebook):
    data = {"application/vnd.jupyter.widget-view+json": {}}
    notebook.cells[2].outputs = [nbformat.v4.new_output("display_data", data)]


def enlarge(notebook):
    notebook.cells[2].outputs[0].text = "x" * 1_000_001


def inject(notebook):
    notebook.cells[2].metadata["tags"] = ["injected-parameters"]


def fail(notebook):
    notebook.cells[2].outputs = [
        nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (unrun, "top to bottom"), (reorder, "top to bottom"), (warn, "stderr"), (widget, "widget"),
        (enlarge, "bytes"), (inject, "traces"), (fail, "error"),
    ],
)  # fmt: skip
def test_check_finds_what_is_wrong_with_a_twin(pair, change, complaint):
    script, twin = pair
    spoil(twin, change)
    (problem,) = notebooks.check(script)
    assert complaint in problem


def test_check_finds_a_script_that_is_newer_than_its_twin(pair):
    script, twin = pair
    script.write_text(script.read_text() + "# a remark\n")
    assert [p for p in notebooks.check(script) if "source_sha256" in p]
    stale = nbformat.read(twin, as_version=4)
    stale.metadata.urgates.source_sha256 = notebooks.source_sha256(script)
    nbformat.write(stale, twin)
    (problem,) = notebooks.check(script)
    assert "other cells" in problem
    twin.unlink()
    assert "missing" in notebooks.check(script)[0]


@pytest.mark.parametrize(
    "cell",
    [
        "seed = 0",
        "seed: int = 0.5",
        "seed: int = 1 + x",
        "seed: list = []",
        "import os",
        "seed: int",
    ],
)
def test_parameters_must_be_plain(tmp_path, cell):
    script = toy(tmp_path, "20_toy", parameters=f'# %% tags=["parameters"]\n{cell}\n')
    with pytest.raises(ValueError, match="parameters must be lines NAME"):
        notebooks.declared(notebooks.read(script))
    with pytest.raises(ValueError, match="tag 'parameters', got 0"):
        notebooks.declared(notebooks.read(toy(tmp_path, "21_toy", parameters="")))


# ------------------------------------------------------------------ nbval guards


def failures(folder: Path) -> list[str]:
    """Names of the notebooks below a folder in which pytest --nbval finds something wrong."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-rA"]
    command += ["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "PASSED" in done.stdout, "something must have been compared"
    found = re.findall(r"^FAILED (\S+)::Cell", done.stdout, re.MULTILINE)
    return sorted({Path(name).parts[0] for name in found})


def test_nbval_sees_a_changed_number(pair):
    _, twin = pair
    changed = twin.with_name("21_changed.ipynb")
    changed.write_text(twin.read_text().replace("the answer is 42", "the answer is 43"))
    assert changed.read_text() != twin.read_text()
    assert failures(twin.parent) == ["21_changed.ipynb"]


@pytest.mark.long
def test_nbval_guards_the_committed_numbers_and_what_figures_are_drawn_from(tmp_path):
    with_runs = {path.parents[1] for path in (ROOT / "figures").glob("*/runs/*_s1.json")}
    if not with_runs:
        pytest.skip("no committed notebook has stored runs")
    figures = min(with_runs, key=lambda f: (ROOT / f"notebooks/{f.name}.ipynb").stat().st_size)
    for copy in ("untouched", "number", "source"):
        (tmp_path / copy / "urgates").mkdir(parents=True)
        (tmp_path / copy / "notebooks").mkdir()
        shutil.copy(ROOT / f"notebooks/{figures.name}.ipynb", tmp_path / copy / "notebooks")
        shutil.copytree(ROOT / "figures", tmp_path / copy / "figures")  # it may read others' runs
    spoil(tmp_path / "number" / "notebooks" / f"{figures.name}.ipynb", change_a_number)
    for log in (tmp_path / "source" / "figures").glob("*/runs/*.csv"):
        log.write_text(re.sub(r"^(\d+),\d", r"\1,9", log.read_text(), flags=re.MULTILINE))
    for record in (tmp_path / "source" / "figures").glob("*/runs/*_s1.json"):
        text = re.sub(r'(_accuracy": 0)\.\d', r"\1.9", record.read_text())
        record.write_text(text)
    assert failures(tmp_path) == ["number", "source"]


def change_a_number(notebook):
    """Raise the first digit that the notebook prints and nbval compares."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "nbval-ignore-output" not in cell.metadata.get("tags", []):
            for output in cell.outputs:
                digit = re.search(r"\d", output.get("text", ""))
                if digit:
                    other = str((int(digit[0]) + 1) % 10)
                    output.text = output.text[: digit.start()] + other + output.text[digit.end() :]
                    return
    raise AssertionError("no number is printed")


# ------------------------------------------------------------------ the runner


def test_one_failure_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    toy(tmp_path, "20_good", "import os\nprint(os.getcwd(), os.environ['OMP_NUM_THREADS'])")
    toy(tmp_path, "21_bad", "raise ArithmeticError('seven\\nlines')")
    toy(tmp_path, "40_scoreboard", "print('last')")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert main(["run"]) == 1
    said = capsys.readouterr().out
    assert re.search(
        r"^FAILED +21_bad .*In \[2\] of .*21_bad.ipynb: ArithmeticError: seven$", said, re.MULTILINE
    )
    assert "2 of 3 notebooks ran" in said and "failed: 21_bad" in said
    assert said.index("40_scoreboard") > said.index("21_bad")
    output = tmp_path / "runs" / "exact" / "notebooks" / "20_good.ipynb"
    assert f"{tmp_path / 'notebooks'} 1" in output.read_text()
    assert not list((tmp_path / "notebooks").glob("*.ipynb")), "run must not touch the book"


def test_each_of_several_notebooks_has_a_gpu_to_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "visible_gpus", lambda: ["4", "7"])
    parameters = '# %% tags=["parameters"]\ndevice: str = "cpu"  # of this notebook\n'
    cell = "import os\nprint('on', os.environ.get('CUDA_VISIBLE_DEVICES'))"
    for name in ("20_one", "21_two"):
        toy(tmp_path, name, f"{cell}\nimport time; time.sleep(2)", parameters=parameters)
    monkeypatch.chdir(tmp_path)
    outputs = [tmp_path / f"runs/exact/notebooks/{name}.ipynb" for name in ("20_one", "21_two")]
    assert main(["run", "--jobs", "2"]) == 0
    assert {re.search(r"on (\w+)", path.read_text())[1] for path in outputs} == {"4", "7"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert main(["run", "20", "--jobs", "1", "-p", "device=cpu"]) == 0
    assert "on None" in outputs[0].read_text()


def test_run_passes_what_is_declared_and_counts_verdicts(tmp_path, monkeypatch, capsys):
    declared = (
        '# %% tags=["parameters"]\npreset: str = "laptop"  # …\nrecompute: bool = False  # …\n'
        "limit_minutes: float = 0.0  # …\n"
    )
    cell = (
        "import json, pathlib\nprint(preset, recompute, limit_minutes)\n"
        "made = pathlib.Path('../runs', preset, '31_toy')\n"
        "made.mkdir(parents=True, exist_ok=True)\n"
        "claim = {'G32': {'verdict': 'inconclusive'}}\n"
        "_ = (made / 'claims.json').write_text(json.dumps(claim))\n"
        "from urgates.lab.progress import tell\n"
        "for step in (0, 30, 50):\n    tell('stack', step, 200)"
    )
    toy(tmp_path, "31_toy", cell, parameters=declared)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "31", "--recompute", "-p", "limit_minutes=2"]) == 0
    said = capsys.readouterr().out
    assert "G32 inconclusive" in said and "claims: 1 inconclusive" in said
    assert said.splitlines()[-1] == (
        "31_toy not finished: 25% of 200 training steps planned so far are done, less than a "
        "minute left; to go on: urgates run 31 --recompute -p limit_minutes=2"
    )
    text = (tmp_path / "runs/smoke/notebooks/31_toy.ipynb").read_text()
    assert "smoke True 2.0" in text


def test_undeclared_parameters_are_refused(pair, tmp_path):
    with pytest.raises(ValueError, match="must be among seed"):
        runner.execute(pair[0], tmp_path / "out.ipynb", {"sede": 1})


def test_a_users_kernelspec_does_not_shadow_this_interpreter(pair, tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["false"], "display_name": "broken", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    script = toy(tmp_path, "22_where", "import sys\nprint(sys.executable)")
    executed = runner.execute(script, tmp_path / "out.ipynb")
    assert executed.cells[-1].outputs[0].text.strip() == sys.executable


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_interrupting_ends_the_kernels(tmp_path):
    pid = tmp_path / "pid"
    wait = "from urgates.lab.progress import tell\ntell('stack', 30, 200)\n"
    wait += f"import os, pathlib, time\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))"
    toy(tmp_path, "20_slow", wait + "\ntime.sleep(600)")
    toy(tmp_path, "21_next", "1")
    command = [sys.executable, "-m", "urgates", "run", "--jobs", "1"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs, and all they start, ignore Ctrl-C by default
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=300)
    assert "interrupted" in complained
    assert "15% of 200 training steps" in said and "to go on: urgates run --jobs 1" in said
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not (tmp_path / "runs/exact/notebooks/21_next.ipynb").exists()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_interrupting_saves_what_was_trained_and_says_how_to_go_on(tmp_path):
    cell = (
        "from dataclasses import replace\nimport kills\n"
        "from urgates.lab.jobs import Job\nfrom urgates.lab.train import train\n"
        "p = replace(kills.TINY, steps=10**6, log_every=1)\n"
        f"train(Job(p, 'lstm', 'UR'), {str(tmp_path)!r}, 'cpu', checkpoint_seconds=1e9)"
    )
    toy(tmp_path, "20_slow", cell)
    process = subprocess.Popen(
        [sys.executable, "-m", "urgates", "run", "20", "--jobs", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    csv, deadline = tmp_path / f"{STEM}_s1.csv", time.monotonic() + 120
    while not (csv.exists() and csv.read_text().count("\n") > 20) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130 and "urgates: interrupted; what was trained is kept" in err
    assert re.search(r"^stopped +20_slow .*interrupted", out, re.MULTILINE)
    assert "to go on: urgates run 20 --jobs 1" in out and "DeadKernel" not in out + err
    _, state = load_checkpoint(csv.with_suffix(".safetensors"))
    assert state["learner"]["step"] == csv.read_text().count("\n") - 1 > 19


# ------------------------------------------------------------------ publishing


def test_publishing_again_changes_no_byte(pair):
    script, twin = pair
    before = twin.read_bytes()
    (report,) = runner.run([script], publishing=True)
    assert not report.changed and twin.read_bytes() == before
    (report,) = runner.run([toy(script.parents[1], "20_toy", "print(43)")], publishing=True)
    assert report.changed and b"43" in twin.read_bytes()


def test_words_are_carried_over_without_executing(pair):
    script, twin = pair
    text, before = script.read_text(), twin.read_bytes()
    assert not notebooks.carry_text(script) and twin.read_bytes() == before
    script.write_text(text.replace("# **Does it run?**", "# **Does it walk?**\n#\n# Or fly?"))
    assert notebooks.carry_text(script) and notebooks.check(script) == []
    assert b"the answer is 42" in twin.read_bytes() and b"Or fly?" in twin.read_bytes()
    script.write_text(text.replace("the answer is", "so it is"))
    with pytest.raises(ValueError, match=r"the code of 20_toy.py must be its twin's"):
        notebooks.carry_text(script)


def test_what_is_tagged_hide_input_is_collapsed_in_jupyterlab(pair):
    script, twin = pair
    script.write_text(script.read_text().replace("# %%\nprint", '# %% tags=["hide-input"]\nprint'))
    marks = {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    stamped = notebooks.stamped(notebooks.read(script), script, "exact", "CPU")
    assert [cell.metadata for cell in stamped.cells] == [{}, {"tags": ["parameters"]}, marks, {}]
    assert "metadata" not in " ".join(notebooks.blemishes(stamped))
    assert notebooks.carry_text(script) and notebooks.check(script) == []
    assert nbformat.read(twin, as_version=4).cells[2].metadata == marks


def test_running_and_saving_in_jupyterlab_changes_nothing(pair):
    data = ROOT / "data/etc/jupyter/jupyter_server_config.d/urgates.json"
    (name,) = json.loads(data.read_text())["ServerApp"]["jpserver_extensions"]
    manager = FileContentsManager(root_dir=str(pair[1].parent))
    import_module(name)._load_jupyter_server_extension(SimpleNamespace(contents_manager=manager))

    def save(change):
        notebook = nbformat.read(pair[1], as_version=4)
        change(notebook)
        before = pair[1].read_bytes()
        manager.save({"type": "notebook", "format": "json", "content": notebook}, pair[1].name)
        return pair[1].read_bytes() == before

    def rerun(notebook):
        notebook.metadata.language_info.version = "3.14.1"
        notebook.cells[2].outputs[0].text = "another time"

    def edit(notebook):
        notebook.cells[2].source += "\n"

    assert save(rerun) and not save(edit)


def test_links_follow_the_order_of_the_book(published, tmp_path, monkeypatch, capsys):
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    first, last = (
        toy(tmp_path, name, "print('the answer is', 42)", "1 + 1") for name in ("00_a", "X1_b")
    )
    for script in (first, last):
        shutil.copy(tmp_path / "notebooks/20_toy.ipynb", script.with_suffix(".ipynb"))
        notebooks.carry_text(script)
    monkeypatch.chdir(tmp_path)
    assert main(["links"]) == 0 and "in 3 notebooks" in capsys.readouterr().out
    middle = tmp_path / "notebooks/20_toy.py"
    text = "# [← 00](00_a.ipynb) ·\n# [home](00_a.ipynb) ·\n# [X1 →](X1_b.ipynb)"
    assert f"# # A toy\n#\n{text}\n#\n# **" in middle.read_text() and notebooks.check(middle) == []
    assert "# [home](00_a.ipynb) ·\n# [20 →](20_toy.ipynb)\n" in first.read_text()
    assert "# [← 20](20_toy.ipynb) ·\n# [home](00_a.ipynb)\n" in last.read_text()
    assert "| A toy | Does it run? |" in notebooks.contents(root=tmp_path)
    assert titles.link() == []
    middle.unlink()
    assert titles.link() == [first, last] and "[X1 →]" in first.read_text()


def test_publishing_writes_verdicts_below_the_question(pair, monkeypatch, capsys):
    script, twin = pair
    root = script.parents[1]
    claims = {"G34": "inconclusive", "G38-OR": "seen", "G36": "inconclusive"}
    entries = json.dumps({name: {"verdict": word} for name, word in claims.items()})
    cell = (
        "import pathlib\nmade = pathlib.Path('../runs/exact/20_toy')\n"
        f"made.mkdir(parents=True, exist_ok=True)\nkept = made / 'claims.json'\n"
        f"_ = kept.write_text('{entries}')"
    )
    toy(root, "20_toy", cell)
    monkeypatch.chdir(root)
    monkeypatch.setattr("urgates.__main__._refresh_readme", lambda: None)
    line = "[Decided here](40_scoreboard.ipynb): **seen** G38-OR; **inconclusive** G34, G36."
    assert main(["publish", "20"]) == 0
    assert f"# **Does it run?**\n#\n# {line}\n" in script.read_text()
    assert notebooks.check(script) == [] and line in twin.read_text()
    before = script.read_bytes(), twin.read_bytes()
    assert titles.link() == [] and main(["publish", "20"]) == 0
    assert (script.read_bytes(), twin.read_bytes()) == before
    (root / "figures/20_toy/claims.json").write_text("{}")
    assert titles.link() == [script] and "Decided here" not in script.read_text()
    assert notebooks.check(script) == []


def test_all_scripts_are_linked_before_a_pair_that_differs_is_refused(pair):
    script, _ = pair
    later = toy(script.parents[1], "21_later", "1 + 1")
    shutil.copy(script.with_suffix(".ipynb"), later.with_suffix(".ipynb"))
    with pytest.raises(ValueError, match=r"the code of 21_later.py must be its twin's"):
        titles.link(root=script.parents[1])
    assert "[21 →](21_later.ipynb)" in script.read_text()
    assert "[← 20](20_toy.ipynb)" in later.read_text()


def test_what_chance_decides_is_no_change(pair):
    script, twin = pair
    root = script.parents[1]
    toy(root, "20_toy", "print('one')\nprint('two')", "object()")
    (report,) = runner.run([script], publishing=True)
    assert report.changed

    def otherwise(notebook):
        said, shown = notebook.cells[2].outputs, notebook.cells[3].outputs[0].data
        said[0].text, more = "one\n", nbformat.v4.new_output("stream", name="stdout", text="two\n")
        said.append(more)
        shown["text/plain"] = "<object at 0x7fd7e4c5d410>"

    spoil(twin, otherwise)
    before = twin.read_bytes()
    (report,) = runner.run([script], publishing=True)
    assert not report.changed and twin.read_bytes() == before


def test_a_blemished_notebook_is_not_published(tmp_path):
    script = toy(tmp_path, "20_toy", "import sys\nprint('careful', file=sys.stderr)")
    (report,) = runner.run([script], publishing=True)
    assert "stderr" in report.error and not script.with_suffix(".ipynb").exists()


def test_figures_follow_the_notebook(published, tmp_path):
    script = published / "notebooks" / "20_toy.py"
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    made, kept = tmp_path / "made", tmp_path / "kept"
    for place, name in ((made, "new.csv"), (kept, "old.csv"), (kept, "runs/r.csv")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("1")
    (made / "new.json").write_text('{"preset": "exact", "commit": "b"}')
    (kept / "new.json").write_text('{"preset": "exact", "commit": "a"}')
    assert publishing.publish(notebook, script, made, kept)
    files = sorted(str(p.relative_to(kept)) for p in kept.rglob("*.*"))
    assert files == ["new.csv", "new.json", "runs/r.csv"]
    assert '"a"' in (kept / "new.json").read_text(), "only the stamp differed"
    assert not publishing.publish(notebook, script, made, kept)


@pytest.fixture
def made(tmp_path):
    """The runs of a notebook: a finished stack of two seeds, with models."""
    kills.training(tmp_path / "made")
    return tmp_path / "made"


def test_an_unfinished_run_does_not_replace_a_finished_one(made, tmp_path):
    kept, record = tmp_path / "kept", made / f"{STEM}_s1.json"

    def leave(status, remark):
        record.write_text(
            json.dumps(json.loads(record.read_text()) | {"status": status, "x": remark})
        )
        publishing.adopt_runs(made, kept)
        return json.loads((kept / record.name).read_text())["x"]

    words = ["partial", "finished", "partial", "diverged"]
    assert [leave(word, k) for k, word in enumerate(words)] == [0, 1, 1, 3]


def test_kept_models_and_tables_are_published_beside_the_runs(made, tmp_path):
    (made / "throughput_laptop.csv").write_text("gate,ms\n")
    publishing.adopt_runs(made, tmp_path / "kept")
    assert (tmp_path / "kept/throughput_laptop.csv").exists()
    model = f"models/{STEM}_s2.safetensors"
    assert (tmp_path / "kept" / model).read_bytes() == (made / model).read_bytes()
    runs = Runs(tmp_path / "kept", kills.TINY, "lstm", kills.SEEDS, ("UR",))
    assert runs.complete == {"UR": [1, 2]}
    (made / f"{STEM}_s2.csv").unlink()
    with pytest.raises(ValueError, match=rf"{STEM}_s2.csv is missing"):
        publishing.adopt_runs(made, tmp_path / "kept")


def test_a_failure_leaves_all_notebooks_as_they_were(pair, monkeypatch, capsys):
    script, twin = pair
    before = twin.read_bytes()
    root = script.parents[1]
    toy(root, "20_toy", "print(43)")
    toy(root, "21_bad", "1 / 0")
    monkeypatch.chdir(root)
    assert main(["publish"]) == 1
    assert "nothing was published" in capsys.readouterr().out
    assert twin.read_bytes() == before and not (root / "notebooks/21_bad.ipynb").exists()


def test_what_is_published_is_what_was_just_executed(tmp_path):
    """Whatever a `run` beside it writes, below `runs/<preset>/<notebook>/`, is not taken."""
    theirs = tmp_path / "runs" / "exact" / "20_toy"
    cell = (
        "import pathlib\n"
        "ours = pathlib.Path('../runs/exact/20_toy')\n"
        "ours.mkdir(parents=True, exist_ok=True)\n"
        "_ = (ours / 'numbers.csv').write_text('1')\n"
        f"theirs = pathlib.Path({str(theirs)!r})\n"
        "theirs.mkdir(parents=True)\n"
        "_ = [(theirs / name).write_text('2') for name in ('numbers.csv', 'more.csv')]"
    )
    (report,) = runner.run([toy(tmp_path, "20_toy", cell)], publishing=True)
    assert not report.error
    kept = tmp_path / "figures" / "20_toy"
    assert [path.name for path in kept.iterdir()] == ["numbers.csv"]
    assert (kept / "numbers.csv").read_text() == "1"
    assert (theirs / "numbers.csv").read_text() == "2"


def test_one_publishes_or_executes_a_notebook_at_a_time(pair):
    script, _ = pair
    runs = script.parents[1] / "runs"
    (runs / "exact").mkdir(parents=True, exist_ok=True)
    with (
        locked(runs / "publish.lock"),
        pytest.raises(RuntimeError, match=r"another process is publishing .*publish.lock"),
    ):
        runner.run([script], publishing=True)
    with locked(runs / "exact" / "20_toy.lock"):
        (report,) = runner.run([script])
    assert "another process is executing 20_toy at exact" in report.error


def test_an_impossible_preset_deletes_nothing(pair):
    script, _ = pair
    root = script.parents[1]
    kept = root / "figures" / "20_toy" / "kept.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("1")
    (root / "runs").mkdir(exist_ok=True)
    preset = '# %% tags=["parameters"]\npreset: str = "laptop"\n'
    before = set(root.rglob("*"))
    script = toy(root, "20_toy", "1", parameters=preset)
    for place in ("../figures", "..", "", "huge"):
        with pytest.raises(ValueError, match=r"preset must be one of smoke"):
            runner.run([script], {"preset": place})
    assert set(root.rglob("*")) == before
    for place in (root / "figures", root / "runs", root / "runs/../figures/20_toy", root):
        with pytest.raises(ValueError, match="nothing else is deleted"):
            owned(place, root / "runs")
    (root / "runs/link").symlink_to(root / "figures")
    with pytest.raises(ValueError, match="must lie below"):
        owned(root / "runs/link/20_toy", root / "runs")
    assert owned(root / "runs/smoke/20_toy", root / "runs")


# ------------------------------------------------------------------ the text


def test_covers_lines_and_callouts_are_read(tmp_path):
    script = toy(tmp_path, "20_toy")
    text = (
        "# %% [markdown]\n# Covers: Eqs. 9–11, 16; Prop. 1; Figs. 2a–d, 3 left; Table 4; Listings"
        " 1 and 2\n#\n# **Deviation D2.** One\n# and two.\n#\n# **Deviation D10.** Ten.\n"
        "#\n# **Open point O1.** Which?\n"
    )
    script.write_text(script.read_text() + text)
    assert list(notebooks.coverage(tmp_path)) == [
        "Eq. 9", "Eq. 10", "Eq. 11", "Eq. 16", "Prop. 1", "Fig. 2", "Fig. 3", "Table 4",
        "Listing 1", "Listing 2",
    ]  # fmt: skip
    found = [(c.number, c.text, c.notebook) for c in notebooks.deviations(tmp_path)]
    assert found == [("D2", "One and two.", "20_toy"), ("D10", "Ten.", "20_toy")]
    assert [c.text for c in notebooks.callouts("Open point", tmp_path)] == ["Which?"]
    assert "| [20_toy](20_toy.ipynb) | A toy | Does it run? |" in notebooks.contents(root=tmp_path)
    script.write_text(script.read_text() + "\n# %% [markdown]\n# Covers: Equation 9\n")
    with pytest.raises(ValueError, match="20_toy: cannot read 'Equation 9'"):
        notebooks.coverage(tmp_path)


def test_callout_numbers_are_used_once():
    for kind in ("Deviation", "Open point", "Three sources"):
        numbers = [callout.number for callout in notebooks.callouts(kind, ROOT)]
        assert len(numbers) == len(set(numbers)), f"{kind}: {numbers}"
