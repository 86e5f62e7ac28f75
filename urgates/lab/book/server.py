"""JupyterLab: running and saving a notebook leaves no change in git.

pyproject.toml installs the file in `data/` by which Jupyter finds this extension of its server.
"""


def _jupyter_server_extension_points() -> list[dict]:
    return [{"module": "urgates.lab.book.server"}]


def _load_jupyter_server_extension(app) -> None:
    app.contents_manager.register_pre_save_hook(_hook)


def _hook(**saved) -> None:
    from urgates.lab.book.notebooks import keep_published  # at the first save, not at every start

    keep_published(**saved)
