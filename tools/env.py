"""Set up one of the project's environments; standard library only, safe to repeat.

    python tools/env.py book     what compiling the book needs        -> .venv-book
    python tools/env.py full     that, torch, notebooks and tests     -> .venv
    python tools/env.py peers    the libraries we measure against     -> .venv-peers

An environment is made from ``requirements/<name>.lock`` and stamped with the lock's checksum, so
a second call returns at once. What goes wrong is explained with a remedy.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"book": ".venv-book", "full": ".venv", "peers": ".venv-peers"}
DISK_GB = {"book": 1, "full": 9, "peers": 10}
OLDEST = (3, 11)
CAUSES = [
    (("No space left", "Errno 28"), "The disk is full. Free some space, then run the same command again."),
    (
        ("Temporary failure in name resolution", "NewConnectionError", "Network is unreachable", "Could not fetch URL",
         "Connection refused", "Read timed out", "ConnectionError", "No route to host", "from versions: none"),
        "The package index could not be reached. Check the network (or pip's own settings, such as a proxy or a\n"
        "mirror), then run the same command again: what was already fetched is kept in pip's cache.",
    ),
    (
        ("No matching distribution found",),
        "A pinned version is not offered for this Python and platform. The lock covers CPython 3.11 to 3.13 on Linux,\n"
        "macOS and Windows (64 bit). Try PYTHON=python3.11, or report the line above as an issue.",
    ),
    (("Permission denied",), "A file could not be written. Check who owns this folder."),
]  # fmt: skip


def stop(message):
    sys.exit("\n" + message.strip() + "\n")


def lock_stamp(name):
    """Checksum of all that decides what is installed."""
    digest = hashlib.sha256((ROOT / "requirements" / (name + ".lock")).read_bytes())
    digest.update("{}.{}".format(*sys.version_info[:2]).encode())
    digest.update(b"" if name == "book" else installed_from())
    digest.update(str(ROOT).encode())  # a moved checkout has stale paths in its scripts
    return digest.hexdigest()


def installed_from():
    """What pyproject.toml says of the installation; its settings of tools change nothing in an environment."""
    import tomllib  # not at the top: an older Python than ours must get as far as its explanation

    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return json.dumps({key: tables[key] for key in ("build-system", "project")}, sort_keys=True).encode()


def venv_python(folder):
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def run(command, log):
    """Run a command with its output in ``log``; explain a failure."""
    with open(log, "a") as sink:
        code = subprocess.call([str(part) for part in command], stdout=sink, stderr=subprocess.STDOUT, cwd=str(ROOT))
    if code == 0:
        return
    text = log.read_text(errors="replace")
    tail = "\n".join(text.strip().splitlines()[-6:])
    why = next((remedy for signs, remedy in CAUSES if any(sign in text for sign in signs)), "")
    stop(f"Setting up failed (exit code {code}). The end of the log, {log.name}:\n\n{tail}\n\n{why}")


def check_machine(name):
    if sys.version_info[:2] < OLDEST:
        stop(
            "Workings needs Python {}.{} or newer; this is {}.{}.\nInstall a newer one and say which: "
            "make {} PYTHON=/path/to/python3.11".format(*OLDEST, *sys.version_info[:2], "book")
        )
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < DISK_GB[name]:
        stop(
            f"The '{name}' environment needs about {DISK_GB[name]} GB and {free:.1f} GB are free here. Free some space, or clone the "
            "repository to a larger disk."
        )


def set_up(name):
    folder = ROOT / FOLDERS[name]
    stamp, log = folder / "workings-stamp", folder / "install.log"
    wanted = lock_stamp(name)
    if stamp.exists() and stamp.read_text() == wanted and venv_python(folder).exists():
        return
    check_machine(name)
    began = time.time()
    size = f"about {DISK_GB[name]} GB of disk"
    print(f"Setting up {FOLDERS[name]} ({size}; once, and again when the pins change) ...", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        stop(
            "A virtual environment could not be made:\n\n{}\n\nOn Debian and Ubuntu the missing piece is the package "
            "python3-venv.".format((error.stdout + error.stderr).decode(errors="replace")[-800:])
        )
    pip = [venv_python(folder), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    run([*pip, "-r", ROOT / "requirements" / (name + ".lock")], log)
    if name != "book":
        run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], log)
    if name == "peers":
        source = ROOT / "requirements" / "peers-source.txt"
        done = subprocess.run([str(part) for part in [*pip, "--no-build-isolation", "-r", source]], capture_output=True)
        if done.returncode:
            print("Some peers could not be built from source here; their benchmark rows will say 'not installed'.")
    stamp.write_text(wanted)
    print(f"{FOLDERS[name]} is ready ({time.time() - began:.0f} s).", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(FOLDERS))
    set_up(parser.parse_args().name)
