"""Sphinx's settings; the sources are elsewhere, see sources.py.

Nothing is executed, and nothing comes from another host: MathJax lies beside the pages (build.py).
"""

from pathlib import Path

from docutils import nodes

import urgates
from urgates.lab.book.site.sources import page_of

project, author, release = "urgates", "urgates contributors", urgates.__version__
copyright = "urgates contributors, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "py:obj"  # `name` in a docstring: a link where the name is one, else code

nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # formulas and tables of Markdown in outputs, too
nb_code_prompt_show = nb_code_prompt_hide = "code"
myst_enable_extensions = ["amsmath", "attrs_inline", "dollarmath"]
myst_heading_anchors = 3
mathjax_path = "mathjax/tex-chtml.js"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_use_type_comments = False
python_maximum_signature_line_length = 84
napoleon_numpy_docstring = False
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_title = "urgates"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_favicon = "static/gate.svg"
html_show_sourcelink = False
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_context = {"default_mode": "auto"}
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
}


def _link_outputs(app, doctree, name) -> None:
    """Let links within outputs, which MyST leaves as they are, lead to pages instead of files."""
    for link in doctree.findall(nodes.reference):
        target = page_of(link.get("refuri", ""), name.rpartition("/")[0], app.env.found_docs)
        if target:
            link["refuri"] = app.builder.get_relative_uri(name, target)


def _plain_bars(app, what, name, value, options, lines) -> None:
    """Let |z| in a docstring be a size, which reStructuredText takes for a substitution."""
    for number, text in enumerate(lines):
        parts = text.split("`")  # every other one is code
        parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
        lines[number] = "`".join(parts)


def _skip_fields(app, what, name, member, skip, options):
    """Leave out what a NamedTuple says of its fields without a docstring: "Alias for field …"."""
    empty = (getattr(member, "__doc__", None) or "").startswith("Alias for field")
    return True if empty else None


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("doctree-resolved", _link_outputs)
    app.connect("autodoc-process-docstring", _plain_bars)
    app.connect("autodoc-skip-member", _skip_fields)
