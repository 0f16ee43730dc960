"""Digits, CIFAR-10 folders and augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workings.robustness.data import (
    CIFAR10_CLASSES,
    Split,
    as_unit_float,
    balanced_counts,
    cifar10,
    class_counts,
    digits,
    random_crop_flip,
)
from workings.seeding import torch_generator


def test_digits_are_1200_and_597_images_in_the_unit_box_and_the_split_never_changes():
    train, test = digits()
    assert train.images.shape == (1200, 1, 8, 8) and test.images.shape == (597, 1, 8, 8)
    assert train.images.dtype == torch.float32 and train.labels.dtype == torch.int64
    both = torch.cat([train.images, test.images])
    assert both.min() == 0 and both.max() == 1
    assert torch.equal(both * 16, (both * 16).round())
    assert torch.equal(digits()[1].labels, test.labels)
    assert torch.equal(digits(dtype=torch.float64)[1].images, test.images.double())
    counts = torch.bincount(test.labels, minlength=10)
    assert counts.min() >= 40 and torch.bincount(torch.cat([train.labels, test.labels])).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip


def test_no_digit_is_in_both_parts():
    train, test = digits()
    both = torch.cat([train.images, test.images]).flatten(1)
    from sklearn.datasets import load_digits

    reference = torch.from_numpy((load_digits().data / 16).astype(np.float32))
    assert torch.equal(both.unique(dim=0), reference.unique(dim=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from PIL import Image

    root = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    for name in CIFAR10_CLASSES:
        (root / "test" / name).mkdir(parents=True)
        for k in range(2):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / "test" / name / f"{k}.png")
    return root


def test_an_image_folder_is_read_whole_shuffled_and_cached(folder):
    from PIL import Image

    first = cifar10(folder, "test", source="imagefolder")
    assert first.images.shape == (20, 3, 32, 32) and first.images.dtype == torch.uint8
    assert class_counts(first.labels) == [2] * 10
    stored = {}
    for label, name in enumerate(CIFAR10_CLASSES):
        for k in range(2):
            with Image.open(folder / "test" / name / f"{k}.png") as image:
                stored[np.array(image).transpose(2, 0, 1).tobytes()] = label
    pairs = zip(first.images.numpy(), first.labels.tolist(), strict=True)
    assert {image.tobytes(): label for image, label in pairs} == stored
    assert (folder / "test.npz").is_file()
    again = cifar10(folder, "test", source="imagefolder")
    assert torch.equal(again.images, first.images) and torch.equal(again.labels, first.labels)


def test_the_first_images_of_a_folder_in_class_order_are_a_mixture_of_the_classes(tmp_path):
    """The order is fixed, so this is no statistical test: of 2,000 images in class order every prefix must look random."""
    labels = np.repeat(np.arange(10), 200)
    np.savez(tmp_path / "test.npz", images=np.zeros((2000, 3, 1, 1), dtype=np.uint8), labels=labels)
    mixed = cifar10(tmp_path, "test", source="imagefolder").labels
    for first in (10, 50, 100, 200, 300, 1000):
        assert sum(balanced_counts(mixed[:first])) == first
    with pytest.raises(ValueError, match=r"100 of 100 images are of class 0.*shuffle the images"):
        balanced_counts(torch.from_numpy(labels)[:100])


def test_balanced_counts_refuse_by_the_binomial_law():
    from scipy.stats import binom

    def refused(count, n=100):
        rest = torch.arange(n - count) % 9 + 1
        try:
            balanced_counts(torch.cat([torch.zeros(count, dtype=torch.int64), rest]))
        except ValueError:
            return True
        return False

    high = next(c for c in range(10, 100) if refused(c))
    assert 2 * binom.sf(high - 1, 100, 0.1) < 1e-6 <= 2 * binom.sf(high - 2, 100, 0.1)
    assert not refused(0)  # (9/10)^100 = 2.7e-5: a class missing among a hundred proves nothing
    assert refused(0, 200)  # (9/10)^200 = 7e-10
    assert [balanced_counts(torch.zeros(6, dtype=torch.int64)), class_counts(torch.tensor([2, 0, 2]), 3)] == [
        [6, *[0] * 9],
        [1, 0, 2],
    ]


@pytest.mark.parametrize(
    "labels", [torch.tensor([0, 10]), torch.tensor([-1]), torch.tensor([0.0]), torch.zeros(0).long()]
)
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be"):
        class_counts(labels)


def test_missing_and_incomplete_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        cifar10(tmp_path, "train", source="imagefolder")
    (tmp_path / "train" / "airplane").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no"):
        cifar10(tmp_path, "train", source="imagefolder")
    with pytest.raises(FileNotFoundError, match="download=True"):
        cifar10(tmp_path, "train")
    with pytest.raises(ValueError, match="split"):
        cifar10(tmp_path, "valid")


def test_images_of_another_size_are_refused(tmp_path):
    from PIL import Image

    for name in CIFAR10_CLASSES:
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (31, 32)).save(tmp_path / "train" / name / "0.png")
    with pytest.raises(ValueError, match="32x32"):
        cifar10(tmp_path, "train", source="imagefolder")


def test_unit_floats_and_moving_a_split():
    images = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert torch.equal(as_unit_float(images), torch.tensor([[[[0.0, 1.0]]]]))
    with pytest.raises(TypeError, match="uint8"):
        as_unit_float(images.float())
    assert Split(images, torch.tensor([1])).to("cpu").labels.tolist() == [1]


def slow_crop(image, top, left, mirror, padding):
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    view = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
    return view[:, :, ::-1] if mirror else view


def test_every_augmented_image_is_a_mirrored_or_plain_crop_and_all_offsets_occur():
    image = torch.rand(2, 6, 5, generator=torch_generator(0, "image"))
    out = random_crop_flip(image.expand(4000, 2, 6, 5), torch_generator(0, "crop"), padding=1)
    seen = {}
    for top in range(3):
        for left in range(3):
            for mirror in (False, True):
                target = torch.from_numpy(slow_crop(image.numpy(), top, left, mirror, 1).copy())
                seen[top, left, mirror] = int((out == target).all(dim=(1, 2, 3)).sum())
    # 18 equally likely outcomes: 222 each, standard deviation 14.5; 5.5 of them allowed.
    assert sum(seen.values()) == 4000
    assert all(abs(count - 4000 / 18) < 80 for count in seen.values())


def test_augmentation_is_seeded_keeps_uint8_and_without_padding_only_mirrors():
    images = torch.randint(0, 256, (8, 3, 32, 32), generator=torch_generator(0, "i"), dtype=torch.uint8)
    one = random_crop_flip(images, torch_generator(0, "a"))
    assert one.dtype == torch.uint8 and one.shape == images.shape
    assert torch.equal(one, random_crop_flip(images, torch_generator(0, "a")))
    assert not torch.equal(one, random_crop_flip(images, torch_generator(1, "a")))
    plain = random_crop_flip(images, torch_generator(0, "b"), padding=0)
    same = (plain == images).flatten(1).all(1)
    mirrored = (plain == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all() and same.any() and mirrored.any()


@pytest.mark.parametrize("bad", [torch.zeros(3, 4, 4), torch.zeros(0, 3, 4, 4)])
def test_augmentation_refuses_what_is_no_batch(bad):
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        random_crop_flip(bad, torch_generator(0, "x"))
    with pytest.raises(ValueError, match="padding"):
        random_crop_flip(torch.zeros(1, 1, 2, 2), torch_generator(0, "x"), padding=-1)
