"""What a reader is told to take home runs by itself: each cell of that section, pasted into an empty file."""

import re
import subprocess
import sys

import pytest

from refresh import read_script
from workings.runs import checkout

# Chapters whose cells still lean on the rest of the page. A chapter that is done leaves this list, or the test says so.
OWED: set[str] = set()


def cells(script):
    """The code cells under the heading "Take it home", up to the next heading of its rank."""
    inside, found = False, []
    for cell in read_script(script).cells:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"(?m)^## (.*)$", cell.source):
                inside = heading.strip().lower().startswith("take it home")
        elif inside:
            found.append(cell.source)
    return found


def chapters():
    owed = pytest.mark.xfail(strict=True, reason="the cell leans on cells before it")
    for script in checkout.notebook_scripts():
        yield pytest.param(script, id=script.stem, marks=[owed] if script.stem in OWED else [])


@pytest.mark.alone
@pytest.mark.parametrize("script", list(chapters()))
def test_a_cell_to_take_home_runs_in_an_empty_file(script, tmp_path):
    found = cells(script)
    assert found, "a chapter has a section `## Take it home` with code"
    for number, source in enumerate(found, start=1):
        assert re.search(r"(?m)^# pip install .*workings", source), f"cell {number} does not name its pip install line"
        file = tmp_path / f"mine_{number}.py"
        file.write_text(source)
        done = subprocess.run([sys.executable, file.name], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, f"cell {number}: {done.stderr[-1500:]}"
        assert done.stdout.strip(), f"cell {number} shows nothing"


def test_the_owed_are_chapters():
    assert {script.stem for script in checkout.notebook_scripts()} >= OWED
