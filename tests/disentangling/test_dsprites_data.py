"""dSprites as a data set: sub-grids, batches, and reading files that somebody else made."""

import hashlib
import http.server
import io
import math
import shutil
import zipfile

import numpy as np
import pytest
import torch

from serving import serving
from workings.disentangling import dsprites_file as module
from workings.disentangling.dsprites_data import (
    DSprites,
    factor_values,
    fetch_dsprites,
    load_dsprites_npz,
    sub_grid,
)
from workings.disentangling.dsprites_renderer import (
    N_IMAGES,
    block_average,
    dsprites_classes,
    dsprites_index,
    packed_dsprites,
    render_dsprites,
)
from workings.runs import fetch
from workings.seeding import torch_generator

ROWS = 5000  # more than one block of the reader
SMALL = {"shapes": 0, "orientations": [0], "pos_x": range(0, 32, 2), "pos_y": range(0, 32, 2)}


@pytest.fixture(scope="module")
def squares():
    """The demo's 1,536 upright squares: 6 scales, 16 x 16 positions."""
    return DSprites(classes=sub_grid(**SMALL))


@pytest.fixture(scope="module")
def arrays():
    """The first ROWS rows of the published arrays, as the file has them."""
    classes = dsprites_classes(torch.arange(ROWS))
    constant = torch.zeros(ROWS, 1, dtype=torch.int64)
    return {"imgs": render_dsprites(classes).numpy(), "latents_classes": torch.cat([constant, classes], 1).numpy()}


class Bomb:
    """Runs code when it is unpickled."""

    exploded = False

    def __reduce__(self):
        return explode, ()


def explode():
    Bomb.exploded = True


def bombs(n):
    array = np.empty(n, dtype=object)
    array[:] = [Bomb()] * n
    return array


def test_a_sub_grid_is_all_combinations_in_the_order_of_the_file():
    classes = sub_grid(**SMALL)
    assert classes.shape == (1536, 5)
    index = dsprites_index(classes)
    assert (index.diff() > 0).all()
    assert classes[:, 3].unique().tolist() == list(range(0, 32, 2))
    assert torch.equal(sub_grid(), dsprites_classes(torch.arange(N_IMAGES)))
    assert torch.equal(sub_grid([2, 1], 0, 0, [5, 3], 0), sub_grid([1, 2], 0, 0, [3, 5], 0))
    assert torch.equal(sub_grid(np.int64(1), 0, 0, torch.tensor([4]), torch.tensor(2)), torch.tensor([[1, 0, 0, 4, 2]]))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"shapes": 3}, ValueError),
        ({"pos_x": [-1]}, ValueError),
        ({"scales": []}, ValueError),
        ({"scales": [1, 1]}, ValueError),
        ({"orientations": [0.5]}, TypeError),
        ({"pos_y": [True]}, TypeError),
    ],
)
def test_a_sub_grid_of_no_classes_is_refused(given, error):
    with pytest.raises(error, match="class"):
        sub_grid(**given)


def test_factor_values_are_those_of_the_published_file():
    values = factor_values(sub_grid())
    grids = [[0, 1, 2], np.linspace(0.5, 1, 6), np.linspace(0, 2 * np.pi, 40), *[np.linspace(0, 1, 32)] * 2]
    for column, grid in zip(values.unbind(1), grids, strict=True):
        np.testing.assert_allclose(column.unique().numpy(), grid, rtol=1e-15, atol=0)  # a last bit of rounding
    last = factor_values(torch.tensor([2, 5, 39, 31, 31]))
    assert last.tolist() == [2.0, 1.0, 2 * math.pi, 1.0, 1.0]


def test_items_and_batches_are_the_images_of_the_classes(squares):
    assert len(squares) == 1536
    image, classes = squares[700]
    assert image.shape == (1, 64, 64)
    assert image.dtype == torch.float32
    assert torch.equal(classes, squares.classes[700])
    assert torch.equal(image[0].to(torch.uint8), render_dsprites(classes[None])[0])
    assert torch.equal(squares[-1][0], squares[1535][0])
    rows = torch.tensor([3, 3, 1000])
    assert torch.equal(squares.images(rows), torch.stack([squares[int(i)][0] for i in rows]))
    assert squares.images(torch.empty(0, dtype=torch.int64)).shape == (0, 1, 64, 64)


def test_a_data_loader_visits_every_image_once(squares):
    part = DSprites(squares.packed[:100], classes=squares.classes[:100])
    images, classes = zip(*torch.utils.data.DataLoader(part, batch_size=32), strict=True)
    assert [len(x) for x in images] == [32, 32, 32, 4]
    assert torch.equal(torch.cat(images), squares.images(torch.arange(100)))
    assert torch.equal(torch.cat(classes), squares.classes[:100])
    assert sum(1 for _ in DSprites(part.packed[:3], classes=part.classes[:3])) == 3  # iteration ends by itself


def test_a_transform_is_applied_to_batches_and_items(squares):
    small = DSprites(squares.packed, classes=squares.classes, transform=lambda x: block_average(x, 4))
    rows = torch.tensor([5, 9])
    assert torch.equal(small.images(rows), block_average(squares.images(rows), 4))
    assert small[5][0].shape == (1, 16, 16)


def test_observations_of_ranks_are_the_images_of_their_classes(squares):
    assert squares.sizes == (1, 6, 1, 16, 16)
    factors = squares.sample_factors(500, torch_generator(0, "factors"))
    assert factors.shape == (500, 5)
    assert factors.max(dim=0).values.tolist() == [0, 5, 0, 15, 15]  # 500 draws miss a value with odds of 1e-13
    classes = factors * torch.tensor([1, 1, 1, 2, 2])  # every second position
    assert torch.equal(squares.observations(factors)[:, 0].to(torch.uint8), render_dsprites(classes))


def test_the_whole_set_from_given_bits_is_a_grid_of_all_classes():
    packed = torch.zeros(N_IMAGES, 512, dtype=torch.uint8)
    packed[86544] = packed_dsprites(torch.tensor([[0, 2, 4, 16, 16]]))[0]
    data = DSprites(packed)
    assert data.sizes == (3, 6, 40, 32, 32)
    assert data.observations(torch.tensor([[0, 2, 4, 16, 16]])).sum() == 181
    assert data.classes[86544].tolist() == [0, 2, 4, 16, 16]


def test_a_set_with_holes_or_out_of_order_has_images_but_is_no_grid(squares):
    for rows in (torch.arange(1535), torch.arange(1535, -1, -1)):
        part = DSprites(squares.packed[rows], classes=squares.classes[rows])
        assert torch.equal(part[2][0], squares[int(rows[2])][0])
        with pytest.raises(ValueError, match="sub_grid"):
            part.sample_factors(3, torch_generator(0))


def test_wrong_bits_classes_and_rows_are_refused(squares):
    bits, classes = squares.packed[:4], squares.classes[:4]
    for packed, named, error, what in (
        (bits, classes[:3], ValueError, "holds 4 images"),
        (bits, None, ValueError, "737280"),
        (bits.int(), classes, TypeError, "uint8"),
        (torch.zeros(4, 4096, dtype=torch.uint8), classes, ValueError, r"\(N, 512\)"),  # unpacked images
        (torch.zeros(4, 128, dtype=torch.uint8), classes, ValueError, r"\(N, 512\)"),  # 32 x 32 pixels
        (None, classes.double(), TypeError, "float64"),
        (None, classes[:0], ValueError, "at least one row"),
        (None, classes[0], ValueError, r"\(N, 5\)"),
        (None, classes + 31, ValueError, "must be in"),
    ):
        with pytest.raises(error, match=what):
            DSprites(packed, classes=named)
    for rows, error in (([1536], IndexError), ([-1], IndexError), ([0.0], TypeError), ([[0]], ValueError)):
        with pytest.raises(error, match="indices"):
            squares.images(torch.tensor(rows))
    with pytest.raises(IndexError):
        squares[1536]
    for factors, what in (([[0, 0, 0, 16, 0]], "out of range"), ([[0, 0, 0, 0]], r"\(n, 5\)"), ([0] * 5, r"\(n, 5\)")):
        with pytest.raises(ValueError, match=what):
            squares.observations(torch.tensor(factors))


def test_a_good_file_gives_its_bits_and_the_pickle_beside_them_stays_shut(tmp_path, arrays):
    path = tmp_path / "good.npz"
    np.savez_compressed(path, metadata=bombs(1), latents_values=np.zeros((ROWS, 6)), **arrays)
    packed = module._packed_from(path, ROWS)
    assert torch.equal(packed, packed_dsprites(dsprites_classes(torch.arange(ROWS))))
    assert not Bomb.exploded


def with_flipped_column(arrays):
    classes = arrays["latents_classes"].copy()
    classes[:, [4, 5]] = classes[:, [5, 4]]  # pos_y slowest
    return classes


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("imgs", lambda a: None, "no array 'imgs'"),
        ("latents_classes", lambda a: None, "no array 'latents_classes'"),
        ("imgs", lambda a: bombs(3), "pickled"),
        ("latents_classes", lambda a: bombs(3), "pickled"),
        ("imgs", lambda a: a["imgs"].astype(bool), "must be uint8"),
        ("imgs", lambda a: a["imgs"].astype(">u2"), "must be uint8"),
        ("imgs", lambda a: a["imgs"][:-1], "4999, 64, 64"),
        ("imgs", lambda a: a["imgs"][:, ::2, ::2], "5000, 32, 32"),
        ("imgs", lambda a: a["imgs"][..., None], "5000, 64, 64, 1"),
        ("imgs", lambda a: np.asfortranarray(a["imgs"]), "column-major"),
        ("imgs", lambda a: a["imgs"] * 255, "0 or 1, and hold 255"),
        ("latents_classes", lambda a: a["latents_classes"].astype(np.int32), "must be int64"),
        ("latents_classes", lambda a: a["latents_classes"].astype(np.float64), "must be int64"),
        ("latents_classes", lambda a: a["latents_classes"][:, 1:], "5000, 5"),
        ("latents_classes", lambda a: a["latents_classes"][::-1], "in order"),
        ("latents_classes", lambda a: a["latents_classes"] + np.eye(1, 6, dtype=int), "in order"),  # two colours
        ("latents_classes", with_flipped_column, "in order"),
    ],
)
def test_a_file_with_a_wrong_array_is_refused(tmp_path, arrays, name, change, what):
    changed = {**arrays, name: change(arrays)}
    path = tmp_path / "wrong.npz"
    np.savez(
        path,
        **{
            key: np.ascontiguousarray(a) if what != "column-major" else a for key, a in changed.items() if a is not None
        },
    )
    with pytest.raises(ValueError, match=what):
        module._packed_from(path, ROWS)
    assert not Bomb.exploded


def raw_npz(path, arrays, imgs):
    """An archive whose ``imgs.npy`` is the given bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        stream = io.BytesIO()
        np.save(stream, arrays["latents_classes"])
        archive.writestr("latents_classes.npy", stream.getvalue())
        archive.writestr("imgs.npy", imgs)


def test_arrays_that_end_early_go_on_too_long_or_are_no_arrays_are_refused(tmp_path, arrays):
    stream = io.BytesIO()
    np.save(stream, arrays["imgs"])
    content, path = stream.getvalue(), tmp_path / "raw.npz"
    raw_npz(path, arrays, content)
    assert len(module._packed_from(path, ROWS)) == ROWS
    version = content[:6] + b"\x07\x00" + content[8:]
    for imgs, what in (
        (content[:-1], "ends early"),
        (content + b"\0", "goes on after"),
        (b"", "cannot be read"),
        (b"PK" + content, "magic"),
        (version, "version"),
        (content[:8] + b"\xff\xff" + content[10:], "cannot be read"),  # a header that swallows the data
    ):
        raw_npz(path, arrays, imgs)
        with pytest.raises(ValueError, match=what):
            module._packed_from(path, ROWS)


def test_damaged_archives_are_refused(tmp_path, arrays):
    good, path = tmp_path / "good.npz", tmp_path / "bad.npz"
    np.savez_compressed(good, **arrays)
    content = good.read_bytes()
    with zipfile.ZipFile(good) as archive:
        member = archive.getinfo("imgs.npy")
    middle = member.header_offset + member.compress_size // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]
    for damaged in (content[: len(content) // 2], flipped, b"", b"not an archive", content[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bad\.npz cannot be read as dSprites: .*Delete it"):
            module._packed_from(path, ROWS)


def test_the_reader_names_a_missing_file_and_a_wrong_checksum(tmp_path, arrays):
    path = tmp_path / "small.npz"
    with pytest.raises(FileNotFoundError, match=r"small\.npz is not there; call fetch_dsprites"):
        load_dsprites_npz(path)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="SHA-256 0000"):
        load_dsprites_npz(path, sha256="0" * 64)
    right = hashlib.sha256(path.read_bytes()).hexdigest().upper()
    with pytest.raises(ValueError, match=r"must be int64 \(737280, 6\)"):  # past the checksum: a part is not the set
        load_dsprites_npz(path, sha256=right)


def test_the_content_check_knows_the_published_images(tmp_path):
    packed = packed_dsprites()
    bits = packed.view(-1, 64, 8)
    with pytest.raises(ValueError, match="sub-grid of shape 0 has 3351218 pixels"):  # drawn, not published
        module._check_content(packed, tmp_path)
    for index, (row, column) in module.PIXELS_THAT_DIFFER.items():
        bits[index, row, column // 8] ^= 128 >> column % 8
    module._check_content(packed, tmp_path)
    bits[dsprites_index(torch.tensor([1, 3, 12, 20, 6])), 20, 3] ^= 1  # far from the reference images
    with pytest.raises(ValueError, match="sub-grid of shape 1"):
        module._check_content(packed, tmp_path)
    turns = packed.view(3, 6, 40, -1)
    turns[:, :, 1:] = turns[:, :, 1:].flip(2)  # orientations the other way round: the same counts
    with pytest.raises(ValueError, match="CRC-32"):
        module._check_content(packed, tmp_path)


@pytest.fixture
def server(monkeypatch):
    """A server of some bytes that stand for the published file; ``body`` is what it sends."""
    content = np.random.default_rng(0).bytes(200_000)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            self.server.requests += 1
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(self.server.body) - 1}/{len(self.server.body)}")
            self.send_header("Content-Length", str(len(self.server.body) - start))
            self.end_headers()
            self.wfile.write(self.server.body[start:])

    with serving(Handler, monkeypatch) as found:
        found.body, found.requests = content, 0
        monkeypatch.setattr(module, "ADDRESS", found.url)
        monkeypatch.setattr(module, "MD5", hashlib.md5(content).hexdigest())
        yield found


def test_a_file_is_fetched_once_and_resumed(server, tmp_path, monkeypatch):
    path = fetch_dsprites(tmp_path)
    assert path == tmp_path / module.FILE_NAME
    assert path.read_bytes() == server.body
    assert fetch_dsprites(tmp_path) == path
    assert server.requests == 1
    part = path.with_name(path.name + ".part")
    path.unlink()
    part.write_bytes(server.body[:1000])
    assert fetch_dsprites(tmp_path).read_bytes() == server.body
    shutil.move(path, part)  # stopped before the last step
    assert fetch_dsprites(tmp_path) == path
    assert server.requests == 2
    assert not part.exists()
    monkeypatch.setenv("WORKINGS_DATA", str(tmp_path / "cache"))
    assert fetch_dsprites() == tmp_path / "cache" / "dsprites" / module.FILE_NAME


def test_another_file_is_refused_wherever_it_stands(server, tmp_path):
    path = tmp_path / module.FILE_NAME
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"not the expected file: MD5 .*Delete it"):
        fetch_dsprites(tmp_path)
    assert path.read_bytes() == b"something else"
    path.unlink()
    server.body = bytes(1000)
    with pytest.raises(fetch.Corrupt, match="has been deleted"):
        fetch_dsprites(tmp_path)
    assert list(tmp_path.iterdir()) == []
