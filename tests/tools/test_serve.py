"""`make serve` with a port that is taken, and with one that is none."""

import socket
import subprocess
import sys

import pytest

from workings.runs import checkout

TOOL = checkout.root() / "tools" / "serve.py"


def test_a_port_that_is_taken_is_answered_with_another():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, str(TOOL), str(port)], capture_output=True, text=True)
    assert done.returncode == 1 and f"Port {port} cannot be used" in done.stderr
    assert "make serve PORT=" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["abc", "0", "70000", "-1"])
def test_what_is_no_port_is_refused(port):
    done = subprocess.run([sys.executable, str(TOOL), port], capture_output=True, text=True)
    assert done.returncode == 1 and "from 1 to 65535" in done.stderr and "Traceback" not in done.stderr
