"""Settings of the test session: what nbval leaves out of its comparison of stored outputs."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # inherited by the kernels; a bar never compares equal


def pytest_collection_modifyitems(items):
    """Compare neither stderr nor SVG; everything else in a notebook's outputs counts.

    stderr is kept out of committed notebooks by test_notebooks.py, and what a newer library warns
    about is no wrong result; SVG holds random ids.
    """
    for collector in {item.parent for item in items if hasattr(item.parent, "skip_compare")}:
        collector.skip_compare = (*collector.skip_compare, "stderr", "image/svg+xml")
