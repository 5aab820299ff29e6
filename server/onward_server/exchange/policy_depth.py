"""How deep rules may go, found out before Cedar reads them.

Cedar's parser and evaluator call themselves for each level of an expression, and one
that goes too deep ends the whole process, at once and without an error. A rule goes no
deeper than it has brackets and operators, so these are counted in its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAX_OPERATORS: Final = 128
"""Brackets and operators of one rule. The longest default rule has 28."""

# As Cedar reads them; a string that does not end is none, and its text is counted.
_TEXT_OR_COMMENT: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\r\n]*')
_OPERATOR: Final = re.compile(r"[(\[{.!<>=+*-]|&&|\|\||\bif\b")
_NAME: Final = re.compile(r'@id\s*\(\s*"([^"\n]*)"')


def too_deep(text: str) -> Iterator[str]:
    """Yields the @id of each rule that might go too deep."""
    start = 0
    bare = _TEXT_OR_COMMENT.sub(lambda found: " " * len(found[0]), text)
    while start < len(text):
        end = bare.find(";", start) + 1 or len(text)
        if sum(1 for _ in _OPERATOR.finditer(bare, start, end)) > MAX_OPERATORS:
            name = _NAME.search(text, start, end)
            yield name[1] if name else "without an @id"
        start = end
