"""The circumstances of a run: true, portable, and free of the machine's paths."""

import json
import re
import subprocess
import sys
import time
import types
from importlib import metadata

import pytest

from workings.runs import provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small repository laid out like ours, with one commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("lib/k.py", "claims/u/x.yml", "results/u/x/demo.json", "notebooks/u/x.py", "notebooks/u/x.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    (tmp_path / "pyproject.toml").write_text("first")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_clean_checkout_gives_its_commit(repository):
    assert provenance.code_state(repository) == (git(repository, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize("changed", ["lib/k.py", "lib/new.py", "claims/u/x.yml", "notebooks/u/x.py", "pyproject.toml"])
def test_changed_or_new_code_makes_it_dirty(repository, changed):
    (repository / changed).write_text("second")
    assert provenance.code_state(repository)[1] is True


@pytest.mark.parametrize("changed", ["results/u/x/demo.json", "notebooks/u/x.ipynb", "runs/x/full.ipynb"])
def test_what_a_run_itself_writes_does_not_make_it_dirty(repository, changed):
    (repository / changed).parent.mkdir(parents=True, exist_ok=True)
    (repository / changed).write_text("second")
    assert provenance.code_state(repository)[1] is False


def test_a_hook_of_another_repository_does_not_mislead_git(repository, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert provenance.code_state(repository)[0] is not None


def test_outside_git_in_an_empty_repository_and_inside_a_strangers_one_there_is_no_commit(repository, tmp_path_factory):
    plain = tmp_path_factory.mktemp("plain")
    assert provenance.code_state(plain) == (None, None)
    git(plain, "init", "--quiet")
    assert provenance.code_state(plain) == (None, None)  # no commit yet
    assert provenance.code_state(repository / "lib") == (None, None)  # an unpacked copy inside another repository


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.code_state(repository) == (None, None)


def test_where_git_refuses_the_reason_and_the_remedy_are_told(repository, tmp_path_factory, monkeypatch):
    assert provenance.why_no_commit(repository) is None
    assert provenance.why_no_commit(tmp_path_factory.mktemp("plain")) is None  # a copy without its history
    tools = tmp_path_factory.mktemp("tools")
    (tools / "git").write_text(
        "#!/bin/sh\necho \"fatal: detected dubious ownership in repository at '$2'\" >&2\nexit 128\n"
    )
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    assert "belongs to another user" in provenance.why_no_commit(repository)
    assert "git config --global --add safe.directory" in provenance.why_no_commit(repository)
    assert provenance.code_state(repository) == (None, None)
    monkeypatch.setenv("PATH", "")
    assert provenance.why_no_commit(repository).startswith("git is not installed")


@pytest.mark.parametrize(
    ("noted", "commit"),
    [
        ('{"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}}', "0123abc"),
        ('{"url": "file:///x", "dir_info": {}}', None),
        ("not json", None),
        (None, None),
    ],
)
def test_an_installed_package_knows_the_commit_pip_noted(monkeypatch, noted, commit):
    monkeypatch.setattr(provenance.paths, "checkout_root", lambda: None)
    distribution = types.SimpleNamespace(read_text=lambda name: noted if name == "direct_url.json" else None)
    monkeypatch.setattr(provenance.metadata, "distribution", lambda name: distribution)
    assert provenance.code_state() == (commit, None)


def test_circumstances_are_plain_json_and_hold_no_path():
    found = provenance.circumstances(provenance.Stopwatch(), seeds=[2, 0, 2])
    text = json.dumps(found, allow_nan=False)
    assert list(found) == [
        *("date", "commit", "dirty", "python", "versions", "hardware"),
        *("wall_s", "peak_memory_mib", "peak_gpu_memory_mib", "seeds"),
    ]
    assert found["seeds"] == [0, 2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["date"])
    assert found["versions"]["numpy"] == metadata.version("numpy")
    assert found["hardware"]["cores"] >= 1 and found["hardware"]["memory_gib"] > 0
    assert not re.search(r'"[^"]*(/home|/root|/tmp|/Users|[A-Z]:\\)', text)


def test_nothing_is_imported_to_find_out():
    code = (
        "import sys; from workings.runs import provenance; s = provenance.Stopwatch(); provenance.circumstances(s); "
        "provenance.environment_line(); sys.exit(bool({'torch', 'numpy', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_stopwatch_counts_earlier_sessions_in(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = provenance.Stopwatch()
    now[0] = 102.5
    assert watch.seconds == 2.5
    watch.add(60)
    watch.add(1)
    assert watch.seconds == 63.5
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="zero or more and finite"):
            watch.add(wrong)


def test_peak_memory_grows_with_what_is_held_and_never_shrinks():
    # In a process of its own: a test before this one may have left a peak that 64 MiB cannot exceed.
    code = (
        "from workings.runs.provenance import peak_memory_mib as peak; before = peak(); block = bytearray(b'x' * (64 << 20));"
        "during = peak(); del block; print(during - before, peak() - during)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, after = map(float, done.stdout.split())
    assert grown >= 40  # 64 MiB were touched; some may have been held already
    assert after >= 0


def test_a_childs_peak_is_its_own_and_not_its_parents():
    # On Linux ru_maxrss survives exec, so a small process started from a large one would report the parent's peak.
    block = bytearray(b"x" * (300 << 20))
    code = "from workings.runs import provenance; print(provenance.peak_memory_mib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    del block
    assert float(done.stdout) < 200


def test_macos_counts_bytes_and_everyone_else_kibibytes():
    assert provenance._maxrss_mib(1 << 30, "darwin") == 1024.0
    assert provenance._maxrss_mib(1 << 20, "linux") == 1024.0


def fake_torch(available: bool):
    cuda = types.SimpleNamespace(
        is_available=lambda: available,
        get_device_name=lambda: "Test GPU",
        max_memory_allocated=lambda: 3 << 20,
    )
    return types.SimpleNamespace(cuda=cuda)


def test_a_gpu_is_recorded_when_torch_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", fake_torch(True))
    found = provenance.circumstances()
    assert found["hardware"]["gpu"] == "Test GPU" and found["peak_gpu_memory_mib"] == 3.0
    assert found["wall_s"] is None
    monkeypatch.setitem(sys.modules, "torch", fake_torch(False))
    assert provenance.circumstances()["hardware"]["gpu"] is None


def test_the_environment_line_names_versions_and_device(monkeypatch):
    monkeypatch.setattr(
        provenance, "versions", lambda: {"workings": "0.1.0", "numpy": "2.4.6", "scipy": "1", "torch": "2.12.1"}
    )
    monkeypatch.setattr(provenance.platform, "python_version", lambda: "3.11.7")
    monkeypatch.setitem(sys.modules, "torch", fake_torch(False))
    line = "Environment: workings 0.1.0 | Python 3.11.7 | numpy 2.4.6 | torch 2.12.1 | device "
    assert provenance.environment_line() == provenance.environment_line("auto") == line + "cpu"
    assert provenance.environment_line("mps") == line + "mps"
    monkeypatch.setitem(sys.modules, "torch", fake_torch(True))
    assert provenance.environment_line() == provenance.environment_line("auto") == line + "cuda"


def test_the_environment_line_leaves_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(provenance, "versions", lambda: {"workings": "0.1.0"})
    monkeypatch.setitem(sys.modules, "torch", None)  # an import would fail
    assert provenance.environment_line("auto").endswith(" | device cpu")
    assert "torch" not in provenance.environment_line("auto") and "numpy" not in provenance.environment_line()
