"""Downloads against a server on this machine that behaves as badly as the network does."""

import errno
import hashlib
import http.server
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from serving import serving
from workings.runs import fetch

CONTENT = np.random.default_rng(0).bytes(300_000)  # several read chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT in the manner that ``server.manner`` names, and notes every request's Range header."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        manner, asked = self.server.manner, self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if manner == "missing":
            return self.send_error(404)
        if manner == "redirect to a file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            return self.end_headers()
        if manner == "redirect" and self.path == "/data":
            self.send_response(302)
            self.send_header("Location", "/moved")
            return self.end_headers()
        if manner == "slow":
            time.sleep(1.5)
        if manner == "patient":  # until all who will ask have begun; no longer where they wait for one another
            while len(list(self.server.folder.glob("asker-*"))) < 3:
                time.sleep(0.01)
        body = bytes(len(CONTENT)) if manner == "wrong bytes" else CONTENT
        if asked and manner not in ("ignores Range", "wrong bytes"):
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            first = start + 1 if manner == "wrong range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            self.send_response(200)
        if manner != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if manner == "cut":
            body = body[: len(body) // 2]
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    with serving(Handler, monkeypatch) as found:
        found.manner, found.asked = "well", []
        yield found


def get(server, folder, **options):
    return fetch.download(server.url, folder / "data.bin", SHA256, **options)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_file_arrives_whole_and_under_its_own_name_only(server, tmp_path):
    found = get(server, tmp_path / "new" / "folder", size=len(CONTENT))
    assert found.path.read_bytes() == CONTENT
    assert (found.size, found.sha256, found.resumed_from, found.received) == (300_000, SHA256, 0, 300_000)
    assert names(found.path.parent) == ["data.bin"]


def test_the_right_file_is_not_fetched_again(server, tmp_path):
    get(server, tmp_path)
    again = get(server, tmp_path)
    assert again.from_cache and again.received == 0 and len(server.asked) == 1


def test_a_wrong_file_under_that_name_is_refused_and_left_alone(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"{SHA256} expected, {hashlib.sha256(b'mine').hexdigest()} found. Delete it"):
        get(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == b"mine" and not server.asked


def test_a_cut_connection_keeps_what_arrived_and_the_next_call_goes_on_from_there(server, tmp_path):
    server.manner = "cut"
    with pytest.raises(fetch.Offline, match=r"150000 bytes have arrived and are kept: call again"):
        get(server, tmp_path)
    assert names(tmp_path) == ["data.bin.part"]
    server.manner = "well"
    found = get(server, tmp_path)
    assert server.asked[-1] == "bytes=150000-"
    assert (found.resumed_from, found.received) == (150_000, 150_000)
    assert found.path.read_bytes() == CONTENT and names(tmp_path) == ["data.bin"]


def test_a_connection_cut_again_and_again_still_ends_well(server, tmp_path):
    server.manner = "cut"
    for _ in range(4):
        with pytest.raises(fetch.Offline):
            get(server, tmp_path)
    server.manner = "well"
    found = get(server, tmp_path)
    assert found.path.read_bytes() == CONTENT and found.received < 20_000


@pytest.mark.parametrize("manner", ["ignores Range", "wrong range"])
def test_a_server_that_does_not_resume_makes_it_start_over(server, tmp_path, manner):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    server.manner = manner
    if manner == "ignores Range":
        found = get(server, tmp_path)
        assert (found.resumed_from, found.received) == (0, 300_000) and found.path.read_bytes() == CONTENT
    else:  # it claims other bytes than asked for: what comes is not glued to what is there
        with pytest.raises(fetch.Corrupt):
            get(server, tmp_path)
        assert names(tmp_path) == []


def test_a_part_of_some_other_file_is_thrown_away_and_the_next_call_succeeds(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(fetch.Corrupt, match=r"SHA-256 .* expected, .* found. It has been deleted. Call again"):
        get(server, tmp_path)
    assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("length", [300_000, 300_001])
@pytest.mark.parametrize("size", [None, 300_000])
def test_a_part_as_long_as_the_file_but_wrong_starts_over(server, tmp_path, length, size):
    (tmp_path / "data.bin.part").write_bytes(b"x" * length)
    found = get(server, tmp_path, size=size)
    assert found.path.read_bytes() == CONTENT and names(tmp_path) == ["data.bin"]


def test_a_whole_part_is_put_in_place_without_the_network(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    server.manner = "missing"
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert not server.asked and names(tmp_path) == ["data.bin"]


def test_wrong_bytes_are_deleted_and_both_checksums_named(server, tmp_path):
    server.manner = "wrong bytes"
    with pytest.raises(fetch.Corrupt, match=SHA256) as caught:
        get(server, tmp_path)
    assert hashlib.sha256(bytes(300_000)).hexdigest() in str(caught.value)
    assert isinstance(caught.value, ValueError) and names(tmp_path) == []


def test_another_size_than_expected_is_refused_before_anything_is_fetched(server, tmp_path):
    with pytest.raises(fetch.Refused, match="offers 300000 bytes where 299999 were expected"):
        get(server, tmp_path, size=299_999)
    assert names(tmp_path) == []


def test_a_server_that_gives_no_length_is_held_to_the_size(server, tmp_path):
    server.manner = "no length"
    assert get(server, tmp_path / "a", size=300_000).path.read_bytes() == CONTENT
    with pytest.raises(fetch.Corrupt, match="200000 bytes expected"):
        get(server, tmp_path / "b", size=200_000)
    assert names(tmp_path / "b") == []


def test_a_missing_file_says_what_the_server_said_and_what_to_do(server, tmp_path):
    server.manner = "missing"
    with pytest.raises(
        fetch.Refused, match=r"answered 404 .*fetch http://127.* and put the file at .*data\.bin, or pass"
    ):
        get(server, tmp_path)


def test_a_redirect_within_the_web_is_followed_and_one_to_a_file_is_not(server, tmp_path):
    server.manner = "redirect"
    assert get(server, tmp_path / "a").path.read_bytes() == CONTENT
    server.manner = "redirect to a file"
    with pytest.raises(fetch.FetchError):
        get(server, tmp_path / "b")
    assert names(tmp_path / "b") == []


def test_without_a_network_the_message_says_where_to_put_the_file(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(fetch.Offline, match=r"could not be fetched .*another machine and put the file at .*data\.bin"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_a_server_that_does_not_answer_is_given_up(server, tmp_path):
    server.manner = "slow"
    with pytest.raises(fetch.Offline, match="timed out"):
        get(server, tmp_path, timeout=0.2)


def test_a_full_disk_says_so_and_names_the_other_folder(server, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "open", full, raising=False)
    with pytest.raises(fetch.DiskFull, match=r"no space left .*300000 bytes in all.*WORKINGS_DATA") as caught:
        get(server, tmp_path, size=300_000)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org/x", "/etc/passwd", "", "data:,x", "javascript:1"]
)
def test_only_web_addresses_are_fetched(url, tmp_path):
    with pytest.raises(ValueError, match="only http and https"):
        fetch.download(url, tmp_path / "x", SHA256)


@pytest.mark.parametrize("sha256", ["", "abc", SHA256[:-1], "g" * 64, "md5:" + SHA256])
def test_a_malformed_checksum_is_refused(sha256, tmp_path):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        fetch.download("https://example.org/x", tmp_path / "x", sha256)


def test_a_checksum_in_capitals_is_the_same_checksum(server, tmp_path):
    assert fetch.download(server.url, tmp_path / "x", SHA256.upper()).sha256 == SHA256


def test_nothing_is_printed_where_nobody_watches(server, tmp_path):
    code = f"from workings.runs import fetch; fetch.download({server.url!r}, {str(tmp_path / 'x')!r}, {SHA256!r})"
    quiet = {key: value for key, value in os.environ.items() if key != "WORKINGS_QUIET"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=quiet)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKINGS_DATA", str(tmp_path))
    assert fetch.cache_dir() == tmp_path
    monkeypatch.setenv("WORKINGS_DATA", "~/data")
    assert fetch.cache_dir().is_absolute() and fetch.cache_dir().name == "data"
    monkeypatch.delenv("WORKINGS_DATA")
    assert fetch.cache_dir().parts[-2:] == (".cache", "workings")


def test_three_processes_that_ask_for_one_file_get_it_and_it_travels_once(server, tmp_path):
    server.manner, server.folder = "patient", tmp_path
    target = tmp_path / "new" / "data.bin"
    code = (
        "import pathlib, sys; from workings.runs import fetch; pathlib.Path(sys.argv[1]).touch();"
        f"print(fetch.download({server.url!r}, {str(target)!r}, {SHA256!r}).from_cache)"
    )
    ask = lambda number: [sys.executable, "-c", code, str(tmp_path / f"asker-{number}")]
    asking = [
        subprocess.Popen(ask(number), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for number in range(3)
    ]
    said = [process.communicate() for process in asking]
    assert [err for _, err in said] == ["", "", ""] and {process.returncode for process in asking} == {0}
    assert sorted(out.strip() for out, _ in said) == ["False", "True", "True"] and len(server.asked) == 1
    assert target.read_bytes() == CONTENT and names(target.parent) == ["data.bin"]


def test_a_process_killed_while_it_fetches_leaves_no_lock_behind(server, tmp_path):
    code = "import sys, os, signal; from workings.runs import locks\nwith locks.locked(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "data.bin.lock")])
    assert names(tmp_path) == ["data.bin.lock"]
    assert get(server, tmp_path).path.read_bytes() == CONTENT and names(tmp_path) == ["data.bin"]
