"""The Jaco arm of the chapter `darla`: looks and messages without dm_control, the rest where it is installed."""

import numpy as np
import pytest

from workings.chapters.darla import arm_looks, arm_run
from workings.chapters.darla.arm import JOINTS, ArmEnv, ArmWorld, load_pictures
from workings.chapters.darla.arm_settings import ArmSettings
from workings.chapters.public_models import NotHere
from workings.disentangling.domains import DomainSpec, assert_conjunction_heldout
from workings.disentangling.environments import as_gymnasium
from workings.runs.store import Store

DOMAINS = arm_looks.domains()
LOOK = np.array([1, 2, 3, 1, 1, 3])

# --- without dm_control -----------------------------------------------------------------------------------------------


def test_no_conjunction_of_the_target_is_in_the_source_and_every_value_was_seen():
    assert_conjunction_heldout(DOMAINS["source"], DOMAINS["target"], DOMAINS["unsupervised"])
    pairs = lambda name: {(row[0], row[2]) for row in DOMAINS[name].rows}
    assert not pairs("source") & pairs("target") and pairs("target") <= pairs("unsupervised")
    for factor, count in zip(arm_looks.FACTORS, arm_looks.COUNTS, strict=True):
        assert DOMAINS["unsupervised"].values(factor) == set(range(count))
    assert {arm_looks.AZIMUTHS[k] for k in DOMAINS["source"].values("camera")} == {0.0}


def test_looks_differ_in_the_factor_that_changed_and_in_nothing_else():
    for column, (name, count) in enumerate(zip(arm_looks.FACTORS, arm_looks.COUNTS, strict=True)):
        rows = np.tile(LOOK, (count, 1))
        rows[:, column] = range(count)
        looks = [arm_looks.look_of(row) for row in rows]
        assert len({look[column] for look in looks}) == count, name
        assert len({(*look[:column], *look[column + 1 :]) for look in looks}) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: arm_looks.look_of(np.array([8, 0, 0, 0, 0, 0])), ValueError, "table must be from 0 to 7, got 8"),
        (lambda: arm_looks.look_of(np.zeros(5, dtype=int)), ValueError, r"must be \(6,\)"),
        (lambda: arm_looks.look_of(np.zeros(6)), TypeError, "whole numbers"),
        (lambda: ArmWorld(horizon=0), ValueError, "horizon must be at least 1"),
        (lambda: ArmWorld(radius=0.0), ValueError, "radius"),
        (lambda: ArmWorld(rule="sparse"), ValueError, "rule"),
        (lambda: ArmEnv(DOMAINS["source"], "an arm"), TypeError, "ArmWorld"),
        (lambda: ArmEnv(DomainSpec.product(table=(0,))), ValueError, "must name the factors"),
        (
            lambda: ArmEnv(DomainSpec(arm_looks.FACTORS, ((0, 0, 6, 0, 0, 0),))),
            ValueError,
            "object must be from 0 to 5",
        ),
        (lambda: ArmEnv("source"), TypeError, "DomainSpec"),
        (lambda: ArmEnv(DOMAINS["source"]).step(0), ValueError, "no episode"),
        (lambda: ArmSettings(horizon=7), ValueError, "multiple of roll"),
        (lambda: ArmSettings(pictures=10), ValueError, "batch must be at most"),
    ],
)
def test_bad_input_says_what_is_allowed(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_full_sizes_are_those_of_the_world():
    assert ArmSettings.full().world() == ArmWorld()


# --- with dm_control --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    pytest.importorskip("dm_control")
    made = ArmWorld(horizon=6)
    try:
        made.frame(LOOK, made.poses(1, np.random.default_rng(0))[0])
    except NotHere as missing:
        pytest.skip(str(missing))
    yield made
    made.close()


def walk(env, seed, actions):
    """The observations (T + 1, ...) and states (T + 1, 21), and the rewards, of ``actions`` from a reset with ``seed``."""
    frame, info = env.reset(seed=seed)
    frames, states, rewards = [frame], [info["state"]], []
    for action in actions:
        frame, reward, _, _, info = env.step(action)
        frames.append(frame)
        states.append(info["state"])
        rewards.append(reward)
    return np.stack(frames), np.stack(states), rewards


def test_gymnasiums_own_check_passes(world):
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    check_env(as_gymnasium(ArmEnv(DOMAINS["source"], world)), skip_render_check=True)


def test_equal_seeds_and_actions_give_equal_states_in_every_look_and_other_pictures(world):
    actions = [0, 1, 3, 5, 2, 4]
    frames, states, rewards = walk(ArmEnv(DOMAINS["source"], world), 3, actions)
    others, moved, paid = walk(ArmEnv(DOMAINS["target"], world), 3, actions)
    assert frames.shape == (7, 64, 64, 3) and frames.dtype == np.uint8
    assert np.array_equal(states, moved) and rewards == paid
    assert all((a != b).mean() > 0.5 for a, b in zip(frames, others, strict=True))
    again, _, _ = walk(ArmEnv(DOMAINS["source"], world), 3, actions)
    assert np.array_equal(frames, again)
    assert not np.array_equal(states[0], walk(ArmEnv(DOMAINS["source"], world), 4, [])[1][0])


def test_an_action_turns_the_joint_that_it_names(world):
    rng = np.random.default_rng(1)
    state = world.start(DOMAINS["source"], LOOK[None], rng)[0]
    for action in range(7):
        step = lambda before, action=action: world.step_one(DOMAINS["source"], LOOK, before, action, rng)[0]
        first = step(state)
        assert np.array_equal(first, step(state)) and np.array_equal(first[2 * JOINTS :], state[2 * JOINTS :])
        wanted = np.zeros(6)
        if action:
            wanted[(action - 1) // 2] = 7.2 if action % 2 else -7.2  # 36 degrees a second for 0.2 s
        turned = np.rad2deg(step(first) - first)[:6]  # the first step is slower, from rest
        assert np.abs(turned - wanted).max() < 0.5, (world.actions[action], turned)
        assert (np.sign(np.round(np.rad2deg(first - state)[:6] / 2)) == np.sign(wanted)).all()


def test_the_reward_is_being_near_and_a_script_that_knows_the_state_gets_there(world):
    long, reached = ArmWorld(horizon=20), []
    long.__dict__["_model"] = world._model  # compiled once
    env = ArmEnv(DOMAINS["source"], long)
    for seed in range(3):
        _, info = env.reset(seed=seed)
        for _ in range(20):
            _, reward, terminated, truncated, info = env.step(long.scripted(info["state"]))
            assert reward == (long.distance(info["state"]) <= long.radius) and not terminated
        assert truncated
        reached.append(reward)
    assert reached == [1.0] * 3
    shaped = ArmWorld(rule="distance")
    shaped.__dict__["_model"] = world._model
    after, reward = shaped.step_one(DOMAINS["source"], LOOK, info["state"], 0, np.random.default_rng(0))
    assert reward == -shaped.distance(after) < 0


def test_every_factor_and_the_objects_place_change_the_picture(world):
    state = world.start(DOMAINS["source"], LOOK[None], np.random.default_rng(2))[0]
    state[-3:] = (0.15, -0.15, 0.05)
    picture = world.frame(LOOK, state)
    for column, name in enumerate(arm_looks.FACTORS):
        other = LOOK.copy()
        other[column] = (other[column] + 1) % arm_looks.COUNTS[column]
        assert np.abs(world.frame(other, state).astype(int) - picture).max() > 20, name
    moved = state.copy()
    moved[-3] = -0.15
    changed = np.abs(world.frame(LOOK, moved).astype(int) - picture).max(axis=2) > 20
    assert 10 < changed.sum() < 200  # where the object was and where it is
    assert np.array_equal(world.frame(LOOK, state), picture)


def test_steps_after_the_end_and_actions_that_there_are_not_are_refused(world):
    env = ArmEnv(DOMAINS["source"], world)
    env.reset(seed=0)
    for action in (-1, 7):
        with pytest.raises(ValueError, match="action must be at"):
            env.step(action)
    with pytest.raises(TypeError, match="action must be an integer"):
        env.step(1.0)
    assert [env.step(0)[3] for _ in range(6)] == [False] * 5 + [True]
    with pytest.raises(ValueError, match="call reset"):
        env.step(0)


def test_the_pictures_of_the_vision_stage_follow_from_their_seed(world):
    seen = load_pictures(world, DOMAINS["unsupervised"], 12, seed=5)
    again, other = (load_pictures(world, DOMAINS["unsupervised"], 12, seed=seed) for seed in (5, 6))
    assert seen.pictures.shape == (12, 3, 64, 64) and (seen.pictures == again.pictures).all()
    assert (seen.pictures != other.pictures).any()
    k = 7
    assert np.array_equal(seen.pictures[k].numpy().transpose(1, 2, 0), world.frame(seen.looks[k], seen.states[k]))
    assert (seen.states[:, JOINTS : 2 * JOINTS] == 0).all() and len(np.unique(seen.states[:, 0])) == 12
    assert not any(world._model.touches(state[:JOINTS]) for state in seen.states)
    assert float(seen.floats().min()) >= 0 and float(seen.floats(3).max()) <= 1 and len(seen.floats(3)) == 3


def test_the_dry_run_sees_acts_and_goes_on_where_it_stopped(world, tmp_path, monkeypatch):
    settings = ArmSettings.dry()
    rows = arm_run.run(settings, Store(tmp_path / "arm.jsonl", settings))
    assert [(row["code"], row["seed"]) for row in rows] == [
        (code, seed) for code in ("pixels", "beta 1", "beta 175") for seed in (0, 1)
    ]
    for row in rows:
        assert row["algorithm"] == "a2c" and all(0 <= row[name] <= 4 for name in ("source", "target"))
        for policy in ("random", "scripted"):  # they do not look, so that the domain is no matter
            assert row[f"{policy}_source"] == row[f"{policy}_target"]
        assert row["scripted_source"] > 0
    monkeypatch.setattr(arm_run, "see", None)
    monkeypatch.setattr(arm_run, "load_pictures", None)
    assert arm_run.run(settings, Store(tmp_path / "arm.jsonl", settings)) == rows
