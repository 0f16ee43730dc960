"""Set up one of the project's environments; standard library only, safe to repeat.

    python tools/env.py book     what compiling the book needs        -> .venv-book
    python tools/env.py full     that, torch, notebooks and tests     -> .venv
    python tools/env.py peers    the libraries we measure against     -> .venv-peers

An environment is made from ``requirements/<name>.lock`` and stamped with the lock's checksum, so
a second call returns at once. Any Python that is new enough will do, and one that has made an environment is kept
when another calls; `--this-python` makes the environment anew with the Python that runs this. What goes wrong is explained with
a remedy. Two calls at once are no harm: the second waits for the first.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shlex
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
        "A pinned version is not offered for this Python and platform. The lock covers CPython 3.11 to 3.13 on Linux, on\n"
        "Windows (64 bit) and on macOS with Apple silicon; PyTorch has no builds for Intel Macs any more, where `make book`\n"
        "works and the rest does not. Try PYTHON=python3.11, or report the line above as an issue.",
    ),
    (("Read-only file system",), "This folder cannot be written. Clone the repository to one that can."),
    (("Permission denied",), "A file could not be written. Check who owns this folder."),
    (
        ("ensurepip is not available", "No module named ensurepip", "No module named 'ensurepip'"),
        "This Python cannot make virtual environments. On Debian and Ubuntu the missing piece is the package python3-venv.",
    ),
]  # fmt: skip


def stop(message):
    sys.exit("\n" + message.strip() + "\n")


def lock_stamp(name):
    """Checksum of all that decides what is installed."""
    digest = hashlib.sha256((ROOT / "requirements" / (name + ".lock")).read_bytes())
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


def clean_environment():
    """The environment for installing: without what would make Python or pip look at, or write to, other places."""
    dropped = (
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_USER",
        "PIP_REQUIRE_VIRTUALENV",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    )
    return {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("PYTHON")}


def remedy(text):
    """What to do about a failure that said ``text``; empty where the cause is not known."""
    return next((said for signs, said in CAUSES if any(sign in text for sign in signs)), "")


def run(command, log):
    """Run a command with its output in ``log``; explain a failure."""
    with open(log, "a") as sink:
        code = subprocess.call(
            [str(part) for part in command],
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=str(ROOT),
            env=clean_environment(),
        )
    if code == 0:
        return
    text = log.read_text(errors="replace")
    tail = "\n".join(text.strip().splitlines()[-6:])
    stop(f"Setting up failed (exit code {code}). The end of the log, {log.name}:\n\n{tail}\n\n{remedy(text)}")


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


@contextlib.contextmanager
def alone(folder):
    """Let one process at a time make an environment; others wait and then find it ready."""
    sys.path.insert(0, str(ROOT / "lib"))
    from workings.runs import locks

    lock = folder.with_name(folder.name + ".lock")
    try:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.locked(lock, wait=False))
            except locks.Busy:
                print(f"{folder.name} is being set up by another command; waiting for it ...", flush=True)
                stack.enter_context(locks.locked(lock))
            yield
    except OSError as error:
        stop(f"{folder.name} could not be made here ({error.strerror}: {error.filename}).\n\n{remedy(str(error))}")


def ready(folder, wanted, this_python):
    """Whether the environment in ``folder`` is the ``wanted`` one, made by a Python that is new enough (or by this one)."""
    stamp, config = folder / "workings-stamp", folder / "pyvenv.cfg"
    if not (stamp.exists() and stamp.read_text() == wanted and config.exists() and venv_python(folder).exists()):
        return False
    found = re.search(r"(?m)^version\s*=\s*(\d+)\.(\d+)", config.read_text(encoding="utf-8"))
    version = tuple(map(int, found.groups())) if found else (0, 0)
    return version == sys.version_info[:2] if this_python else version >= OLDEST


def missing(folder, lock):
    """Pins of ``lock`` without a condition that the environment in ``folder`` does not have."""
    lines = (line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    pins = [line for line in lines if "==" in line and ";" not in line]
    code = (
        "import json, sys\nfrom importlib import metadata\n"
        "def there(pin):\n"
        "    name, _, version = pin.partition('==')\n"
        "    try: return metadata.version(name.partition('[')[0]).split('+')[0] == version.split('+')[0]\n"
        "    except metadata.PackageNotFoundError: return False\n"
        "print(json.dumps([pin for pin in json.loads(sys.argv[1]) if not there(pin)]))"
    )
    command = [str(venv_python(folder)), "-I", "-c", code, json.dumps(pins)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    return json.loads(done.stdout) if done.returncode == 0 else [done.stderr.strip()[-300:]]


def set_up(name, this_python=False):
    folder = ROOT / FOLDERS[name]
    if ready(folder, lock_stamp(name), this_python):
        return
    check_machine(name)
    with alone(folder):
        if not ready(folder, lock_stamp(name), this_python):  # else another command has made it meanwhile
            make(name, folder)


def built_from_source(pip):
    """Install each line of ``peers-source.txt`` by itself; the requirements that could not be built."""
    lines = (ROOT / "requirements" / "peers-source.txt").read_text(encoding="utf-8").splitlines()
    failed = []
    for words in (shlex.split(line, comments=True) for line in lines):
        command = [str(part) for part in [*pip, *words]]
        if words and subprocess.run(command, capture_output=True, env=clean_environment()).returncode:
            failed.append(words[0])
    return failed


def make(name, folder):
    stamp, log, wanted = folder / "workings-stamp", folder / "install.log", lock_stamp(name)
    began = time.time()
    size = f"about {DISK_GB[name]} GB of disk"
    print(f"Setting up {FOLDERS[name]} ({size}; once, and again when the pins change) ...", flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_environment())
    if done.returncode:
        said = done.stdout.decode(errors="replace")
        stop(f"A virtual environment could not be made:\n\n{said[-800:].strip()}\n\n{remedy(said)}")
    pip = [venv_python(folder), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    lock = ROOT / "requirements" / (name + ".lock")
    run([*pip, "-r", lock], log)
    if name != "book":
        run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], log)
    if name == "peers":
        failed = built_from_source([*pip, "--no-build-isolation"])
        if failed:
            print(
                f"Not built from source here: {', '.join(failed)}; their benchmark rows keep what was measured before."
            )
    lacking = missing(folder, lock)
    if lacking:
        stop(f"pip reports success, but {FOLDERS[name]} lacks {', '.join(lacking[:5])}. Run the same command again.")
    stamp.write_text(wanted)
    print(f"{FOLDERS[name]} is ready ({time.time() - began:.0f} s).", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(FOLDERS))
    parser.add_argument(
        "--this-python", action="store_true", help="with the Python that runs this, whatever made it before"
    )
    arguments = parser.parse_args()
    set_up(arguments.name, arguments.this_python)
