"""Where data are kept: one process at a time, no place without a name, and a cache knows what it is a cache of."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workings.chapters import cifar_fs, omniglot_data
from workings.disentangling.dsprites_file import fetch_dsprites
from workings.robustness.data import CIFAR10_CLASSES, cifar10
from workings.runs import fetch, locks
from workings.runs.store import Store
from workings.training import load_checkpoint, save_checkpoint
from workings.uncertainty.uci import load_uci


def test_without_a_home_folder_the_error_names_the_variable(monkeypatch):
    monkeypatch.delenv("WORKINGS_DATA", raising=False)
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory."))
    )
    with pytest.raises(FileNotFoundError, match="set WORKINGS_DATA"):
        fetch.cache_dir()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_to_is_named_with_the_remedy(tmp_path, monkeypatch, number):
    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(fetch.FetchError, match=r"data\.bin cannot be written .*WORKINGS_DATA") as caught:
        fetch.download("http://127.0.0.1:9/data", tmp_path / "data.bin", "0" * 64)
    assert caught.value.errno == number
    with pytest.raises(fetch.FetchError, match=r"dsprites_\S+\.npz cannot be written .*WORKINGS_DATA"):
        fetch_dsprites(tmp_path)


def test_a_folder_that_cannot_be_entered_is_named_with_the_remedy(tmp_path, monkeypatch):
    def refusing(question):
        def ask(path):
            if tmp_path in path.parents:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            return question(path)

        return ask

    monkeypatch.setenv("WORKINGS_DATA", str(tmp_path))
    for name in ("exists", "is_file"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    for ask in (
        lambda: fetch.download("http://127.0.0.1:9/data", tmp_path / "data.bin", "0" * 64),
        fetch_dsprites,
        lambda: load_uci("wine"),
        lambda: load_uci("wine", download=True),
    ):
        with pytest.raises(fetch.FetchError, match=r"cannot be written \(Permission denied\); set WORKINGS_DATA"):
            ask()


def test_what_torchvision_fetches_is_fetched_by_one_process_at_a_time(tmp_path, monkeypatch):
    held = []

    class Data:
        def __init__(self, root, **options):
            self.data, self.targets = np.zeros((10, 32, 32, 3), dtype=np.uint8), list(range(10))
            self.classes, self._characters = list("abcdefghij"), ["alphabet/character"]
            with pytest.raises(locks.Busy), locks.locked(Path(root) / "fetching.lock", wait=False):
                pass
            held.append(Path(root).name)

        def __iter__(self):
            yield Image.new("L", (105, 105)), 0

    for name in ("CIFAR10", "CIFAR100", "Omniglot"):
        monkeypatch.setattr(f"torchvision.datasets.{name}", Data)
    monkeypatch.setenv("WORKINGS_DATA", str(tmp_path))
    cifar10(tmp_path / "ten", download=True)
    with pytest.raises((KeyError, ValueError)):  # ten classes are no hundred
        cifar_fs.collections()
    omniglot_data.omniglot()
    assert held == ["ten", "cifar100", "cifar100", "omniglot", "omniglot"]


def stored(folder):
    return Store(folder / "run", {"splits": 1})


def checkpointed(folder):
    model = torch.nn.Linear(1, 1)
    save_checkpoint(folder / "run", model, torch.optim.SGD(model.parameters(), lr=1.0), None, 0, torch.zeros(1))


@pytest.mark.parametrize("keep", [stored, checkpointed])
def test_where_a_run_cannot_be_kept_its_place_is_named_with_the_remedy(tmp_path, monkeypatch, keep):
    (tmp_path / "taken").write_text("a file where a folder is asked for")
    with pytest.raises(OSError, match=r"taken.run cannot be written .*set WORKINGS_RUNS"):
        keep(tmp_path / "taken")

    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    number = errno.EACCES
    with pytest.raises(PermissionError, match=r"new.run cannot be written .*set WORKINGS_RUNS"):
        keep(tmp_path / "new")
    number = errno.ENOSPC  # another folder on this disk would not help
    with pytest.raises(OSError, match="No space left") as caught:
        keep(tmp_path / "new")
    assert "WORKINGS_RUNS" not in str(caught.value)


def folder_of_images(root, each=1):
    noise = np.random.default_rng(0)
    for name in CIFAR10_CLASSES:
        folder = root / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(each):
            if not (folder / f"{i}.png").exists():
                Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return root


def test_images_added_or_exchanged_later_are_seen(tmp_path):
    root = folder_of_images(tmp_path)
    assert len(cifar10(root, source="imagefolder").labels) == 10
    again = cifar10(folder_of_images(root, 3), source="imagefolder")
    assert len(again.labels) == 30 and torch.bincount(again.labels).tolist() == [3] * 10
    Image.new("RGB", (32, 32), (255, 0, 0)).save(root / "train" / "airplane" / "0.png")
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 32, 32)
    found = cifar10(root, source="imagefolder").images
    assert any(torch.equal(image, red) for image in found)
    kept = cifar10(root, source="imagefolder")
    assert torch.equal(kept.images, found) and (root / "train.npz").is_file()
    assert sorted(file.name for file in root.iterdir()) == ["train", "train.npz"]


def test_a_cache_that_is_damaged_or_of_an_older_version_is_made_anew(tmp_path):
    root = folder_of_images(tmp_path)
    wanted = cifar10(root, source="imagefolder")
    for write in (
        lambda: (root / "train.npz").write_bytes(b"cut"),
        lambda: np.savez(root / "train.npz", images=np.zeros((1, 3, 32, 32), np.uint8), labels=np.zeros(1, np.int64)),
    ):
        write()
        assert torch.equal(cifar10(root, source="imagefolder").images, wanted.images)


def test_where_nothing_can_be_kept_the_images_come_with_a_warning(tmp_path, monkeypatch):
    root = folder_of_images(tmp_path)

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.warns(UserWarning, match=r"could not be kept as .*train\.npz.*decodes them again"):
        assert len(cifar10(root, source="imagefolder").labels) == 10


def test_a_damaged_image_is_named_and_a_resource_fork_is_no_image(tmp_path):
    root = folder_of_images(tmp_path)
    (root / "train" / "cat" / "._0.png").write_bytes(b"\x00\x05\x16\x07")
    assert len(cifar10(root, source="imagefolder").labels) == 10
    whole = root / "train" / "dog" / "1.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(whole)
    whole.write_bytes(whole.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"dog.1\.jpg' is no readable image"):
        cifar10(root, source="imagefolder")


def test_two_writers_of_one_checkpoint_never_write_to_one_file(tmp_path, monkeypatch):
    """Each writer's unfinished file has a name of its own, and none is left."""
    names, real = [], torch.save

    def save(state, file):
        names.append({entry.name for entry in tmp_path.iterdir()} - {"a.pt"})
        if len(names) == 1:  # a second writer comes in the middle of the first one's saving
            save_checkpoint(tmp_path / "a.pt", model, optimiser, None, 0, torch.zeros(2))
        real(state, file)

    model = torch.nn.Linear(1, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    monkeypatch.setattr(torch, "save", save)
    save_checkpoint(tmp_path / "a.pt", model, optimiser, None, 0, torch.zeros(1))
    assert [len(n) for n in names] == [1, 2] and names[0] < names[1]
    assert len(load_checkpoint(tmp_path / "a.pt")["losses"]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
