"""The 3D Shapes loader, on small files of the same form."""

import itertools

import numpy as np
import pytest
import torch

from workings.disentangling import shapes3d_file
from workings.disentangling.shapes3d_file import FACTOR_SIZES, Shapes3D, fetch_shapes3d

SMALL = (2, 3, 1, 2, 2, 1)


def rows(sizes=SMALL):
    """Labels of every combination, the last factor fastest, with the published file's kind of values (shares, angles)."""
    values = [np.linspace(0.0, 1.0, k) * (30.0 if a == 5 else 1.0) for a, k in enumerate(sizes)]
    return np.array(list(itertools.product(*values)))


def pictures(n):
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def write(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is an extra that only this loader needs")

    def make(name="3dshapes.h5", **arrays):
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in arrays.items():
                file.create_dataset(key, data=value, compression="gzip")
        return tmp_path / name

    return make


def test_pictures_and_classes_come_back(write):
    labels, images = rows(), pictures(24)
    with Shapes3D(write(images=images, labels=labels), whole=False) as data:
        assert len(data) == 24 and data.sizes == SMALL
        assert data.classes[-1].tolist() == [1, 2, 0, 1, 1, 0] and data.classes[1].tolist() == [0, 0, 0, 0, 1, 0]
        wanted = torch.tensor([5, 0, 5, 23])
        found = data.images(wanted)
        expected = torch.from_numpy(images[wanted.numpy()]).permute(0, 3, 1, 2).float() / 255
        assert torch.equal(found, expected)


def test_the_published_file_has_480000_rows():
    assert np.prod(FACTOR_SIZES) == 480_000


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (lambda: dict(images=pictures(24)), "no array labels"),
        (lambda: dict(images=pictures(24)[:, :32], labels=rows()), "uint8"),
        (lambda: dict(images=pictures(24).astype(np.float32), labels=rows()), "uint8"),
        (lambda: dict(images=pictures(24), labels=rows()[:, :5]), r"labels must be \(24, 6\)"),
        (lambda: dict(images=pictures(24), labels=rows()[::-1].copy()), "in order"),
        (lambda: dict(images=pictures(23), labels=rows()[:23]), "all combinations"),
    ],
)
def test_a_file_of_another_form_is_refused(write, arrays, words):
    with pytest.raises(ValueError, match=words):
        Shapes3D(write(**arrays()), whole=False)


def test_a_part_is_refused_where_the_whole_is_wanted(write):
    with pytest.raises(ValueError, match="whole=False"):
        Shapes3D(write(images=pictures(24), labels=rows()))


@pytest.mark.parametrize("wrong", [torch.tensor([24]), torch.tensor([-1]), torch.tensor([[0]])])
def test_rows_that_are_not_there_are_refused(write, wrong):
    with Shapes3D(write(images=pictures(24), labels=rows()), whole=False) as data:
        with pytest.raises(ValueError, match="indices"):
            data.images(wrong)
        with pytest.raises(TypeError, match="integers"):
            data.images(torch.tensor([0.0]))


def test_what_is_no_hdf5_file_is_refused(write, tmp_path):
    (tmp_path / "other.h5").write_bytes(b"no such file")
    with pytest.raises(ValueError, match="no HDF5"):
        Shapes3D(tmp_path / "other.h5")


def test_a_missing_file_and_a_missing_package_are_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="fetch_shapes3d"):
        Shapes3D(tmp_path / "3dshapes.h5")
    (tmp_path / "3dshapes.h5").write_bytes(b"there")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(RuntimeError, match="pip install h5py"):
        Shapes3D(tmp_path / "3dshapes.h5")


def test_the_file_is_asked_of_the_published_address_with_its_checksum(tmp_path, monkeypatch):
    asked = []

    def download(url, path, sha256, *, progress):
        asked.append((url, sha256, progress))
        return shapes3d_file.fetch.Fetched(path, 267_573_662, sha256, 0, 0, from_cache=True)

    monkeypatch.setattr(shapes3d_file.fetch, "download", download)
    assert fetch_shapes3d(tmp_path, progress=False) == tmp_path / "3dshapes.h5"
    assert asked == [(shapes3d_file.ADDRESS, shapes3d_file.SHA256, False)]
    monkeypatch.setattr(shapes3d_file.fetch, "cache_dir", lambda: tmp_path / "cache")
    assert fetch_shapes3d() == tmp_path / "cache" / "shapes3d" / "3dshapes.h5"
