"""A release: the tag that pages name exists, and a page that names another is refused."""

import re
import subprocess

import pytest

import refresh
import release
import stamp
from workings.runs import checkout, stored

ROOT = checkout.root()
NAMED = re.compile(r"(?:git\+https://[\w./-]+@|/blob/)(v[\w.-]+|main\b)")


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small checkout in git: what names the version, and one chapter whose notebook is up to date."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("pyproject.toml", "CITATION.cff", "_config.yml", "README.md"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    folder = tmp_path / "notebooks" / "uncertainty"
    folder.mkdir(parents=True)
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    link = f"https://colab.research.google.com/github/a/b/blob/{checkout.tag()}/notebooks/uncertainty/story.ipynb"
    (folder / "story.py").write_text(f"# %% [markdown]\n# [Colab]({link})\n\n# %%\n1\n")
    (tmp_path / "lib" / "workings").mkdir(parents=True)
    plain = {"cells": [{"cell_type": "markdown", "source": [f"[Colab]({link})"]}], "metadata": {}}
    (folder / "story.ipynb").write_text(stored.seal(plain, refresh.fingerprint(folder / "story.py")))
    stamp.stamp()
    git(tmp_path, "init", "--quiet")
    for key, value in (
        ("user.name", "t"),
        ("user.email", "t@example.org"),
        ("commit.gpgsign", "false"),
        ("tag.gpgsign", "false"),
    ):
        git(tmp_path, "config", key, value)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_pages_lead_to_the_newest_state_until_the_first_release_and_to_its_tag_afterwards(repository):
    readme = repository / "README.md"
    (repository / "pyproject.toml").write_text(
        re.sub("(?m)^version = .*", 'version = "7.8.9.dev0"', (repository / "pyproject.toml").read_text())
    )
    stamp.stamp()
    git(repository, "commit", "--quiet", "--allow-empty", "-am", "a version to come")
    assert checkout.tag() == "main" and "@main" in readme.read_text() and "@v" not in readme.read_text()
    assert release.release() == "v7.8.9" == checkout.tag() and "@v7.8.9" in readme.read_text()
    tagged = git(repository, "rev-parse", "v7.8.9^{commit}")
    assert tagged == git(repository, "rev-parse", "HEAD")


def test_a_later_release_changes_every_file_that_names_the_version_and_the_notebook_stays_fresh(repository):
    script = repository / "notebooks" / "uncertainty" / "story.py"
    assert refresh.up_to_date(script)
    assert release.release("7.8.9") == "v7.8.9" == checkout.tag()
    for name in ("pyproject.toml", "CITATION.cff", "_config.yml", "README.md", "notebooks/uncertainty/story.ipynb"):
        assert "7.8.9" in (repository / name).read_text(), name
    assert refresh.up_to_date(script)
    assert git(repository, "status", "--porcelain") == "" and git(repository, "tag", "--list") == "v7.8.9"
    assert git(repository, "log", "-1", "--format=%s") == "Release v7.8.9"


def test_a_notebook_that_was_stale_is_not_made_fresh_by_a_release(repository):
    script = repository / "notebooks" / "uncertainty" / "story.py"
    script.write_text(script.read_text() + "2\n")
    git(repository, "commit", "--quiet", "-am", "not refreshed")
    release.release("7.8.9")
    assert not refresh.up_to_date(script)


def test_what_cannot_be_released_is_refused(repository):
    with pytest.raises(ValueError, match="three numbers"):
        release.release("v1")
    (repository / "README.md").write_text("changed")
    with pytest.raises(ValueError, match=r"commit first.* 1 file"):
        release.release("7.8.9")
    git(repository, "checkout", "--quiet", "README.md")
    release.release("7.8.9")
    with pytest.raises(ValueError, match=r"v7\.8\.9 exists already"):
        release.release("7.8.9")


def test_every_tag_that_a_page_names_exists():
    try:
        known = release.tags()
    except RuntimeError:
        pytest.skip("a copy without its history")
    if release.git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("a clone of the newest commits does not know every tag")
    named = {
        tag: path.name for path in stamp.stamped_files() for tag in NAMED.findall(path.read_text(encoding="utf-8"))
    }
    assert named, "pages name where they come from"
    for tag, page in named.items():
        assert tag in {"main", *known}, f"{page} names {tag}, which does not exist: `make release` makes it"
