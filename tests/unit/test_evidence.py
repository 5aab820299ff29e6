"""The folder of an export: what is in it was written by others."""

from pathlib import Path

import pytest

from onward._evidence import read_contents
from onward.core.errors import MalformedError

NESTED = "[" * 30_000 + "]" * 30_000


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        '{"index": 1, "chain": "a", "statement": "b"',
        '{"index": "1", "chain": "a", "statement": "b"}',
        '{"index": -1, "chain": "a", "statement": "b"}',
        f'{{"more": {NESTED}, "index": 1, "chain": "a", "statement": "b"}}',
    ],
    ids=["text", "cut", "no number", "negative", "nested"],
)
def test_a_line_that_is_no_statement_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "statements.jsonl"
    file.write_text('{"index": 0, "chain": "a", "statement": "b"}\n' + line + "\n")
    with pytest.raises(MalformedError, match="line 2"):
        read_contents(file, lambda _: None)
