"""Where dm_control or a renderer is missing: what the chapter `darla` tries, and what it then says."""

import importlib.util
import sys

import pytest

from workings.chapters.darla import arm_looks, arm_renderer, arm_run, full
from workings.chapters.darla.arm import ArmEnv
from workings.chapters.darla.settings import Settings
from workings.chapters.public_models import NotHere


@pytest.fixture
def unopened(monkeypatch, tmp_path):
    """As if dm_control had not been imported, and the reader had set no renderer; what is set is taken back afterwards."""
    monkeypatch.delitem(sys.modules, "dm_control._render", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    monkeypatch.setattr(arm_renderer.sys, "platform", "linux")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name == "dm_control" else real(name))
    return monkeypatch


def test_without_dm_control_the_message_says_what_to_install(unopened, tmp_path):
    unopened.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotHere, match=r"pip install dm_control gymnasium"):
        ArmEnv(arm_looks.domains()["source"]).reset(seed=0)
    for asked in ({"dry_run": True, "asked": False}, {"dry_run": False, "asked": True}):
        (row,) = arm_run.rows_or_note(**asked)
        assert row["note"].startswith("Not run: the Jaco arm. dm_control is not installed")
    assert not list(tmp_path.iterdir())


def test_the_full_tier_has_the_arm_beside_its_own_tables(unopened):
    unopened.setattr(importlib.util, "find_spec", lambda name: None)
    own = {"encoders": [{"beta": 1.0}], "returns": [{"seed": 0}]}
    unopened.setattr(full, "run_protocol", lambda settings, store: own)
    for dry_run in (True, False):
        tables = full.run(Settings.full(dry_run=dry_run))
        assert list(tables) == [*own, "arm"] and {name: tables[name] for name in own} == own
        assert ("dm_control" if dry_run else "arm=True") in tables["arm"][0]["note"]


def test_the_first_renderer_that_works_is_set_and_the_readers_own_is_kept(unopened):
    tried = []
    works = lambda *names: lambda backend, **_: tried.append(backend) or (None if backend in names else "broken")
    unopened.setattr(arm_renderer, "failure", works("osmesa"))
    assert arm_renderer.choose() == arm_renderer.os.environ["MUJOCO_GL"] == "osmesa" and tried == ["egl", "osmesa"]
    unopened.setenv("MUJOCO_GL", "glfw")
    unopened.setattr(arm_renderer, "failure", works("glfw", "egl"))
    assert arm_renderer.choose() == arm_renderer.os.environ["MUJOCO_GL"] == "glfw" and tried[2:] == ["glfw"]


def test_where_nothing_renders_the_message_says_what_was_tried_and_what_helps(unopened):
    unopened.setattr(arm_renderer, "failure", lambda backend, render=True: f"no {backend}" if render else None)
    with pytest.raises(NotHere, match=r"MUJOCO_GL=egl gave no egl; MUJOCO_GL=osmesa gave no osmesa.*apt-get install"):
        arm_renderer.choose()
    assert arm_renderer.os.environ["MUJOCO_GL"] == ""
    unopened.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(NotHere, match=r"gave no osmesa\. That value is your own; unset MUJOCO_GL"):
        arm_renderer.choose()
    assert arm_renderer.os.environ["MUJOCO_GL"] == "osmesa"
    unopened.setattr(arm_renderer, "failure", lambda backend, render=True: "AttributeError: flex")
    with pytest.raises(NotHere, match=r"do not start together \(AttributeError: flex\).*mujoco<4"):
        arm_renderer.choose()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("raise ImportError('no EGL here')", "ImportError: no EGL here"),
        ("import os; os._exit(7)", "Python ended with code 7"),
        ("import os; assert os.environ['MUJOCO_GL'] == 'egl'; from unittest import mock; mujoco = mock.Mock()", None),
    ],
)
def test_a_renderer_is_tried_in_a_python_of_its_own(tmp_path, monkeypatch, source, found):
    (tmp_path / "dm_control").mkdir()
    (tmp_path / "dm_control" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert arm_renderer.failure("egl") == found
