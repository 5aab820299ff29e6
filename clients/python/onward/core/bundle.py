"""Bundles: one file with a custody chain and all that is needed to judge it offline.

A bundle is a JSON object in UTF-8 of at most 16 MiB (``docs/reference/bundle.md``).
Here it is read, written and put together; nothing of it is proven until
``onward.core.verify`` has judged it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from google.protobuf.json_format import Error as JsonFormatError
from google.protobuf.json_format import MessageToDict

from onward.core._jose import json_object
from onward.core.checkpoints import Checkpoint
from onward.core.encoding import MAX_NUMBER, decode_base64, encode_base64
from onward.core.errors import MalformedError, TooLargeError
from onward.core.merkle import HASH_SIZE
from onward.core.notes import parse_note
from onward.core.statements import UnverifiedStatement, parse_statement
from onward.core.tlog_proof import MAX_PATH, TlogProof
from onward.v1 import statement_pb2

FORMAT: Final = "onward-bundle/v1"

MAX_BUNDLE_SIZE: Final = 16 * 1024 * 1024
"""Of the JSON text, in bytes."""

_LOGGED: Final = frozenset({"statement", "receipt"})
_CONSISTENCY: Final = frozenset({"size", "root", "path"})
_STAMPED: Final = frozenset({"checkpoint", "token"})


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """A statement with its receipt, as text.

    Attributes:
        statement: the compact JWS.
        receipt: its ``tlog-proof``.
    """

    statement: str
    receipt: str


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the tree of an older size is the beginning of the bundle's checkpoint.

    Attributes:
        size: the older tree's number of entries, at least 1.
        root: its root, 32 bytes.
        path: the proof (RFC 9162 2.1.4.1), at most 63 hashes.
    """

    size: int
    root: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StampedCheckpoint:
    """A checkpoint with a trusted timestamp over its text.

    Attributes:
        checkpoint: a signed note of the log.
        token: the RFC 3161 ``TimeStampToken``, DER.
    """

    checkpoint: str
    token: bytes


@dataclass(frozen=True, slots=True)
class Vouchers:
    """What others say about when the log's trees existed.

    Attributes:
        checkpoints: checkpoints that witnesses cosigned, signed notes.
        timestamps: checkpoints that authorities stamped.
    """

    checkpoints: tuple[str, ...] = ()
    timestamps: tuple[StampedCheckpoint, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """All of these checkpoints."""
        return (*self.checkpoints, *(item.checkpoint for item in self.timestamps))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it was read: well-formed, and nothing more.

    Attributes:
        referral_id: the referral that it is about.
        checkpoint: the newest checkpoint, a signed note.
        statements: the custody chain in the log's order, with the chains of the
            referrals into which it was transferred.
        directory: the exchange's ``KeyChange`` statements, the log's first entry among
            them, and every ``DirectoryChange`` of the members concerned, in the log's
            order.
        consistency: a proof for each older size that is named anywhere.
        view: one decoded object for each statement; for people, and checked.
        recipient: SPIFFE ID of the recipient for whom the bundle was made, which shows
            no other delivery of the referral; empty where all are shown.
        content: the serialized ``SealedContent``, if a party attached it.
        vouchers: who says by when the entries below some sizes existed; none of these
            sizes is larger than that of ``checkpoint``.
    """

    referral_id: str
    checkpoint: str
    statements: tuple[LoggedStatement, ...]
    directory: tuple[LoggedStatement, ...]
    consistency: tuple[ConsistencyProof, ...]
    view: tuple[object, ...]
    recipient: str = ""
    content: bytes | None = None
    vouchers: Vouchers = Vouchers()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a bundle. Members that are not known at its top level are ignored.

        Raises:
            TooLargeError: over :data:`MAX_BUNDLE_SIZE`.
            MalformedError: not a bundle of this format.
        """
        if len(data) > MAX_BUNDLE_SIZE:
            raise TooLargeError("the bundle", len(data), MAX_BUNDLE_SIZE)
        members = json_object(data, "the bundle")
        if members.get("format") != FORMAT:
            raise MalformedError(f"the bundle's format is not {FORMAT}", field="format")
        return cls(
            _text(members, "referral_id"),
            _text(members, "checkpoint"),
            tuple(_logged(item) for item in _items(members, "statements")),
            tuple(_logged(item) for item in _items(members, "directory")),
            tuple(_consistency(item) for item in _items(members, "consistency")),
            tuple(_items(members, "view")),
            _text(members, "recipient") if "recipient" in members else "",
            _base64(members, "content") if "content" in members else None,
            Vouchers(
                tuple(_texts(members, "checkpoints")),
                tuple(_stamped(item) for item in _optional(members, "timestamps")),
            ),
        )

    def format(self) -> bytes:
        """Returns the bundle as JSON."""
        members: dict[str, object] = {
            "format": FORMAT,
            "referral_id": self.referral_id,
            "checkpoint": self.checkpoint,
            "view": list(self.view),
            "statements": [_logged_members(item) for item in self.statements],
            "directory": [_logged_members(item) for item in self.directory],
            "consistency": [_consistency_members(item) for item in self.consistency],
        }
        if self.vouchers.checkpoints:
            members["checkpoints"] = list(self.vouchers.checkpoints)
        if stamped := self.vouchers.timestamps:
            members["timestamps"] = [_stamped_members(item) for item in stamped]
        if self.recipient:
            members["recipient"] = self.recipient
        if self.content is not None:
            members["content"] = encode_base64(self.content)
        return json.dumps(members, ensure_ascii=False, indent=1).encode() + b"\n"

    def with_content(self, sealed: bytes) -> Self:
        """Returns the bundle with the serialized ``SealedContent`` attached."""
        return replace(self, content=sealed)


def build_bundle(
    referral_id: str,
    checkpoint: str,
    statements: Sequence[LoggedStatement],
    directory: Sequence[LoggedStatement],
    consistency: Sequence[ConsistencyProof],
    recipient: str = "",
    vouchers: Vouchers = Vouchers(),
) -> bytes:
    """Returns a bundle, with the view made from the statements.

    Args:
        referral_id: the referral that it is about.
        checkpoint: the newest checkpoint, a signed note.
        statements: see :class:`Bundle`; in the log's order.
        directory: see :class:`Bundle`; in the log's order.
        consistency: a proof for each of :func:`needed_sizes`.
        recipient: for whom it is made, where it shows one delivery only.
        vouchers: see :class:`Bundle`.

    Raises:
        TooLargeError: it would exceed :data:`MAX_BUNDLE_SIZE`.
        MalformedError: a statement or receipt cannot be read.
    """
    view = [
        view_of(parse_statement(item.statement), TlogProof.parse(item.receipt).index)
        for item in statements
    ]
    data = Bundle(
        referral_id,
        checkpoint,
        tuple(statements),
        tuple(directory),
        tuple(consistency),
        tuple(view),
        recipient,
        vouchers=vouchers,
    ).format()
    if len(data) > MAX_BUNDLE_SIZE:
        raise TooLargeError("the bundle", len(data), MAX_BUNDLE_SIZE)
    return data


def needed_sizes(
    checkpoint: str, logged: Iterable[LoggedStatement], notes: Iterable[str] = ()
) -> dict[int, bytes]:
    """Returns the older sizes for which a bundle needs a consistency proof.

    Args:
        checkpoint: the newest checkpoint, a signed note.
        logged: all statements of the bundle, those of the directory too.
        notes: its other checkpoints (:attr:`Vouchers.notes`).

    Returns:
        Each size, ascending, with the root that a receipt, a ``seen`` or one of the
        other checkpoints states for it.

    Raises:
        MalformedError: a statement, receipt or checkpoint cannot be read.
    """
    newest = Checkpoint.parse(parse_note(checkpoint).text)
    named: list[Checkpoint | statement_pb2.Seen] = [
        Checkpoint.parse(parse_note(note).text) for note in notes
    ]
    for item in logged:
        receipt = parse_note(TlogProof.parse(item.receipt).checkpoint_note)
        named.append(Checkpoint.parse(receipt.text))
        named.append(parse_statement(item.statement).message.seen)
    roots: dict[int, bytes] = {}
    for older in named:
        if older.origin == newest.origin and 0 < older.size < newest.size:
            roots.setdefault(older.size, older.root)
    return dict(sorted(roots.items()))


def view_of(statement: UnverifiedStatement, log_index: int) -> dict[str, object]:
    """Returns a statement decoded for people, as a bundle's view has it.

    The body is in the JSON form of protobuf with the names of ``statement.proto``; it
    is None where a value has no such form, such as a time before the year 1.
    """
    message, kind = statement.message, statement.body_kind
    try:
        body = MessageToDict(getattr(message, kind), preserving_proto_field_name=True)
    except (JsonFormatError, ValueError, OverflowError):
        body = None
    return {
        "log_index": log_index,
        "kind": kind,
        "id": message.id,
        "referral_id": message.referral_id,
        "issuer": message.issuer,
        "made_time": message.made_time.ToJsonString(),
        "body": body,
        "digest": encode_base64(statement.digest),
        "previous": encode_base64(message.previous),
    }


def _logged(value: object) -> LoggedStatement:
    members = _record(value, _LOGGED, "a logged statement")
    return LoggedStatement(_text(members, "statement"), _text(members, "receipt"))


def _logged_members(item: LoggedStatement) -> dict[str, object]:
    return {"statement": item.statement, "receipt": item.receipt}


def _consistency(value: object) -> ConsistencyProof:
    members = _record(value, _CONSISTENCY, "a consistency proof")
    size, root = members["size"], _base64(members, "root")
    if type(size) is not int or not 0 < size <= MAX_NUMBER:
        raise MalformedError("the size of a consistency proof is 1 to 2**63 - 1")
    texts = _items(members, "path")
    path = tuple(_base64({"path": text}, "path") for text in texts)
    if len(path) > MAX_PATH or any(len(node) != HASH_SIZE for node in (root, *path)):
        raise MalformedError(
            f"a consistency proof has at most {MAX_PATH} hashes of {HASH_SIZE} bytes"
        )
    return ConsistencyProof(size, root, path)


def _consistency_members(item: ConsistencyProof) -> dict[str, object]:
    return {
        "size": item.size,
        "root": encode_base64(item.root),
        "path": [encode_base64(node) for node in item.path],
    }


def _stamped(value: object) -> StampedCheckpoint:
    members = _record(value, _STAMPED, "a timestamp")
    return StampedCheckpoint(_text(members, "checkpoint"), _base64(members, "token"))


def _stamped_members(item: StampedCheckpoint) -> dict[str, object]:
    return {"checkpoint": item.checkpoint, "token": encode_base64(item.token)}


def _record(value: object, names: frozenset[str], what: str) -> dict[str, object]:
    """Requires an object with exactly these members."""
    if not isinstance(value, dict) or value.keys() != names:
        raise MalformedError(f"{what} has exactly {', '.join(sorted(names))}")
    return value


def _text(members: Mapping[str, object], name: str) -> str:
    """Requires a member that is text."""
    value = members.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"the bundle has no text {name}", field=name)
    return value


def _items(members: Mapping[str, object], name: str) -> list[object]:
    """Requires a member that is a list."""
    value = members.get(name)
    if not isinstance(value, list):
        raise MalformedError(f"the bundle has no list {name}", field=name)
    return value


def _optional(members: Mapping[str, object], name: str) -> list[object]:
    """Requires that a member, if it is there, is a list."""
    return _items(members, name) if name in members else []


def _texts(members: Mapping[str, object], name: str) -> list[str]:
    """Requires that a member, if it is there, is a list of text."""
    return [_text({name: item}, name) for item in _optional(members, name)]


def _base64(members: Mapping[str, object], name: str) -> bytes:
    """Requires a member that is base64."""
    return decode_base64(_text(members, name), name)
