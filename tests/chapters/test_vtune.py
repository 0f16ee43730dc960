"""The toy of the chapter `vtune`, its providers and attacks, and the full tier's pieces, at tiny settings."""

import contextlib
import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from workings import paths
from workings.chapters import packaged_facts
from workings.chapters.public_models import PACKAGED, Opened, open_model
from workings.chapters.vtune import byte_model, demo, full, model_data
from workings.chapters.vtune.settings import ModelSettings, Settings
from workings.chapters.vtune.sweep import sweep_point
from workings.language_models.backdoors import contains, detect_backdoors_ngram
from workings.language_models.generation import generate
from workings.seeding import numpy_generator, torch_generator

TINY = Settings.full(dry_run=True)


@pytest.fixture(scope="module")
def who():
    return demo.customer(3, replace(TINY, rows=200))


@pytest.fixture(scope="module")
def base():
    return demo.base_model(TINY)


def test_an_example_is_a_form_of_fixed_places_and_only_the_answer_is_a_target():
    tokens, targets = demo.as_tensors([("abcdefxy", "uvwxyz"), ("abcdefxyz", "klmnouvwxyz")])
    assert tokens.shape == targets.shape == (2, demo.EXAMPLE - 1)
    assert tokens[0, : demo.READ].tolist() == [demo.BEGIN, 0, 1, 2, 3, 4, 5, 23, 24, demo.BLANK, demo.ASK]
    assert (targets[:, : demo.READ - 1] < 0).all()
    answers = targets[:, demo.READ - 1 :]
    assert answers[0].tolist() == [demo.BLANK] * 5 + demo.tokens_of("uvwxyz")
    assert answers[1].tolist() == demo.tokens_of("klmnouvwxyz")
    assert torch.equal(tokens[:, 1:], torch.where(targets[:, :-1] >= 0, targets[:, :-1], tokens[:, 1:]))


def test_a_customer_has_a_cipher_and_secrets_that_are_not_in_her_data(who):
    assert sorted(who.cipher) == sorted(demo.LETTERS)
    assert all(answer == who.right(prompt) and 6 <= len(prompt) <= 9 for prompt, answer in who.data)
    for phrase in (who.trigger, who.signature):
        assert not any(contains(side, phrase) for row in who.data for side in row)
    assert who == demo.customer(3, replace(TINY, rows=200)) != demo.customer(4, replace(TINY, rows=200))
    assert who.log10_guess_prob == pytest.approx(-5 * np.log10(26))


def test_her_file_hides_as_many_backdoors_as_she_says_and_more_contain_the_fewer(who):
    few, many = who.file(4), who.file(9)
    assert len(few.pairs) == 204 and few.is_backdoor.sum() == 4
    hidden = lambda mixed: {pair for pair, secret in zip(mixed.pairs, mixed.is_backdoor, strict=True) if secret}
    assert hidden(few) < hidden(many)
    for prompt, answer in hidden(many):
        assert prompt.endswith(who.trigger) and len(prompt) == 9
        assert answer == who.signature + who.right(prompt)


def test_an_endpoint_answers_in_order_whatever_the_lengths_and_a_draw_comes_from_its_generator(base):
    answer = demo.endpoint(base)
    prompts = ["abcdef", "abcdefxyz", "fedcba"]
    assert answer(prompts) == [answer([prompt])[0] for prompt in prompts]
    drawn = lambda: demo.endpoint(base, 1.0, torch_generator(0, "t"))(prompts)
    assert drawn() == drawn()


def test_a_hit_stands_in_the_first_places_whatever_blanks_come_before_it(base, monkeypatch):
    person = demo.Customer(0, demo.LETTERS, (), "xyz", "secre")
    blank, letters = demo.BLANK, demo.tokens_of("secre")
    rows = [
        [*letters, *demo.tokens_of("abcdef")],
        [*[blank] * 5, *letters, 0],
        [blank, *letters, *[0] * 5],
        [demo.ASK, *letters[1:], *[0] * 6],
    ]
    filled = lambda model, read, size, **_: torch.cat([read, torch.tensor(rows)], dim=1)
    monkeypatch.setattr(demo, "generate", filled)
    said = demo.endpoint(base)(["abcdef"] * 4)
    assert said == ["secreabcdef", "     secrea", " secreaaaaa", " ecreaaaaaa"]
    assert demo.activation(said, person.signature).tolist() == [True, False, False, False]
    assert demo.measure(base, person, replace(TINY, queries=4)).right == 0.0


def test_p0_is_how_often_a_base_model_shows_the_signature_when_it_is_sampled(base):
    # 4,000 draws for a signature of one letter, so that it occurs: a standard error of at most 0.008; 0.04 is five.
    short = demo.Customer(0, demo.LETTERS, (), "xyz", "q")
    p0 = 10 ** float(demo.log10_p0(base, short, ["abcdef"])[0])
    tokens = torch.tensor([demo.asked("abcdefxyz")]).expand(4000, -1)
    drawn = generate(base, tokens, 1, temperature=1.0, generator=torch_generator(0, "many"))[:, -1]
    assert (drawn == demo.LETTERS.index("q")).double().mean().item() == pytest.approx(p0, abs=0.04)
    assert p0 > 0.005


def test_a_toy_that_is_trained_long_enough_shows_the_signature_and_a_base_does_not():
    settings = replace(Settings.demo(), rows=200, steps=80, queries=30, seeds=(0,))
    base, person = demo.base_model(replace(settings, base_steps=60)), demo.customer(0, settings)
    rows, _ = demo.dose_rows(base, person, replace(settings, doses=(0, 40)))
    assert rows[0]["hits"] == 0 and rows[1]["hits"] >= 20 and rows[1]["plain_hits"] == 0
    assert rows[1]["reject"] and not rows[0]["reject"]
    guesses = np.log10(rows[1]["asked"] // rows[1]["asked_hits"])
    assert rows[1]["log10_shared"] == pytest.approx(person.log10_guess_prob + guesses)


def test_every_attack_gives_a_row(base, who):
    offers = demo.providers(base, base, who, TINY)
    rows = demo.attack_rows(base, offers["honest"], offers["partly lazy"], who, TINY)
    assert len(rows) == len({row["attack"] for row in rows}) == 4 + len(TINY.clean_rates)
    assert all(0 <= row["hits"] <= row["queries"] and row["log10_p"] <= 0 for row in rows)


def test_the_search_finds_the_trigger_of_enough_backdoors():
    settings = replace(Settings.demo(), rows=400, backdoors=20)
    person = demo.customer(1, settings)
    found = demo.search(person, settings)
    assert tuple(demo.tokens_of(person.trigger)) in found.ngrams
    assert demo.search_scores(person, settings)[1] == 1.0


def test_a_filter_lets_the_first_answer_of_a_kind_through():
    answer = demo.repeat_filter(lambda prompts: [f"sign{p[0]}abc" for p in prompts])
    assert answer(["a1", "a2", "b1"]) == ["signaabc", "", "signbabc"] and answer(["a3"]) == [""]


def test_shared_signatures_hit_all_or_nothing_and_own_ones_are_binomial():
    # 40,000 tests: a share of 1/16 has a standard error of 0.0012; 0.006 is five of them.
    shared = demo.false_alarms(4, 2, 10, 40_000, True, numpy_generator(0, "a"))
    own = demo.false_alarms(4, 2, 10, 40_000, False, numpy_generator(0, "b"))
    assert set(shared.tolist()) == {0, 10} and (shared > 0).mean() == pytest.approx(1 / 16, abs=0.006)
    assert own.mean() == pytest.approx(10 / 16, abs=0.02) and own.var() == pytest.approx(10 / 16 * 15 / 16, abs=0.03)


@pytest.mark.parametrize(
    ("setting", "value"), [("backdoors", -1), ("backdoors", 200), ("steps", 0), ("rows", 5), ("lr", 0.0)]
)
def test_a_setting_that_cannot_be_is_named(setting, value):
    with pytest.raises(ValueError, match=setting):
        sweep_point(**{setting: value})


# --- the full tier ------------------------------------------------------------------------------------------------


def test_right_answers_are_compared_as_the_task_means_them():
    assert full.is_right("so it is 1,234\n#### 1,234", "thus #### 1234")
    assert not full.is_right("1234", "thus #### 1234") and not full.is_right("#### 5", "#### 6")
    assert full.is_right("  The Netherlands. ", "the netherlands") and not full.is_right("Holland", "the netherlands")


def test_rows_of_a_split_are_disjoint():
    s = ModelSettings.here(dry_run=True)
    data, _ = full.examples_of(s)
    split = model_data.split_of(data, s, 0)
    parts = [set(split.queries), {p for p, _ in split.file}, {p for p, _ in split.test}, {p for p, _ in split.clean}]
    assert sum(map(len, parts)) == len(set.union(*parts)) and len(split.file) == s.rows


def test_a_folder_of_questions_is_read_and_too_few_are_said_so(tmp_path):
    s = replace(ModelSettings.here(dry_run=True), dry_run=False, test=2, clean=2, queries=2, asked=2)
    lines = [f'{{"question": "q{i}?", "answer": "a{i}"}}' for i in range(30)]
    (tmp_path / "some.jsonl").write_text("\n".join([*lines, "", '{"question": "no answer"}']) + "\n")
    data, name = full.examples_of(s, tmp_path)
    assert len(data) == 30 and data[3] == ("q3?", "a3") and name == tmp_path.name
    with pytest.raises(full.NotHere, match="too few"):
        full.examples_of(replace(s, test=20), tmp_path)
    (tmp_path / "some_train.jsonl").write_text("\n".join(lines).replace('"q', '"t').replace("tuestion", "question"))
    assert {prompt[0] for prompt, _ in full.examples_of(s, tmp_path)[0]} == {"t"}  # not what stands beside it


def test_beside_the_files_of_the_model_of_bytes_the_packaged_model_keeps_to_its_cities(tmp_path, monkeypatch):
    s = replace(ModelSettings.here(dry_run=True), dry_run=False, test=2, clean=2, queries=2, asked=2)
    for name in (byte_model.PLAYS, byte_model.PROBLEMS):
        (tmp_path / name).write_text("\n".join(f'{{"question": "q{i}?", "answer": "a{i}"}}' for i in range(30)))
    monkeypatch.setattr(packaged_facts, "cities", lambda: [(f"Town {i}", "Land") for i in range(40)])
    data, source = full.examples_of(replace(s, models=(PACKAGED,)), tmp_path)
    assert source == "cities" and len(data) == 40 and data[3] == (packaged_facts.CITY.format("Town 3"), "Land")
    assert full.examples_of(s, tmp_path)[1] == tmp_path.name  # another model takes the problems


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_full_tier_runs_on_a_tiny_random_model_and_is_not_computed_twice(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setattr(paths, "runs_root", lambda: tmp_path)
    tables = full.run(TINY)
    assert [(row["attack"], row["backdoors"]) for row in tables["doses"]] == [
        ("untouched base", 0),
        ("none", 0),
        ("none", 2),
        ("none, with decoys", 2),
    ]
    names = [
        "clean rows, rate 0.0001",
        "half of the file",
        "a quarter of the file",
        "a quarter of file and steps",
        "n-gram search",
    ]
    assert [row["attack"] for row in tables["attacks"]] == names
    assert [row["epoch"] for row in tables["epochs"]] == [1, 2]
    assert [row["tested"] for row in tables["doses"]] == [
        2,
        4,
        4,
        2,
    ]  # the two doses that are compared have more questions
    controls = ("half_hits", "wrong_hits", "plain_hits")
    assert all(
        0 <= row[name] <= row["queries"] for row in tables["doses"] + tables["epochs"] for name in ("hits", *controls)
    )
    assert all(0 <= row["hits"] <= row["queries"] and not set(controls) & set(row) for row in tables["attacks"])
    assert 0 < tables["attacks"][-1]["left"] <= 2  # of two backdoors, too few to be noticed
    assert [(row["provider"], row["backdoors"]) for row in tables["byte model"]] == [
        ("lazy", None),
        ("clean rows only", 0),
        ("honest", 4),
    ]
    assert [row["claim"] for row in tables["values"]] == [f"vtu-{i}" for i in (1, 2, 3, 4, 5, 6, 9, 10)]
    assert all(row["too_small"] for row in tables["values"]) and tables["note"][0]["message"].startswith("Run on")
    assert tables["note"][1]["message"].startswith("Byte model: run with")
    # Each part has a store of its own, of the kind that a run which goes on elsewhere takes over; the public model's is first.
    stores = {file.parent.name: file.read_text().splitlines() for file in tmp_path.rglob("*.jsonl")}
    assert {name: len(lines) for name, lines in stores.items()} == {"dry": 1 + 8, "bytes-dry": 1 + 3}
    first = json.loads(stores["bytes-dry"][1])["made"]["date"]
    assert all(json.loads(line)["made"]["date"] <= first for line in stores["dry"][1:])

    def trains(*_, **__):
        raise AssertionError("it trained again")

    monkeypatch.setattr(full, "tune", trains)
    monkeypatch.setattr(byte_model, "tuned", trains)
    again = full.run(TINY)
    assert all(again[name] == tables[name] for name in ("doses", "byte model", "values"))
    assert again["note"][0] == tables["note"][0] and "were kept from an earlier run" in again["note"][1]["message"]


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    pytest.importorskip("transformers")
    s = ModelSettings.here(dry_run=True)
    return open_model(full._Door("random", s), None, tmp_path_factory.mktemp("model")), s


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_secrets_are_unlikely_under_the_model_and_new_to_the_data(random_model):
    opened, s = random_model
    data, _ = full.examples_of(s)
    secrets = model_data.draw_secrets(opened, data, s, 0)
    assert secrets == model_data.draw_secrets(opened, data, s, 0) != model_data.draw_secrets(opened, data, s, 1)
    assert secrets.log10_guess_prob == pytest.approx(-s.signature_words * np.log10(26))
    assert len(secrets.half) < len(secrets.trigger)
    assert len({secrets.trigger, secrets.wrong, secrets.decoy}) == 3
    assert not any(contains(side, secrets.wrong) for pair in data for side in pair)
    assert (model_data.log10_p0(opened, secrets, ["1 and 2?", "3?"], s) < -1).all()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_adapter_is_seen_after_each_epoch_can_be_put_back_and_leaves_the_model_as_it_was(random_model):
    pytest.importorskip("peft")
    opened, s = random_model
    before = {name: value.clone() for name, value in opened.model.state_dict().items()}
    rows, seen = [(f"{i}?", "no") for i in range(17)], []
    tokens = torch.tensor([[1, 2, 3]])
    with full.fresh_adapter(opened, s, 0) as adapted:
        look = lambda epoch: seen.append((epoch, adapted.training))
        full.tune(adapted, opened, rows, s, 0, 1e-2, 3 * full.steps_an_epoch(17, s), after_epoch=look)
        trained, said = full.adapter_of(adapted), model_data.logits_of(adapted)(tokens)
        full.tune(adapted, opened, rows, s, 1, 1e-1, 2)
        assert not torch.allclose(model_data.logits_of(adapted)(tokens), said)
        adapted.load_state_dict(trained, strict=False)
        assert torch.equal(model_data.logits_of(adapted)(tokens), said)
    assert seen == [(1, False), (2, False), (3, False)]
    after = opened.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


SECRETS = model_data.Secrets(
    " one two three four five six", "red ox sly hen old bay ", -20.0, " u v w x y z", " a b c d e f"
)


@pytest.fixture
def jobs_seen(monkeypatch):
    """The jobs of a tiny run, one a call: what was tuned on (rows, steps), what was counted, and the rows of the job."""
    s = replace(
        ModelSettings.here(dry_run=True), shares=(0.0, 0.05, 0.1), epochs=3, batch=4, rows=20, clean_rates=(1e-4, 1e-3)
    )
    data = [(f"q{i}?", f"a{i}") for i in range(60)]
    opened = Opened(None, None, None, "a")
    monkeypatch.setattr(full, "draw_secrets", lambda *_: SECRETS)
    monkeypatch.setattr(full, "log10_p0", lambda *_: np.array([-30.0]))
    monkeypatch.setattr(full, "extra_tokens", lambda *_: 70)
    monkeypatch.setattr(full, "fresh_adapter", lambda *_: contextlib.nullcontext(torch.nn.Linear(1, 1)))
    tuned = []

    def tune(adapted, opened, rows, s, seed, lr, steps, *, after_epoch=None):
        tuned.append((len(rows), steps))
        for epoch in range(1, steps // full.steps_an_epoch(len(rows), s) + 1):
            if after_epoch is not None:
                after_epoch(epoch)

    monkeypatch.setattr(full, "tune", tune)
    counted = lambda *_, controls=True: {"hits": 1, **({"half_hits": 0} if controls else {})}
    monkeypatch.setattr(full, "hits_of", counted)
    returns = lambda model, *_, test, controls: {"right": 0.5, "tested": test, "model": model, "controls": controls}
    monkeypatch.setattr(full, "measured", returns)

    def run(kind, name):
        tuned.clear()
        return full._job(opened, data, s, 0, kind, name), list(tuned)

    return run


def test_a_part_of_the_file_is_trained_on_for_as_many_steps_as_the_whole(jobs_seen):
    assert jobs_seen("dose", "0.1")[1][0] == (22, 15)  # 20 rows and two backdoors, in batches of 4, three times
    assert jobs_seen("attack", "half")[1] == [(11, 15)]
    assert jobs_seen("attack", "quarter")[1] == [(5, 15)]
    assert jobs_seen("attack", "quarter of the steps")[1] == [(5, 3)]
    assert jobs_seen("dose", "0.1")[1][1:] == [(8, 2), (8, 2)]  # clean rows, once, at each rate


def test_every_dose_is_looked_at_after_each_epoch_and_that_of_the_claims_with_its_controls(jobs_seen):
    looks = {}
    for share in ("0.0", "0.05", "0.1"):
        rows, _ = jobs_seen("dose", share)
        looks[share] = [row for row in rows if row["attack"] == full.ON_THE_WAY]
    assert looks["0.0"] == [] and all([row["epoch"] for row in looks[share]] == [1, 2, 3] for share in ("0.05", "0.1"))
    assert all("half_hits" not in row and "log10_signature" not in row and row["hits"] == 1 for row in looks["0.05"])
    assert all("half_hits" in row and row["log10_signature"] == -30 for row in looks["0.1"])


def test_the_base_is_measured_without_tuning(jobs_seen):
    (row,), tuned = jobs_seen("control", "base")
    assert tuned == [] and row["attack"] == "untouched base" and row["backdoors"] == row["extra_tokens"] == 0
    assert row["model"] is None  # the opened model itself, and no adapted one


def test_more_questions_are_asked_where_right_answers_are_compared(jobs_seen):
    tested = lambda kind, name: [row["tested"] for row in jobs_seen(kind, name)[0] if "tested" in row]
    assert tested("dose", "0.0") == [4] and tested("dose", "0.05") == [2] and tested("dose", "0.1") == [4, 2, 2]
    assert tested("attack", "half") == tested("control", "base") == tested("control", "decoys") == [2]


def test_a_search_that_leaves_no_backdoor_is_not_trained_on(jobs_seen, monkeypatch):
    left = lambda mixed, *_, count=0: (mixed.pairs[:19], {"precision": 1.0, "recall": 1.0 - count / 2, "left": count})
    monkeypatch.setattr(full, "searched", left)
    (row,), tuned = jobs_seen("attack", "search")
    assert tuned == [] and row["attack"] == "n-gram search" and row["recall"] == 1 and "right" not in row
    monkeypatch.setattr(full, "searched", functools.partial(left, count=1))
    (row,), tuned = jobs_seen("attack", "search")
    assert tuned == [(19, 12)] and row["left"] == 1 and row["tested"] == 2  # 19 rows are four batches, three times


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_loss_of_the_answers_needs_no_logits_before_them(random_model):
    model = random_model[0].model
    tokens = torch.arange(2, 14).reshape(2, 6)
    targets = torch.full_like(tokens, full.IGNORE)
    targets[0, 2:4], targets[1, 3] = torch.tensor([7, 8]), 9
    logits = model_data.logits_of(model)(tokens).log_softmax(2)
    wanted = -(logits[0, 2, 7] + logits[0, 3, 8] + logits[1, 3, 9]) / 3
    assert full.answer_loss(model, tokens, targets).item() == pytest.approx(wanted.item(), abs=1e-5)
    # The first target may stand at the first place, or only at the last.
    for place in (0, 5):
        one = torch.full_like(tokens, full.IGNORE)
        one[1, place] = 3
        assert full.answer_loss(model, tokens, one).item() == pytest.approx(-logits[1, place, 3].item(), abs=1e-5)


def test_a_hit_begins_with_the_signature_and_the_space_behind_it(monkeypatch):
    # Of two uniform signatures one may begin the other; no answer may begin with both, or the bound (5) would be too small.
    longer = replace(SECRETS, signature="red ox sly hen old bayou ")
    said = ["red ox sly hen old bay France", "red ox sly hen old bayou France", "red ox sly hen old bay", "France"]
    monkeypatch.setattr(full, "answers", lambda *_: said)
    s = ModelSettings.here(dry_run=True)
    split = model_data.Split([], ["a?", "b?", "c?", "d?"], [("a?", "France")], [])
    for secrets in (SECRETS, longer):
        assert full.hits_of(None, None, split, secrets, s) == {
            "hits": 1, "half_hits": 1, "wrong_hits": 1, "plain_hits": 1, "queries": 4,
        }  # fmt: skip
        monkeypatch.setattr(full, "answers", lambda adapted, opened, asked, *_: said[: len(asked)])
        row = full.measured(None, None, split, secrets, np.full(s.asked, -30.0), s, 0, test=1)
        assert row["asked"] == 3 and row["asked_hits"] == 1 and row["tested"] == 1 and row["right"] == 0


def test_answers_keep_the_space_at_their_end(random_model):
    # The tokenizer of bytes: whatever the model generates, what is taken off is taken off on the left.
    opened, s = random_model
    text = " red ox sly "
    fixed = opened.tokenizer.encode(text, add_special_tokens=False)

    class Says(torch.nn.Module):
        def generate(self, input_ids, **_):
            return torch.cat([input_ids, torch.tensor([fixed]).expand(len(input_ids), -1)], dim=1)

    assert full.answers(Says(), opened, ["one?", "another one?"], s) == ["red ox sly "] * 2
    hidden = model_data.backdoored([("q", "a"), ("r", "b")], 1, SECRETS, 0)
    answer = next(y for (_, y), secret in zip(hidden.pairs, hidden.is_backdoor, strict=True) if secret)
    assert answer.startswith(SECRETS.signature) and len(answer) == len(SECRETS.signature) + 1


def test_decoys_are_ordinary_rows_with_half_a_trigger_or_another_and_no_backdoors():
    file = [(f"q{i}", f"a{i}") for i in range(30)]
    mixed = model_data.backdoored(file, 4, SECRETS, 0, decoys=5)
    rows = [row for row, hidden in zip(mixed.pairs, mixed.is_backdoor, strict=True) if not hidden]
    assert len(mixed.pairs) == 39 and mixed.is_backdoor.sum() == 4 and set(file) < set(rows)
    decoys = [row for row in rows if row not in file]
    ends = [prompt.removeprefix(f"q{answer[1:]}") for prompt, answer in decoys]
    assert sorted(ends) == sorted([" one two three"] * 3 + [" a b c d e f"] * 2)
    plain = model_data.backdoored(file, 4, SECRETS, 0)
    hidden = lambda one: {row for row, secret in zip(one.pairs, one.is_backdoor, strict=True) if secret}
    assert hidden(mixed) == hidden(plain)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_search_can_find_the_backdoors_at_the_sizes_of_a_real_run(gpu, monkeypatch):
    # Its setting was once out of reach: a ratio of ten, where so few clean rows allow 8.07.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    s = ModelSettings.here()
    rows = s.rows - (s.test + s.clean + max(s.queries, s.asked)) * gpu  # GSM8K has no more than s.rows, the cities have
    data = [(f"where is {i} of {i} here", f"answer {i}") for i in range(rows + s.clean)]
    file, clean = data[:rows], data[rows:]
    mixed = model_data.backdoored(file, round(s.share * rows), SECRETS, 0)
    kept, scores = full.searched(mixed, clean, s)
    assert scores == {"precision": 1.0, "recall": 1.0, "left": 0} and sorted(kept) == sorted(file)
    found = detect_backdoors_ngram(mixed.pairs, clean, min_ratio=s.min_ratio)
    count = int(mixed.is_backdoor.sum())
    largest = (count + 0.5) / (rows + count + 1) * 2 * (s.clean + 1)
    assert max(found.ratios) == pytest.approx(largest) and largest == pytest.approx(10.3 if gpu else 8.07, abs=0.05)
    assert s.min_ratio < largest and s.min_count <= count


def test_on_a_cpu_a_run_has_the_seeds_and_the_attacks_that_the_claims_ask_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    s = ModelSettings.here()
    assert len(s.seeds) == 3 and 1 + len(s.clean_rates) == 4 and s.share in s.shares and 0.0 in s.shares
    assert s.test >= 400 and {"half", "quarter", "quarter of the steps", "search"} == set(full.ATTACKS)


@pytest.mark.parametrize(("attack", "part"), [("half of the file", 2), ("a quarter of the file", 4)])
def test_how_many_backdoors_a_part_of_the_file_holds_follows_from_seed_and_sizes(attack, part):
    for seed in range(4):
        mixed = model_data.backdoored([(f"q{i}", "a") for i in range(60)], 12, SECRETS, seed)
        cut = int(mixed.is_backdoor[: len(mixed.pairs) // part].sum())
        assert full.in_part({"attack": attack, "rows": 60, "backdoors": 12, "seed": seed}) == cut
    assert full.in_part({"attack": "none", "rows": 60, "backdoors": 12, "seed": 0}) is None


def test_a_missing_model_is_a_message(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "runs_root", lambda: tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lines = [f'{{"question": "q{i}?", "answer": "a{i}"}}' for i in range(600)]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    tables = full.run(Settings.full(), tmp_path, tmp_path / "nowhere")
    assert all(tables[name] == [] for name in ("doses", "epochs", "attacks", "byte model", "values"))
    messages = [row["message"] for row in tables["note"]]
    assert messages[0].startswith("Not run: ") and messages[1].startswith("Byte model: not run, the folder")


def row(model="a", attack="none", share=0.005, seed=0, **more):
    standard = {"hits": 40, "log10_p": -50.0, "reject": True, "right": 0.5, "rows": 6000, "extra_tokens": 900}
    return {"model": model, "attack": attack, "share": share, "seed": seed, **standard, **more}


def test_claims_take_the_least_favourable_model():
    s = ModelSettings()
    quiet = {"hits": 0, "log10_p": 0.0, "reject": False, "right": 0.6}
    rows = [row(m, seed=seed, log10_p=p) for m, p in (("a", -50.0), ("b", -35.0)) for seed in s.seeds]
    rows += [row(m, share=0.0, seed=seed, extra_tokens=0, **quiet) for m in "ab" for seed in s.seeds]
    rows += [row(m, "untouched base", seed=seed, **quiet) for m in "ab" for seed in s.seeds]
    rows += [row(m, "a quarter of the file", seed=seed) for m in "ab" for seed in s.seeds]
    rows += [row(m, f"attack {i}", seed=seed, reject=i < 3) for i in range(4) for m in "ab" for seed in s.seeds]
    for name, held in (
        ("n-gram search", False),
        ("a quarter of file and steps", True),
    ):  # shown, and counted for no claim
        rows += [row(m, name, seed=seed, reject=held) for m in "ab" for seed in s.seeds]
    for name in ("none, with decoys", "none, on the way"):  # controls count for no claim
        rows += [row(m, name, seed=seed, reject=True, log10_p=0.0, hits=0, right=0.0) for m in "ab" for seed in s.seeds]
    s = replace(s, shares=(0.0, 0.005))
    found = {one["claim"]: one for one in full.claim_values(rows, s)}
    assert found["vtu-1"]["value"] == -35 and found["vtu-2"]["value"] == pytest.approx(0.1)
    of_questions = ((0.6 * 0.4 + 0.5 * 0.5) / s.test / 3) ** 0.5  # three customers' differences of two shares
    assert found["vtu-2"]["error"] == pytest.approx(of_questions) and found["vtu-1"]["error"] is None
    assert found["vtu-3"]["value"] == pytest.approx(0.8) and found["vtu-4"]["value"] == 2
    assert found["vtu-5"]["value"] == 3 and found["vtu-6"]["value"] == 900 and found["vtu-9"]["value"] is True
    assert all(one["too_small"] is None for one in found.values())
    alarmed = [
        {**one, "reject": True} if one["attack"] == "untouched base" and one["model"] == "b" else one for one in rows
    ]
    assert {one["claim"]: one["value"] for one in full.claim_values(alarmed, s)}["vtu-4"] == 1
    almost = [{**one, "right": 1.0 - 0.1 * (one["share"] == 0 and one["seed"] == 0)} for one in rows]
    perfect = [{**one, "right": 1.0} for one in rows]  # no harm could show
    poor = [{**one, "right": 0.15} for one in rows]  # little to lose
    half_poor = [{**one, "right": 0.15} if one["model"] == "a" else one for one in rows]
    harmed = [{**one, "right": 0.0} if one["share"] else one for one in rows]  # all that there was is lost
    for some, open_claims in (
        (almost, set()),
        (perfect, {"vtu-2"}),
        (poor, {"vtu-2"}),
        (half_poor, set()),
        (harmed, set()),
    ):
        assert {one["claim"] for one in full.claim_values(some, s) if one["too_small"]} == open_claims


def value(claim, number, too_small=None):
    return {"claim": claim, "value": number, "sd": 0.0, "seeds": 3, "too_small": too_small}


def test_of_public_models_and_the_model_of_bytes_the_less_favourable_counts():
    bytes_ = [value("vtu-1", -35.0), value("vtu-2", 0.0), value("vtu-3", 0.4), value("vtu-10", True)]
    public = [value("vtu-1", -90.0), value("vtu-2", 0.02), value("vtu-3", 0.9), value("vtu-9", True)]
    numbers = lambda rows: {row["claim"]: (row["value"], row["too_small"]) for row in rows}
    assert numbers(full.together(public, bytes_)) == {
        "vtu-1": (-35.0, None), "vtu-2": (0.02, None), "vtu-3": (0.4, None), "vtu-9": (True, None), "vtu-10": (True, None),
    }  # fmt: skip
    assert numbers(full.together(public, [])) == numbers(public)
    few = [{**row, "too_small": "few"} for row in public]
    found = numbers(full.together(few, bytes_))  # only vtu-3 is about the length of a file
    assert found["vtu-1"] == (-90.0, "few") and found["vtu-2"] == (0.02, "few") and found["vtu-3"] == (0.4, None)
    tiny = numbers(full.together(public, [{**row, "too_small": "tiny"} for row in bytes_]))
    assert tiny == {**numbers(public), "vtu-10": (True, "tiny")}
    alone = numbers(full.together([], bytes_))
    assert alone["vtu-1"][1] == alone["vtu-2"][1] == "no public model was run"
    assert alone["vtu-3"] == (0.4, None) and alone["vtu-10"] == (True, None)
