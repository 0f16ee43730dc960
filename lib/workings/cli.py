"""The command ``workings``: the chapters, what they need, their runs and their sweeps.

``list``, ``needs`` and ``sweep`` work wherever the package is installed; ``run`` executes a notebook and works in a clone.
"""

from __future__ import annotations

import argparse
import sys

# What an optional package comes with, for the message when it is missing.
_EXTRAS = {"torch": "torch", "torchvision": "torch", "distributed": "sweep", "dask": "sweep"}
_EXTRAS |= dict.fromkeys(("papermill", "jupytext", "ipykernel", "nbclient", "nbformat"), "full")
_EXTRAS |= dict.fromkeys(("quantile_forest", "transformers", "peft", "datasets"), "full")
_TOOK = {"wall_s": "s", "peak_memory_mib": "MiB", "peak_gpu_memory_mib": "MiB of GPU memory"}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workings",
        description=(__doc__ or "").replace("``", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the chapters, their tiers and their verdicts")
    run = commands.add_parser("run", help="run a chapter at a tier and record what it measured")
    run.add_argument("slug")
    run.add_argument("--tier", default="full", help="demo or full (default: full)")
    run.add_argument("--dry-run", action="store_true", help="a few steps on generated data; records nothing")
    run.add_argument("--data", metavar="FOLDER", help="folder with the real data, where it is already here")
    run.add_argument(
        "--go-on", action="store_true", help="with what results/unfinished holds of a run that another machine began"
    )
    needs = commands.add_parser("needs", help="what a chapter's full tier needs, and what it took when it was recorded")
    needs.add_argument("slug", nargs="?", help="one chapter (default: all)")
    sweep = commands.add_parser("sweep", help="a chapter's experiment over a grid of settings and seeds")
    sweep.add_argument("slug")
    sweep.add_argument("--grid", nargs="+", required=True, metavar="KEY=VALUES", help="as in alpha=0.05,0.1 seed=0:5")
    sweep.add_argument("--scheduler", metavar="ADDRESS", help="a running dask scheduler (default: processes here)")
    sweep.add_argument("--workers", type=int, default=2, help="processes here, without --scheduler (default: 2)")
    sweep.add_argument("--name", default="sweep", help="name of the results file (default: sweep)")
    return parser


def _list() -> None:
    from workings import ledger
    from workings.ledger import claims
    from workings.ledger.criteria import KINDS
    from workings.ledger.verdicts import WORDS

    for chapter in claims.load_all():
        print(f"{chapter.part}/{chapter.slug}: {chapter.title}")
        for kind, words in ledger.counts_of(chapter.slug).items():
            said = "; ".join(f"{WORDS[kind].get(word, word)}: {count}" for word, count in words.items())
            print(f"    {KINDS[kind]} ({sum(words.values())}): {said}")


def _needs(slug: str | None) -> None:
    from workings import ledger, paths
    from workings.runs import notebook

    chapters = paths.list_chapters() if slug is None else [paths.ChapterName(paths.find_part(slug), slug)]
    for chapter in chapters:
        needs = notebook.needs(chapter.slug)
        print(f"{chapter.part}/{chapter.slug}\n    {needs.statement() if needs else 'It does not say.'}")
        recorded = ledger.load_results(chapter.slug, "full")
        for run in [] if recorded is None else recorded.runs.values():
            machine = run.get("hardware", {})
            took = [f"{run[key]:.0f} {unit}" for key, unit in _TOOK.items() if run.get(key) is not None]
            took += [f"{machine.get('cores')} cores", machine.get("gpu") or "no GPU"]
            print(f"    Recorded {run.get('date', '')[:10]}: {', '.join(took)}.")


def _sweep(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from workings import paths
    from workings.runs import sweep

    plan = sweep.experiment(args.slug)
    points = sweep.grid(args.grid, plan.defaults)
    results = sweep.store(plan, args.name)
    with tqdm(total=len(points), unit="point", disable=None) as bar:
        bar.update(sum(results.done(sweep.key(point)) for point in points))
        done = sweep.run_sweep(
            plan, points, results, scheduler=args.scheduler, workers=args.workers, on_done=lambda *_: bar.update()
        )
    print(f"{done.computed} points computed, {done.found} were there already: {paths.shown(results.path)}")
    if done.failed:
        first, why = next(iter(done.failed.items()))
        raise RuntimeError(f"{len(done.failed)} of {len(points)} points failed; the first, {first}: {why}")


def dispatch(args: argparse.Namespace) -> None:
    if args.command == "list":
        _list()
    elif args.command == "run":
        from workings import paths
        from workings.runs import checkout, notebook, provenance, store

        (script,) = checkout.notebook_scripts(args.slug)
        if (trouble := provenance.why_no_commit(checkout.root())) is not None:
            print(f"workings: {trouble}", file=sys.stderr)
        needs = notebook.needs(script.stem) if args.tier == "full" else None
        if needs is not None:
            print(needs.statement(dry_run=args.dry_run), flush=True)
        if args.go_on:
            taken = store.go_on(paths.results_root() / "unfinished", paths.runs_root())
            print(
                f"Stores taken over from results/unfinished: {', '.join(map(paths.shown, taken)) or 'none'}.",
                flush=True,
            )
        target = notebook.run(script.stem, args.tier, dry_run=args.dry_run, data_root=args.data)
        if closing := notebook.closing_line(target):
            print(closing)
        print(f"Executed notebook: {paths.shown(target)}")
    elif args.command == "needs":
        _needs(args.slug)
    elif args.command == "sweep":
        _sweep(args)


def main(argv: list[str] | None = None) -> int:
    """Run one command; mistakes of the caller end with status 2 and one clear line."""
    try:
        dispatch(build_parser().parse_args(argv))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(
            f"workings: this needs {error.name}, which is not installed: pip install 'workings[{extra}]'.",
            file=sys.stderr,
        )
        return 2
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"workings: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
