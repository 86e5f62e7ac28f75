"""`urgates claims --diff`: which verdicts and numbers a change of the book moves, by how much."""

import json
import subprocess

import pytest

from urgates.lab.book.changes import moved

ROWS = "gate,step,loss,valid\n-,1,0.5,\nUR,1,0.2,0.9\nUR,2,0,0.8\n"


def claims(**found):
    """A claims.json: verdict and ours by claim."""
    entries = {
        name: {"verdict": verdict, "ours": ours, "notebook": "31_toy"}
        for name, (verdict, ours) in found.items()
    }
    return json.dumps(entries)


@pytest.fixture
def book(tmp_path):
    """A checkout whose one revision has a claim each way, and a figure."""
    folder = tmp_path / "figures" / "31_toy"
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "copy.csv").write_text("step,loss\n1,2\n")
    (folder / "fig.csv").write_text(ROWS)
    kept = {
        "G01": ("seen", "loss 0.50, 3 of 1,200"),
        "G02": ("confirmed", "all"),
        "G03": ("seen", "x 1"),
    }
    (folder / "claims.json").write_text(claims(**kept))
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "all")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path, folder, kept


def test_nothing_has_moved_at_first(book):
    root, folder, _ = book
    (folder / "runs" / "copy.csv").write_text("step,loss\n1,3\n")  # is no figure's
    assert moved("HEAD", root) == "since HEAD: 0 verdicts, 0 numbers behind verdicts, 0 figures"


def test_verdicts_and_numbers_are_told_with_how_far_they_moved(book):
    root, folder, kept = book
    now = kept | {"G01": ("inconclusive", "loss 0.45, 3 of 1,500"), "G04": ("seen", "y")}
    now |= {"G03": ("seen", "x -1 and more")}
    del now["G02"]
    (folder / "claims.json").write_text(claims(**now))
    assert moved("HEAD", root).split("\n") == [
        *(
            "verdicts",
            "G01 (31_toy): seen → inconclusive",
            "G02 (31_toy): confirmed → not attempted",
        ),
        *("G04 (31_toy): not attempted → seen", "", "numbers behind verdicts"),
        "G01 (31_toy): loss 0.45, 3 of 1,500; 0.50 → 0.45 (-10 %), 1,200 → 1,500 (+25 %)",
        *("G03 (31_toy): x 1 → x -1 and more", ""),
        "since HEAD: 3 verdicts, 2 numbers behind verdicts, 0 figures",
    ]


def test_figures_are_compared_by_their_numbers(book):
    root, folder, _ = book
    other = ROWS.replace("UR,1,0.2,0.9", "UR,1,0.3,0.9").replace("UR,2,0,", "UR,2,0.01,")
    (folder / "fig.csv").write_text(other.replace("-,1,0.5,", "-,1,0.5,0.1"))
    (folder / "new.csv").write_text(ROWS)
    assert moved("HEAD", root).split("\n")[1:4] == [
        "31_toy/fig.csv: loss moved in 2 of 3 rows, most in row 2: 0.2 → 0.3 (+50 %)",
        "31_toy/fig.csv: valid moved in 1 of 3 rows, most in row 1: nan → 0.1 (–)",
        "31_toy/new.csv: new",
    ]
    (folder / "fig.csv").write_text(ROWS + "O,1,1,1\n")
    assert "fig.csv: other rows: 3 of gate, step, loss, valid → 4 of" in moved("HEAD", root)
    (folder / "fig.csv").unlink()
    assert "fig.csv: gone" in moved("HEAD", root)


@pytest.mark.parametrize("revision", ["nothing", "--help", ""])
def test_a_revision_that_git_does_not_know_is_refused(book, revision):
    with pytest.raises(ValueError, match="diff must be a revision that git knows, got"):
        moved(revision, book[0])
