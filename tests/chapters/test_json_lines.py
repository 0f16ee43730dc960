"""JSON lines: where a line ends, and what is passed over."""

import json

import pytest

from workings.chapters import json_lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"])
def test_lines_end_at_a_line_feed_and_nowhere_else(tmp_path, end):
    rows = [{"text": "one\u2028two\x85three\x0bfour"}, {"text": "five\nsix"}]
    file = tmp_path / "x.jsonl"
    file.write_bytes(end.join(json.dumps(row, ensure_ascii=False) for row in rows).encode() + b"\n")
    assert json_lines.read(file) == rows


def test_a_line_that_is_no_json_is_an_error(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\nno\n')
    with pytest.raises(ValueError, match="Expecting value"):
        json_lines.read(tmp_path / "x.jsonl")
