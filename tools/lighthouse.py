"""Measure the built book with Lighthouse, phone profile: three pages, three runs each, the median is kept.

Run by `make lighthouse`; needs Node.js with the npm package `lighthouse` and a Chromium. The book is served from this
machine with compression, as a host of static pages does it. Results go to `results/site.json`, which the page
"How we know" shows.
"""

import argparse
import gzip
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from functools import cache, partial
from pathlib import Path

from workings.runs.provenance import circumstances

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
PAGES = {
    "front page": "book/index.html",
    "chapter with a control": "notebooks/uncertainty/conformal_set_size.html",
    "ledger": "book/generated/ledger.html",
}
CATEGORIES = {"performance": 90, "accessibility": 100, "best-practices": 95, "seo": 95}
AUDITS = {
    "first-contentful-paint": "fcp_ms",
    "largest-contentful-paint": "lcp_ms",
    "total-blocking-time": "tbt_ms",
    "cumulative-layout-shift": "cls",
    "total-byte-weight": "bytes",
}
TRIES = 3
COMPRESSED = {".html", ".css", ".js", ".svg", ".json", ".txt", ".xml"}


@cache
def prepared(path):
    """The body of a file as it is sent: compressed once, as a host does, not at every request."""
    body = path.read_bytes()
    return gzip.compress(body, 6) if path.suffix in COMPRESSED else body


class Handler(http.server.SimpleHTTPRequestHandler):
    """Static files, text ones compressed, with the headers of a common host."""

    protocol_version = "HTTP/1.1"
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".woff2": "font/woff2"}

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path = path / "index.html"
        if not path.is_file():
            return self.send_error(404)
        body = prepared(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        if path.suffix in COMPRESSED:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=600")
        self.end_headers()
        self.wfile.write(body)


def serve(folder):
    """A server of ``folder`` on a free port of this machine, on a thread."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def lighthouse(command, url, throttling="simulate"):
    """One report of Lighthouse on ``url``, phone profile, as a dictionary.

    ``throttling``: "simulate" computes what a slow phone would take from a fast run, "devtools" slows the run itself down
    (the same 150 ms a round trip, 1.6 Mbit/s and a fourth of the processor). A browser that does not answer is tried again.
    """
    for left in reversed(range(TRIES)):
        said, report = _report(command, url, throttling)
        if report is not None:
            return report
        print(f"{url}: no report, {left} tries left", file=sys.stderr)
    sys.exit(f"\nLighthouse gave no report:\n{said[-800:]}\n")


def _report(command, url, throttling):
    """What Lighthouse printed, and its report, or ``None`` for it."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "report.json"
        flags = "--chrome-flags=--headless=new --no-sandbox --disable-gpu"
        only = "--only-categories=" + ",".join(CATEGORIES)
        call = [
            *command,
            url,
            "--quiet",
            f"--throttling-method={throttling}",
            "--output=json",
            f"--output-path={out}",
            flags,
            only,
        ]
        done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip(), json.loads(out.read_text()) if out.is_file() else None


def summary(reports):
    """Medians over ``reports``, and the audits that were not passed in the first."""
    row = {name: round(100 * statistics.median(r["categories"][name]["score"] for r in reports)) for name in CATEGORIES}
    for audit, key in AUDITS.items():
        row[key] = round(statistics.median(r["audits"][audit]["numericValue"] for r in reports), 4)
    asked = {ref["id"] for c in reports[0]["categories"].values() for ref in c["auditRefs"] if ref.get("weight", 0) > 0}
    failed = [a for a in sorted(asked) if (score := reports[0]["audits"][a].get("score")) is not None and score < 0.9]
    return row | {"below_90": failed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lighthouse", default="lighthouse", help="the command, if it is not on the PATH")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "site.json")
    parser.add_argument("--html", type=Path, default=HTML)
    args = parser.parse_args()
    command = shutil.which(args.lighthouse)
    if command is None:
        sys.exit("\nLighthouse is not installed: `npm install lighthouse`, then name it with --lighthouse PATH.\n")
    chromium = os.environ.get("CHROME_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not args.html.is_dir():
        sys.exit("\nThis needs a Chromium (on the PATH, or named by CHROME_PATH) and a built book (`make book`).\n")
    os.environ["CHROME_PATH"] = chromium
    server = serve(args.html)
    rows = {}
    for name, page in PAGES.items():
        url = f"http://127.0.0.1:{server.server_port}/{page}"
        reports = [lighthouse([command], url) for _ in range(args.runs)]
        slowed = [lighthouse([command], url, "devtools") for _ in range(args.runs)]
        paints = [report["audits"]["first-contentful-paint"]["numericValue"] for report in slowed]
        rows[name] = {"page": page} | summary(reports) | {"fcp_slowed_ms": round(statistics.median(paints), 1)}
        print(name, json.dumps(rows[name]), flush=True)
    version = reports[0]["lighthouseVersion"]
    about = circumstances() | {"lighthouse": version, "runs": args.runs, "profile": "phone profile"}
    args.out.write_text(json.dumps({"circumstances": about, "goals": CATEGORIES, "pages": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
