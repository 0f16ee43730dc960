"""Domains, and the two small worlds: what they look like, how they move, and what episodes pay exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.disentangling.domains import DomainSpec, assert_conjunction_heldout
from workings.disentangling.environments import ReachEnv, SeekAvoidEnv, WorldEnv, as_gymnasium
from workings.disentangling.worlds import Kind, ReachWorld, SeekAvoidWorld, hue_palette

SOURCE = DomainSpec.product(wall=(0, 1, 2), floor=(0, 1, 2), kind=(0, 1))
TARGET = DomainSpec.product(wall=(5, 6, 7), floor=(5, 6, 7), kind=(0, 1))
ALL = DomainSpec.product(wall=range(8), floor=range(8), kind=(0, 1))
TABLES = DomainSpec.product(table=range(4), target=range(4))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_product_holds_every_combination_once():
    assert len(SOURCE.rows) == 18 and len(set(SOURCE.rows)) == 18
    assert SOURCE.values("wall") == {0, 1, 2} and SOURCE.names == ("wall", "floor", "kind")


def test_a_held_out_conjunction_passes_and_a_shared_one_is_named():
    assert_conjunction_heldout(SOURCE, TARGET, ALL)
    with pytest.raises(ValueError, match=r"source share 2 .* \(2, 2, 0\)"):
        assert_conjunction_heldout(SOURCE, DomainSpec.product(wall=(2, 3), floor=(2,), kind=(0, 1)), ALL)
    with pytest.raises(ValueError, match="unsupervised share"):
        assert_conjunction_heldout(SOURCE, TARGET, ALL, strict=True)
    with pytest.raises(ValueError, match="'wall' is in the target and not in the unsupervised"):
        assert_conjunction_heldout(SOURCE, TARGET, SOURCE)
    with pytest.raises(ValueError, match="same factors"):
        assert_conjunction_heldout(SOURCE, DomainSpec.product(wall=(5,), kind=(0,)), ALL)
    with pytest.raises(TypeError, match="DomainSpec"):
        assert_conjunction_heldout(SOURCE, TARGET, None)


@pytest.mark.parametrize(
    ("names", "rows", "words"),
    [
        ((), ((),), "at least one factor"),
        (("a", "a"), ((0, 0),), "different names"),
        (("a",), (), "at least one conjunction"),
        (("a", "b"), ((0,),), "one value for each"),
        (("a",), ((0,), (0,)), "given twice"),
    ],
)
def test_bad_domains_are_refused(names, rows, words):
    with pytest.raises(ValueError, match=words):
        DomainSpec(names, rows)


def test_a_domain_draws_its_rows_evenly():
    rows = SOURCE.draw(18_000, rng())
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == 18
    # Each count is binomial with mean 1,000 and standard deviation 30.7; all 18 within 5 of them but once in 100,000 seeds.
    assert np.abs(counts - 1000).max() < 155
    with pytest.raises(ValueError, match="name must be one of"):
        SOURCE.values("ceiling")


def test_the_palette_goes_from_red_towards_blue():
    colours = np.array(hue_palette(8))
    assert colours.shape == (8, 3) and colours[0] == pytest.approx((0.9, 0.18, 0.18))
    assert colours[-1].argmax() == 2
    with pytest.raises(ValueError, match="hue"):
        hue_palette(3, 1.5)


def test_every_scene_has_a_picture_of_its_own_and_an_index():
    world = SeekAvoidWorld.hues()
    looks, state = world.scenes()
    assert (world.index(looks, state) == np.arange(len(state))).all()
    pictures = world.render(looks, state)
    assert pictures.shape == (len(state), 3, 8, 8) and pictures.dtype == np.float32
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert len(np.unique(pictures.reshape(len(state), -1), axis=0)) == len(state)


def test_a_picture_is_wall_floor_and_square():
    world = SeekAvoidWorld.hues(size=12, object_size=4)
    picture = world.render(np.array([[1, 6]]), np.array([[1, 2]]))[0]
    white = (picture == 1).all(axis=0)
    assert white.sum() == 16 and white.any(axis=0).nonzero()[0].tolist() == [6, 7, 8, 9]
    assert picture[:, 0, 0] == pytest.approx(hue_palette(8)[1]) and picture[:, -1, -1] == pytest.approx(
        hue_palette(8)[6]
    )


@pytest.mark.parametrize(
    "sizes", [{}, {"size": 13, "object_size": 3, "stride": 2}, {"size": 16, "rule": "reach"}], ids=str
)
def test_one_copy_is_drawn_and_moved_as_many_are(sizes):
    """``frame`` and ``step_one`` against ``render`` and ``step`` in every scene, the random numbers they take included."""
    world, many, one = SeekAvoidWorld.hues(n=3, **sizes), rng(3), rng(3)
    domain = DomainSpec.product(wall=range(3), floor=range(3), kind=(0, 1))
    looks, state = world.scenes()
    pictures = np.round(255 * world.render(looks, state)).astype(np.uint8).transpose(0, 2, 3, 1)
    for look, here, picture in zip(looks, state, pictures, strict=True):
        frame = world.frame(look, here)
        assert frame.dtype == np.uint8 and (frame == picture).all()
        for action in range(3):
            after, reward = world.step(domain, look[None], here[None], np.array([action]), many)
            alone, paid = world.step_one(domain, look, here, action, one)
            assert (alone == after[0]).all() and alone.dtype == after.dtype and paid == reward[0]
    assert many.bit_generator.state == one.bit_generator.state


@pytest.mark.parametrize("sizes", [{"angles": 6}, {"size": 13, "angles": 7, "radius": 0.6}], ids=str)
def test_one_arm_is_drawn_and_moved_as_many_are(sizes):
    """``frame`` and ``step_one`` against ``render`` and ``step`` in every state, and in some turned further than once round."""
    world, looks_from = ReachWorld(**sizes), rng(1)
    state = np.indices((world.angles,) * 3 + (3,)).reshape(4, -1).T
    state = np.concatenate([state, state[::17] + world.angles * np.array([1, 2, 1, 0])])
    looks = looks_from.integers(0, 8, (len(state), 2))
    domain = DomainSpec.product(table=range(8), target=range(8))
    pictures = np.round(255 * world.render(looks, state)).astype(np.uint8).transpose(0, 2, 3, 1)
    moved = [world.step(domain, looks, state, np.full(len(state), action), rng()) for action in range(5)]
    for k, (look, here, picture) in enumerate(zip(looks, state, pictures, strict=True)):
        frame = world.frame(look, here)
        assert frame.dtype == np.uint8 and (frame == picture).all()
        for action, (after, reward) in enumerate(moved):
            alone, paid = world.step_one(domain, look, here, action, None)  # no random number is drawn
            assert (alone == after[k]).all() and alone.dtype == after.dtype and paid == reward[k]


def test_a_frame_is_the_callers_own():
    """Two frames of one state are equal and share nothing: what is kept from one frame to the next is not handed out."""
    world, look, state = ReachWorld(), np.array([0, 3]), np.array([1, 2, 3, 0])
    first, again = world.frame(look, state), world.frame(look, state)
    first[:] = 0
    assert (world.frame(look, state) == again).all() and again.any()
    assert len({world.frame(look, np.array([turn, 2, 3, 0])).tobytes() for turn in range(4)}) == 4


def test_moving_changes_the_offset_and_pays_by_the_rule():
    world = SeekAvoidWorld.hues()
    looks, state = np.zeros((4, 2), int), np.array([[1, 2], [1, 2], [0, -1], [0, -2]])
    after, reward = world.step(SOURCE, looks, state, np.array([2, 0, 1, 2]), rng())
    assert after[0].tolist() == [1, 1] and reward.tolist() == [1.0, -1.0, 0.0, 0.5]
    assert after[2].tolist() == [0, -1], "waiting changes nothing"
    far = SeekAvoidWorld.hues(rule="reach")
    _, reward = far.step(SOURCE, looks[:3], np.array([[1, 1], [0, 1], [1, 2]]), np.array([2, 2, 2]), rng())
    assert reward.tolist() == [1.0, -0.5, 0.0]


def test_one_decision_pays_three_quarters_at_best_and_nothing_at_random():
    world = SeekAvoidWorld.hues()
    for domain in (SOURCE, TARGET, ALL):
        assert world.optimal_return(domain) == pytest.approx(0.75)
        assert world.random_return(domain) == pytest.approx(0.0)


@pytest.mark.parametrize("rule", ["approach", "reach"])
def test_exact_returns_are_those_of_simulated_episodes(rule):
    world = SeekAvoidWorld.hues(size=10, object_size=4, horizon=6, rule=rule)
    generator, n = rng(3), 20_000
    looks = world.draw_looks(SOURCE, n, generator)
    state, total = world.start(SOURCE, looks, generator), np.zeros(n)
    table = generator.dirichlet((1, 1, 1), len(world.scenes()[0]))
    for _ in range(world.horizon):
        chance = table[world.index(looks, state)]
        action = np.minimum((generator.random((n, 1)) > chance.cumsum(1)).sum(1), 2)
        state, reward = world.step(SOURCE, looks, state, action, generator)
        total += reward
    exact = world.expected_return(SOURCE, table)
    # The mean of 20,000 independent episodes: beyond 4.5 standard errors once in 150,000 seeds.
    assert abs(total.mean() - exact) < 4.5 * total.std() / np.sqrt(n)
    assert world.random_return(SOURCE) <= world.optimal_return(SOURCE)
    assert exact <= world.optimal_return(SOURCE) + 1e-12


def test_the_best_policy_of_one_decision_reaches_the_optimum():
    world = SeekAvoidWorld.hues()
    best = np.eye(3)[world.rewards().argmax(axis=1)]
    assert world.expected_return(TARGET, best) == pytest.approx(world.optimal_return(TARGET))
    with pytest.raises(ValueError, match="add up to 1"):
        world.expected_return(TARGET, np.ones((len(best), 3)))


def test_another_object_is_one_that_the_room_holds():
    world = SeekAvoidWorld.two_rooms()
    rows = tuple((r, r, k) for r, k in ((0, 0), (0, 1), (1, 2), (1, 3)))
    domain = DomainSpec(world.names, rows)
    looks = world.draw_looks(domain, 500, rng())
    state = world.start(domain, looks, rng(1))
    assert set(zip(looks[:, 0].tolist(), state[:, 0].tolist(), strict=True)) == {(r, k) for r, _, k in rows}
    with pytest.raises(ValueError, match="does not have together"):
        world.start(domain, np.array([[0, 1]]), rng())


@pytest.mark.parametrize(
    ("make", "pair"),
    [
        (lambda domain: SeekAvoidEnv(domain, size=12, horizon=20, rule="reach"), (SOURCE, TARGET)),
        (
            lambda domain: ReachEnv(domain, size=12, horizon=20),
            (DomainSpec.product(table=(0, 1, 2), target=(3, 4)), DomainSpec.product(table=(5, 6, 7), target=(3, 4))),
        ),
    ],
    ids=["seek and avoid", "reach"],
)
@given(seed=st.integers(0, 10**6), actions=st.lists(st.integers(0, 4), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_two_domains_share_states_and_differ_in_pixels(make, pair, seed, actions):
    """The definition of the setting: equal seeds and actions, equal states, other pictures."""
    envs = [make(domain) for domain in pair]
    starts = [env.reset(seed=seed) for env in envs]
    assert (starts[0][1]["state"] == starts[1][1]["state"]).all() and (starts[0][0] != starts[1][0]).any()
    for action in (action % envs[0].n_actions for action in actions):
        (a, reward_a, *_, info_a), (b, reward_b, *_, info_b) = (env.step(action) for env in envs)
        assert (info_a["state"] == info_b["state"]).all() and reward_a == reward_b
        assert (a != b).any()


@pytest.mark.parametrize(
    "env", [SeekAvoidEnv(SOURCE, horizon=4), ReachEnv(TABLES, horizon=4)], ids=["seek and avoid", "reach"]
)
def test_the_interface_is_that_of_gymnasium(env):
    first, info = env.reset(seed=5)
    again, _ = env.reset(seed=5)
    assert (first == again).all() and first.shape == env.shape and first.dtype == np.uint8
    assert set(info) == {"look", "state"} and (env.render() == first).all()
    flags = [env.step(k % env.n_actions)[2:4] for k in range(4)]
    assert flags == [(False, False)] * 3 + [(False, True)]
    with pytest.raises(ValueError, match="call reset"):
        env.step(0)
    env.reset()
    for bad in (-1, env.n_actions):
        with pytest.raises(ValueError, match="action"):
            env.step(bad)
    with pytest.raises(TypeError, match="action"):
        env.step(0.5)
    env.close()


def test_an_environment_wants_a_seed_and_its_own_domain():
    env = SeekAvoidEnv(SOURCE)
    for call in (env.reset, env.render):
        with pytest.raises(ValueError, match="seed=0"):
            call()
    with pytest.raises(ValueError, match="no episode"):
        env.step(0)
    with pytest.raises(ValueError, match="must name the factors"):
        SeekAvoidEnv(TABLES)
    with pytest.raises(ValueError, match="wall must be from 0 to 7"):
        SeekAvoidEnv(DomainSpec.product(wall=(8,), floor=(0,), kind=(0,)))
    with pytest.raises(TypeError, match="SeekAvoidWorld"):
        WorldEnv("a world", SOURCE)
    with pytest.raises(TypeError, match="WorldEnv"):
        as_gymnasium(SeekAvoidWorld.hues())


@pytest.mark.parametrize("env", [SeekAvoidEnv(SOURCE, horizon=4), ReachEnv(TABLES, horizon=4)])
def test_gymnasiums_own_check_passes(env):
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    check_env(as_gymnasium(env), skip_render_check=True)  # it warns of environments outside the registry


def test_the_spaces_are_every_byte_of_a_frame_and_every_action(monkeypatch):
    """Gymnasium is no part of the environment: a stand-in says what it is asked for."""
    spaces = SimpleNamespace(Box=lambda *of: of, Discrete=lambda n: n)
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", SimpleNamespace(Env=object, spaces=spaces))
    env = SeekAvoidEnv(SOURCE, horizon=4)
    wrapped = as_gymnasium(env)
    assert wrapped.observation_space == (0, 255, env.shape, np.uint8) and wrapped.action_space == env.n_actions


def test_without_gymnasium_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(RuntimeError, match="pip install gymnasium"):
        as_gymnasium(SeekAvoidEnv(SOURCE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 4}, "size must leave a step"),
        ({"rule": "walk"}, "rule must be one of"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_worlds_that_cannot_be_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        SeekAvoidWorld.hues(**change)
    with pytest.raises(ValueError, match="at least one wall"):
        SeekAvoidWorld((), hue_palette(2), (Kind((0, 0, 0), 1),))


@pytest.mark.parametrize("actions", [np.array([3]), np.array([-1]), np.array([0, 1])])
def test_actions_that_there_are_not_are_refused(actions):
    world = SeekAvoidWorld.hues()
    with pytest.raises(ValueError, match="actions must be"):
        world.step(SOURCE, np.zeros((1, 2), int), np.array([[0, 1]]), actions, rng())
    with pytest.raises(TypeError, match="whole numbers"):
        world.step(SOURCE, np.zeros((1, 2), int), np.array([[0, 1]]), np.array([0.0]), rng())


def test_the_arm_reaches_where_its_angles_point():
    world = ReachWorld()
    state = np.array([[0, 0, 0, 2]])  # stretched to the right: the tip at 0.84, the target at 0.75
    after, reward = world.step(TABLES, np.zeros((1, 2), int), state, np.array([0]), rng())
    assert (after == state).all() and reward.tolist() == [1.0]
    turned, reward = world.step(TABLES, np.zeros((1, 2), int), state, np.array([2]), rng())
    assert turned[0, 0] == 15 and reward.tolist() == [0.0]
    alone, paid = world.step_one(TABLES, np.zeros(2, int), state[0], 2, rng())
    assert (alone == turned[0]).all() and paid == 0.0
    frame = world.frame(np.array([0, 3]), state[0])
    assert (frame == np.round(255 * world.render(np.array([[0, 3]]), state)[0].transpose(1, 2, 0))).all()
    picture = world.render(np.array([[0, 3]]), state)[0]
    assert (picture == np.float32(0.95)).all(axis=0)[world.size // 2, world.size // 2 :].sum() > world.size // 4
    with pytest.raises(ValueError, match="radius"):
        ReachWorld(radius=2)
    with pytest.raises(ValueError, match="must name the factors"):
        world.check(SOURCE)


@pytest.mark.parametrize(
    ("aim", "ring", "x", "y"), [(0, 0, 0.45, 0.0), (4, 1, 0.0, 0.6), (8, 2, -0.75, 0.0), (14, 1, 0.424, -0.424)]
)
def test_the_target_is_drawn_where_it_pays(aim, ring, x, y):
    world = ReachWorld(size=32)
    away = (aim + 8) % 16  # the arm points the other way and covers nothing of the disk
    picture = world.render(np.array([[0, 3]]), np.array([[away, 0, aim, ring]]))[0]
    disk = (picture == np.array(hue_palette(8), dtype=np.float32)[3][:, None, None]).all(axis=0)
    down, right = np.nonzero(disk)
    middle = lambda at: ((at + 0.5) / world.size * 2 - 1).mean()
    assert (middle(right), middle(down)) == pytest.approx((x, y), abs=0.02)


@pytest.mark.parametrize("turn", [0, 4, 8, 12])
def test_arm_and_target_turn_together(turn):
    world, looks = ReachWorld(), np.zeros((1, 2), int)
    paid = [
        world.step(TABLES, looks, np.array([[turn, 0, aim, 2]]), np.array([0]), rng())[1][0] for aim in range(0, 16, 4)
    ]
    assert paid == [float(aim == turn) for aim in range(0, 16, 4)]


def test_the_tip_pays_up_to_the_radius_and_no_further():
    distance = 0.42 + 0.42 - 0.75  # arm and target both to the right, the target on the outer ring
    state, looks, wait = np.array([[0, 0, 0, 2]]), np.zeros((1, 2), int), np.array([0])
    for radius, reward in ((distance, 1.0), (np.nextafter(distance, 0), 0.0)):
        assert ReachWorld(radius=radius).step(TABLES, looks, state, wait, rng())[1].tolist() == [reward]


@pytest.mark.parametrize(("elbow", "aim", "ring"), [(4, 2, 1), (12, 14, 1), (2, 1, 2)])
def test_the_forearm_turns_at_the_elbow(elbow, aim, ring):
    world = ReachWorld(radius=0.05)
    # upper arm to the right; at a right angle the tip is 0.59 away at 45 degrees, at half of one 0.78 at 22.5 degrees
    state = np.array([[0, elbow, aim, ring]])
    assert world.step(TABLES, np.zeros((1, 2), int), state, np.array([0]), rng())[1].tolist() == [1.0]
