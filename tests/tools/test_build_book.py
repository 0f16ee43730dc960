"""Compiling the book: one command at a time, and in a folder with any name. (tests/book/test_build.py compiles.)"""

import importlib.util
import re
import shutil
import threading

import build_book
from workings.runs import checkout


def test_a_second_command_says_so_and_waits_for_the_first(tmp_path, monkeypatch):
    order, said = [], threading.Event()
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    monkeypatch.setattr(build_book, "print", lambda *words, **options: said.set(), raising=False)

    def another():
        with build_book.one_at_a_time():
            order.append("second")

    thread = threading.Thread(target=another)
    with build_book.one_at_a_time():
        assert not said.is_set(), "who is alone does not wait"
        thread.start()
        assert said.wait(20)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def work_of(clone):
    """Where a clone's own tool compiles, as it says on being loaded."""
    tool = clone / "tools" / "build_book.py"
    tool.parent.mkdir(parents=True)
    shutil.copy(checkout.root() / "tools" / "build_book.py", tool)
    spec = importlib.util.spec_from_file_location("build_book_of_a_clone", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {module.SOURCE.parent, module.SCRATCH.parent} == {module.WORK} and clone == module.ROOT
    return module.WORK


def test_a_clone_whose_path_reads_as_a_pattern_is_compiled_elsewhere_and_not_with_another(tmp_path):
    assert work_of(tmp_path / "plain") == tmp_path / "plain" / "_build"
    found = {work_of(tmp_path / name) for name in ("b[v2]", "b[v3]", "b*")}
    assert len(found) == 3 and not any(re.search(r"[][*?]", str(work)) for work in found)
