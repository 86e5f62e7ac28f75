"""The command line: wrong usage is one line and exit code 2, help is short, gates may be -."""

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from urgates import __main__, __version__
from urgates.lab import experiments, places
from urgates.lab.book import contenders, timing
from urgates.lab.store.files import locked

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    *("run", "publish", "sweep", "plan", "train"),
    *("list", "time", "gpu", "claims", "site", "data"),
)
WHOLE, LIST = "must be a whole number of at least 1", "must be whole numbers of at least 1"

# arguments · what the line must name · what came · what was expected
BAD = [
    ("", "COMMAND", "", "required"),
    ("bench", "COMMAND", "'bench'", "'time'"),
    ("runs 31", "COMMAND", "'runs'", "'run'"),
    ("--gates UR", "COMMAND", "'UR'", "'run'"),
    ("run 99", "notebook", "'99'", "must be one of 00_start_here"),
    ("run 31 99", "notebook", "'99'", "must be one of 00_start_here"),
    ("run 31.py.txt", "notebook", "'31.py.txt'", "must be one of"),
    ("run -- -1", "notebook", "'-1'", "must be one of"),
    ("run --fast", "argument", "'--fast'", "expected usage: urgates run"),
    ("run 31 --recomp", "argument", "'--recomp'", "[--recompute]"),
    ("run --preset", "--preset", "", "expected one argument"),
    ("run --preset huge", "--preset", "'huge'", "must be one of smoke, laptop, paper"),
    ("run --preset=", "--preset", "''", "must be one of smoke, laptop, paper"),
    ("run --preset Paper", "--preset", "'Paper'", "must be one of smoke, laptop, paper"),
    ("run --preset ../figures", "--preset", "'../figures'", "must be one of smoke, laptop, paper"),
    ("run 34 --preset paper", "preset paper", "34_reinforcement", "34 --preset paper --recom"),
    ("run F5 X1 --preset paper", "preset paper", "F5_fast_gate, X1_", "run F5 X1 --preset paper"),
    ("sweep juggling", "tasks", "juggling", "must be among pmnist-torch"),
    ("sweep --jobs 0", "--jobs", "'0'", WHOLE),
    ("sweep --limit-minutes 0", "--limit-minutes", "'0'", WHOLE),
    ("sweep --preset paper", "TASK", "none", "must be given with --preset"),
    ("sweep juggling --preset paper", "task", "'juggling'", "must be one of fig3, table2"),
    ("sweep ptb --preset paper", "preset", "'paper'", "must be one of smoke, laptop for task"),
    ("sweep pmnist --preset paper --cell gru", "notebook", "gru", "must be given"),
    ("sweep copy --models 3", "--models", "no preset", "must be given with --preset"),
    ("sweep copy --cell gru", "--cell", "no preset", "must be given with --preset"),
    ("sweep --engine steam", "--engine", "'steam'", "must be one of processes, ray"),
    ("sweep copy --engine processes --address a:1", "address", "'a:1'", "left out without Ray"),
    ("sweep --gpus 0", "--gpus", "'0'", "must be a number above 0"),
    ("sweep --gpus many", "--gpus", "'many'", "must be a number above 0"),
    ("plan juggling", "tasks", "juggling", "must be among pmnist-torch"),
    ("plan copy --preset paper --gates XX", "gate", "'XX'", "must be one of"),
    ("plan copy --preset paper --steps 0", "--steps", "'0'", WHOLE),
    ("plan copy --preset paper --device abacus", "device", "'abacus'", "must be auto, cpu"),
    ("plan --status", "argument", "'--status'", "expected usage: urgates plan"),
    ("train", "TASK", "", "required: TASK, --preset"),
    ("train ptb", "--preset", "", "required"),
    ("train ptb --preset huge", "--preset", "'huge'", "must be one of smoke, laptop, paper"),
    ("train juggling --preset paper", "task", "'juggling'", "must be one of copy"),
    ("train ptb --preset paper", "preset", "'paper'", "must be one of smoke, laptop for task"),
    ("train ptb --preset smoke --gate XX", "gate", "'XX'", "must be one of"),
    ("train copy --preset smoke --cell rnn", "notebook", "rnn", "must be given"),
    ("train ptb --preset smoke --seeds 0", "--seeds", "'0'", LIST),
    ("train ptb --preset smoke --seeds 1,1", "--seeds", "'1,1'", "must be different values"),
    ("train ptb --preset smoke --device abacus", "device", "'abacus'", "must be auto, cpu"),
    ("train ptb --preset smoke --limit-minutes 0", "--limit-minutes", "'0'", WHOLE),
    ("train ptb --preset smoke --notebook 99", "notebook", "'99'", "must be one of 00_start"),
    ("train pmnist --preset smoke --cell gru", "notebook", "gru", "must be given"),
    ("run --jobs 0", "--jobs", "'0'", WHOLE),
    ("run --jobs -1", "--jobs", "'-1'", WHOLE),
    ("run --jobs two", "--jobs", "'two'", WHOLE),
    ("run --jobs 1.5", "--jobs", "'1.5'", WHOLE),
    ("run --jobs", "--jobs", "", "expected one argument"),
    ("run -p", "-p/--parameter", "", "expected one argument"),
    ("run -p gates", "-p/--parameter", "'gates'", "must be NAME=VALUE"),
    ("run -p =UR", "-p/--parameter", "'=UR'", "must be NAME=VALUE"),
    ("run 31 -p sede=1", "31_synthetic_memory", "'sede'", "must be one of preset, recompute"),
    ("run 20 -p gates=UR", "20_gated_rnns", "'gates'", "must be one of"),
    ("run 31 -p gates=UR,UR", "gates", "'UR,UR'", "must have every name once"),
    ("run 31 -p gates=XX", "gate", "'XX'", "must be one of"),
    ("run 31 -p gates=", "gate", "''", "must be one of"),
    ("run 31 -p seeds=-1", "seeds", "-1", "must be a whole number"),
    ("run 31 -p seeds=1.5", "seeds", "'1.5'", "must be of type int"),
    ("run 31 -p seeds=1 -p seeds=2", "seeds", "'1' and '2'", "must be given once"),
    ("run 31 -p limit_minutes=-1", "limit_minutes", "-1.0", "must be 0 (no limit) or more"),
    ("run 31 -p limit_minutes=nan", "limit_minutes", "nan", "must be 0 (no limit) or more"),
    ("run 31 -p limit_minutes=soon", "limit_minutes", "'soon'", "must be of type float"),
    ("run 31 -p device=abacus", "device", "'abacus'", "must be auto, cpu, cuda or cuda:N"),
    ("run 31 -p device=cuda:99", "device", "'cuda:99'", "must be auto, cpu, cuda or cuda:N"),
    ("run 31 -p preset=paper", "preset", "preset=paper", "must be given as --preset"),
    ("run 31 -p preset=../figures", "preset", "preset=../figures", "must be given as --preset"),
    ("run 31 -p recompute=yes", "recompute", "recompute=yes", "must be given as --recompute"),
    ("publish 99", "notebook", "'99'", "must be one of 00_start_here"),
    ("publish --jobs 0", "--jobs", "'0'", WHOLE),
    ("publish --preset paper", "argument", "'--preset'", "expected usage: urgates publish"),
    ("list 31", "argument", "'31'", "expected usage: urgates list"),
    ("claims --json", "argument", "'--json'", "expected usage: urgates claims"),
    ("claims --diff", "--diff", "", "expected one argument"),
    ("claims --diff nothing", "diff", "'nothing'", "must be a revision that git knows"),
    ("site notebooks", "argument", "'notebooks'", "expected usage: urgates site"),
    ("site --out", "--out", "", "expected one argument"),
    ("data imagenet", "NAME", "'imagenet'", "must be one of mnist, cifar10"),
    ("data digits", "NAME", "'digits'", "must be one of mnist, cifar10"),
    ("time 64", "argument", "'64'", "expected usage: urgates time"),
    ("time --hidden 0", "--hidden", "'0'", LIST),
    ("time --hidden x", "--hidden", "'x'", LIST),
    ("time --hidden 64,,8", "--hidden", "'64,,8'", LIST),
    ("time --hidden 64,64", "--hidden", "'64,64'", "must be different values"),
    ("time --hidden -5,3", "--hidden", "'-5,3'", LIST),
    ("time --time 0", "--time", "'0'", LIST),
    ("time --batch -1", "--batch", "'-1'", LIST),
    ("time --inputs 1.5", "--inputs", "'1.5'", LIST),
    ("time --models many", "--models", "'many'", LIST),
    ("time --gates XX", "gate", "'XX'", "must be one of"),
    ("time --gates UR,UR", "--gates", "'UR,UR'", "must be different values"),
    ("time --gates -,-", "--gates", "'-,-'", "must be different values"),
    ("time --gates", "--gates", "", "expected one argument"),
    ("time --cell rnn", "cell", "'rnn'", "must be one of lstm, gru"),
    ("time --provider x", "provider", "'x'", "must be one of urgates, plain loop"),
    ("time --rival x", "rival", "'x'", "must be one of torch.nn, urgates"),
    ("time --dtype float8", "dtype", "'float8'", "must be one of float32"),
    ("time --graphs --device cpu", "graphs", "'cpu'", "must be False without a GPU"),
    ("time --device abacus", "device", "'abacus'", "must be auto, cpu, cuda or cuda:N"),
    ("time --device meta", "device", "'meta'", "must be auto, cpu, cuda or cuda:N"),
    ("time --threads -2", "--threads", "'-2'", WHOLE),
    ("time --threads 0", "--threads", "'0'", WHOLE),
    ("time --threads all", "--threads", "'all'", WHOLE),
    ("time --pairs 0", "--pairs", "'0'", WHOLE),
    ("gpu X1", "argument", "'X1'", "expected usage: urgates gpu"),
    ("gpu --minutes 0", "--minutes", "'0'", "must be a number above 0"),
    ("gpu --preset laptop", "--preset", "'laptop'", "must be one of smoke, paper"),
    ("gpu --device abacus", "device", "'abacus'", "must be auto, cpu, cuda or cuda:N"),
    ("gpu --device cuda:99", "device", "'cuda:99'", "stay 'not measured'; urgates gpu"),
    ("gpu --device meta --preset smoke", "device", "'meta'", "must be auto, cpu, cuda or cuda:N"),
    ("gpu --device cpu", "preset", "'paper'", "must be smoke on a CPU"),
    ("time --csv nowhere/times.csv", "csv", "'nowhere/times.csv'", "in a folder that exists"),
    ("time --csv notebooks", "csv", "'notebooks'", "must be a file"),
]  # fmt: skip


@pytest.fixture
def main(monkeypatch, capsys):
    """Run a command in the checkout, where nothing may be executed: its code and what it said."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(__main__, "_execute", lambda *_, **__: pytest.fail("it would execute"))
    monkeypatch.setattr(timing, "_row", lambda *_: pytest.fail("it would measure"))

    def run(line):
        code = __main__.main(line.split())
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("line", "name", "came", "expected"), BAD, ids=[row[0] for row in BAD])
def test_wrong_usage_is_one_line_that_names_what_came_and_what_was_expected(
    main, line, name, came, expected
):
    code, out, err = main(line)
    assert code == 2 and out == ""
    assert re.fullmatch(r"urgates: [^\n]+\n", err), err
    assert name in err and came in err and expected in err, err


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "run 31",
        "publish",
        "list",
        "claims",
        "site",
        "sweep",
        "plan",
        "train ptb --preset smoke",
    ],
)
def test_outside_a_checkout_it_says_where_it_looked(main, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    code, out, err = main(command)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"no notebooks in {tmp_path / 'notebooks'}" in err and "work in a clone" in err


@pytest.mark.parametrize("line", ["--gates -,UR", "--gates=-,UR", "--gates UR,-", "--gates -"])
def test_the_plain_gate_may_come_first(main, monkeypatch, line):
    cases = []
    monkeypatch.setattr(timing, "measure", lambda some, *_, **__: cases.extend(some))
    code, _, err = main(f"time {line} --hidden 8 --device cpu")
    assert (code, err) == (0, "")
    assert [case.gate for case in cases] == line.removeprefix("--gates")[1:].split(",")


def test_measure_itself_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="threads must be a positive int, got 0"):
        timing.measure([], threads=0)
    with pytest.raises(ValueError, match="graphs must be False without a GPU"):
        timing.measure([contenders.Case(graphs=True)], device="cpu")


def test_help_shows_examples_and_choices(main, capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main(f"{command} --help")
        said = capsys.readouterr().out
        assert end.value.code == 0 and "example" in said
        assert f"  urgates {command}" in said or f"  URGATES_DATA=/data urgates {command}" in said
        if command == "run":
            for word in ("--preset {smoke,laptop,paper}", "limit_minutes=600", "device=cuda:1"):
                assert word in said
    with pytest.raises(SystemExit):
        main("--version")
    assert capsys.readouterr().out == f"urgates {__version__}\n"


def test_list_names_every_notebook_and_its_presets(main):
    code, out, _ = main("list")
    lines = out.splitlines()
    assert code == 0 and [line.split()[0] for line in lines[:-2]] == [
        script.stem for script in places.find(root=ROOT)
    ]
    (line,) = (line for line in lines if line.startswith("32a_"))
    assert line.split() == ["32a_sequential_cifar", "laptop", "§3.2", "Sequential", "CIFAR-10"]
    assert "20_gated_rnns                   exact" in out


def test_the_queue_tells_its_state(main):
    code, out, _ = main("sweep --status copy")
    assert code == 0 and "waiting" in out and out.splitlines()[0].split()[:2] == ["task", "preset"]
    assert "0 of " in out.splitlines()[-1] and "forgetting" not in out


def test_a_task_is_trained_where_its_notebook_reads_it_and_goes_on(main, monkeypatch, tmp_path):
    for place in ("urgates", "notebooks"):
        (tmp_path / place).mkdir()
    for name in ("31_synthetic_memory", "32b_gru"):
        (tmp_path / f"notebooks/{name}.py").touch()
    monkeypatch.chdir(tmp_path)
    line = "train copy --preset smoke --gate - --seeds 2,3 --device cpu"
    p = replace(experiments.protocol("copy", "smoke"), steps=20)
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "smoke"), p)
    folder = tmp_path / "runs/smoke/31_synthetic_memory/runs"
    for _ in range(2):
        code, out, err = main(line)
        assert (code, err) == (0, "") and out.endswith(
            "copy_lstm_-_smoke_s2+3: 20 of 20 steps, in runs/smoke/31_synthetic_memory/runs\n"
        )
        assert {path.name for path in folder.glob("*.csv")} == {
            "copy_lstm_-_smoke_s2.csv",
            "copy_lstm_-_smoke_s3.csv",
        }
    assert main(f"{line} --cell gru --notebook 32b")[0] == 0
    assert len([*(tmp_path / "runs/smoke/32b_gru/runs").glob("copy_gru_-_smoke_s*.csv")]) == 2
    with locked(folder / "copy_lstm_-_smoke_s3.lock"):
        code, _, err = main(line)
        assert code == 2 and "another process is training this run" in err and err.count("\n") == 1
    (folder / "copy_lstm_-_smoke_s2+3.safetensors").write_bytes(b"damaged")
    code, _, err = main(line)
    assert code == 2 and "is damaged" in err and err.count("\n") == 1


def test_every_task_s_notebook_is_there():
    for task, _ in experiments.PROTOCOLS:
        with suppress(ValueError):
            assert places.find([experiments.notebook(task)], root=ROOT), task
    assert experiments.notebook("wikitext103-tmax8") == "33_language_modeling"
    assert experiments.notebook("forgetting-split") == "E1_synthetic_forgetting"
    assert experiments.notebook("active-1-rma", "rma") == "34_reinforcement_learning"
    assert experiments.notebook("active-5-dnc", "dnc") == "E2_more_reinforcement_learning"


def test_without_stored_runs_the_whole_book_says_what_it_leaves_out(main, monkeypatch):
    ran = []

    def execute(_, scripts, **__):
        ran.extend(script.stem for script in scripts)
        return 0

    monkeypatch.setattr(__main__, "_execute", execute)
    code, out, _ = main("run --preset paper")
    assert code == 0 and "20_gated_rnns" in ran and "32b_gru" not in ran
    assert "left out: preset paper has no stored runs of 32_pixel_images" in out
    ran.clear()
    assert main("run 32b --preset paper --recompute")[0] == 0 and ran == ["32b_gru"]
    assert main("run 32b --preset laptop")[0] == 0 and main("run 32b")[0] == 0


def test_data_says_what_it_compared(main, monkeypatch, tmp_path):
    from urgates.lab.tasks import corpus, data

    files = [tmp_path / "one", tmp_path / "two"]
    monkeypatch.setattr(data, "load", lambda name: None)
    monkeypatch.setattr(data, "download", lambda name: files)
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", "cifar10")
    code, out, _ = main("data")
    assert code == 0 and out.splitlines() == [
        f"mnist: 2 files in {tmp_path}, as published",
        f"cifar10: 2 files in {tmp_path}, not compared with the published",
    ]
    read = []
    monkeypatch.setattr(corpus, "load", read.append)
    code, out, _ = main("data ptb wikitext103")
    assert code == 0 and read == ["ptb", "wikitext103"] and out.count("as published") == 2
