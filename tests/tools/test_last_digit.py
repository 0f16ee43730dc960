"""Stored outputs are compared to the letter, but for one unit of a decimal's last digit."""

import os
import subprocess
import sys

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from last_digit import as_stored
from workings.runs import checkout


@pytest.mark.parametrize(
    ("stored", "new", "differ"),
    [
        ("ends at 12.0 nats", "ends at 11.9 nats", ["12.0 -> 11.9"]),
        ("ends at  9.9 nats", "ends at 10.0 nats", ["9.9 -> 10.0"]),  # padded columns
        ("0.97 \u00b1 0.02, p = .50", "0.97 \u00b1 0.01, p = .51", ["0.02 -> 0.01", ".50 -> .51"]),
        ("change 0.00", "change -0.01", ["0.00 -> -0.01"]),
        ("gap \u22120.5", "gap \u22120.4", ["\u22120.5 -> \u22120.4"]),
        ("1.25e-05 s", "1.26e-05 s", ["1.25e-05 -> 1.26e-05"]),
        ("<td>0.5</td><td>7</td>", "<td>0.6</td><td>7</td>", ["0.5 -> 0.6"]),
        ("same 1.5", "same 1.5", []),
    ],
)
def test_a_decimal_one_unit_away_counts_as_the_stored_one_and_is_named(stored, new, differ):
    assert as_stored(new, stored) == (stored, differ)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("12.0 nats", "11.8 nats"),  # two units
        ("3 of 5 seeds", "2 of 5 seeds"),  # whole numbers
        ("share 37%", "share 38%"),
        ("0.5, reproduced", "0.5, undecided"),  # words
        ("0.50", "0.5"),  # digits
        ("0.5", "-0.5"),
        ("1.0e-05", "1.0e-04"),
        ("torch 2.12.1", "torch 2.12.2"),  # versions
        ("v0.1", "v0.2"),
        ("a 1.0 b", "a b 1.0"),  # places
        ("1.0 2.0", "1.0"),
        ("one 1.0\ntwo 2.0", "one 1.0 two\n2.0"),
    ],
)
def test_anything_else_stays_a_difference(stored, new):
    said, differ = as_stored(new, stored)
    assert said != stored and not differ


def test_near_and_far_decimals_are_told_apart_in_one_text():
    said, differ = as_stored("a 0.11, b 0.30", "a 0.10, b 0.20")
    assert said == "a 0.10, b 0.30" and differ == ["0.10 -> 0.11"]


@given(st.text(alphabet=" 0123456789.-+eab\n%", max_size=40), st.text(alphabet=" 0123456789.-+eab\n%", max_size=40))
def test_texts_without_a_near_decimal_come_back_as_they_are(new, stored):
    said, differ = as_stored(new, stored)
    assert said == new or differ
    assert as_stored(new, new) == (new, [])


@pytest.mark.parametrize(
    ("printed", "status"), [("0.13 of 5", 0), ("0.14 of 5", 1), ("0.13 of 6", 1), ("0.12 of 5", 0)]
)
def test_nbval_compares_so(tmp_path, printed, status):
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    )
    outputs = [nbformat.v4.new_output("stream", name="stdout", text="mean 0.12 of 5\n")]
    notebook.cells = [nbformat.v4.new_code_cell(f"print('mean {printed}')", execution_count=1, outputs=outputs)]
    nbformat.write(notebook, tmp_path / "one.ipynb")
    root = checkout.root()
    settings = ["-c", str(root / "pyproject.toml"), "-p", "last_digit", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *settings]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "--nbval", "--nbval-current-env", str(tmp_path / "one.ipynb")],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "tools"), str(root / "lib")])},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert ("0.12 -> 0.13" in done.stdout) == (printed == "0.13 of 5")
