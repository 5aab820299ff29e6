"""What a vector is, before it is written to its folder."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

VECTORS = Path(__file__).parent / "vectors"


@dataclass(frozen=True, slots=True)
class Case:
    """One vector: a request and the one right answer.

    Attributes:
        op: the operation; the vector's folder.
        name: what is special; the vector's own folder, with ``_fail`` where it fails.
        why: what the vector is, and why it is there; one or two sentences.
        request: the members of the request beside ``op``, or a raw line.
        error: the reason that the answer must name; empty where it must be ok.
        answer: other members that the answer must have.
    """

    op: str
    name: str
    why: str
    request: Mapping[str, object] | str
    error: str = ""
    answer: Mapping[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return VECTORS / self.op / (self.name + ("_fail" if self.error else ""))

    def files(self) -> dict[str, str]:
        """Returns the files of the folder."""
        error = {"error": self.error} if self.error else {}
        outcome = {"ok": not self.error, **error, **self.answer}
        files = {
            "README.md": f"# {self.op}: {self.name.replace('-', ' ')}\n\n{self.why}\n",
            "expected.json": pretty(outcome),
        }
        if isinstance(self.request, str):
            return files | {"request.txt": self.request + "\n"}
        return files | {"request.json": pretty({"op": self.op, **self.request})}


def pretty(value: object) -> str:
    """Returns JSON as a vector keeps it."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def base64(data: bytes) -> str:
    """Returns base64 as requests have it."""
    return b64encode(data).decode()
