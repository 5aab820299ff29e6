"""Vectors of requests that are not well-formed: each has an answer, none crashes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    for name, why, line in (
        ("no-json", "The line is not JSON.", "inclusion"),
        ("no-object", "The line is JSON, and no object.", '["inclusion"]'),
        ("no-op", "The request names no operation.", '{"size":1}'),
        ("unknown-op", "There is no such operation.", '{"op":"exclusion"}'),
        ("op-no-text", "The operation is not text.", '{"op":["tile_paths"]}'),
        (
            "name-twice",
            "A name stands twice: readers disagree about which counts.",
            '{"op":"tile_paths","size":1,"size":2}',
        ),
        ("member-missing", "A member is missing.", '{"op":"tile_paths"}'),
        (
            "no-base64",
            "A binary value is not base64.",
            '{"op":"inclusion","leaf_hash":"%","index":0,"size":1,"proof":[],"root":""}',
        ),
        (
            "proof-no-list",
            "A proof is a list.",
            '{"op":"inclusion","leaf_hash":"","index":0,"size":1,"proof":"","root":""}',
        ),
        (
            "number-too-large",
            "A size has at most 63 bits.",
            '{"op":"tile_paths","size":9223372036854775808}',
        ),
        (
            "deeply-nested",
            "The line is ten thousand arrays in each other.",
            '{"op":' + "[" * 10_000 + "]" * 10_000 + "}",
        ),
        (
            "half-a-surrogate-pair",
            "A text that is not Unicode has no bytes to sign.",
            '{"op":"note","note":"\\ud800","vkeys":[]}',
        ),
    ):
        yield Case("request", name, why, line, "REQUEST")
