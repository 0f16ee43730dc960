"""What the chapter `few_shot_baseline` runs: its data, its comparisons on equal episodes, and its full tier on small settings."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from workings.chapters import cifar_fs, omniglot_data
from workings.chapters.few_shot_baseline import demo, full, handwriting
from workings.chapters.few_shot_baseline.settings import Settings
from workings.chapters.few_shot_baseline.sweep import sweep_point
from workings.few_shot.evaluation import centroid_accuracy
from workings.few_shot.hardness import episode_hardness
from workings.few_shot.networks import Conv4, ResNet12, WideResNet, conv4
from workings.few_shot.pretraining import network_features
from workings.runs.store import Store
from workings.seeding import torch_generator

TINY = Settings.full(dry_run=True)


class _Still(omniglot_data.Collection):
    """A collection that stays where it is."""

    def to(self, device):
        return self


@pytest.fixture(scope="module")
def glyphs():
    return demo.glyph_collections(TINY)


def noise(novel, size=12):
    return torch.rand(len(novel.images), size, generator=torch_generator(0, "noise"))


def test_base_and_novel_characters_share_no_alphabet_and_are_numbered_from_0(glyphs):
    base, novel = glyphs
    assert base.classes == 4 * 20 and novel.classes == 4 * 20 and len(base.images) == 80 * 16
    for part in glyphs:
        assert part.labels.unique().tolist() == list(range(part.classes)) and part.groups.unique().tolist() == [
            0,
            1,
            2,
            3,
        ]
    fewer = base.first(20)
    assert fewer.classes == 20 and torch.equal(fewer.images, base.images[base.labels < 20])


def test_episodes_are_the_same_for_every_network_and_stay_inside_an_alphabet(glyphs):
    _, novel = glyphs
    a, b = (demo.draw_episodes(novel, 5, 1, 3, 10, "x", within=True) for _ in range(2))
    assert torch.equal(a.support, b.support) and torch.equal(a.query, b.query)
    groups = novel.groups[torch.cat([a.support, a.query], dim=2).flatten(1)]
    assert (groups == groups[:, :1]).all()
    assert not torch.equal(a.support, demo.draw_episodes(novel, 5, 1, 3, 10, "y", within=True).support)


def test_as_many_queries_balanced_or_not(glyphs):
    _, novel = glyphs
    assert sum(demo.BALANCED) == sum(demo.UNBALANCED) == 25
    episodes = demo.draw_episodes(novel, 5, 1, 13, 4, "counts")
    items, truth = demo.with_counts(episodes, demo.UNBALANCED)
    assert items.shape == (4, 25) and torch.bincount(truth).tolist() == list(demo.UNBALANCED)
    assert torch.equal(novel.labels[items], episodes.classes[:, truth])


def test_classifiers_without_a_step_are_the_untuned_one(glyphs):
    _, novel = glyphs
    z = noise(novel)
    found = demo.head_accuracies(z, novel, replace(TINY, head_steps=0), (13,) * 5)
    episodes = demo.draw_episodes(novel, 5, 1, 13, TINY.heads, "heads", within=True)
    for values in found.values():
        torch.testing.assert_close(values, centroid_accuracy(z, episodes))


def test_every_method_starts_from_the_same_classifier_and_networks_tune_other_episodes(glyphs):
    _, novel = glyphs
    nets = [conv4(torch_generator(seed, "net"), width=3, classes=8, size=20).eval() for seed in (0, 1)]
    still = demo.tuned_rows(nets, novel, replace(TINY, tune_epochs=0, tuned=2))
    assert len(still) == 4 and all(len(set(row.values())) == 1 for row in still)
    moved = demo.tuned_rows(nets[:1], novel, replace(TINY, tune_epochs=3, tune_lr=0.05, tuned=3))
    assert set(moved[0]) == {"initialisation", *demo.METHODS} and demo.gains(moved, "transductive").any()
    assert [row["initialisation"] for row in still[:2]] != [row["initialisation"] for row in still[2:]]


def test_an_average_over_networks_counts_episodes_not_networks():
    values = [np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])]
    assert demo.over_networks(values).tolist() == [2.0, 2.0, 2.0]


def test_a_line_in_the_logarithm_fits_itself():
    assert demo.log_fit({k: 1 - 0.1 * np.log(k) for k in (2, 5, 10, 40)}) == pytest.approx(1.0)
    assert demo.log_fit({1: 0.0, 10: 1.0, 100: 0.0}) == pytest.approx(0.0, abs=1e-12)


def test_hardness_is_of_the_other_network_and_both_accuracies_of_the_first(glyphs):
    _, novel = glyphs
    perfect = torch.eye(novel.classes)[novel.labels]
    found = demo.hardness_points(noise(novel), perfect, novel, replace(TINY, hard_ways=(5, 10), head_steps=2))
    assert set(found["untuned"]) == {100.0} and len(found["hardness"]) == 2 * TINY.hard_episodes
    easy = demo.hardness_points(perfect, perfect, novel, replace(TINY, hard_ways=(5,), head_steps=2))
    assert easy["hardness"] == pytest.approx([np.log(4) - 1] * TINY.hard_episodes, abs=1e-5)


def test_the_episodes_of_hardness_are_those_of_the_seed(glyphs):
    _, novel = glyphs
    small = replace(TINY, hard_ways=(5,), head_steps=1)
    z, phi = noise(novel), noise(novel, 9)
    one, again, other = (demo.hardness_points(phi, z, novel, small, seed=seed)["hardness"] for seed in (0, 0, 1))
    assert one == again == demo.hardness_points(phi, z, novel, small)["hardness"] and not set(one) & set(other)


def test_the_error_of_a_correlation_is_its_scatter_over_samples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 160))
    y = -0.8 * x + 0.6 * rng.normal(size=x.shape)
    scatter = np.std([np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)])
    assert demo.correlation_error(-0.8, 160) == pytest.approx(scatter, rel=0.1)
    with pytest.raises(ValueError, match="episodes"):
        demo.correlation_error(0.5, 2)


def test_networks_of_the_full_tier_meet_hardness_on_episodes_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    work, seen = full.hardness_points, []
    monkeypatch.setattr(full, "hardness_points", lambda *a, seed=0: seen.append(seed) or work(*a, seed=seed))
    rows = full.run(replace(TINY, data=("omniglot",), seeds=(0, 1)))["hardness"]
    assert seen == [row["seed"] for row in rows] == [0, 1]


def archives(folder, sets):
    from PIL import Image

    for name, alphabets in zip(omniglot_data.ZIPS, sets, strict=True):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for alphabet, characters in alphabets.items():
                for character in range(1, characters + 1):
                    for drawer in (1, 2):
                        picture = np.full((105, 105), 255, dtype=np.uint8)
                        picture[:, : 21 * character] = 0  # ink on the left
                        buffer = io.BytesIO()
                        Image.fromarray(picture).convert("1").save(buffer, "PNG")
                        place = f"{name[9:-4]}/{alphabet}/character{character:02d}/00_{drawer:02d}.png"
                        archive.writestr(place, buffer.getvalue())


def test_omniglot_from_two_archives_keeps_alphabets_apart(tmp_path):
    archives(tmp_path, ({"Greek": 2, "Latin": 3}, {"Greek": 2, "Tagalog": 4}))
    base, novel = omniglot_data.omniglot(tmp_path, size=10)
    assert base.classes == 5 and novel.classes == 4 and novel.images.shape == (8, 1, 10, 10)
    assert base.groups.tolist() == [0] * 4 + [1] * 6 and base.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    # Character c has ink in the leftmost fifths, c of them: a pixel is the share of ink in its part of the original.
    assert novel.images.mean(dim=(1, 2, 3)).tolist() == pytest.approx(
        [0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8], abs=0.02
    )


def test_archives_that_are_missing_or_empty_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="small1"):
        omniglot_data.omniglot(tmp_path)
    for name in omniglot_data.ZIPS:
        zipfile.ZipFile(tmp_path / name, "w").close()
    with pytest.raises(ValueError, match="no PNG images"):
        omniglot_data.omniglot(tmp_path)


def test_a_resource_fork_is_no_drawing_and_a_damaged_one_is_named(tmp_path):
    archives(tmp_path, ({"Greek": 2}, {"Tagalog": 1}))
    with zipfile.ZipFile(tmp_path / omniglot_data.ZIPS[0], "a") as archive:
        archive.writestr("__MACOSX/small1/Greek/character01/._00_01.png", b"\x00\x05\x16\x07")
        archive.writestr("small1/Greek/character01/._00_01.png", b"\x00\x05\x16\x07")
    assert len(omniglot_data.omniglot(tmp_path)[0].labels) == 4
    with zipfile.ZipFile(tmp_path / omniglot_data.ZIPS[1], "a") as archive:
        whole = archive.read(archive.namelist()[0])
        archive.writestr("small2/Latin/character01/00_01.png", whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=r"small2/Latin/character01/00_01\.png' in omniglot.*small2\.zip is no readable"
    ):
        omniglot_data.omniglot(tmp_path)


def test_cifar_fs_takes_64_16_and_20_classes_apart():
    names = sorted({*cifar_fs.VALIDATION, *cifar_fs.TEST} | {f"other{k:02d}" for k in range(64)})
    assert (len(cifar_fs.VALIDATION), len(cifar_fs.TEST), len(names)) == (16, 20, 100)
    labels = torch.arange(100).repeat(2)
    pixels = labels.to(torch.uint8)[:, None, None, None].expand(200, 3, 2, 2)  # a picture shows its label
    train, more, test = cifar_fs.split(pixels, labels, names)
    shown = lambda part: {
        names[k] for k in ((part.images[:, 0, 0, 0] * cifar_fs.SD[0] + cifar_fs.MEAN[0]) * 255).round().int()
    }
    assert (train.classes, more.classes, test.classes) == (64, 80, 20)
    assert shown(test) == set(cifar_fs.TEST) and shown(more) - shown(train) == set(cifar_fs.VALIDATION)
    assert all(torch.bincount(part.labels).tolist() == [2] * part.classes for part in (train, more, test))
    with pytest.raises(ValueError, match="missing"):
        cifar_fs.split(pixels, labels, [*names[1:], "x"])


def test_a_flipped_and_shifted_picture_is_the_picture_moved():
    x = torch.rand(6, 2, 8, 8, generator=torch_generator(0, "x"))
    found = cifar_fs.flip_and_shift(x, torch_generator(0, "g"), pad=2)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    for k in range(6):
        crops = [p[:, i : i + 8, j : j + 8] for p in (padded[k], padded[k].flip(2)) for i in range(5) for j in range(5)]
        assert any(torch.equal(found[k], crop) for crop in crops)
    assert not torch.equal(found, cifar_fs.flip_and_shift(x, torch_generator(1, "g"), pad=2))


def test_an_interrupted_full_run_goes_on_and_gives_what_an_uninterrupted_one_gives(monkeypatch, tmp_path):
    settings = replace(TINY, data=("omniglot",), seeds=(0, 1))
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "whole"))
    whole = full.run(settings)
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "cut"))
    work, calls = demo.tuned_accuracies, []

    def cut(*args, **options):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(args[3])
        return work(*args, **options)

    monkeypatch.setattr(full, "tuned_accuracies", cut)
    with pytest.raises(KeyboardInterrupt):
        full.run(settings)
    again = []
    monkeypatch.setattr(full, "tuned_accuracies", lambda *a, **o: again.append(a[3]) or work(*a, **o))
    found = full.run(settings)
    assert len(calls) == 3 and len(again) == 8 - 3  # two networks, two shots, two episodes each
    for name in set(full.TABLES) - {"seconds"}:
        assert found[name] == whole[name], name


def test_what_the_ledger_is_given_is_what_the_tables_say():
    episode = lambda seed, start, whole, norm, shot=1: {
        "data": "omniglot", "trained_on": "train", "seed": seed, "shot": shot, "initialisation": start, "transductive": whole,
        "batch-norm only": norm, "fine-tuning": start + shot - 1, "entropy only": start,
    }  # fmt: skip
    cell = lambda seed, way, query, start, fine, whole: {
        "data": "omniglot", "seed": seed, "way": way, "shot": 1, "query": query, "episode": 0, "initialisation": start,
        "fine-tuning": fine, "transductive": whole,
    }  # fmt: skip
    tables = {
        "tuned": [
            episode(seed, *values)
            for seed in (0, 1)
            for values in ((60.0, 64.0, 62.0), (70.0, 70.0, 71.0), (80.0, 86.0, 81.0))
        ] + [episode(seed, 80.0, 85.0, 80.0, 5) for seed in (0, 1)],
        "heads": [
            {"data": "omniglot", "seed": seed, "queries": case, "untuned": 50.0, "entropy": 50.0 - down, "with marginal": 50.0 + up}
            for case, more in (("balanced", 20.0), ("unbalanced", 10.0))
            for seed in (0, 1)
            for down, up in ((10.0, more), (0.0, 0.0))
        ],
        "curves": [{"data": "omniglot", "seed": s, "kind": f"{k}, R squared", "at": 0, "accuracy": v}
                   for s in (0, 1) for k, v in (("ways", 0.99), ("shots", 0.9), ("shots, 20 ways", 0.97))],
        "hardness": [{"data": "omniglot", "seed": s, "untuned_r": -0.8, "episodes": 82} for s in (0, 1)],
        "untuned": [{"data": "omniglot", "trained_on": "train", "way": 5, "shot": 1, "within": False, "mean": 85.0,
                     "sd": v, "seed": s} for s, v in ((0, 8.0), (1, 9.0))],
        "seconds": [{"data": "omniglot", "untuned": 0.01, "transductive": 0.5, "ratio": 50.0}],
        "cells": [cell(s, *of) for s in (0, 1) for of in ((20, 15, 40.0, 41.0, 39.0), (5, 1, 70.0, 71.0, 75.0 + s))],
        "classes": [{"data": "omniglot", "seed": s, "classes": c, "accuracy": 60.0 + c / 10 + s * c / 100}
                    for s in (0, 1) for c in (136, 68, 20)],
        "loop": [{"data": "omniglot", "seed": s, "loop_area": 300.0 + s, "untuned_area": 290.0} for s in (0, 1)],
    }  # fmt: skip
    said = full.values(tables, TINY)
    # Two networks that agree exactly: what is left is the error of 82 episodes each, 0.36 / 9, over the root of two.
    assert said["fsb-8"][1]["spread"] == 0.0 and said["fsb-8"][1]["error"] == pytest.approx(0.04 / np.sqrt(2))
    found = {claim: value for claim, (value, _) in said.items()}
    assert found == pytest.approx({
        "fsb-15": 10 / 3, "fsb-14": 4 / 3 - 5 / 3, "fsb-11": -5.0, "fsb-12": 10.0, "fsb-13": 5.0, "fsb-7": 0.97,
        "fsb-8": -0.8, "fsb-9": 8.5, "fsb-10": 50.0, "fsb-19": 4.0, "fsb-20": 1.0, "fsb-5": -1.0, "fsb-6": 4.5,
        "fsb-18": 10.5, "fsb-21": 11.6 + 0.58,
    })  # fmt: skip
    assert said["fsb-6"][1]["error"] == pytest.approx(0.5) and said["fsb-18"][1]["spread"] == pytest.approx(0.5**0.5)
    before = {name: rows for name, rows in tables.items() if name not in handwriting.TABLES}  # a record of earlier days
    assert set(full.values(before, TINY)) == set(said) - {"fsb-5", "fsb-6", "fsb-18", "fsb-21"}
    assert full.untuned_grid(tables["untuned"]) == [["Omniglot", "train", "5", "1", "no", "85.0", "8.5"]]
    assert full.tuned_grid(tables["tuned"])[0][:5] == ["Omniglot", "train", "1", "6", "+0.0 ± 0.0"]


def test_what_a_figure_reads_of_a_record_is_split_by_network_and_nothing_where_there_is_none():
    curve = lambda seed, kind, at, data="omniglot": {
        "data": data, "seed": seed, "kind": kind, "at": at, "accuracy": 1 / at + seed
    }  # fmt: skip
    rows = [curve(seed, kind, at) for seed in (2, 0) for kind in ("ways", "shots") for at in (5, 10)]
    rows += [curve(0, "ways, R squared", 1), curve(1, "ways", 5, "cifar_fs")]
    assert full.recorded_curves(rows, "ways") == [[(5, 2.2), (10, 2.1)], [(5, 0.2), (10, 0.1)]]
    head = lambda seed, case, untuned, tuned: {
        "data": "omniglot", "seed": seed, "queries": case, "untuned": untuned, "entropy": tuned
    }  # fmt: skip
    heads = [head(0, "balanced", 50.0, 40.0), head(1, "balanced", 50.0, 60.0), head(0, "unbalanced", 50.0, 50.0)]
    heads += [head(0, "balanced", 60.0, 61.0), head(1, "balanced", 70.0, 70.0)]
    found = full.recorded_heads(heads, "entropy", "balanced")
    assert [d.tolist() for d in found] == [[-10.0, 1.0], [10.0, 0.0]]
    assert full.recorded_curves([], "ways") == full.recorded_heads([], "entropy", "balanced") == []


def test_on_photographs_five_shots_are_compared_too():
    row = lambda shot, part, fine, whole: {
        "data": "cifar_fs", "trained_on": part, "seed": 0, "shot": shot, "initialisation": 70.0, "fine-tuning": fine,
        "transductive": whole,
    }  # fmt: skip
    rows = [
        row(shot, part, 69.0 + shot + k, 74.0 + k) for shot in (1, 5) for part in ("train", "train+val") for k in (0, 1)
    ]
    found = {claim: value for claim, (value, _) in full.values({"tuned": rows}, TINY).items()}
    small = replace(Settings.full(device="cuda"), cifar_network="resnet12")
    of_small = full.values({"tuned": rows}, small)
    assert set(found) - set(of_small) == {"fsb-1"}  # its line is of a WRN-28-10
    assert set(full.values({"tuned": rows}, Settings.full(device="cuda"))) == set(found)
    assert found == {
        "fsb-1": 70.0, "fsb-2": 0.5, "fsb-3": 4.5, "fsb-4": 0.0, "fsb-16": 4.5, "fsb-17": 0.0
    }  # fmt: skip


def test_photographs_are_learnt_by_the_network_that_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    made = {}
    for name, kind, words in (
        ("resnet12", ResNet12, "CIFAR-FS, ResNet-12"), ("wide", WideResNet, "CIFAR-FS"), ("conv4", Conv4, "CIFAR-FS, Conv4")
    ):  # fmt: skip
        settings = replace(TINY, data=("cifar_fs",), cifar_network=name)
        study = full.studies("cifar_fs", settings, None)
        nets = [full.empty(study, which, 0, settings) for which in study.trained_on]
        assert [type(net) for net in nets] == [kind] * 2
        assert [net.head.out_features for net in nets] == [40, 80]  # train, and train with val
        real = replace(settings, dry_run=False)
        with torch.device("meta"):
            made[name] = sum(p.numel() for p in full.empty(study, "train", 0, real).blocks.parameters())
        if name != "wide":
            tables = full.run(settings)
            assert {row["network"] for rows in tables.values() for row in rows} == {name}
            assert {row[0] for row in full.tuned_grid(tables["tuned"])} == {words}
            assert {row[0] for row in full.untuned_grid(tables["untuned"])} == {words}
            assert (tmp_path / f"few_shot_baseline/dry/{full.file_stem('cifar_fs', settings)}.jsonl").is_file()
    assert made["resnet12"] == 12_424_320 < made["wide"] / 2  # whole in a run that is not dry
    assert len(list((tmp_path / "few_shot_baseline/dry").glob("*.jsonl"))) == 2  # each has files of its own
    old = [{"data": "cifar_fs"}, {"data": "omniglot"}]  # a record that does not name its network
    assert [full.data_name([row]) for row in old] == ["CIFAR-FS", "Omniglot"]
    with pytest.raises(ValueError, match=r"cifar_network.*'wide', 'resnet12', 'conv4'"):
        replace(TINY, cifar_network="resnet18")


def test_half_precision_on_a_gpu_is_asked_of_the_gpu(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(full, "train_classifier", lambda *a, autocast, **k: seen.append(autocast))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *a, **k: self)
    monkeypatch.setattr(full, "fast_autocast", lambda device: {"cuda": torch.float16}[device])
    settings = replace(TINY, data=("cifar_fs",))
    study = full.studies("cifar_fs", settings, None)
    for device in ("cpu", "cuda"):
        kept = {which: _Still(*part) for which, part in study.trained_on.items()}
        full.trained(study._replace(trained_on=kept), "train", 0, replace(settings, device=device), tmp_path)
    assert seen == [None, torch.float16]


def test_fewer_classes_are_a_random_choice_of_a_seed_and_lie_among_more(glyphs):
    base, _ = glyphs
    renamed = handwriting.shuffled(base, 0)
    pairs = {(int(a), int(b)) for a, b in zip(base.labels, renamed.labels, strict=True)}
    assert len(pairs) == base.classes and sorted(b for _, b in pairs) == list(range(base.classes))
    assert torch.equal(renamed.labels, handwriting.shuffled(base, 0).labels)
    assert not torch.equal(renamed.labels, handwriting.shuffled(base, 1).labels)
    assert len(renamed.first(20).groups.unique()) > 1  # 20 of 80 by their old numbers are one alphabet


def tiny_nets(novel):
    nets = [conv4(torch_generator(seed, "net"), width=3, classes=8, size=20).eval() for seed in (0, 1)]
    return nets, [network_features(net, novel.images) for net in nets]


def test_episodes_of_many_ways_and_few_queries_are_tuned_as_the_kernel_tunes_them_and_stored(glyphs, tmp_path):
    _, novel = glyphs
    nets, _ = tiny_nets(novel)
    small = replace(TINY, tune_lr=0.02, full_cells=((20, 1, 2, 1), (5, 1, 1, 2)))
    store = Store(tmp_path / "one.jsonl", {})
    rows = handwriting.cell_rows(nets, novel, small, store)
    assert [(r["seed"], r["way"], r["query"], r["episode"]) for r in rows] == [
        (0, 20, 2, 0), (1, 20, 2, 1), (0, 5, 1, 0), (0, 5, 1, 1), (1, 5, 1, 2), (1, 5, 1, 3),
    ]  # fmt: skip
    episodes = demo.draw_episodes(novel, 20, 1, 2, 2, "cells", within=True)
    want = demo.tuned_accuracies(nets[1], novel, episodes, 1, small)
    assert {name: rows[1][name] for name in handwriting.LOOPS} == pytest.approx(
        {name: 100 * want[name] for name in handwriting.LOOPS}
    )
    assert handwriting.cell_rows(nets, novel, small, Store(tmp_path / "one.jsonl", {})) == rows
    assert handwriting.cell_gain(rows, 5, 1, 1, "transductive").shape == (4,)
    grid = handwriting.cell_grid(rows, replace(small, full_cells=(*small.full_cells, (20, 5, 2, 1))))
    assert grid[-1] == ["20", "5", "2", "0", "not run", "not run", "not run"] and grid[0][:4] == ["20", "1", "2", "2"]


def test_hardness_of_the_loop_is_by_the_other_network_on_the_same_episodes(glyphs, tmp_path):
    _, novel = glyphs
    nets, z = tiny_nets(novel)
    small = replace(TINY, tune_epochs=0, hard_ways=(5, 20), hard_shots=(1, 2), full_loop=2)
    rows = handwriting.loop_rows(nets, z, novel, small, store := Store(tmp_path / "loop.jsonl", {}))
    assert [row["episodes"] for row in rows] == [8, 8] and len(store) == 16
    for row in rows:  # without an epoch the loop is the untuned classifier
        assert row["untuned_area"] == row["loop_area"]
    episodes = demo.draw_episodes(novel, 5, 1, 5, 2, "loop", seed=1)
    places = episodes.support.flatten(1), episodes.query.flatten(1)
    want = episode_hardness(z[0][places[0]], episodes.support_labels(), z[0][places[1]], episodes.query_labels())
    assert store.get("loop/5/1/1/1")["hardness"] == pytest.approx(float(want[1]), rel=1e-5)
    right = 100 * centroid_accuracy(z[1], episodes)
    assert store.get("loop/5/1/1/1")["transductive"] == pytest.approx(float(right[1]))
    assert handwriting.loop_rows(nets[:1], z[:1], novel, small, store) == []
    assert handwriting.loop_grid([])[0][1] == "not run" and handwriting.loop_grid(rows)[1][:2] == ["1", "8"]


def test_the_number_of_characters_is_the_only_change_of_that_curve(glyphs, tmp_path, monkeypatch):
    base, novel = glyphs
    _, z = tiny_nets(novel)
    seen = []
    monkeypatch.setattr(
        handwriting,
        "train_classifier",
        lambda net, images, labels, steps, *a, **k: seen.append((labels, steps)) or net.eval(),
    )
    rows = handwriting.class_rows(base, novel, z, TINY, Store(tmp_path / "classes.jsonl", {}))
    assert {steps for _, steps in seen} == {TINY.full_steps}
    assert [int(labels.max()) + 1 for labels, _ in seen] == [20, 40, 20, 40]
    curve = handwriting.class_curve(rows)
    assert list(curve) == [20, 40, 80] and all(len(found) == 2 for found in curve.values())
    episodes = demo.draw_episodes(novel, 5, 1, 15, 20, "full")
    assert curve[80][0] == pytest.approx(100 * float(centroid_accuracy(z[0], episodes).mean()))
    assert handwriting.class_curve([]) == {}


def test_a_point_of_the_sweep_is_the_chapters_own_measurement():
    tiny = {"classes": 12, "steps": 3, "width": 2, "episodes": 4, "seed": 1}
    still = sweep_point(**tiny, head_lr=0.0)
    assert set(still) == {"untuned", "sd", "within", "entropy", "marginal"}
    assert still["within"] == still["entropy"] == still["marginal"]  # a rate of 0 leaves the classifier as it is
    settings = replace(Settings.demo(), steps=3, width=2, heads=4, head_lr=0.5)
    base, novel = demo.glyph_collections(settings)
    net, _ = demo.train_network(base, 1, settings, 12)
    z = network_features(net, novel.images)
    right = 100 * centroid_accuracy(z, demo.draw_episodes(novel, 5, 1, 15, 4, "sweep"))
    heads = demo.head_accuracies(z, novel, settings)
    moved = sweep_point(**tiny, head_lr=0.5)
    assert moved["untuned"] == still["untuned"] == pytest.approx(right.mean().item())
    assert moved["sd"] == pytest.approx(right.std().item()) and moved["within"] == still["within"]
    assert moved["entropy"] == pytest.approx(100 * heads["entropy"].mean().item()) != moved["within"]
    assert moved["marginal"] == pytest.approx(100 * heads["with marginal"].mean().item()) != moved["entropy"]


@pytest.mark.parametrize(
    ("setting", "value"), [("steps", 0), ("width", 0), ("head_lr", -1.0), ("episodes", 1), ("classes", 301)]
)
def test_a_setting_that_cannot_be_is_named(setting, value):
    with pytest.raises(ValueError, match=setting if setting != "episodes" else "heads|episodes"):
        sweep_point(**{setting: value})
