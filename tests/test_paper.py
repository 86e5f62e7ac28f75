"""The book is complete: the paper's numbered items, its claims, and what README says."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

import urgates
from urgates.lab.book import figures, notebooks
from urgates.lab.book.claims import HEADLINES, TABLES, VERDICTS, counts, stored, summary
from urgates.lab.book.ledger import CLAIMS
from urgates.lab.experiments import STANDS_FOR, protocol

ROOT = Path(__file__).resolve().parents[1]
UNATTEMPTED = {"G72", "G93", "G96"}
README = (ROOT / "README.md").read_text(encoding="utf-8")
ITEMS = [
    *(f"Eq. {n}" for n in range(1, 38)),
    *(f"Prop. {n}" for n in range(1, 5)),
    *(f"Fig. {n}" for n in (1, 2, 3, 4, 7, 8, 9, 10)),
    *(f"Table {n}" for n in (1, 4)),
    *(f"Listing {n}" for n in (1, 2)),
]


def between(mark: str) -> str:
    """What README holds between two markers."""
    return README.split(f"<!-- {mark} -->\n")[1].split(f"\n<!-- /{mark} -->")[0]


def fenced(mark: str) -> str:
    """The code block between two markers of README."""
    return re.fullmatch(r"```\w+\n(.+)\n```", between(mark), re.DOTALL)[1]


def beside_the_papers(task: str) -> str:
    """What `laptop` trains, the paper's own value in brackets where it is another."""
    ours, theirs = protocol(task, "laptop"), protocol(STANDS_FOR.get(task, task), "paper")

    def pair(pattern, a, b):
        return pattern.format(f"{a:,}") + f" ({b:,})" * (a != b)

    return ", ".join(
        [
            pair("H {}", ours.hidden, theirs.hidden),
            pair("N {}", ours.make_task().length, theirs.make_task().length),
            pair("{} steps", ours.steps, theirs.steps),
            pair("batch {}", ours.batch, theirs.batch),
        ]
    )


@pytest.mark.parametrize(
    ("page", "tasks"),
    [
        ("31", ("copy", "adding")), ("32", ("pmnist",)), ("32a", ("scifar",)),
        ("32b", ("pmnist",)), ("32c", ("smnist-zoneout", "pmnist-zoneout", "scifar-zoneout")),
        ("32d", ("pmnist",)), ("32e", ("pmnist-long",)), ("33", ("ptb",)), ("E1", ("forgetting",)),
        ("34", ("passive", "active")), ("E2", ("active-5",)),
        ("E3", ("addition", "control", "program", "farthest")),
    ],
)  # fmt: skip
def test_a_page_says_at_its_top_how_small_its_runs_are(page, tasks):
    (script,) = notebooks.find([page], ROOT)
    title, short, *_ = (cell.source for cell in notebooks.read(script).cells)
    for task in tasks:
        assert beside_the_papers(task) in title
    assert short.startswith("**In short.** ") and len(short.split("\n")) <= 5


@pytest.fixture(scope="module")
def coverage():
    return notebooks.coverage(ROOT)


@pytest.mark.parametrize("item", ITEMS)
def test_every_numbered_item_has_its_place(item, coverage):
    assert coverage.get(item), f"no notebook says that it covers {item}"


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_decided_in_its_notebook(name):
    claim, entry = CLAIMS[name], stored(ROOT / "figures").get(name)
    if name in UNATTEMPTED:
        assert not entry, f"{name} is decided: no longer among those not attempted"
        return
    assert notebooks.find([claim.notebook], ROOT)
    assert entry, f"{claim.notebook} has not been published with a verdict on {name}"
    assert entry["notebook"] == claim.notebook and entry["verdict"] in VERDICTS
    assert claim.kind in ("trained", "measured") or entry["verdict"] in VERDICTS[:3]


def test_what_a_page_says_in_short_is_what_was_decided():
    found, names = stored(ROOT / "figures"), []
    for script in notebooks.find(root=ROOT):
        starts = [cell.source for cell in notebooks.read(script).cells[1:2]]
        text = "\n".join(cell for cell in starts if cell.startswith("**In short"))
        assert text.count("\n") < 5, f"{script.stem} is not short"
        for word, part in re.findall(r"\*([A-Z][a-z ]+)\*:([^*]*)", text):
            names += (said := re.findall(r"\b[FG]\d\d(?:-\w+|T)?", part.replace("–", " ")))
            assert {found[name]["verdict"] for name in said} == {word.lower()}, script.stem
    assert len(names) >= 40


def test_no_verdict_is_about_an_unknown_claim():
    for path in (ROOT / "figures").glob("*/claims.json"):
        assert set(json.loads(path.read_text(encoding="utf-8"))) <= set(CLAIMS), path


def test_readme_is_generated_from_the_present_state():
    assert between("claims") == summary(ROOT / "figures"), "run `urgates claims`"
    assert between("notebooks") == notebooks.contents("notebooks/", ROOT), "run `urgates claims`"


def test_the_summary_counts_every_claim_once():
    found = stored(ROOT / "figures")
    assert sum(sum(counts(title, found).values()) for title in TABLES) == len(found)
    assert len(HEADLINES) == 8 and set(HEADLINES) <= set(found)
    shown = [line for line in between("claims").splitlines() if line.startswith("| §")]
    assert all(f"{found[name]['verdict']}" in between("claims") for name in HEADLINES), shown


def test_the_host_runs_the_two_commands():
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    steps = {step["name"]: step["run"] for step in workflow["jobs"]["readme"]["steps"][2:]}
    assert steps == {mark: fenced(mark) for mark in ("tests", "run")}


def test_the_files_about_the_project_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    flat = " ".join(README.split())
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert cited["version"] == project["version"] == urgates.__version__
    assert cited["license"] == project["license"] == "Apache-2.0"
    assert "Apache License\n" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert cited["authors"] == project["authors"] == [{"name": "urgates contributors"}]
    assert f"## [{project['version']}]" in changes and "## [Unreleased]" in changes
    assert len(cited["references"]) == 2 and all(p["title"] in flat for p in cited["references"])


def test_the_two_commands():
    venv = "python3 -m venv .venv && .venv/bin/pip install -e"
    assert fenced("run") == f"{venv} '.[lab]' && .venv/bin/urgates run"
    assert fenced("tests") == f"{venv} '.[test]' && .venv/bin/pytest"
    assert "<!-- tests -->" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize(("gate", "low", "high"), [("UR", 0.0, 0.2), ("-", 0.7, 1.5)])
def test_the_reuse_example_learns_where_the_plain_gate_does_not(gate, low, high):
    """A constant answer scores 1."""
    code = fenced("reuse")
    assert len(code.split("\n")) <= 15 and code.count('"UR"') == 1
    code = code.replace('"UR"', f'"{gate}"')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses = [float(line.split("loss ")[1]) for line in done.stdout.splitlines()]
    assert len(losses) == 4 and losses[0] > 0.9 and low <= losses[-1] < high


def test_readme_describes_its_picture_as_the_book_does():
    pictures = re.findall(r"!\[(.+?)\]\(figures/(\w+)/(\w+)\.png\)", README)
    assert pictures
    for text, notebook, name in pictures:
        assert text == figures.described(notebook, name)["alt"]


def test_files_that_readme_names_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    named = re.findall(r"(?:^|\s)((?:notebooks|figures|tests)/[\w./]+)", README, re.MULTILINE)
    missing = [name for name in links + named if not (ROOT / name.rstrip("/.")).exists()]
    assert links and not missing


def test_two_notebooks_tell_the_same_cost_of_a_gate():
    """26 times a step of its own, D repeats it, X1 takes turns with torch: published together."""
    cost = pd.read_csv(ROOT / "figures/26_gate_ablations/cost.csv").set_index("layer")
    turns = pd.read_csv(ROOT / "figures/X1_kernels/runs/lstm_laptop.csv").query("hidden == 256")
    for gate in ("-", "U", "UR"):
        ratio = cost.loc[gate, "time / torch.nn.LSTM"] / turns.set_index("gate").ratio[gate]
        assert 1 / 1.35 < ratio < 1.35, f"{gate}: publish 26 again on a quiet machine"


def test_learning_rates_are_not_rounded_away():
    shown = []
    for twin in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(twin, as_version=4).cells:
            for output in cell.get("outputs", ()):
                shown += rates(output.get("data", {}).get("text/plain", ""))
    assert shown and min(shown) > 0


def rates(text: str) -> list[float]:
    """The numbers below the heading `lr` of a printed table."""
    head, *rows = text.splitlines() or [""]
    if "lr" not in head.split():
        return []
    back = head.split().index("lr") - len(head.split())
    cells = [row.split() for row in rows if "NaN" not in row]
    return [float(row[back]) for row in cells if len(row) > 1]  # one: what the rows are called


def test_conda_installs_what_pyproject_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pins = ["python=3.11", "pip", {"pip": ["-e .[test]"]}]
    assert environment["dependencies"] == pins, "pins of packages belong in pyproject.toml"
