"""Contributors' commands: execute notebooks again, begin a chapter, check the claims, move the address, release.

python tools/contribute.py refresh [SLUG] [--force]
python tools/contribute.py new PART SLUG
python tools/contribute.py claims
python tools/contribute.py stamp
python tools/contribute.py address [URL]
python tools/contribute.py release [VERSION]
"""

from __future__ import annotations

import argparse
import sys

import new
import refresh
import release
import stamp
from workings.ledger import claims
from workings.runs import checkout, provenance


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="contribute", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("refresh", help="re-execute and re-pair the notebooks")
    again.add_argument("slug", nargs="?", help="one chapter (default: all)")
    again.add_argument("--force", action="store_true", help="also where nothing changed")
    begin = commands.add_parser("new", help="begin a chapter from the template")
    begin.add_argument("part")
    begin.add_argument("slug")
    commands.add_parser("claims", help="check every claims file")
    commands.add_parser("stamp", help="bring badges and set-up cells in line with pyproject.toml")
    address = commands.add_parser("address", help="show the repository's address, or change it everywhere")
    address.add_argument("new", nargs="?")
    out = commands.add_parser("release", help="commit and tag a version, which the links of its pages lead to")
    out.add_argument("version", nargs="?", help="such as 0.2.0 (default: the one in pyproject.toml)")
    return parser


def dispatch(args: argparse.Namespace) -> None:
    if args.command == "refresh":
        if (trouble := provenance.why_no_commit(checkout.root())) is not None:
            print(f"contribute: {trouble}", file=sys.stderr)
        for slug, seconds in refresh.refresh(args.slug or None, force=args.force):
            print(f"{slug}: " + ("up to date" if seconds is None else f"executed and stored ({seconds:.1f} s)"))
    elif args.command == "new":
        for path in new.new(args.part, args.slug):
            said = "added to" if path.name in ("_toc.yml", "front.yml", "pyproject.toml") else "made"
            print(f"{said} {path.relative_to(checkout.root())}")
        print(f"Next: make refresh NOTEBOOK={args.slug} && make book && make test")
    elif args.command == "claims":
        for chapter in claims.load_all():
            print(f"{chapter.part}/{chapter.slug}: {len(chapter.claims)} claims, well formed")
    elif args.command == "stamp":
        print(f"{len(stamp.stamp())} file(s) changed")
    elif args.command == "address":
        if args.new:
            print(f"{len(stamp.set_address(args.new))} file(s) changed")
        print(checkout.address())
    elif args.command == "release":
        tag = release.release(args.version or None)
        print(f"{tag} is made here. Publish it: git push origin HEAD {tag}")


def main(argv: list[str] | None = None) -> int:
    """Run one command; mistakes of the caller end with status 2 and one clear line."""
    try:
        dispatch(build_parser().parse_args(argv))
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"contribute: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
