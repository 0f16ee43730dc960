"""The UCI tables: checked before they are read, and read as numbers only."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from workings.runs import fetch
from workings.uncertainty import uci

# A folder with the four real files, for whoever has them; nothing here depends on it.
REAL = os.environ.get("WORKINGS_UCI")


def write(folder, name, content) -> Path:
    file = folder / f"{name}.csv.gz"
    file.write_bytes(content if isinstance(content, bytes) else gzip.compress(content.encode(), mtime=0))
    return file


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A pinned airfoil of two rows, and the folder that holds it."""
    file = write(tmp_path, "airfoil", "1,2,3,4,5,6\n-1.5,2e-3,3,4,5,7\n")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(uci.TABLES, "airfoil", uci._Pinned(2, 5, sha256))
    return tmp_path


def test_the_target_stands_last(tiny):
    table = uci.load_uci("airfoil", root=tiny)
    np.testing.assert_array_equal(table.x, [[1, 2, 3, 4, 5], [-1.5, 0.002, 3, 4, 5]])
    np.testing.assert_array_equal(table.y, [6, 7])
    assert table.x.dtype == table.y.dtype == np.float64
    assert table.source.startswith("UCI airfoil, treforevans/uci_datasets") and len(table.sha256) == 64


def test_a_wrong_checksum_names_expected_and_found_and_the_remedy(tiny):
    file = write(tiny, "airfoil", "1,2,3,4,5,6\n-1.5,2e-3,3,4,5,8\n")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    expected = uci.TABLES["airfoil"].sha256
    with pytest.raises(
        ValueError, match=rf"{expected} expected, {found} found. Delete it and fetch it again from https"
    ):
        uci.load_uci("airfoil", root=tiny)


def test_a_pinned_file_of_another_shape_is_refused(tiny, monkeypatch):
    monkeypatch.setitem(uci.TABLES, "airfoil", uci._Pinned(3, 5, uci.TABLES["airfoil"].sha256))
    with pytest.raises(ValueError, match=r"shape \(2, 6\), not \(3, 6\)"):
        uci.load_uci("airfoil", root=tiny)


def test_the_checksum_is_bypassed_only_on_request(tmp_path):
    write(tmp_path, "wine", "1,2\n3,4\n")
    with pytest.raises(ValueError, match="not the pinned table"):
        uci.load_uci("wine", root=tmp_path)
    table = uci.load_uci("wine", root=tmp_path, verify=False)
    assert table.x.shape == (2, 1) and table.source.startswith("unverified")


def test_an_absent_file_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"concrete\.csv\.gz is not there: put it there.*comes from https"):
        uci.load_uci("concrete", root=tmp_path)
    monkeypatch.setenv("WORKINGS_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"download=True\), or pass root=FOLDER"):
        uci.load_uci("concrete")


@pytest.mark.parametrize("name", ["boston", "", None, "../airfoil", "Airfoil"])
def test_an_unknown_table_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="'airfoil', 'concrete', 'parkinsons', 'wine'"):
        uci.load_uci(name)
    with pytest.raises(ValueError, match="'airfoil', 'concrete', 'parkinsons', 'wine'"):
        uci.synthetic_table(name, 3, np.random.default_rng(0))


GZIPPED = gzip.compress(b"1,2\n3,4\n", mtime=0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("\n\n", id="empty lines"),
        pytest.param("a,b\n1,2\n", id="a header"),
        pytest.param("1,2\n3\n", id="a short row"),
        pytest.param("1,2\n3,\n", id="a missing number"),
        pytest.param("1,nan\n", id="nan"),
        pytest.param("1,inf\n", id="inf"),
        pytest.param("1\n2\n", id="one column"),
        pytest.param(b"", id="no bytes"),
        pytest.param(b"1,2\n3,4\n", id="not compressed"),
        pytest.param(GZIPPED[:-6], id="cut short"),
        pytest.param(gzip.compress("1,2\né,4\n".encode(), mtime=0), id="a letter"),
        pytest.param(gzip.compress(b"\x80\x04K\x01.", mtime=0), id="a pickle"),
        pytest.param(GZIPPED[:10] + b"\xff" * 40, id="damaged"),
    ],
)
def test_a_file_that_is_no_table_of_numbers_is_named(tmp_path, content):
    write(tmp_path, "wine", content)
    with pytest.raises(ValueError, match=r"wine\.csv\.gz (cannot be read|must hold finite numbers)"):
        uci.load_uci("wine", root=tmp_path, verify=False)


def test_download_puts_the_pinned_file_into_the_cache_and_reads_it(tiny, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("WORKINGS_DATA", str(cache))
    calls = []

    def fake(url, path, sha256, *, progress):
        calls.append((url, sha256))
        path.parent.mkdir(parents=True)
        path.write_bytes((tiny / "airfoil.csv.gz").read_bytes())

    monkeypatch.setattr(uci, "download", fake)
    assert uci.load_uci("airfoil", download=True).y.tolist() == [6, 7]
    assert (cache / "uci" / "airfoil.csv.gz").is_file()
    ((url, sha256),) = calls
    assert url == uci.address("airfoil") and sha256 == uci.TABLES["airfoil"].sha256
    assert url.endswith("/f0737523712fe66a1640e4b980b927e8490b58eb/uci_datasets/airfoil/data.csv.gz")


def test_nothing_is_fetched_unless_asked_or_where_a_root_is_given(tiny, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("fetched")

    monkeypatch.setattr(uci, "download", never)
    monkeypatch.setenv("WORKINGS_DATA", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError):
        uci.load_uci("airfoil")
    assert uci.load_uci("airfoil", root=tiny, download=True).y.tolist() == [6, 7]


def test_a_generated_table_has_the_real_ones_width_and_comes_back_exactly_from_its_file(tmp_path):
    for name, pinned in uci.TABLES.items():
        made = uci.synthetic_table(name, 40, np.random.default_rng(1), folder=tmp_path)
        assert made.x.shape == (40, pinned.features) and made.y.shape == (40,) and made.sha256 is None
        read = uci.load_uci(name, root=tmp_path, verify=False)
        np.testing.assert_array_equal(read.x, made.x)  # 17 digits are exact
        np.testing.assert_array_equal(read.y, made.y)
        with pytest.raises(ValueError, match="not the pinned table"):
            uci.load_uci(name, root=tmp_path)


def test_a_generated_table_follows_its_generator_and_can_be_learnt():
    first, second, other = (uci.synthetic_table("wine", 500, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.y, second.y)
    assert not np.array_equal(first.y, other.y)
    # y = sin(x0) + x1 / 2 + 0.3 noise: the residual's sd is 0.3, known to within 4 / sqrt(2 * 500) = 13%.
    residual = first.y - np.sin(first.x[:, 0]) - first.x[:, 1] / 2
    assert abs(residual.std() / 0.3 - 1) < 0.13


@pytest.mark.parametrize("rows", [0, -1, 2.5, True])
def test_a_generated_table_needs_rows(rows):
    with pytest.raises((ValueError, TypeError), match="rows"):
        uci.synthetic_table("wine", rows, np.random.default_rng(0))


@pytest.mark.skipif(not REAL, reason="WORKINGS_UCI names no folder with the real files")
@pytest.mark.parametrize("name", sorted(uci.TABLES))
def test_the_real_tables_pass_their_checks_and_are_centred(name):
    table = uci.load_uci(name, root=REAL)
    assert table.x.shape == (uci.TABLES[name].rows, uci.TABLES[name].features)
    # Stored with five significant digits after centring, so a mean is zero to about 1e-4 of the spread.
    assert abs(table.y.mean()) < 1e-3 * table.y.std()
    assert fetch.sha256_of(Path(REAL) / f"{name}.csv.gz") == table.sha256
