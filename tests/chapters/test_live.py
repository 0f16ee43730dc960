"""What live figures are compared with is stored, and is what the kernels give."""

from importlib import import_module

import pytest

from workings import paths
from workings.show.live import FILE, keep_cases

SLUGS = [path.parent.name for path in sorted((paths.checkout_root() / "lib/workings/chapters").glob("*/live.py"))]


@pytest.mark.parametrize("slug", SLUGS)
def test_the_stored_cases_are_what_the_kernels_give(slug):
    root = paths.checkout_root()
    assert (root / "results" / paths.find_part(slug) / slug / FILE).is_file(), f"run: make refresh NOTEBOOK={slug}"
    keep_cases(slug, import_module(f"workings.chapters.{slug}.live").cases(), record=False, results=root / "results")


def test_every_script_of_a_live_figure_has_cases():
    scripts = {path.stem for path in (paths.checkout_root() / "book/assets/live").glob("*.js")} - {"live"}
    assert scripts == set(SLUGS)
