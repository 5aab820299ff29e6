"""The conformance executable's answers: one JSON object in, one JSON object out.

Every client passes the same vectors through an executable of this kind (see
``docs/reference/conformance.md``). A request that is not well-formed is answered with
``REQUEST``; what is well-formed and does not hold, with the name of an ``ErrorReason``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

from onward.core._jose import json_object
from onward.core.bodies import check_body
from onward.core.encoding import MAX_NUMBER, decode_base64, encode_base64
from onward.core.errors import MalformedError, OnwardError
from onward.core.intakes import commitment
from onward.core.keys import StatementPublicKey
from onward.core.merkle import verify_consistency, verify_inclusion
from onward.core.notes import Vkey, open_note
from onward.core.sealing import ContentPrivateKey, open_content_with_info
from onward.core.statements import parse_statement
from onward.core.tiles import tile_paths
from onward.core.timestamps import Authorities, Token
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.core.verify import Verdict, verify_bundle

MAX_TILES_SIZE: Final = 1 << 24
"""The largest tree whose paths are listed: about 130,000 of them."""

_Answer: TypeAlias = dict[str, object]
_Value = TypeVar("_Value")

_BAD_REQUEST: Final[_Answer] = {"ok": False, "error": "REQUEST"}


def answer(line: str) -> str:
    """Answers one request.

    Args:
        line: a JSON object with ``op`` and the members that the operation needs.

    Returns:
        A JSON object without line breaks. Whatever the line is, there is an answer.
    """
    return json.dumps(_answer(line), separators=(",", ":"))


class _Request:
    """The members of a request, each read as what the operation asks for."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        """Returns a member that is text."""
        return self._member(name, str)

    def optional_text(self, name: str) -> str:
        """Returns a member that is text, or empty text where there is none."""
        return self.text(name) if name in self._members else ""

    def number(self, name: str) -> int:
        """Returns a member that is a whole number from 0 to 2**63 - 1."""
        value = self._member(name, int)
        if isinstance(value, bool) or not 0 <= value <= MAX_NUMBER:
            raise _RequestError
        return value

    def binary(self, name: str) -> bytes:
        """Returns a member that is base64."""
        return _binary(self.text(name))

    def binaries(self, name: str) -> list[bytes]:
        """Returns a member that is a list of base64."""
        return [_binary(text) for text in self.texts(name)]

    def texts(self, name: str) -> list[str]:
        """Returns a member that is a list of text."""
        values = self._member(name, list)
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) != len(values):
            raise _RequestError
        return texts

    def nested(self, name: str) -> str:
        """Returns a member that is an object, as JSON."""
        return json.dumps(self._member(name, dict), ensure_ascii=False)

    def _member(self, name: str, kind: type[_Value]) -> _Value:
        value = self._members.get(name)
        if not isinstance(value, kind):
            raise _RequestError
        return value


class _RequestError(Exception):
    """The request is not well-formed."""


def _inclusion(request: _Request) -> _Answer:
    verify_inclusion(
        request.binary("leaf_hash"),
        request.number("index"),
        request.number("size"),
        request.binaries("proof"),
        request.binary("root"),
    )
    return {}


def _consistency(request: _Request) -> _Answer:
    verify_consistency(
        request.number("size1"),
        request.number("size2"),
        request.binary("root1"),
        request.binary("root2"),
        request.binaries("proof"),
    )
    return {}


def _note(request: _Request) -> _Answer:
    note, vkeys = request.text("note"), request.texts("vkeys")
    open_note(note, [Vkey.parse(vkey) for vkey in vkeys])
    return {}


def _tlog_proof(request: _Request) -> _Answer:
    proof, entry = request.text("proof"), request.binary("entry")
    policy = request.text("policy")
    TlogProof.parse(proof).verify(entry, Policy.parse(policy))
    return {}


def _tile_paths(request: _Request) -> _Answer:
    size = request.number("size")
    if size > MAX_TILES_SIZE:
        raise _RequestError
    return {"paths": tile_paths(size)}


def _statement(request: _Request) -> _Answer:
    jws, jwk = request.text("jws"), request.nested("jwk")
    parse_statement(jws).verify(StatementPublicKey.from_jwk(jwk))
    return {}


def _body(request: _Request) -> _Answer:
    check_body(parse_statement(request.text("jws")).message)
    return {}


def _commitment(request: _Request) -> _Answer:
    made = commitment(request.binary("salt"), request.binary("content"))
    return {"commitment": encode_base64(made)}


def _open(request: _Request) -> _Answer:
    sealed, info = request.binary("sealed"), request.binary("info")
    key = ContentPrivateKey.from_bytes(request.binary("private_key"))
    return {"content": encode_base64(open_content_with_info(sealed, key, info))}


def _timestamp(request: _Request) -> _Answer:
    token, text = request.binary("token"), request.text("text")
    authorities, policy = request.text("authorities"), request.optional_text("policy")
    trusted = Authorities.parse(authorities)
    time = Token.parse(token).verify(text, trusted, policy=policy)
    return {"time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _bundle(request: _Request) -> _Answer:
    bundle, trust = request.nested("bundle"), request.text("trust")
    authorities = request.optional_text("authorities")
    report = verify_bundle(bundle.encode(), trust, authorities)
    steps = [
        {"step": step.number, "verdict": step.verdict, "why": step.why}
        for step in report.summary()
    ]
    if report.verdict is Verdict.PROVEN:
        return {"steps": steps}
    return {"ok": False, "error": report.reason, "steps": steps}


_OPERATIONS: Final[Mapping[str, Callable[[_Request], _Answer]]] = MappingProxyType(
    {
        "inclusion": _inclusion,
        "consistency": _consistency,
        "note": _note,
        "tlog_proof": _tlog_proof,
        "tile_paths": _tile_paths,
        "statement": _statement,
        "body": _body,
        "commitment": _commitment,
        "open": _open,
        "timestamp": _timestamp,
        "bundle": _bundle,
    }
)


def _answer(line: str) -> _Answer:
    """Returns the answer as an object."""
    try:
        members = json_object(line, "the request")
        # A text that is not Unicode, such as half a surrogate pair, has no bytes.
        json.dumps(members, ensure_ascii=False).encode()
    except (MalformedError, UnicodeEncodeError, RecursionError):
        return _BAD_REQUEST
    operation = members.get("op")
    if not isinstance(operation, str) or operation not in _OPERATIONS:
        return _BAD_REQUEST
    try:
        return {"ok": True} | _OPERATIONS[operation](_Request(members))
    except _RequestError:
        return _BAD_REQUEST
    except OnwardError as error:
        return {"ok": False, "error": error.reason_name}


def _binary(text: str) -> bytes:
    try:
        return decode_base64(text, "a binary value")
    except MalformedError:
        raise _RequestError from None
