"""The full tier says what it needs, takes the GPU where there is one, shows its progress, and answers a full memory."""

import dataclasses
import importlib
import os
import re
import select
import subprocess
import sys
import threading

import pytest
import torch

from workings import cli, ledger
from workings.runs import checkout, notebook, progress, provenance
from workings.runs.needs import Needs, OutOfMemory, device_out_of_memory

SLUGS = [path.stem for path in checkout.notebook_scripts()]
NEEDS = Needs(
    paper="the whole of it", gpu="one CUDA GPU with 16 GB", shortened="a tenth of it", settings=("a.Settings",),
    lower={"batch": "images a step", "masks": "masks"},
)  # fmt: skip
ERRORS = {  # what the libraries raise, in their words
    "CUDA": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "GPU"),
    "CUDA, in other words": (torch.OutOfMemoryError("Allocation on device 0 would exceed the allowed share."), "GPU"),
    "cuDNN": (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "GPU"),
    "Python": (MemoryError(), "CPU"),
    "torch on a CPU": (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        "CPU",
    ),
    "torch on Windows": (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."), "CPU"),
}


def gpu(monkeypatch, name="NVIDIA Test"):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)


def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


# --- what it needs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", SLUGS)
def test_every_chapter_says_what_it_needs_and_the_settings_to_lower_exist(slug):
    found = notebook.needs(slug)
    assert found is not None
    fields = set()
    for place in found.settings:
        module, _, name = place.partition(".")
        fields |= {
            f.name
            for f in dataclasses.fields(getattr(importlib.import_module(f"workings.chapters.{slug}.{module}"), name))
        }
    assert set(found.lower) <= fields


@pytest.mark.parametrize("slug", SLUGS)
def test_without_a_gpu_a_chapter_says_what_the_papers_scale_would_need(slug, monkeypatch, capsys):
    no_gpu(monkeypatch)
    checkout.chapter_settings(slug).for_tier("full")
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("Full tier on the CPU")
    assert ("it needs no GPU" in said) == (notebook.needs(slug).gpu is None)
    assert notebook.needs(slug).gpu is None or "would need one CUDA GPU" in said


@pytest.mark.parametrize("slug", SLUGS)
def test_with_a_gpu_a_chapter_says_that_it_takes_it(slug, monkeypatch, capsys):
    gpu(monkeypatch)
    checkout.chapter_settings(slug).for_tier("full")
    said = capsys.readouterr().out
    assert said.startswith(
        "Full tier on the CPU;" if notebook.needs(slug).gpu is None else "Full tier on the GPU (NVIDIA Test)"
    )


def test_of_the_first_six_chapters_one_needs_no_gpu():
    assert [slug for slug in ENTRIES if notebook.needs(slug).gpu is None] == ["conformal_set_size"]


@pytest.mark.parametrize("there", [True, False])
def test_the_full_sizes_are_those_of_the_device_that_is_there(there, monkeypatch):
    from workings.chapters.beta_vae_capacity.full import FullSettings as Capacity
    from workings.chapters.early_visual_concepts.full import FullSettings as Early
    from workings.chapters.giraffe.llm import LLMSettings
    from workings.chapters.giraffe.scratch import scratch_settings
    from workings.chapters.sap.settings import Settings as Sap
    from workings.chapters.sap_erratum.full import FullSettings as Erratum

    (gpu if there else no_gpu)(monkeypatch)
    makers = (Capacity.here, Early.here, LLMSettings.here, scratch_settings, Erratum.here, Sap.full)
    assert {make().device for make in makers} == {"cuda" if there else "cpu"}


@pytest.mark.parametrize("slug", SLUGS)
def test_the_demo_says_nothing_that_depends_on_the_machine(slug, monkeypatch, capsys):
    gpu(monkeypatch)
    checkout.chapter_settings(slug).for_tier("demo")
    book = ledger.open(slug, "demo", record=False)
    book.table()
    assert capsys.readouterr().out == ""


def test_a_dry_run_says_so_and_half_a_statement_is_refused(capsys):
    assert NEEDS.statement(dry_run=True) == "Full tier, dry run: a few steps on generated data."
    with pytest.raises(ValueError, match="together, or neither"):
        dataclasses.replace(NEEDS, gpu=None)
    with pytest.raises(ValueError, match="lower is empty"):
        dataclasses.replace(NEEDS, lower={})


def test_the_command_needs_shows_statement_and_recorded_run(capsys):
    assert cli.main(["needs", "sap"]) == 0
    said = capsys.readouterr().out
    assert "robustness/sap\n    Full tier on " in said
    assert re.search(r"Recorded \d{4}-\d\d-\d\d: \d+ s, \d+ MiB, \d+ cores, ", said)
    assert cli.main(["needs", "no_such_chapter"]) == 2


# --- what it took -------------------------------------------------------------------------------------------------


def test_a_full_run_ends_with_its_time_and_memory(capsys, tmp_path):
    book = ledger.open("sap", "full", record=False, results=tmp_path)
    book.stopwatch.add(600)
    book.table()
    assert re.fullmatch(r"This run took 10\.0 min; peak memory \d+ MiB, no GPU\.\n", capsys.readouterr().out)


def test_the_peak_of_the_gpu_is_told_too(monkeypatch):
    gpu(monkeypatch)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    watch = provenance.Stopwatch()
    watch.add(3 * 3600)
    assert re.fullmatch(
        r"This run took 3\.0 h; peak memory \d+ MiB, peak GPU memory 3072 MiB\.", provenance.closing_line(watch)
    )


# --- memory that runs out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "device"), ERRORS.values(), ids=ERRORS)
def test_each_kind_of_full_memory_is_answered_with_the_setting_to_lower(error, device):
    @NEEDS.guard
    def work():
        raise error

    with pytest.raises(OutOfMemory, match=f"^out of memory on the {device}\\. Lower `batch` ") as caught:
        work()
    assert caught.value.__cause__ is error
    assert "then `masks` (masks) of a.Settings" in str(caught.value)


def test_numpys_own_memory_error_counts():
    import numpy as np

    with pytest.raises(OutOfMemory) as caught:
        NEEDS.guard(lambda: np.empty(2**45))()
    assert isinstance(caught.value.__cause__, MemoryError)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_pass_unchanged(error):
    assert device_out_of_memory(error) is None

    @NEEDS.guard
    def work():
        raise error

    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value is error


def test_an_answer_is_not_answered_again():
    def inner():
        raise MemoryError

    with pytest.raises(OutOfMemory) as caught:
        NEEDS.guard(NEEDS.guard(inner))()
    assert isinstance(caught.value.__cause__, MemoryError)


def test_the_answer_lets_go_of_what_filled_the_memory():
    import weakref

    kept = []

    class Large:
        pass

    def work():
        large = Large()
        kept.append(weakref.ref(large))
        raise MemoryError

    try:
        NEEDS.guard(work)()
    except OutOfMemory:
        assert kept[0]() is None


# (module, function that is called, function inside it that runs out of memory). A chapter that is not here has them under
# the template's names, in its own module: ``run`` calls ``run_protocol``.
ENTRIES = {
    "conformal_set_size": [("conformal_set_size.full", "run", "run_protocol")],
    "sap": [("sap.full", "run", "_cifar")],
    "sap_erratum": [("sap_erratum.full", "run", "run_table")],
    "early_visual_concepts": [("early_visual_concepts.full", "run", "train")],
    "giraffe": [("giraffe.full", "run", "scratch_tables")],
    "vtune": [("vtune.full", "run", "model_rows")],
    "beta_vae_capacity": [("beta_vae_capacity.full", "run", inner) for inner in ("DSprites", "train", "_known_factor")],
}  # fmt: skip


def entries(slug):
    return ENTRIES.get(slug, [(f"{slug}.full", "run", "run_protocol")])


def dry_arguments(slug, name):
    """What the chapter's notebook hands to its full tier's function, in a dry run."""
    if (
        slug in ("conformal_set_size", "sap", "sap_erratum", "giraffe", "early_visual_concepts", "vtune")
        or slug not in ENTRIES
    ):
        return [checkout.chapter_settings(slug).full(dry_run=True)]
    module = importlib.import_module(f"workings.chapters.{slug}.full")
    settings = module.FullSettings.here(dry_run=True)
    return [settings]


@pytest.mark.parametrize(("slug", "entry"), [(slug, entry) for slug in SLUGS for entry in entries(slug)])
def test_a_chapters_dry_run_that_fills_the_memory_names_the_chapters_setting(slug, entry, monkeypatch, tmp_path):
    no_gpu(monkeypatch)
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    module = importlib.import_module(f"workings.chapters.{entry[0]}")
    arguments = dry_arguments(slug, entry[1])

    def full(*_, **__):
        raise ERRORS["torch on a CPU"][0]

    monkeypatch.setattr(module, entry[2], full)
    first = next(iter(notebook.needs(slug).lower))
    with pytest.raises(OutOfMemory, match=f"Lower `{first}`"):
        getattr(module, entry[1])(*arguments)


def test_every_entry_is_a_chapters():
    assert set(ENTRIES) <= set(SLUGS)


def test_a_notebook_that_fills_the_memory_ends_the_command_with_one_clear_line(tmp_path):
    """The real path, from the command through the notebook's own process: its data are larger than any memory."""
    (tmp_path / "sitecustomize.py").write_text(
        "def full(*_, **__):\n    raise MemoryError('Unable to allocate 9.0 TiB')\n"
        "import workings.chapters.conformal_set_size.full as module\nmodule.run_protocol = full\n"
    )
    path = os.pathsep.join([str(tmp_path), str(checkout.root() / "lib")])
    variables = {"PYTHONPATH": path, "WORKINGS_QUIET": "1", "WORKINGS_RUNS": str(tmp_path)}
    command = [sys.executable, "-m", "workings.cli", "run", "conformal_set_size", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert said.startswith("workings: out of memory on the CPU. Lower `trees` (trees of a forest)")
    assert "Unable to allocate 9.0 TiB" in said


def test_a_notebook_killed_by_the_system_is_answered_too(monkeypatch, capsys):
    import papermill
    from nbclient.exceptions import DeadKernelError

    def die(*_, **__):
        raise DeadKernelError("Kernel died")

    monkeypatch.setattr(papermill, "execute_notebook", die)
    for name in ("WORKINGS_RECORD", "WORKINGS_TERMINAL"):
        monkeypatch.setenv(name, "")
    assert cli.main(["run", "sap_erratum", "--dry-run"]) == 2
    assert "was killed, most likely by the system because memory ran out. Lower `chunk`" in capsys.readouterr().err


# --- progress -----------------------------------------------------------------------------------------------------


class Terminal:
    """A terminal of its own, and what has been drawn on it."""

    def __init__(self):
        self.master, self.slave = os.openpty()
        self.drawn = ""

    def read(self, seconds=0.0):
        while select.select([self.master], [], [], seconds)[0]:
            self.drawn += os.read(self.master, 100_000).decode()
        return self.drawn

    def wait_for(self, words):
        """Return when ``words`` have been drawn; however slow the machine is, they come."""
        while words not in self.read(0.05):
            pass


@pytest.fixture
def terminal(monkeypatch):
    if not hasattr(os, "openpty"):
        pytest.skip("no terminals of this kind on this system")
    opened = Terminal()
    monkeypatch.delenv("WORKINGS_QUIET", raising=False)
    monkeypatch.setenv("WORKINGS_TERMINAL", os.ttyname(opened.slave))
    yield opened
    progress._terminal(os.ttyname(opened.slave)).close()
    progress._terminal.cache_clear()
    os.close(opened.slave)
    os.close(opened.master)


def test_a_loop_in_the_notebook_draws_its_bar_on_the_commands_terminal(terminal):
    assert list(progress.progress(range(3), "trainings")) == [0, 1, 2]
    assert "trainings" in terminal.read() and "/3" in terminal.drawn


def test_a_count_from_threads_draws_one_bar(terminal):
    with progress.counter(4, "steps", delay=0.0) as tick:
        threads = [threading.Thread(target=tick) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        terminal.wait_for("steps")


def test_a_bar_appears_while_the_first_piece_is_still_at_work(terminal):
    with progress.counter(2, "networks", delay=0.01):
        terminal.wait_for("networks:   0%")  # no piece is ever finished


def test_a_bar_does_not_appear_before_its_time(terminal):
    with progress.counter(2, "networks", delay=1e6) as tick:
        tick()
        tick()
    assert terminal.read() == ""


def test_work_two_at_a_time_shows_a_bar_once_it_lasts(terminal):
    from workings.runs.parallel import thread_map

    drawn = threading.Event()

    def last_until_it_is_drawn(number):
        if number == 0:  # one reader only: what it has read is not there for another
            terminal.wait_for("networks:   0%")
            drawn.set()
        drawn.wait()

    assert thread_map(last_until_it_is_drawn, [0, 1], "networks", delay=0.01) == [None, None]
    before = terminal.read()
    thread_map(lambda number: number, range(4), "networks", delay=1e6)
    assert terminal.read() == before


def test_work_two_at_a_time_is_silent_when_asked(terminal, monkeypatch):
    from workings.runs.parallel import thread_map

    monkeypatch.setenv("WORKINGS_QUIET", "1")
    assert thread_map(lambda number: number, range(4), "networks", delay=0.0) == [0, 1, 2, 3]
    monkeypatch.delenv("WORKINGS_QUIET")
    list(progress.progress([0], "the fixture closes what this opens"))
    assert "networks" not in terminal.read()
