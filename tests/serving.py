"""A web server on a thread, for tests of what is fetched."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class _Server(http.server.ThreadingHTTPServer):
    """Closed when its last request has ended, and silent about a client that went away.

    A thread that prints a traceback parses source, and Python 3.11 cannot do that in two threads at once: a test that parses
    something at the same moment, in the same process, would fail with "AST constructor recursion depth mismatch".
    """

    daemon_threads = False  # so that closing waits for them

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    """A running server; ``url`` is an address on it. No proxy stands between."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with _Server(("127.0.0.1", 0), handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}/data"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
