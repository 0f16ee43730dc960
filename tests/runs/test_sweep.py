"""Sweeps: the grid's grammar, resuming, and a real scheduler whose worker is killed in the middle."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from workings import cli
from workings.runs import checkout, imports, locks, sweep

SLUG = "conformal_set_size"
QUICK = {"sets": 2, "m": 20, "n": 20}
pytestmark = pytest.mark.filterwarnings("default")  # dask and tornado warn about their own closing


def plan():
    return sweep.experiment(SLUG)


def points(*words):
    return sweep.grid([*(f"{k}={v}" for k, v in QUICK.items()), *words], plan().defaults)


def test_a_grid_is_every_combination_with_the_other_settings_at_their_defaults():
    found = sweep.grid(["n=5,10", "seed=0:3", "alpha=0.2"], plan().defaults)
    assert [(p["n"], p["seed"]) for p in found] == [(n, s) for n in (5, 10) for s in (0, 1, 2)]
    assert all(p["alpha"] == 0.2 and p["gamma"] == plan().defaults["gamma"] for p in found)
    assert len({sweep.key(p) for p in found}) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["alhpa=0.1"], "unknown grid key 'alhpa'; did you mean 'alpha'"),
        (["temperature=1"], "A grid may name: m, n, alpha, gamma, sets, seed"),
        (["n=1", "n=2"], "given twice"),
        (["n"], "has no values"),
        (["n="], "has no values"),
        (["n=ten"], "n=ten is not of type int"),
        (["n=1.5"], "not of type int"),
        (["n=5:5"], "empty"),
        (["n=a:b"], "no range"),
        (["n=3,3"], "twice"),
        (["alpha=nan"], "not a finite number"),
        (["alpha=0:1"], "not of type float"),
    ],
)
def test_a_grid_that_cannot_be_meant_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        sweep.grid(words, plan().defaults)


def test_a_chapter_without_an_experiment_and_an_unknown_one_are_named(monkeypatch):
    monkeypatch.delattr("workings.chapters.conformal_set_size.sweep.sweep_point")
    with pytest.raises(ValueError, match="has no sweep_point; give it a module"):
        sweep.experiment(SLUG)
    with pytest.raises(ValueError, match="Unknown chapter"):
        sweep.experiment("nothing")


TINY = {  # settings that make one point a matter of a second, for each chapter whose own defaults take longer
    "conformal_set_size": QUICK,
    "sap": {"images": 20, "eot_samples": 2, "mc_samples": 2, "epochs": 1},
    "sap_erratum": {"images": 6, "steps": 2, "eot_samples": 1, "mc_samples": 2, "epochs": 1},
    "early_visual_concepts": {"steps": 15},
    "beta_vae_capacity": {"steps": 20, "pictures": 200},
    "giraffe": {"steps": 2, "sequences": 2},
    "few_shot_baseline": {"steps": 2, "width": 2, "episodes": 4, "classes": 20},
    "l3m": {"steps": 20},
    "scan": {"vision_steps": 20, "steps": 20},
    "taught_to_know": {"pretrain_steps": 40, "steps": 2, "graded": 100},
    "vtune": {"rows": 60, "backdoors": 4, "steps": 3, "base_steps": 3},
    "darla": {"steps": 3, "pictures": 100},
}


def change(monkeypatch, end):
    """As if the source of each module whose name ends so had one more line."""
    read = imports.installed

    def changed(name):
        module = read(name)
        return module._replace(source=module.source + "#") if module and name.endswith(end) else module

    monkeypatch.setattr(imports, "installed", changed)


@pytest.mark.parametrize(
    "changed",
    ["chapters.sap.sweep", "chapters.sap.demo", "robustness.sap", "attacks", "parallel", "training", "multinomial"],
)
def test_a_change_in_any_module_that_an_experiment_reaches_is_a_change_of_code(monkeypatch, changed):
    before = sweep.experiment("sap").code
    assert before == sweep.experiment("sap").code
    change(monkeypatch, f".{changed}")
    assert sweep.experiment("sap").code != before


@pytest.mark.parametrize(
    "changed", ["workings.ledger", "workings.cli", "chapters.conformal_set_size.sweep", "chapters.sap_erratum.demo"]
)
def test_a_change_elsewhere_is_not(monkeypatch, changed):
    before = sweep.experiment("sap").code
    change(monkeypatch, changed)
    assert sweep.experiment("sap").code == before


def test_a_worker_with_other_code_refuses_its_points(scheduler, tmp_path):
    other = plan()._replace(code="0123456789ab")
    done = sweep.run_sweep(other, points("seed=0:2"), sweep.store(other, folder=tmp_path), scheduler=scheduler.address)
    assert done.computed == 0 and len(done.failed) == 2
    assert "other code for workings.chapters.conformal_set_size.sweep" in next(iter(done.failed.values()))
    assert "install the same version" in next(iter(done.failed.values()))


@pytest.mark.parametrize("slug", [path.stem for path in checkout.notebook_scripts()])
def test_every_chapter_has_an_experiment_that_its_seed_decides(slug):
    found = sweep.experiment(slug)
    run = lambda seed: sweep._compute(found.module, {**found.defaults, **TINY.get(slug, {}), "seed": seed})["values"]
    first, again, other = run(0), run(0), run(1)
    assert first == again != other
    assert all(type(value) is float and math.isfinite(value) for value in first.values())


def test_the_settings_are_those_of_chapters():
    assert set(TINY) <= {path.stem for path in checkout.notebook_scripts()}


@pytest.mark.parametrize(
    ("slug", "wrong", "message"),
    [
        ("sap", {"fraction": 0.0}, "fraction"),
        ("sap", {"eot_samples": 0}, "eot_samples"),
        ("sap_erratum", {"attack": "best"}, "attack must be one of"),
        ("sap_erratum", {"eps": 0.0}, "eps"),
        ("early_visual_concepts", {"beta": -1.0}, "beta"),
        ("beta_vae_capacity", {"c_max": 0.5}, "c_max"),
        ("giraffe", {"kind": "cubic"}, "kind must be one of"),
        ("giraffe", {"factor": 0.5}, "factor"),
        ("vtune", {"backdoors": 101}, "backdoors"),
        ("vtune", {"lr": 0.0}, "lr"),
    ],
)
def test_a_setting_that_an_experiment_cannot_have_is_refused_before_it_trains(slug, wrong, message, monkeypatch):
    def trains(*_, **__):
        raise AssertionError("it trained first")

    monkeypatch.setattr("torch.Tensor.backward", trains)
    monkeypatch.setattr("torch.autograd.grad", trains)
    found = sweep.experiment(slug)
    with pytest.raises(ValueError, match=message):
        sweep._compute(found.module, {**found.defaults, **wrong})


def test_results_of_other_code_are_not_mixed_in(tmp_path):
    sweep.store(plan(), folder=tmp_path)
    with pytest.raises(ValueError, match=r"other settings .*code was"):
        sweep.store(plan()._replace(code="changed"), folder=tmp_path)
    with pytest.raises(ValueError, match="a sweep's name"):
        sweep.store(plan(), "../up", folder=tmp_path)


def test_a_results_file_edited_into_nonsense_is_refused_and_left_as_it_is(tmp_path, monkeypatch, capsys):
    results = sweep.store(plan(), folder=tmp_path)
    results.put(sweep.key(points("seed=0")[0]), {"values": {}})
    with results.path.open("a") as file:
        file.write('{"key": "x", "payload": NaN}\n{"key": "y", "payload": 1}\n')
    before = results.path.read_bytes()
    monkeypatch.setenv("WORKINGS_RESULTS", str(tmp_path))
    assert cli.main(["sweep", SLUG, "--grid", "seed=0"]) == 2
    assert "jsonl:3: damaged line" in capsys.readouterr().err
    assert results.path.read_bytes() == before


# An experiment for the workers below. A point is done when both workers are at work; after the third, the others wait
# until one worker has been killed. So the kill falls in the middle of the sweep on any machine, fast or slow.
PROBE = """
import os, pathlib, time

def sweep_point(*, folder: str = "", seed: int = 0):
    folder = pathlib.Path(folder)
    (folder / f"worker-{os.getpid()}").touch()
    count = lambda pattern: len(list(folder.glob(pattern)))
    while count("worker-*") < 2 or (count("done-*") >= 3 and not (folder / "killed").exists()):
        time.sleep(0.01)
    (folder / f"done-{seed}").touch()
    return {"seed": float(seed)}
"""


class Scheduler:
    """A dask scheduler and its workers as processes of their own, on loopback."""

    def __init__(self, folder):
        self.file = folder / "scheduler.json"
        (folder / "sweep_probe.py").write_text(PROBE)
        path = os.pathsep.join([str(checkout.root() / "lib"), str(folder)])
        self.folder, self.environment = folder, {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.processes = [self._start("dask_scheduler", "--port", "0", "--scheduler-file", self.file, "--no-dashboard")]
        while not (self.file.exists() and self.file.read_text().strip().endswith("}")):
            assert self.processes[0].poll() is None, "the scheduler did not come up"
            time.sleep(0.1)
        self.address = json.loads(self.file.read_text())["address"]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", folder]
        self.processes += [self._start("dask_worker", self.address, *options) for _ in range(2)]

    def _start(self, module, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)]
        command += ["--host", "127.0.0.1"]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    running = Scheduler(tmp_path_factory.mktemp("scheduler"))
    yield running
    running.stop()


def test_a_sweep_cut_off_goes_on_where_it_stopped(scheduler, tmp_path):
    class Cut(Exception):
        pass

    todo = points("seed=0:6")
    seen = []

    def cut(name, payload):
        seen.append(name)
        if len(seen) == 2:
            raise Cut

    with pytest.raises(Cut):
        sweep.run_sweep(plan(), todo, sweep.store(plan(), folder=tmp_path), scheduler=scheduler.address, on_done=cut)
    rest = sweep.run_sweep(plan(), todo, sweep.store(plan(), folder=tmp_path), scheduler=scheduler.address)
    assert rest == sweep.Summary(2, 4, {})


def test_a_full_disk_in_the_middle_keeps_what_was_measured_and_says_so(scheduler, tmp_path, monkeypatch):
    todo, results = points("seed=0:5"), sweep.store(plan(), folder=tmp_path)
    put, room = results.put, [2]

    def full(name, payload):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= 1
        put(name, payload)

    monkeypatch.setattr(results, "put", full)
    with pytest.raises(RuntimeError, match=r"No space left.* 2 points are safe .*same command again"):
        sweep.run_sweep(plan(), todo, results, scheduler=scheduler.address)
    rest = sweep.run_sweep(plan(), todo, sweep.store(plan(), folder=tmp_path), scheduler=scheduler.address)
    assert rest == sweep.Summary(2, 3, {})


def test_a_point_that_fails_is_reported_and_the_others_go_on(scheduler, tmp_path):
    todo = points("alpha=0.1,7")
    done = sweep.run_sweep(plan(), todo, sweep.store(plan(), folder=tmp_path), scheduler=scheduler.address)
    assert done.computed == 1
    assert "alpha must be in (0, 1)" in done.failed[sweep.key(todo[1])]


def test_a_sweep_that_another_process_is_computing_is_left_to_it(tmp_path):
    results = sweep.store(plan(), folder=tmp_path)
    held = locks.locked(results.path.with_name(results.path.name + ".lock"))
    with held, pytest.raises(RuntimeError, match=r"another process is computing the sweep .*same command again"):
        sweep.run_sweep(plan(), points("seed=0"), results)
    assert len(results) == 0 and [file.name for file in results.path.parent.iterdir()] == [results.path.name]


def test_a_script_without_a_guard_is_told_so_before_any_process_starts(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import pathlib\nfrom workings.runs import sweep\nplan = sweep.experiment('conformal_set_size')\n"
        "points = sweep.grid(['sets=2', 'm=20', 'n=20', 'seed=0'], plan.defaults)\n"
        "print(sweep.run_sweep(plan, points, sweep.store(plan, folder=pathlib.Path(__file__).parent), workers=1))\n"
    )
    path = {**os.environ, "PYTHONPATH": str(checkout.root() / "lib")}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("RuntimeError: mine.py would be run again by every process")
    assert '`if __name__ == "__main__":`' in done.stderr


def test_a_dead_scheduler_is_named_with_the_remedy(tmp_path):
    with pytest.raises(RuntimeError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'.*dask scheduler"):
        sweep.run_sweep(
            plan(), points("seed=0"), sweep.store(plan(), folder=tmp_path), scheduler="tcp://127.0.0.1:9", timeout=1
        )


def test_without_dask_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RuntimeError, match=r"needs dask.distributed.*pip install distributed"):
        sweep.run_sweep(plan(), points("seed=0"), sweep.store(plan(), folder=tmp_path))


def test_the_command_sweeps_on_processes_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKINGS_RESULTS", str(tmp_path))
    words = ["sweep", SLUG, "--workers", "1", "--grid", "seed=0:2", *(f"{k}={v}" for k, v in QUICK.items())]
    assert cli.main(words) == 0
    assert "2 points computed, 0 were there already" in capsys.readouterr().out
    assert cli.main(words) == 0
    assert "0 points computed, 2 were there already" in capsys.readouterr().out


def test_a_killed_worker_loses_no_point_and_none_counts_twice(
    scheduler, tmp_path, monkeypatch
):  # last: one worker is left
    monkeypatch.syspath_prepend(scheduler.folder)
    probe = sweep.Experiment(
        "probe", "robustness", "sweep_probe", {"folder": "", "seed": 0}, sweep.code_of("sweep_probe")
    )
    todo = [{"folder": str(tmp_path), "seed": seed} for seed in range(16)]
    results = sweep.store(probe, folder=tmp_path)
    order = []

    def kill_one(name, payload):
        order.append(name)
        if len(order) == 3:
            os.kill(payload["process"], signal.SIGKILL)
            (tmp_path / "killed").touch()

    done = sweep.run_sweep(probe, todo, results, scheduler=scheduler.address, on_done=kill_one)
    assert done == sweep.Summary(0, 16, {})
    assert sorted(order) == sorted(map(sweep.key, todo))
    lines = [json.loads(line) for line in results.path.read_text().splitlines()[1:]]
    assert sorted(line["key"] for line in lines) == sorted(map(sweep.key, todo))
    assert len({line["payload"]["process"] for line in lines}) == 2  # one had worked before it died, and the other
    reopened = sweep.store(probe, folder=tmp_path)
    again = sweep.run_sweep(probe, todo, reopened, scheduler="tcp://127.0.0.1:9")  # nothing to do: never asked
    assert again == sweep.Summary(16, 0, {})
