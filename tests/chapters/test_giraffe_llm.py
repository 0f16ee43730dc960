"""The language-model runs of the chapter `giraffe`, end to end on a random Llama: all but the weights is the real thing."""

import dataclasses
import importlib.util
import json

import pytest
import torch

from workings.chapters import public_models
from workings.chapters.giraffe import llm
from workings.chapters.giraffe import llm_tune as tune
from workings.chapters.giraffe.llm import LLMSettings
from workings.chapters.public_models import NotHere
from workings.language_models.lines_task import parse_number
from workings.runs.store import Store

transformers = pytest.importorskip("transformers")
# peft asks transformers for an attribute that is to be renamed; threads of huggingface_hub warn on forks
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
DRY = LLMSettings.here(dry_run=True, device="cpu")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return public_models.open_model(DRY, folder=tmp_path_factory.mktemp("model"))


def logits(model, length=40):
    with torch.no_grad():
        return model(torch.arange(length)[None] % 250).logits


def test_our_linear_frequencies_are_the_library_s_own_linear_scaling(opened):
    config = transformers.LlamaConfig(**opened.model.config.to_dict())
    config.rope_parameters = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.load_state_dict(opened.model.state_dict())
    llm.set_scaling(opened, "linear 4", DRY)
    assert torch.allclose(logits(opened.model), logits(theirs), atol=1e-6)  # float32, two layers of 32
    llm.set_scaling(opened, "RoPE", DRY)
    assert not torch.allclose(logits(opened.model), logits(theirs), atol=1e-4)


def test_a_change_starts_from_the_model_s_own_frequencies_every_time(opened):
    llm.set_scaling(opened, "RoPE", DRY)
    before = logits(opened.model)
    for name in ("linear 4", "YaRN 4", "truncated"):
        llm.set_scaling(opened, name, DRY)
    llm.set_scaling(opened, "RoPE", DRY)
    assert torch.equal(logits(opened.model), before)


def test_the_attention_factor_of_yarn_reaches_the_model(opened):
    llm.set_scaling(opened, "YaRN 4", DRY)
    (rotary,) = llm.rotary_modules(opened.model)
    assert rotary.attention_scaling == pytest.approx(0.1 * torch.tensor(4.0).log().item() + 1)
    llm.set_scaling(opened, "RoPE", DRY)
    assert rotary.attention_scaling == 1.0


def test_dynamic_frequencies_follow_the_length(opened):
    llm.set_scaling(opened, "dynamic NTK", DRY, seq_len=DRY.trained_length)
    (rotary,) = llm.rotary_modules(opened.model)
    assert torch.allclose(rotary.inv_freq.double(), opened.theta)
    llm.set_scaling(opened, "dynamic NTK", DRY, seq_len=4 * DRY.trained_length)
    assert float(rotary.inv_freq[-1]) == pytest.approx(float(opened.theta[-1]) / 4, rel=1e-5)
    llm.set_scaling(opened, "RoPE", DRY)


def test_frequencies_of_the_wrong_size_or_a_model_without_any_are_refused(opened):
    with pytest.raises(ValueError, match="the model has frequencies"):
        llm.set_frequencies(opened.model, torch.ones(3))
    with pytest.raises(ValueError, match="no module with inv_freq"):
        llm.set_frequencies(torch.nn.Linear(2, 2), torch.ones(3))


def test_a_model_that_would_undo_the_change_is_refused(opened):
    config = transformers.LlamaConfig(**opened.model.config.to_dict())
    config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    with pytest.raises(ValueError, match="would undo the change"):
        llm.rotary_modules(transformers.LlamaForCausalLM(config))


def test_answers_do_not_depend_on_the_padding(opened):
    prompts = [opened.tokenizer.encode(text) for text in ("a", "line two is <7> and", "some words here")]
    together = llm.answers(opened, prompts, 6)
    assert together == [llm.answers(opened, [prompt], 6)[0] for prompt in prompts]


def test_the_byte_tokenizer_gives_back_what_it_was_given(opened):
    text = "line odd-ladder: REGISTER_CONTENT is <24169>\nand ünïcode"
    codes = opened.tokenizer.encode(text)
    assert opened.tokenizer.decode(codes) == text and len(codes) == len(text.encode())


def test_a_chat_form_is_used_where_the_tokenizer_has_one(opened):
    plain = llm.encode(opened.tokenizer, "hello")
    opened.tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    try:
        assert opened.tokenizer.decode(llm.encode(opened.tokenizer, "hello")) == "[hello]"
    finally:
        opened.tokenizer.chat_template = None
    assert llm.encode(opened.tokenizer, "hello") == plain


def test_the_answers_are_counted_as_the_paper_counts_them(opened, tmp_path, monkeypatch):
    table = llm.cases_of(DRY)
    expected = {case.prompt: case.expected for cases in table.values() for case in cases}

    def half_right(_, prompts, max_new):
        texts = [opened.tokenizer.decode(p) for p in prompts]
        return [f"It is {expected[t]}, not 5." if i % 2 == 0 else f"5, not {expected[t]}" for i, t in enumerate(texts)]

    monkeypatch.setattr(llm, "answers", half_right)
    rows = llm.longchat_rows(opened, ["RoPE"], table, DRY, Store(tmp_path / "a.jsonl", DRY))
    assert [row["accuracy"] for row in rows] == [2 / 3, 2 / 3]  # places 0 and 2 of three
    assert [row["lines"] for row in rows] == [1, 2] and rows[0]["tokens"] < rows[1]["tokens"]


def test_a_length_that_does_not_fit_is_left_out_and_marked(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(llm, "free_memory", lambda device: 1000)
    rows = llm.longchat_rows(opened, ["RoPE"], llm.cases_of(DRY), DRY, Store(tmp_path / "a.jsonl", DRY))
    assert [row["accuracy"] for row in rows] == [None, None] and rows[0]["cases"] == 0


def test_longer_prompts_make_smaller_batches(opened):
    config = opened.model.config
    sizes = [llm.batch_that_fits(config, n, 10**9, 0.5, 2, 50) for n in (100, 10_000, 100_000, 10_000_000)]
    assert sizes[0] == 50 and sizes == sorted(sizes, reverse=True) and sizes[-1] == 0
    # keys and values of two layers, plus 12 * 32 + 4 * 48 numbers of activations, two bytes each
    assert llm.bytes_per_sequence(config, 1) == 2 * (2 * 2 * 32 + 12 * 32 + 4 * 48)


def test_real_records_are_read_where_they_stand_and_made_where_not(tmp_path):
    prompt = "line a-b: REGISTER_CONTENT is <17>\nTell me in line a-b?"
    record = {"prompt": prompt, "expected_number": 17, "random_idx": ["a-b", 0], "num_lines": 1}
    (tmp_path / "1_lines.jsonl").write_text(json.dumps(record) + "\n")
    table = llm.cases_of(DRY, tmp_path)
    assert table[1] == [llm.Case(prompt, 17, 1)] and len(table[2]) == DRY.cases
    assert llm.cases_of(DRY)[2] == table[2]  # made from the seed


@pytest.mark.parametrize(
    ("settings", "root", "message"),
    [
        (dataclasses.replace(DRY, dry_run=False), None, "no GPU here"),
        (dataclasses.replace(DRY, dry_run=False), "nowhere", "there is no folder"),
        (dataclasses.replace(DRY, dry_run=False), ".", "could not be opened"),
    ],
)
def test_what_is_missing_is_a_message_and_no_failure(settings, root, message, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    root = root if root != "." else tmp_path
    with pytest.raises(NotHere, match=message):
        public_models.open_model(settings, root)
    found = tune.llm_tables(settings, root)
    assert found.rows == [] and found.message.startswith("Not run: ") and message in found.message


def test_without_transformers_nothing_fails(monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else real(name))
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    assert "transformers is not installed" in tune.llm_tables(DRY).message


def test_everything_runs_end_to_end_and_is_not_computed_twice(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    first = tune.llm_tables(DRY)
    trained = [row["train"] for row in first.rows]
    assert "Zero-shot" in first.message and first.message.endswith("LoRA fine-tuning: run.")
    assert set(trained) == {"none", "RoPE", "linear 4", tune.ON_TASK}
    assert all(row["cases"] == DRY.cases and 0 <= row["accuracy"] <= 1 for row in first.rows)

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(llm, "answers", refuse)
    monkeypatch.setattr(tune, "fit", refuse)
    assert tune.llm_tables(DRY) == first


def test_an_adapter_changes_the_model_and_leaves_when_it_is_told(opened, tmp_path):
    pytest.importorskip("peft")
    llm.set_scaling(opened, "linear 4", DRY)
    before = logits(opened.model)
    pieces = tune.text_pieces(opened, DRY)
    settings = dataclasses.replace(DRY, tune_lr=1e-2)
    tuned = tune.tuned_model(opened, "linear 4", "linear 4", pieces, settings, tmp_path)
    assert not torch.allclose(logits(tuned.model), before, atol=1e-4)
    again = logits(tuned.model)
    tuned.model.unload()
    assert torch.allclose(logits(opened.model), before, atol=1e-6)
    read = tune.tuned_model(opened, "linear 4", "linear 4", pieces, settings, tmp_path)  # from the saved adapter
    assert torch.allclose(logits(read.model), again, atol=1e-6)
    read.model.unload()
    llm.set_scaling(opened, "RoPE", DRY)


def test_pieces_of_a_document_overlap_by_half(opened, tmp_path):
    (tmp_path / "a.txt").write_text(" ".join(map(str, range(100))))
    (tmp_path / "b.txt").write_text("short")
    pieces = tune.text_pieces(opened, dataclasses.replace(DRY, dry_run=False), tmp_path)
    assert pieces.shape[1] == DRY.tune_tokens
    assert torch.equal(pieces[0, DRY.tune_tokens // 2 :], pieces[1, : DRY.tune_tokens // 2])
    with pytest.raises(NotHere, match="no document has"):
        tune.text_pieces(opened, dataclasses.replace(DRY, dry_run=False, min_characters=10_000), tmp_path)


def test_only_the_answer_is_learnt():
    batch = tune.padded([([1, 2, 3], [4, 5]), ([6], [7])], pad=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 4, 5], [-100, 7, -100, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]


def test_task_examples_hold_their_own_answer(opened):
    for question, answer in tune.task_examples(opened, DRY):
        text = opened.tokenizer.decode(question)
        number = parse_number(opened.tokenizer.decode(answer, skip_special_tokens=True))
        assert f"<{number}>" in text and answer[-1] == opened.tokenizer.eos_token_id


def test_claims_are_computed_from_what_was_run_and_only_from_that():
    settings = LLMSettings(device="cuda")

    def row(train, name, lines, accuracy):
        return {"train": train, "eval": name, "lines": lines, "accuracy": accuracy, "cases": 50}

    rows = [row("none", "RoPE", n, 0.8 if n < 100 else 0.0) for n in settings.lines]
    assert tune.llm_claim_values(rows, settings) == {"gir-11": 0.0}
    blind = [row("none", "RoPE", n, 0.4 if n < 100 else 0.0) for n in settings.lines]
    assert tune.llm_claim_values(blind, settings) == {}, (
        "a model that cannot read a short list says nothing about a long one"
    )
    rows += [row("none", "linear 4", n, 0.2) for n in settings.lines]
    rows += [row("linear 4", "linear 4", n, 0.5 if n < 400 else 0.0) for n in settings.lines]
    rows += [row(tune.ON_TASK, "linear 4", n, 0.8 if n < 400 else 0.1) for n in settings.lines]
    found = tune.llm_claim_values(rows, settings)
    assert found["gir-8"] == pytest.approx(2.5) and found["gir-7"] == pytest.approx(0.3 - 0.1)
    assert tune.llm_claim_values([], settings) == {}
