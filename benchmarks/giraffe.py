"""Rotary positions beside the libraries a reader would use: frequencies of every kind, and the time of a rotation.

Contestants run in rounds (see `timing`) on 1 x 32 x 4096 x 128 in float32, one thread, tables made beforehand where the
library keeps them. transformers is given its own arithmetic for one tensor (its function turns queries and keys at once).
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np
import torch
from timing import interleaved, ratio

from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import apply_rotary, rope_frequencies, rotary_tables, rotate
from workings.seeding import torch_generator

HEADS, LENGTH, SIZE, TRAINED = 32, 4096, 128, 2048
# name in transformers, its parameters, current length; kind here, factor, options
KINDS: list[tuple[str, dict[str, Any], int | None, str, float, dict[str, Any]]] = [
    ("linear", {"factor": 4.0}, None, "linear", 4.0, {}),
    ("dynamic", {"factor": 3.0}, 3 * TRAINED, "dynamic_ntk", 3.0, {}),
    ("yarn", {"factor": 16.0}, None, "yarn", 16.0, {"ramp": "index"}),
    ("llama3", {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, None, "llama3", 8.0, {}),
    ("proportional", {"partial_rotary_factor": 0.25}, None, "proportional", 1.0, {"fraction": 0.25}),
]


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": "giraffe", "what": what, "peer": peer, "note": "", **empty, **values}


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def frequency_rows() -> list[dict[str, Any]]:
    """Largest relative difference of the frequencies of every kind that a peer offers, head size 128."""
    rows, theta = [], rope_frequencies(SIZE)
    utils, llama = _module("transformers.modeling_rope_utils"), _module("transformers")
    for name, parameters, seq_len, kind, factor, options in KINDS:
        what, peer = f"frequencies, {kind}: largest relative difference", _version("transformers")
        if utils is None:
            rows.append(_row(f"frequencies-{kind}", what, peer, note="not installed"))
            continue
        trained = {"original_max_position_embeddings": TRAINED} if name in ("yarn", "llama3") else {}
        config = llama.LlamaConfig(
            hidden_size=512, num_attention_heads=4, head_dim=SIZE, max_position_embeddings=TRAINED,
            rope_parameters={"rope_type": name, "rope_theta": 10_000.0, **trained, **parameters},
        )  # fmt: skip
        theirs, attention = utils.ROPE_INIT_FUNCTIONS[name](config, "cpu", seq_len=seq_len)
        ours = scale_frequencies(theta, kind, factor=factor, orig_len=TRAINED, seq_len=seq_len, **options)
        gap = float(((ours.theta - theirs).abs() / theirs.abs().clamp_min(1e-300)).nan_to_num(posinf=0.0).max())
        note = f"attention factor {ours.attention_factor:.6f} and {attention:.6f}; theirs are float32, ours float64"
        rows.append(
            _row(f"frequencies-{kind}", what, peer, ours=gap, theirs=0.0, unit="relative", repeats=1, note=note)
        )
    lucid = _module("rotary_embedding_torch")
    what, peer = "frequencies, ntk at factor 4: largest relative difference", _version("rotary-embedding-torch")
    if lucid is None:
        return [*rows, _row("frequencies-ntk", what, peer, note="not installed")]
    theirs = lucid.RotaryEmbedding(dim=SIZE, theta_rescale_factor=4.0).freqs.detach()
    ours = scale_frequencies(theta, "ntk", factor=4.0, orig_len=TRAINED).theta
    gap = float(((ours - theirs) / theirs).abs().max())
    return [*rows, _row("frequencies-ntk", what, peer, ours=gap, theirs=0.0, unit="relative", repeats=1)]


def _contestants() -> dict[tuple[str, str], tuple[Callable[[torch.Tensor], torch.Tensor], bool]]:
    """(peer, layout) -> the rotation, and whether it wants the heads behind the positions."""
    found: dict[tuple[str, str], tuple[Callable[[torch.Tensor], torch.Tensor], bool]] = {}
    cos, sin = rotary_tables(torch.arange(LENGTH), rope_frequencies(SIZE))
    llama = _module("transformers.models.llama.modeling_llama")
    if llama is not None:
        wide = [torch.cat((table, table), dim=-1)[None, None] for table in (cos, sin)]
        found["transformers", "half"] = (lambda x: x * wide[0] + llama.rotate_half(x) * wide[1]), False
    lucid = _module("rotary_embedding_torch")
    if lucid is not None:
        embedding = lucid.RotaryEmbedding(dim=SIZE)
        found["rotary-embedding-torch", "interleaved"] = embedding.rotate_queries_or_keys, False
    tune = _torchtune()
    if tune is not None:
        found["torchtune", "interleaved"] = tune.RotaryPositionalEmbeddings(SIZE), True
    return found


def _torchtune() -> ModuleType | None:
    """torchtune's file of position embeddings alone: the package wants accelerators' libraries on import."""
    try:
        files = metadata.files("torchtune") or []
    except metadata.PackageNotFoundError:
        return None
    file = next((f for f in files if str(f).endswith("torchtune/modules/position_embeddings.py")), None)
    if file is None:
        return None
    spec = importlib.util.spec_from_file_location("torchtune_position_embeddings", str(file.locate()))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rotation_rows(repeats: int = 21) -> list[dict[str, Any]]:
    """Time of one rotation, forward, and forward with backward; and the largest difference of the results."""
    x = torch.randn(1, HEADS, LENGTH, SIZE, generator=torch_generator(0, "bench", "x"))
    grad = torch.randn(x.shape, generator=torch_generator(0, "bench", "grad"))
    tables = rotary_tables(torch.arange(LENGTH), rope_frequencies(SIZE))
    theirs, rows = _contestants(), []
    for peer, layout in (
        ("transformers", "half"),
        ("rotary-embedding-torch", "interleaved"),
        ("torchtune", "interleaved"),
    ):
        names = {"forward": "forward", "both": "forward and backward"}
        whats = {
            key: f"rotation of 1 x 32 x 4096 x 128, {layout} layout, {name}, one thread" for key, name in names.items()
        }
        ids = {key: f"rotary-{peer}-{key}" for key in names}
        if (peer, layout) not in theirs:
            rows += [_row(ids[key], whats[key], _version(peer), note="not installed") for key in names]
            continue
        function, swapped = theirs[peer, layout]
        inputs = {
            "ours": (x, grad),
            "theirs": tuple(t.transpose(1, 2).contiguous() for t in (x, grad)) if swapped else (x, grad),
        }
        calls = {"ours": lambda v, layout=layout: rotate(v, *tables, layout), "theirs": function}
        results = {name: call(inputs[name][0]) for name, call in calls.items()}
        gap = float(
            (results["ours"] - (results["theirs"].transpose(1, 2) if swapped else results["theirs"])).abs().max()
        )

        def forward(name: str, inputs: Any = inputs, calls: Any = calls) -> None:
            with torch.no_grad():
                calls[name](inputs[name][0])

        def both(name: str, inputs: Any = inputs, calls: Any = calls) -> None:
            calls[name](inputs[name][0].detach().requires_grad_()).backward(inputs[name][1])

        for key, run in (("forward", forward), ("both", both)):
            seconds = interleaved({name: (lambda n=name, r=run: r(n)) for name in calls}, repeats)
            middle, low, high = ratio(seconds["ours"], seconds["theirs"])
            values = {name: float(np.median(seconds[name])) for name in calls}
            note = f"largest difference of the results {gap:.1e}"
            rows.append(
                _row(
                    ids[key], whats[key], _version(peer), **values, unit="s", ratio=middle, ratio_low=low,
                    ratio_high=high, repeats=repeats, note=note,
                )
            )  # fmt: skip
    whole = apply_rotary(x, torch.arange(LENGTH), rope_frequencies(SIZE))
    assert torch.equal(whole, rotate(x, *tables))
    return rows


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: about a minute on one core."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*frequency_rows(), *rotation_rows()]
