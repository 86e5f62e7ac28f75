"""In a real browser: the site's pages, its figures with sliders, and JupyterLab."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nbformat
import pytest
import sympy
from test_twins import FIGURES

from urgates.gates import refine
from urgates.lab.book.site import build, inspection
from urgates.symbolic import javascript

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs a browser: Chromium, and `pip install playwright`"
)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"),
]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that fails its test for an error, or for a request to anywhere but the own machine.

    JupyterLab's own console aside: it asks for settings that nobody has made.
    """
    wrong = []
    page = browser.new_page(viewport=DESK)
    page.set_default_timeout(120_000)  # the machine may be busy
    page.on("pageerror", lambda error: wrong.append(str(error)))
    console = lambda said: said.type == "error" and "/lab/" not in page.url  # noqa: E731
    page.on("console", lambda said: wrong.append(said.text) if console(said) else None)
    ours = ("file:", "data:", "blob:", "about:", "http://127.0.0.1", "ws://127.0.0.1")
    page.on("request", lambda r: None if r.url.startswith(ours) else wrong.append(r.url))
    yield page
    page.close()
    assert wrong == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole book as a site: its folder, and its address."""
    if absent := build.missing():
        pytest.skip(f"needs {', '.join(absent)}: the extra [site]")
    folder = build.build(tmp_path_factory.mktemp("book") / "site", ROOT).folder
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def notebook(site: tuple[Path, str], stem: str) -> str:
    return f"{site[1]}/notebooks/{stem}.html"


# ------------------------------------------------------------------ the site

RAW = r"""() => {
    const main = document.querySelector("main").cloneNode(true);
    main.querySelectorAll("pre, code, script, .math").forEach((e) => e.remove());
    return main.textContent.match(/\\[a-zA-Z]{2,}.{0,40}|\$\$/)?.[0]; }"""
"""A formula that is not to be typeset."""


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_render_and_are_no_wider_than_the_screen(site, page, size):
    page.set_viewport_size(size)
    names = list(inspection.read(site[0]))
    assert len(names) > 60
    wide, raw = {}, {}
    for name in names:
        page.goto(f"{site[1]}/{name}")
        assert page.locator("main h1, main h2").locator("visible=true").first.is_visible(), name
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > size["width"]:
            wide[name] = width
        if found := page.evaluate(RAW):
            raw[name] = found
    assert (wide, raw) == ({}, {})


def test_equations_are_typeset_without_a_network(site, page):
    page.goto(notebook(site, "23_refine_gate"))
    page.wait_for_selector("mjx-container mjx-math")
    assert page.locator("mjx-container").count() > 20 and page.locator("mjx-merror").count() == 0


def test_search_finds_the_refine_gate(site, page):
    page.goto(site[1])
    page.keyboard.press("Control+k")
    page.keyboard.type("refine gate")
    page.keyboard.press("Enter")
    first = page.locator("#search-results li a").first
    first.wait_for()
    assert first.inner_text() == "§2.3 The refine gate"


REACHABLE = """() => [...document.querySelectorAll(
    'a[href], button, input, select, summary, [tabindex="0"]')].filter((e) =>
    !e.disabled && e.tabIndex >= 0 && e.checkVisibility({visibilityProperty: true}))"""


@pytest.mark.parametrize("stem", ["23_refine_gate", "X4_your_own_gate"])
def test_the_keyboard_reaches_everything(site, page, stem):
    page.goto(notebook(site, stem))
    page.wait_for_selector("mjx-container")
    page.evaluate(f"window.all = ({REACHABLE})(); window.reached = new Set()")
    count = page.evaluate("window.all.length")
    assert count > 60
    for _ in range(count + 200):  # the theme has some that stand in none of these lists
        page.keyboard.press("Tab")
        page.evaluate("window.reached.add(document.activeElement)")
    missed = "window.all.filter((e) => !window.reached.has(e)).map((e) => e.outerHTML.slice(0, 99))"
    assert page.evaluate(missed) == []
    assert page.evaluate("[...window.reached].some((e) => e.closest('.twin'))")


# ------------------------------------------------------------------ figures with sliders


def drawn(page) -> str:
    return page.locator(".twin-panels").inner_html()


@pytest.mark.parametrize("stem", FIGURES)
def test_every_control_moves_its_figure(site, page, stem):
    page.set_viewport_size(PHONE)
    page.goto(notebook(site, stem))
    twin = page.locator(".twin")
    assert twin.count() == 1 and twin.locator("p").count() == 0
    assert "NaN" not in drawn(page) and "undefined" not in twin.inner_html()
    for slider in twin.locator("input[type=range]").all():
        start = slider.input_value()
        if stem == "X4_your_own_gate":  # what a start does not have moves nothing
            label = slider.locator("xpath=..").inner_text()
            options = {"chrono": "chrono", "constant": "constant bias"}
            word = next((o for w, o in options.items() if w in label), "uniform")
            twin.locator("select").nth(1).select_option(word)
        before = drawn(page)
        slider.focus()
        for _ in range(9):
            page.keyboard.press("ArrowLeft")
        assert int(slider.input_value()) == int(start) - 9 and drawn(page) != before
    for select in twin.locator("select").all():
        before = drawn(page)
        select.select_option(index=1 - bool(select.input_value() == "1"))
        assert drawn(page) != before


def test_a_slider_says_what_the_library_says(site, page):
    page.goto(notebook(site, "23_refine_gate"))
    said = page.locator(".twin-readings")
    assert said.inner_text().split("\n") == ["g = 0.99", "D of f = 10 steps", "D of g = 100 steps"]
    _, r = page.locator(".twin input").all()
    r.fill("50")
    assert said.inner_text().startswith(f"g = {refine(0.9, 0.25):.3g}")


def test_a_reader_writes_a_formula(site, page):
    page.goto(notebook(site, "X4_your_own_gate"))
    field, said = page.locator(".twin input[type=text]"), page.locator(".twin-readings")
    field.fill("-f**2 + 2*f")
    assert said.inner_text().split("\n")[0] == "g(0.9, 0) = 0.99"
    before = drawn(page)
    for wrong in ("f +", "f * x", "1 / (f - r)"):
        field.fill(wrong)
        assert field.get_attribute("aria-invalid") == "true" and drawn(page) == before
        assert page.locator(".twin input[type=text] + output").inner_text()
    field.fill("max(f, r)")
    assert field.get_attribute("aria-invalid") == "false" and drawn(page) != before


def expressions(value) -> list[sympy.Expr]:
    """All that a twin computes."""
    if isinstance(value, sympy.Basic):
        return [value]
    if isinstance(value, dict):
        return expressions([*value.values()])
    return (
        [e for part in value for e in expressions(part)] if isinstance(value, list | tuple) else []
    )


@pytest.mark.parametrize("stem", FIGURES)
def test_javascript_computes_what_sympy_does(page, stem):
    own = sympy.Function("own")
    found = [e.replace(own, lambda f, r: f * r) for e in expressions(FIGURES[stem]())]
    assert len(found) > 8
    for place in (0.15, 0.5, 0.85):
        values = {"T": 30.0, "H": 64.0, "k": 3.0, "phi": 1.0, "start": 2.0}
        names = {str(symbol) for e in found for symbol in e.free_symbols}
        values = {name: values.get(name, place) for name in names}
        calls = f"[{', '.join(f'({javascript(e)})(v)' for e in found)}]"
        ours = page.evaluate(f"(v) => {calls}", values)
        exact = [float(e.subs({s: values[str(s)] for s in e.free_symbols})) for e in found]
        assert ours == pytest.approx(exact, rel=1e-9)


# ------------------------------------------------------------------ JupyterLab


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a committed copy of the book: a notebook's address, and the copy."""
    book = tmp_path / "book"
    for folder in ("notebooks", "figures"):
        shutil.copytree(ROOT / folder, book / folder, ignore=shutil.ignore_patterns("runs", ".*"))
    shutil.copy(ROOT / ".gitignore", book)
    (book / "urgates").mkdir()  # makes it a checkout, see places.py
    git(book, "init", "-q")
    git(book, "add", "-A")
    git(book, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "book")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
            *("--IdentityProvider.token=t", f"--ServerApp.root_dir={book}"),
            "--expose-app-in-browser",
        ],
        env=os.environ | settings(tmp_path / "jupyter"),
        stdout=(tmp_path / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{{}}.ipynb?reset&token=t", book
    finally:
        process.terminate()
        process.wait(30)


def settings(home: Path) -> dict[str, str]:
    """Nothing of the user's: Jupyter's folders, with our server extension, and without news."""
    place = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    folders = {"CONFIG": "config", "RUNTIME": "runtime", "DATA": "data"}
    return {f"JUPYTER_{name}_DIR": str(home / folder) for name, folder in folders.items()} | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_PATH": str(ROOT / "data/etc/jupyter"),
        "PYTHONPATH": str(ROOT),
    }


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


NOTEBOOK = "window.jupyterapp.shell.currentWidget"
IDLE = f"{NOTEBOOK}?.context?.sessionContext?.session?.kernel?.status === 'idle'"
CODE = f"{NOTEBOOK}.content.widgets.filter((c) => c.model.type === 'code')"


def opened(page, address: str) -> None:
    """Open a notebook, as soon as the server answers, and wait for its kernel."""
    deadline = time.monotonic() + 60
    while True:
        try:
            page.goto(address)
            break
        except playwright.Error:
            assert time.monotonic() < deadline, "JupyterLab must answer within a minute"
            time.sleep(0.3)
    page.wait_for_function(IDLE, timeout=120_000)


def run(page, command: str) -> None:
    page.evaluate(f"window.jupyterapp.commands.execute('{command}')")


@pytest.mark.parametrize("stem", ["00_start_here", "23_refine_gate", "26_gate_ablations"])
def test_jupyterlab_runs_a_notebook_and_leaves_git_clean(lab, page, stem):
    address, book = lab
    opened(page, address.format(stem))
    committed = nbformat.read(book / f"notebooks/{stem}.ipynb", as_version=4)
    page.evaluate(f"{CODE}.forEach((cell) => cell.model.clearExecution())")
    run(page, "notebook:run-all-cells")
    page.wait_for_function(
        f"{IDLE} && {CODE}.every((c) => c.model.executionCount)", timeout=300_000
    )
    outputs = page.evaluate(f"{CODE}.map((c) => c.model.outputs.toJSON())")
    kinds = [output["output_type"] for cell in outputs for output in cell]
    assert "error" not in kinds and len(outputs) == sum(
        c.cell_type == "code" for c in committed.cells
    )
    pictures = [o for cell in outputs for o in cell if "image/png" in o.get("data", {})]
    assert len(pictures) == page_pictures(committed) > 0
    if stem == "23_refine_gate":
        show(page, "twin_figures.")
        move_in_jupyterlab(page)
    show(page, "bench.save" if stem == "00_start_here" else "fig")
    assert page.locator(".jp-RenderedImage img").first.is_visible()
    run(page, "docmanager:save")
    page.wait_for_function(f"!{NOTEBOOK}.context.model.dirty")
    assert git(book, "status", "--porcelain") == ""


def page_pictures(notebook) -> int:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return sum("image/png" in o.get("data", {}) for o in outputs)


def show(page, start: str) -> None:
    """Scroll to the first cell of code that has a line that begins so."""
    page.evaluate(
        """async (start) => {
          const panel = window.jupyterapp.shell.currentWidget.content;
          const starts = (line) => line.startsWith(start);
          const lines = (cell) => cell.model.sharedModel.source.split("\\n");
          const has = (cell) => cell.model.type === "code" && lines(cell).some(starts);
          panel.activeCellIndex = panel.widgets.findIndex(has);
          await panel.scrollToItem(panel.activeCellIndex);
        }""",
        start,
    )


def move_in_jupyterlab(page) -> None:
    """By mouse, then by the keys that JupyterLab has a use of its own for."""
    said, slider = page.locator(".twin-readings"), page.locator(".twin input").first
    slider.wait_for()
    assert said.inner_text().startswith("g = 0.99\n")
    slider.click()  # its middle
    assert said.inner_text().startswith("g = 0.75\n")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert said.inner_text().startswith(f"g = {refine(0.4, 1):.2f}\n")
