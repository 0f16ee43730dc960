"""Write the repository's address and release tag wherever a page needs them."""

from __future__ import annotations

import re
from pathlib import Path

import refresh
from workings.runs import checkout, stored

COLAB = re.compile(r"https://colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/[\w.-]+/")
INSTALL = re.compile(r"git\+https://[\w./-]+@[\w.-]+")
CONFIG = re.compile(r"(?m)^(  url: ).*$\n(  branch: ).*$")
BASE = re.compile(r"(?m)^(  baseurl: ).*$")
CITATION = re.compile(r"(?m)^(repository-code: ).*$")
CLONE = re.compile(r"git clone https://\S+")


def site(address: str) -> str:
    """Where the book of the repository at ``address`` is published, with a final slash; empty for an unknown host."""
    host, owner, name = address.removeprefix("https://").split("/")
    pages = {"github.com": f"{owner.lower()}.github.io", "gitlab.com": f"{owner.lower()}.gitlab.io"}.get(host)
    if pages is None:
        return '""'
    return f"https://{pages}/" if name.lower() == pages else f"https://{pages}/{name}/"


def stamped(text: str, address: str, tag: str) -> str:
    """``text`` with every badge, set-up cell and setting made from ``address`` and ``tag``."""
    owner_repo = "/".join(address.split("/")[-2:])
    text = COLAB.sub(f"https://colab.research.google.com/github/{owner_repo}/blob/{tag}/", text)
    text = INSTALL.sub(f"git+{address}@{tag}", text)
    text = CLONE.sub(f"git clone {address}", text)
    text = CITATION.sub(rf'\g<1>"{address}"', text)
    text = BASE.sub(rf"\g<1>{site(address)}", text)
    return CONFIG.sub(rf"\g<1>{address}\n\g<2>{tag}", text)


def stamped_files() -> list[Path]:
    """The files that carry the address or the tag."""
    root = checkout.root()
    named = [root / name for name in ("_config.yml", "CITATION.cff", "README.md", "CONTRIBUTING.md")]
    folders = [*root.glob("book/*.md"), *root.glob("notebooks/*/*.py"), *root.glob("notebooks/*/*.ipynb")]
    return [path for path in [*named, *folders, *root.glob("tools/template/*")] if path.is_file()]


def stamp() -> list[Path]:
    """Bring every file in line with pyproject.toml; returns the files that changed.

    An address decides no output. So a notebook that was up to date before is sealed as up to date afterwards.
    """
    address, tag = checkout.address(), checkout.tag()
    fresh = [script for script in checkout.notebook_scripts() if refresh.up_to_date(script)]
    changed = []
    for path in stamped_files():
        before = path.read_text(encoding="utf-8")
        after = stamped(before, address, tag)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    for script in fresh:
        if script in changed:
            notebook = script.with_suffix(".ipynb")
            sealed = stored.seal(stored.read(notebook), refresh.fingerprint(script))
            notebook.write_text(sealed, encoding="utf-8")
    return changed


def set_address(new: str) -> list[Path]:
    """Move the project to ``new``: pyproject.toml first, everything else from it."""
    new = new.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", new):
        raise ValueError(f"address {new!r} must look like https://github.com/owner/repository.")
    pyproject = checkout.root() / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text.replace(f'"{checkout.address()}"', f'"{new}"'))
    return [pyproject, *stamp()]
