"""The disentangling part beside what a reader would use instead.

(a) A training step of the Burgess network: our loop on packed bits, pythae's trainer, and a plain PyTorch loop over the npz.
(b) The beta-VAE metric beside a second implementation written from its text, on fixed codes.
(c) Sprites drawn from their factors beside reading them from a compressed npz.

Contestants run in rounds (see `timing`), one thread, batch 64, float32.
"""

from __future__ import annotations

import functools
import importlib
import logging
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import interleaved, ratio
from torch import nn
from torch.nn import functional as F

from workings.disentangling.dsprites_data import DSprites, sub_grid
from workings.disentangling.dsprites_renderer import packed_dsprites, unpack_images
from workings.disentangling.factor_grid import FactorGrid
from workings.disentangling.metrics import beta_vae_score
from workings.disentangling.networks import burgess_vae
from workings.disentangling.training import fixed_beta, train_vae
from workings.seeding import numpy_generator, torch_generator

BATCH, STEPS, RATE, LATENTS = 64, 8, 5e-4, 10


def _row(row_id: str, chapter: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": chapter, "what": what, "peer": peer, "note": "", **empty, **values}


def _times(ours: list[float], theirs: list[float], each: int = 1) -> dict[str, Any]:
    middle, low, high = ratio(ours, theirs)
    seconds = {"ours": float(np.median(ours)) / each, "theirs": float(np.median(theirs)) / each, "unit": "s"}
    return {**seconds, "ratio": middle, "ratio_low": low, "ratio_high": high, "repeats": len(ours)}


# --- (a) a training step ---------------------------------------------------------------------------------------------


def _plain_encoder() -> nn.Sequential:
    convs = [layer for inputs in (1, 32, 32, 32) for layer in (nn.Conv2d(inputs, 32, 4, 2, 1), nn.ReLU())]
    linears = [nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2 * LATENTS)]
    return nn.Sequential(*convs, nn.Flatten(), *linears)


def _plain_decoder() -> nn.Sequential:
    linears = [layer for a, b in ((LATENTS, 256), (256, 256), (256, 512)) for layer in (nn.Linear(a, b), nn.ReLU())]
    convs = [layer for _ in range(3) for layer in (nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU())]
    return nn.Sequential(*linears, nn.Unflatten(1, (32, 4, 4)), *convs, nn.ConvTranspose2d(32, 1, 4, 2, 1))


def _plain_loop(images: np.ndarray) -> Callable[[], None]:
    encoder, decoder = _plain_encoder(), _plain_decoder()
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=RATE)
    rng = np.random.default_rng(0)

    def steps() -> None:
        for _ in range(STEPS):
            x = torch.from_numpy(images[rng.integers(len(images), size=BATCH)]).float()[:, None]
            mu, logvar = encoder(x).chunk(2, dim=1)
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            nll = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum") / BATCH
            kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum() / BATCH
            optimiser.zero_grad()
            (nll + 4.0 * kl).backward()
            optimiser.step()

    return steps


def _pythae_loop(images: np.ndarray, folder: str) -> Callable[[], None]:
    """pythae's own trainer on its own BetaVAE, with the Burgess layers and the same learning rate."""
    models, trainers = importlib.import_module("pythae.models"), importlib.import_module("pythae.trainers")
    parts, base = importlib.import_module("pythae.models.nn"), importlib.import_module("pythae.models.base.base_utils")
    data = importlib.import_module("pythae.data.datasets")

    class Encoder(parts.BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = _plain_encoder()

        def forward(self, x: torch.Tensor) -> Any:
            mu, logvar = self.net(x).chunk(2, dim=1)
            return base.ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(parts.BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = _plain_decoder()

        def forward(self, z: torch.Tensor) -> Any:
            return base.ModelOutput(reconstruction=torch.sigmoid(self.net(z)))

    config = models.BetaVAEConfig(input_dim=(1, 64, 64), latent_dim=LATENTS, beta=4.0, reconstruction_loss="bce")
    x = torch.from_numpy(images[: STEPS * BATCH]).float()[:, None]
    trainer = trainers.BaseTrainer(
        models.BetaVAE(config, Encoder(), Decoder()),
        data.BaseDataset(x, torch.zeros(len(x))),
        training_config=trainers.BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=BATCH, learning_rate=RATE, no_cuda=True
        ),
    )
    trainer.prepare_training()
    return functools.partial(trainer.train_step, 1)


def training_rows(repeats: int = 15) -> list[dict[str, Any]]:
    """Seconds of a whole training step: batch, forward, backward, Adam."""
    picked = torch.randint(737_280, (8192,), generator=torch_generator(0, "bench"))
    packed = packed_dsprites()[picked]
    images = unpack_images(packed, torch.uint8)[:, 0].numpy()
    sprites, model = (
        DSprites(packed, classes=torch.zeros(len(packed), 5, dtype=torch.int64)),
        burgess_vae(generator=torch_generator(0, "net")),
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    ours = functools.partial(
        train_vae, model, sprites, STEPS, fixed_beta(4.0), seed=0, batch=BATCH, optimiser=optimiser, window=STEPS
    )
    timed: dict[str, Callable[[], Any]] = {"ours": ours, "plain": _plain_loop(images)}
    try:
        pythae = f"pythae {metadata.version('pythae')}"
    except metadata.PackageNotFoundError:
        pythae = "pythae"
    with tempfile.TemporaryDirectory() as folder:
        missing = ""
        try:
            timed["pythae"] = _pythae_loop(images, folder)
        except ImportError as error:
            missing = f"not installed: {error.name}"
        seconds = interleaved(timed, repeats)
    what = "Burgess network at 64x64, batch 64, float32: time of a training step, one thread"
    rows = [
        _row(
            "train-step-plain", "beta_vae_capacity", what, f"plain PyTorch {torch.__version__.split('+')[0]}",
            **_times(seconds["ours"], seconds["plain"], STEPS),
            note=f"a loop over the npz in memory; ours runs {STEPS / np.median(seconds['ours']):.1f} steps a second",
        )
    ]  # fmt: skip
    values = _times(seconds["ours"], seconds["pythae"], STEPS) if "pythae" in seconds else {}
    note = missing or "its BaseTrainer and BetaVAE with the same layers"
    return [*rows, _row("train-step-pythae", "beta_vae_capacity", what, pythae, **values, note=note)]


# --- (b) the metric ---------------------------------------------------------------------------------------------------


def _metric_by_the_text(codes: np.ndarray, pairs: int, train: int, test: int, seed: int) -> float:
    """The published metric in plain loops: ``codes`` (sizes..., M); no standardisation, as in disentanglement_lib."""
    from sklearn.linear_model import LogisticRegression

    rng, sizes = np.random.default_rng(seed), codes.shape[:-1]

    def points(count: int) -> tuple[np.ndarray, np.ndarray]:
        features, labels = [], []
        for _ in range(count):
            fixed = rng.integers(len(sizes))
            total = 0.0
            for _ in range(pairs):
                first, second = ([rng.integers(size) for size in sizes] for _ in range(2))
                second[fixed] = first[fixed]
                total = total + np.abs(codes[tuple(first)] - codes[tuple(second)])
            features.append(total / pairs)
            labels.append(fixed)
        return np.array(features), np.array(labels)

    model = LogisticRegression(max_iter=2000).fit(*points(train))
    return float(model.score(*points(test)))


def metric_rows() -> list[dict[str, Any]]:
    """The score of three fixed codes of a 4 x 6 x 8 x 8 grid by both, and the time of one."""
    sizes, pairs, train, test = (4, 6, 8, 8), 16, 1000, 500
    cells = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in sizes), indexing="ij"), axis=-1)
    turn = np.eye(4)
    turn[2:, 2:] = np.array([[1, -1], [1, 1]]) / math.sqrt(2)
    noise = numpy_generator(0, "bench", "metric").standard_normal(cells.shape)
    codes = {"identity": cells, "x and y rotated by 45 degrees": cells @ turn, "noisy": cells + 2.0 * noise}
    rows = []
    for name, code in codes.items():
        grid = FactorGrid(sizes, torch.from_numpy(code.reshape(-1, 4)))
        start = time.perf_counter()
        ours = beta_vae_score(
            lambda x: x, grid, n_pairs=pairs, n_train=train, n_eval=test, generator=torch_generator(0, "bench")
        )
        middle = time.perf_counter()
        theirs = _metric_by_the_text(code, pairs, train, test, seed=1)
        end = time.perf_counter()
        rows.append(
            _row(
                f"metric-{name.split()[0]}", "early_visual_concepts",
                f"beta-VAE metric of a fixed code ({name}), {pairs} pairs a point, {train} + {test} points", "its text, in loops",
                ours=ours.score, theirs=theirs, unit="accuracy", repeats=1,
                note=f"other random pairs; ours took {middle - start:.2f} s, the loops {end - middle:.1f} s",
            )
        )  # fmt: skip
    return rows


# --- (c) drawing against reading --------------------------------------------------------------------------------------


def renderer_rows(repeats: int = 3) -> list[dict[str, Any]]:
    """Seconds for 92,160 images (every second x, y and r of the grid): drawn into packed bits, or read from an npz."""
    classes = sub_grid(orientations=range(0, 40, 2), pos_x=range(0, 32, 2), pos_y=range(0, 32, 2))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sprites.npz"
        packed = packed_dsprites(classes)
        np.savez_compressed(file, imgs=unpack_images(packed, torch.uint8)[:, 0].numpy())
        mib = file.stat().st_size / 2**20

        def read() -> None:
            with np.load(file) as archive:
                archive["imgs"]

        seconds = interleaved({"ours": lambda: packed_dsprites(classes), "npz": read}, repeats, warmup=1)
        rows.append(
            _row(
                "renderer-all", "early_visual_concepts",
                f"{len(classes):,} sprites: drawn from their factors into bits, beside decompressing an npz", f"numpy {np.__version__}",
                **_times(seconds["ours"], seconds["npz"]),
                note=f"the npz has {mib:.1f} MiB; held in memory its images take {len(classes) * 4096 / 2**20:.0f} MiB, ours {packed.numel() / 2**20:.0f}",
            )
        )  # fmt: skip
        with np.load(file) as archive:
            images = archive["imgs"]
        sprites, rng = DSprites(packed, classes=classes), np.random.default_rng(0)
        picks = [rng.integers(len(classes), size=BATCH) for _ in range(20)]
        batches = {
            "ours": lambda: [sprites.images(torch.from_numpy(pick)) for pick in picks],
            "npz": lambda: [torch.from_numpy(images[pick]).float()[:, None] for pick in picks],
        }
        seconds = interleaved(batches, 31)
        rows.append(
            _row(
                "renderer-batch", "early_visual_concepts", "a batch of 64 float images at random indices, from memory",
                f"numpy {np.__version__}", **_times(seconds["ours"], seconds["npz"], len(picks)),
                note="ours unpacks bits, an eighth of the memory",
            )
        )  # fmt: skip
    start = time.perf_counter()
    packed_dsprites()
    whole = time.perf_counter() - start
    return [
        *rows,
        _row(
            "renderer-whole", "early_visual_concepts", "all 737,280 sprites drawn, one thread", "none",
            ours=whole, unit="s", repeats=1, note=f"{737_280 / whole:,.0f} images a second",
        ),
    ]  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: about two minutes on one core."""
    logging.getLogger("pythae").setLevel(logging.ERROR)
    with warnings.catch_warnings(), open(os.devnull, "w", encoding="utf-8") as silence:
        warnings.simplefilter("ignore")
        out, sys.stderr = sys.stderr, silence  # pythae draws a bar
        try:
            return [*training_rows(), *metric_rows(), *renderer_rows()]
        finally:
            sys.stderr = out
