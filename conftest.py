"""Notebooks are held to their budget and run quietly (`tools/budget.py`); a last digit may differ by one (`tools/last_digit.py`)."""

pytest_plugins = ["last_digit", "budget"]  # in this order: the second imports the first
