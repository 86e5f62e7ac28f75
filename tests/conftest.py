"""Settings of the test session: how two workers share it, what nbval leaves out of comparisons."""

import os

from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("TQDM_DISABLE", "1")  # inherited by the kernels; a bar never compares equal
if "PYTEST_XDIST_WORKER" in os.environ:  # two workers with two threads each would fight
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    """Compare neither stderr nor SVG; everything else in a notebook's outputs counts.

    stderr is kept out of committed notebooks by test_notebooks.py, and what a newer library warns
    about is no wrong result; SVG holds random ids.  Long tests come first.
    """
    for collector in {item.parent for item in items if hasattr(item.parent, "skip_compare")}:
        collector.skip_compare = (*collector.skip_compare, "stderr", "image/svg+xml")
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


class _Shared(LoadScopeScheduling):
    """A notebook's cells stay together, and what one browser does; other tests go one by one."""

    def _split_scope(self, nodeid):
        file, _, _ = nodeid.partition("::")
        return file if file.endswith((".ipynb", "test_browser.py")) else nodeid


def pytest_xdist_make_scheduler(config, log):
    """Notebooks first (the largest groups), then the long tests, then what fills the gaps."""
    return _Shared(config, log)
