"""The book as a static site, which needs neither a kernel nor a network to be read.

sources.py gathers what Sphinx reads: the committed twins, the pages beside this file and what is
generated, the index of the papers' numbers (numbers.py) and the API reference (api.py); conf.py
tells Sphinx how; build.py runs it; inspection.py then looks for dead links, outside requests and
pages that are too heavy.
"""
