"""Vectors of ``note``, ``tlog_proof`` and ``tile_paths``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from onward.core.checkpoints import Checkpoint
from onward.core.notes import (
    Cosigner,
    MlDsaCosigner,
    Note,
    NoteSigner,
    Signature,
    parse_note,
)
from onward.core.tlog_proof import TlogProof
from tests.conformance.case import VECTORS, Case, base64
from tests.naive_merkle import NaiveTree, entries

_ORIGIN = "national.example/log"
_TIME = 1_793_585_640


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(
        sha256(f"note {name}".encode()).digest()
    )


_LOG = NoteSigner(_ORIGIN, _key(_ORIGIN))
_OTHER = NoteSigner("other.example/log", _key("other.example/log"))
_NAMESAKE = NoteSigner(_ORIGIN, _key("somebody else"))
_WITNESSES = [Cosigner(f"w{n}.example", _key(f"w{n}.example")) for n in (1, 2, 3)]
_ML_DSA = MlDsaCosigner(
    _ORIGIN, MLDSA44PrivateKey.from_seed_bytes(sha256(b"note ml-dsa").digest())
)
_Signer = NoteSigner | Cosigner | MlDsaCosigner
_UNTRUSTED = "NOTE_UNTRUSTED"
_TREE = NaiveTree(entries(12))
_CHECKPOINT = Checkpoint(_ORIGIN, 12, _TREE.root(12))
_NOTE = parse_note(_CHECKPOINT.sign(_LOG))


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    yield from _notes()
    yield from _notes_fail()
    yield from _ml_dsa()
    yield from _proofs()
    yield from _proofs_fail()
    yield from _tiles()


def _vkeys(*keys: _Signer) -> list[str]:
    return [key.vkey.format() for key in keys]


def _cosigned(*witnesses: Cosigner, time: int = _TIME) -> str:
    lines = [witness.sign(_NOTE.text, time) for witness in witnesses]
    return _NOTE.with_signatures(*lines).format()


def _flipped(signature: Signature) -> Signature:
    value = bytearray(signature.value)
    value[-1] ^= 1
    return Signature(signature.name, signature.key_id, bytes(value))


def _notes() -> Iterator[Case]:
    def case(name: str, why: str, note: str, vkeys: list[str]) -> Case:
        return Case("note", name, why, {"note": note, "vkeys": vkeys})

    yield case("one-signature", "A signed checkpoint.", _NOTE.format(), _vkeys(_LOG))
    blank_text = "first paragraph\n\nsecond paragraph\n"
    blank = parse_note(f"{blank_text}\n{_LOG.sign(blank_text).format()}").format()
    yield case(
        "blank-line-in-text",
        "The text has a blank line of its own: the last one separates it from the "
        "signatures.",
        blank,
        _vkeys(_LOG),
    )
    yield case(
        "unknown-key-ignored",
        "A signature of a key that nobody listed is ignored, even though it fails.",
        _NOTE.with_signatures(_flipped(_OTHER.sign(_NOTE.text))).format(),
        _vkeys(_LOG),
    )
    yield case(
        "namesake-ignored",
        "A key of the same name and another key id is another key.",
        _NOTE.with_signatures(_flipped(_NAMESAKE.sign(_NOTE.text))).format(),
        _vkeys(_LOG),
    )
    yield case(
        "cosigned",
        "The log's signature and two timestamped cosignatures of witnesses (type 04).",
        _cosigned(*_WITNESSES[:2]),
        _vkeys(_LOG, *_WITNESSES),
    )
    many = [NoteSigner(f"n{n}.example", _key(f"n{n}.example")) for n in range(15)]
    lines = [signer.sign(_NOTE.text) for signer in many]
    yield case(
        "sixteen-signatures",
        "At least sixteen signature lines are accepted.",
        _NOTE.with_signatures(*lines).format(),
        _vkeys(_LOG, *many),
    )


def _notes_fail() -> Iterator[Case]:
    def case(name: str, why: str, note: str, error: str = "NOTE_UNTRUSTED") -> Case:
        request = {"note": note, "vkeys": _vkeys(_LOG, _OTHER, *_WITNESSES)}
        return Case("note", name, why, request, error)

    signed = _NOTE.format()
    yield case(
        "text-changed",
        "One digit of the size was changed after signing.",
        signed.replace("\n12\n", "\n13\n"),
    )
    yield case(
        "extra-signature-fails",
        "The log's signature holds, and that of a second listed key does not: one "
        "failing signature of a known key condemns the note.",
        _NOTE.with_signatures(_flipped(_OTHER.sign(_NOTE.text))).format(),
    )
    yield case(
        "no-known-key",
        "Nobody who is listed signed.",
        parse_note(f"{_NOTE.text}\n{_NAMESAKE.sign(_NOTE.text).format()}").format(),
    )
    time_moved = bytearray(_WITNESSES[0].sign(_NOTE.text, _TIME).value)
    time_moved[7] ^= 1
    moved = Signature(_WITNESSES[0].name, _WITNESSES[0].vkey.key_id, bytes(time_moved))
    yield case(
        "cosignature-time-changed",
        "The time of a cosignature is signed: another time does not verify.",
        _NOTE.with_signatures(moved).format(),
    )
    plain = Signature(
        _WITNESSES[0].name,
        _WITNESSES[0].vkey.key_id,
        _WITNESSES[0].private_key.sign(_NOTE.text.encode()),
    )
    yield case(
        "plain-signature-as-cosignature",
        "A witness's key signed the bare text: without a time it is no cosignature.",
        _NOTE.with_signatures(plain).format(),
    )
    yield case("no-signatures", "A text alone is no note.", _NOTE.text, "MALFORMED")
    yield case(
        "hyphen-for-dash",
        "A signature line begins with an em dash (U+2014), not a hyphen.",
        signed.replace("\N{EM DASH}", "-"),
        "MALFORMED",
    )
    yield case(
        "base64-not-canonical",
        "The last character before the padding has bits that no byte uses: another "
        "spelling of the same signature.",
        signed[:-4] + _respelled(signed[-4:]),
        "MALFORMED",
    )
    yield case(
        "control-character",
        "A note has no control characters but newlines.",
        signed.replace(_ORIGIN, f"{_ORIGIN}\t", 1),
        "MALFORMED",
    )
    yield case(
        "carriage-returns",
        "Line ends are single newlines.",
        signed.replace("\n", "\r\n"),
        "MALFORMED",
    )
    yield case(
        "too-many-signatures",
        "More than a hundred signature lines are refused.",
        signed + _NOTE.signatures[0].format() * 100,
        "MALFORMED",
    )


def _respelled(end: str) -> str:
    """Returns the last characters of a note with one unused bit set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    place = max(i for i, char in enumerate(end) if char in alphabet)
    other = alphabet[alphabet.index(end[place]) ^ 1]
    return end[:place] + other + end[place + 1 :]


def _policy(*lines: str) -> str:
    witnesses = [f"witness {w.name} {w.vkey.format()}" for w in _WITNESSES]
    return "\n".join([f"log {_LOG.vkey.format()}", *witnesses, *lines]) + "\n"


_NONE = _policy("quorum none")
_TWO_OF_THREE = _policy(
    "group any-two 2 w1.example w2.example w3.example", "quorum any-two"
)


def _proof(note: str, **changes: object) -> str:
    """Returns the receipt of entry 5, but for the changes."""
    parts: dict[str, object] = {"index": 5, "path": tuple(_TREE.inclusion(5, 12))}
    parts |= changes
    return TlogProof(checkpoint_note=note, **parts).format()  # type: ignore[arg-type]


def _ml_dsa() -> Iterator[Case]:
    """Yields the vectors of the second signature of a log (type 06)."""
    line = _kept()
    both = _NOTE.with_signatures(line).format()
    alone = Note(_NOTE.text, (line,)).format()
    time = Signature(line.name, line.key_id, (7).to_bytes(8, "big") + line.value[8:])
    moved = both.replace("\n12\n", "\n13\n")

    def case(name: str, why: str, note: str, error: str, *keys: _Signer) -> Case:
        request = {"note": note, "vkeys": _vkeys(*keys)}
        return Case("note", f"ml-dsa-{name}", why, request, error)

    why = "The log's signatures with Ed25519 and with ML-DSA-44, which states no time."
    yield case("both", why, both, "", _LOG, _ML_DSA)
    yield case("alone", "ML-DSA-44 without Ed25519.", alone, "", _ML_DSA)
    why = "The key of type 06 is not listed: its signature is ignored."
    flipped = _NOTE.with_signatures(_flipped(line)).format()
    yield case("unknown", why, flipped, "", _LOG)
    why = "One bit of the ML-DSA-44 signature was changed, and its key is listed."
    yield case("changed", why, flipped, _UNTRUSTED, _LOG, _ML_DSA)
    why = "The time in the line is signed: it cannot be stated later."
    stated = Note(_NOTE.text, (time,)).format()
    yield case("time-added", why, stated, _UNTRUSTED, _ML_DSA)
    why = "The size was changed after signing; only the key of type 06 is listed."
    yield case("size-changed", why, moved, _UNTRUSTED, _ML_DSA)


def _kept() -> Signature:
    """Returns the line of the vector that is there: it is never made the same twice."""
    file = VECTORS / "note" / "ml-dsa-alone" / "request.json"
    if file.exists():
        (line,) = parse_note(json.loads(file.read_text())["note"]).signatures
        return line
    return _ML_DSA.sign(_NOTE.text)


def _proofs() -> Iterator[Case]:
    def case(name: str, why: str, proof: str, policy: str = _NONE) -> Case:
        request = {"proof": proof, "entry": base64(_TREE.entries[5]), "policy": policy}
        return Case("tlog_proof", name, why, request)

    yield case(
        "plain", "A receipt up to a checkpoint of the log.", _proof(_NOTE.format())
    )
    yield case(
        "with-extra-data",
        "Extra data is allowed, and authenticates nothing.",
        _proof(_NOTE.format(), extra=b"unauthenticated"),
    )
    yield case(
        "quorum-of-two",
        "Two of three witnesses cosigned, and the policy asks for two.",
        _proof(_cosigned(_WITNESSES[0], _WITNESSES[2])),
        _TWO_OF_THREE,
    )
    nested = _policy(
        "# comments and blank lines are allowed",
        "",
        "group pair all w1.example w2.example",
        "group either any pair w3.example",
        "quorum either",
    )
    yield case(
        "nested-groups",
        "A group of a group: the third witness alone is enough.",
        _proof(_cosigned(_WITNESSES[2])),
        nested,
    )


def _proofs_fail() -> Iterator[Case]:
    def case(name: str, why: str, proof: str, error: str, policy: str = _NONE) -> Case:
        request = {"proof": proof, "entry": base64(_TREE.entries[5]), "policy": policy}
        return Case("tlog_proof", name, why, request, error)

    note, path = _NOTE.format(), tuple(_TREE.inclusion(5, 12))
    right = _proof(note)
    yield case(
        "truncated-proof",
        "The last hash is missing.",
        _proof(note, path=path[:-1]),
        "PROOF_INVALID",
    )
    yield case(
        "extended-proof",
        "There is one hash too many.",
        _proof(note, path=(*path, path[-1])),
        "PROOF_INVALID",
    )
    yield case(
        "wrong-index",
        "The path is the one of entry 5, and the receipt says entry 4.",
        _proof(note, index=4),
        "PROOF_INVALID",
    )
    smaller = Checkpoint(_ORIGIN, 8, _TREE.root(12)).sign(_LOG)
    yield case(
        "wrong-size-tree",
        "The log signed the root of 12 entries as that of 8, whose paths are shorter.",
        _proof(smaller),
        "PROOF_INVALID",
    )
    yield Case(
        "tlog_proof",
        "swapped-digest",
        "The receipt is right, and the entry is the digest of another statement.",
        {"proof": right, "entry": base64(_TREE.entries[6]), "policy": _NONE},
        "PROOF_INVALID",
    )
    yield case(
        "hash-of-31-bytes",
        "A hash of the receipt has 31 bytes.",
        right.replace(base64(path[0]), base64(path[0][:31])),
        "MALFORMED",
    )
    yield case(
        "foreign-log",
        "A log that the policy does not list signed a checkpoint of its own.",
        _proof(Checkpoint(_OTHER.name, 12, _TREE.root(12)).sign(_OTHER)),
        "NOTE_UNTRUSTED",
    )
    both = _policy(f"log {_OTHER.vkey.format()}", "quorum none")
    text = Checkpoint(_ORIGIN, 12, _TREE.root(12)).text
    yield case(
        "signed-by-another-listed-log",
        "A listed log signed a checkpoint with the origin of another listed log.",
        _proof(f"{text}\n{_OTHER.sign(text).format()}"),
        "NOTE_UNTRUSTED",
        both,
    )
    yield case(
        "quorum-unmet",
        "One of three witnesses cosigned, and the policy asks for two.",
        _proof(_cosigned(_WITNESSES[0])),
        "QUORUM_UNMET",
        _TWO_OF_THREE,
    )
    twice = [_WITNESSES[0].sign(_NOTE.text, _TIME + n) for n in (0, 1)]
    yield case(
        "one-witness-twice",
        "One witness cosigned twice: it still counts once.",
        _proof(_NOTE.with_signatures(*twice).format()),
        "QUORUM_UNMET",
        _TWO_OF_THREE,
    )
    yield case(
        "no-header",
        "The first line that names the format is missing.",
        right.partition("\n")[2],
        "MALFORMED",
    )
    yield case(
        "size-with-leading-zero",
        "The checkpoint's size is written 012: each number has one spelling.",
        _proof(_respelled_size()),
        "MALFORMED",
    )
    yield case(
        "index-with-leading-zero",
        "The index is written 05.",
        right.replace("index 5", "index 05"),
        "MALFORMED",
    )
    yield case(
        "extension-line",
        "The checkpoint has a fourth line, which is signed and not understood.",
        _proof(_extended()),
        "MALFORMED",
    )
    yield case(
        "policy-without-quorum",
        "A policy states its quorum, even if it is none.",
        right,
        "MALFORMED",
        _policy(),
    )
    yield case(
        "policy-with-one-key-under-two-names",
        "A witness that is listed twice would count twice.",
        right,
        "MALFORMED",
        _policy(f"witness again {_WITNESSES[0].vkey.format()}", "quorum none"),
    )


def _respelled_size() -> str:
    text = _CHECKPOINT.text.replace("\n12\n", "\n012\n")
    return f"{text}\n{_LOG.sign(text).format()}"


def _extended() -> str:
    text = f"{_CHECKPOINT.text}extension\n"
    return f"{text}\n{_LOG.sign(text).format()}"


def _tiles() -> Iterator[Case]:
    def case(name: str, why: str, size: int, paths: list[str]) -> Case:
        return Case("tile_paths", name, why, {"size": size}, answer={"paths": paths})

    yield case("empty", "An empty log has no tiles.", 0, [])
    yield case(
        "one-entry",
        "One entry makes partial tiles of width 1.",
        1,
        ["tile/0/000.p/1", "tile/entries/000.p/1"],
    )
    yield case(
        "one-full-tile",
        "256 entries fill a tile, whose root is the first hash of level 1.",
        256,
        ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"],
    )
    yield case(
        "one-more-than-a-tile",
        "Entry 256 begins the second tile.",
        257,
        [
            "tile/0/000",
            "tile/0/001.p/1",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/001.p/1",
        ],
    )
    yield case(
        "seventy-thousand",
        "273 full tiles at level 0, one at level 1, and the partial ones: .p/112, "
        ".p/17 and .p/1.",
        70_000,
        sorted(
            [f"tile/{kind}/{n:03}" for kind in ("0", "entries") for n in range(273)]
            + ["tile/0/273.p/112", "tile/entries/273.p/112"]
            + ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
        ),
    )
    for name, why, size in (
        ("negative-size", "A size is not negative.", -1),
        ("size-as-text", "A size is a number.", "256"),
        ("size-as-fraction", "A size is a whole number.", 256.5),
        ("size-as-boolean", "True is not the number one.", True),
    ):
        yield Case("tile_paths", name, why, {"size": size}, "REQUEST")
