"""Resolve ``requirements/*.in`` into exact locks, and write ``environment.yml`` from them.

Needs `uv` (``pip install uv``): it resolves for every platform and Python at once.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
HEADER = "# Made by `make lock` from requirements/full.lock; a test keeps the two alike.\n"


def resolve(name, *extra):
    uv = shutil.which("uv") or sys.exit("`make lock` needs uv: pip install uv")
    command = [uv, "pip", "compile", "-q", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate"]
    subprocess.run([*command, f"{name}.in", *extra, "-o", f"{name}.lock"], cwd=FOLDER, check=True)


def environment_yml(lock):
    """The text of ``environment.yml`` that carries exactly the pins of ``lock``."""
    pins = [line.strip() for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    lines = ["name: workings", "channels: [conda-forge]", "dependencies:", "  - python=3.11", "  - pip", "  - pip:"]
    quoted = [f'      - "{pin}"' if " ;" in pin else f"      - {pin}" for pin in pins]
    return HEADER + "\n".join([*lines, *quoted, "      - -e ."]) + "\n"


if __name__ == "__main__":
    resolve("full")
    resolve("book", "-c", "full.lock")
    resolve("peers")
    (ROOT / "environment.yml").write_text(environment_yml((FOLDER / "full.lock").read_text()))
