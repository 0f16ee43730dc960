"""Notebooks are held to their budget of time and memory, and run quietly: see `tools/budget.py`."""

pytest_plugins = ["budget"]
