"""Run every notebook as a reader on Colab would: only the `.ipynb`, this Python, the package from this checkout.

Called by `make colab` inside Colab's runtime image. The notebooks are copied to an empty folder, so that
nothing of the checkout is found by accident; each set-up cell installs the package from it. The outputs are
compared with the stored ones, as `make test` does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main():
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "nbval"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "tests" / "nbval.cfg", folder)
        shutil.copy(ROOT / "tools" / "last_digit.py", folder)
        for script in sorted((ROOT / "notebooks").glob("*/[a-z]*.py")):  # a notebook without a script is no chapter
            shutil.copy(script.with_suffix(".ipynb"), folder)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "last_digit",
            "--nbval",
            "--nbval-current-env",
            "--nbval-sanitize-with",
            "nbval.cfg",
        ]
        environment = {**os.environ, "WORKINGS_SOURCE": str(ROOT), "WORKINGS_QUIET": "1", "WORKINGS_RECORD": "0"}
        sys.exit(subprocess.call([*command, "--nbval-cell-timeout", "600", "."], cwd=folder, env=environment))


if __name__ == "__main__":
    main()
