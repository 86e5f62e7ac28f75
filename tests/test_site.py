"""The static site: what is generated for it, what its inspection finds, and the whole of it."""

import json
import re
import shutil
import subprocess

import nbformat
import pytest

from urgates import __main__
from urgates.lab import places
from urgates.lab.arguments import read
from urgates.lab.book import notebooks
from urgates.lab.book.ledger import CLAIMS
from urgates.lab.book.site import api, build, inspection, numbers, sources

ROOT = places.Path(__file__).resolve().parents[1]
PAGES = sources.PAGES
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_its_packages = pytest.mark.skipif(
    bool(build.missing()), reason=f"needs {', '.join(build.missing())}: the extra [site]"
)

# ------------------------------------------------------------------ what is generated


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ("§3.4, Figs. 7, 8", ["Fig. 7", "Fig. 8"]),
        ("§2.2, Eq. 9", ["Eq. 9"]),
        ("B.2, Prop. 1", ["Prop. 1"]),
        ("Fig. 3 left", ["Fig. 3"]),
        ("§3.3, Table 6a", ["Table 6"]),
        ("Eq. 16, D.5", ["Eq. 16"]),
        ("paper 2, Eq. 15", []),
        ("abstract", []),
    ],
)
def test_a_claims_place_names_items(section, found):
    assert numbers.mentioned(section) == found


def test_the_index_has_every_item_that_notebooks_cover_and_every_claim_once():
    items = numbers.items(ROOT)
    assert set(notebooks.coverage(ROOT)) <= set(items)
    assert items["Eq. 9"] == (["21_ur_lstm", "22_uniform_gate_init", "26a_uniform_U"], ["G03"])
    assert "G71" in items["Fig. 7"][1] and list(items)[:2] == ["Eq. 1", "Eq. 2"]
    index, claims = numbers.numbers(ROOT), numbers.claims(ROOT)
    assert "\n| [Eq. 9]{#eq-9} | [21](notebooks/21_ur_lstm.ipynb), " in index
    assert [name for name in CLAIMS if claims.count(f"\n| [{name}]{{#") != 1] == []
    for anchor in re.findall(r"\(claims\.md#([^)]+)\)", index):
        assert f"{{#{anchor}}}" in claims


def test_the_book_has_every_notebook_once_in_its_part():
    stems = [script.stem for script in places.find(root=ROOT)]
    trees = sources.book(stems)
    assert re.findall(r"^notebooks/(.+)$", trees, re.MULTILINE) == stems
    parts = re.findall(r"^:caption: (.+)$", trees, re.MULTILINE)
    assert parts == list(sources.PARTS.values())[1:]
    (appendices,) = (t for t in trees.split("```{toctree}") if "appendices" in t)
    assert re.findall(r"^notebooks/(\w+?)_", appendices, re.MULTILINE)[:2] == ["A", "B2"]
    assert "notebooks/E1_" in appendices and "notebooks/F" not in appendices


def test_the_api_has_every_public_name_once_with_its_text():
    pages = api.reference()
    assert set(pages["urgates"]) == set(__import__("urgates").__all__)
    names = [(module, name) for module in pages for name in pages[module]]
    values = [id(getattr(api.import_module(module), name)) for module, name in names]
    assert len({*values}) == len(values) > 100
    assert [f"{m}.{n}" for m, n in names if not api.text(m, n)] == []
    assert "torch.nn" in api.text("urgates", "LSTM") and "Table 1" in api.text("urgates", "GATES")


def test_a_constant_without_a_text_is_refused():
    with pytest.raises(ValueError, match=r"urgates\.lab\.places\.find must have a docstring below"):
        api.described("urgates.lab.places", "find")


@pytest.mark.parametrize(
    ("link", "folder", "page"),
    [
        ("23_refine_gate.ipynb", "notebooks", "notebooks/23_refine_gate"),
        ("notebooks/23_refine_gate.ipynb", "", "notebooks/23_refine_gate"),
        ("23_refine_gate.ipynb", "", None),
        ("99_none.ipynb", "notebooks", None),
        ("23_refine_gate.html", "notebooks", None),
        ("https://a.org/23_refine_gate.ipynb", "notebooks", None),
    ],
)
def test_a_link_to_a_notebooks_file_means_its_page(link, folder, page):
    assert sources.page_of(link, folder, {"index", "notebooks/23_refine_gate"}) == page


def test_sources_are_twins_pages_and_pictures(tmp_path):
    book = tmp_path / "book"
    (book / "notebooks").mkdir(parents=True)
    (book / "figures/00_start_here").mkdir(parents=True)
    (book / "figures/00_start_here/refine.png").write_bytes(b"picture")
    script = book / "notebooks/20_first.py"
    script.write_text("# %% [markdown]\n# # First\n#\n# **Why?**\n#\n# Covers: Eq. 1\n")
    with pytest.raises(ValueError, match=r"20_first\.ipynb must be there: run `urgates publish 20"):
        sources.gather(book, tmp_path / "none")
    nbformat.write(notebooks.read(script), script.with_suffix(".ipynb"))
    made = tmp_path / "made"
    sources.gather(book, made)
    assert (made / "notebooks/20_first.ipynb").read_bytes() == script.with_suffix(
        ".ipynb"
    ).read_bytes()
    assert (made / "figures/00_start_here/refine.png").read_bytes() == b"picture"
    text = (made / "index.md").read_text(encoding="utf-8")
    assert "notebooks/20_first\n" in text and "<!--" not in text
    assert "[20](notebooks/20_first.ipynb)" in (made / "numbers.md").read_text(encoding="utf-8")


def copied(book: places.Path, *stems: str) -> places.Path:
    """A checkout with these notebooks alone."""
    for folder in ("notebooks", "figures"):
        (book / folder).mkdir(parents=True)
    for stem in stems:
        for kind in (".py", ".ipynb"):
            shutil.copy(ROOT / f"notebooks/{stem}{kind}", book / "notebooks")
    shutil.copytree(ROOT / "figures/00_start_here", book / "figures/00_start_here")
    return book


# ------------------------------------------------------------------ our pages


def blocks(page: str) -> str:
    """The Python of a page of ours, as one program."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.+?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", ["howto/gate.md", "howto/task.md"])
def test_what_a_page_shows_runs(page, monkeypatch):
    from urgates.lab.tasks import TASKS

    monkeypatch.setitem(TASKS, "largest", None)
    code = blocks(page)
    assert code.count("\n") > 20
    exec(compile(code, page, "exec"), {"__name__": "page"})


def test_every_command_a_page_shows_is_one():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES.rglob("*.md"))
    lines = re.findall(
        r"(?:bin/|`|-m )urgates ((?:run|train|sweep|plan|data|time|publish)\b[^`\n]*)", text
    )
    assert len(lines) > 8
    for line in lines:
        words = [word for word in line.split() if word.isascii()]
        if "NOTEBOOK" not in words:
            assert read(words, __main__.ACTIONS).action, line


def test_whoever_is_cited_is_in_the_bibliography():
    known = (PAGES / "bibliography.md").read_text(encoding="utf-8")
    texts = "\n".join(script.read_text(encoding="utf-8") for script in places.find(root=ROOT))
    cited = re.findall(r"\b([A-Z][a-zé]+) et al\.,? \(?((?:19|20)\d\d[ab]?)\)?", texts)
    assert len({*cited}) > 5
    assert [who for who in cited if not re.search(rf"{who[0]}.*\({who[1]}\)", known)] == []


# ------------------------------------------------------------------ the inspection


def site(folder, **pages):
    for name, body in pages.items():
        text = f"<html><body>{body}</body></html>"
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return inspection.inspect(folder)


def test_links_that_lead_somewhere_are_fine(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/index.html").write_text("<h1 id='top'>x</h1>", encoding="utf-8")
    pages, problems = site(
        tmp_path,
        a="<p id='here'></p><a href='#here'>x</a><a href='b.html#%C3%A9'>x</a>"
        "<a href='sub/#top'>x</a><a href='https://a.org/b'>x</a><a href='mailto:a@b'>x</a>",
        b="<p id='é'></p>",
    )
    assert (problems, len(pages)) == ([], 3)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<a href='c.html'>x</a>", "a.html has a dead link to c.html"),
        ("<a href='#there'>x</a>", "a.html has a dead link to #there"),
        ("<a href='b.html#there'>x</a>", "a.html has a dead link to b.html#there"),
        ("<a href='../b.html'>x</a>", "a.html has a dead link to ../b.html"),
        ("<img src='none.png'>", "a.html has a dead link to none.png"),
        ("<script src='https://cdn.org/x.js'></script>", "a.html loads https://cdn.org/x.js"),
        ("<link rel='stylesheet' href='//cdn.org/x.css'>", "a.html loads //cdn.org/x.css"),
        ("<img src='HTTP://cdn.org/x.png'>", "a.html loads HTTP://cdn.org/x.png"),
        ("x" * 2_000_000, "a.html has 2,000,026 bytes, more than 2,000,000"),
    ],
)
def test_what_a_reader_must_not_meet_is_told(tmp_path, body, problem):
    assert site(tmp_path, a=body, b="<p id='here'></p>")[1] == [problem]


def test_pictures_count_and_styles_are_read(tmp_path):
    (tmp_path / "x.png").write_bytes(b"x" * 1_999_990)
    (tmp_path / "x.css").write_text("a {background: url('https://cdn.org/x.png')}")
    (tmp_path / "y.css").write_text("@import '//cdn.org/y.css'; a {background: url(x.png)}")
    _, problems = site(tmp_path, a="<img src='x.png'><img src='x.png'>")
    assert problems[0].startswith("a.html has 2,000,0")
    assert problems[1:] == ["x.css loads https://cdn.org/x.png", "y.css loads //cdn.org/y.css"]


# ------------------------------------------------------------------ the whole


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(build, "missing", lambda: [])
    (tmp_path / "mine.txt").touch()
    assert __main__.main(["site", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "out must be a new or empty folder, or an earlier site, got" in said
    assert said.count("\n") == 1 and (tmp_path / "mine.txt").exists()


def test_without_its_packages_the_command_says_which_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(build, "_NEEDED", {"no_such_module": "no-such-package"})
    assert __main__.main(["site", "--out", str(tmp_path / "site")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("urgates: this command needs no-such-package")
    assert said.endswith(": pip install 'urgates[site]'\n") and said.count("\n") == 1


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@needs_its_packages
def test_the_whole_book(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    out = tmp_path / "site"
    code, said = __main__.main(["site", "--out", str(out)]), capsys.readouterr().out
    assert code == 0, said  # no warning, no dead link, no request to another host, no heavy page
    pages = inspection.read(out)
    for script in places.find(root=ROOT):
        assert f"notebooks/{script.stem}.html" in pages
        assert (out / f"_sources/notebooks/{script.stem}.ipynb").exists()
    start = (out / "notebooks/00_start_here.html").read_text(encoding="utf-8")
    assert 'href="23_refine_gate.html"' in start and ".ipynb)" not in start
    assert '<details class="admonition hide above-input"' in start  # a cell that only plots
    mathjax = "_static/mathjax/tex-chtml.js"
    assert mathjax in start and (out / mathjax).exists()
    for module, names in api.reference().items():
        places_there = pages[f"api/{module}.html"].places
        assert [n for n in names if f"{module}.{n}" not in places_there] == []
    index = json.loads(
        re.search(r"\((.+)\)", (out / "searchindex.js").read_text(encoding="utf-8"), re.DOTALL)[1]
    )
    page = index["docnames"].index("notebooks/23_refine_gate")
    assert all(page in index["titleterms"][word] for word in ("refin", "gate"))


def found_in_a_browser(site: places.Path, query: str) -> list[str]:
    """The titles that the site's own search gives, best first."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    url = f"{(site / 'search.html').as_uri()}?q={query.replace(' ', '+')}"
    done = subprocess.run(
        [*command, "--virtual-time-budget=20000", url], capture_output=True, text=True, timeout=300
    )
    results = done.stdout.partition('id="search-results"')[2]
    titles = re.findall(r'<a href="[^"]+" data-score[^>]*>(.+?)</a>', results)
    return [re.sub("<[^>]+>", "", title) for title in titles]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@needs_its_packages
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_search_finds_first_the_page_that_is_called_so(tmp_path, monkeypatch):
    book = copied(tmp_path / "book", "00_start_here", "23_refine_gate", "26b_refine_R")
    monkeypatch.setattr(api, "MODULES", ("urgates.gates",))
    build.build(tmp_path / "site", book)  # of three pages, so there are dead links
    titles = found_in_a_browser(tmp_path / "site", "refine gate")
    assert titles[:2] == ["§2.3 The refine gate", "§2.6 R: the refine gate alone"]
    assert "Glossary" in titles and "Start here" in titles
