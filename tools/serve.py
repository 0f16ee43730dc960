"""Serve the compiled book on this machine: python tools/serve.py [PORT]. Called by `make serve`."""

import functools
import http.server
import sys
from pathlib import Path

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"


def main(port):
    if not port.isdigit() or not 0 < int(port) < 65536:
        sys.exit(f"\nA port is a number from 1 to 65535, got {port!r}: make serve PORT=8001\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(HTML))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
    except OSError as error:
        sys.exit(
            f"\nPort {port} cannot be used ({error.strerror}). Choose another: make serve PORT={int(port) % 65535 + 1}\n"
        )
    print(f"The book is at http://localhost:{port} until you press Ctrl+C.", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "8000")
