import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, TooLargeError, VerificationError
from onward.core.notes import Cosigner, NoteSigner, parse_note
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from tests.naive_merkle import NaiveTree, entries

NAIVE = NaiveTree(entries(12))
SIGNER = NoteSigner("national.example", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
WITNESS = Cosigner("w.example", Ed25519PrivateKey.from_private_bytes(b"2" * 32))
NOTE = Checkpoint("national.example", 11, NAIVE.root(11)).sign(SIGNER)
POLICY = Policy.for_log(SIGNER.vkey)
PROOF = TlogProof(6, tuple(NAIVE.inclusion(6, 11)), NOTE)
HASHES = [base64.b64encode(digest).decode() for digest in PROOF.path]


def text_of(*lines: str, note: str = NOTE) -> str:
    return "\n".join(["c2sp.org/tlog-proof@v1", *lines, "", note])


def reason_of(error: pytest.ExceptionInfo[VerificationError]) -> str:
    return error.value.reason_name


def test_text_is_that_of_c2sp_tlog_proof() -> None:
    assert PROOF.format() == (
        "c2sp.org/tlog-proof@v1\n"
        "index 6\n"
        f"{HASHES[0]}\n{HASHES[1]}\n{HASHES[2]}\n{HASHES[3]}\n"
        "\n"
        f"{NOTE}"
    )
    assert TlogProof.parse(PROOF.format()) == PROOF


def test_extra_data_stands_above_the_index() -> None:
    proof = TlogProof(0, (), NOTE, b"opaque")
    assert proof.format() == text_of("extra b3BhcXVl", "index 0")
    assert TlogProof.parse(proof.format()) == proof


def test_the_checkpoint_is_kept_verbatim() -> None:
    note = parse_note(NOTE)
    cosigned = note.with_signatures(WITNESS.sign(note.text, 1700000000)).format()
    proof = TlogProof.parse(text_of("index 6", *HASHES, note=cosigned))
    assert proof.checkpoint_note == cosigned
    policy = Policy.parse(
        f"log {SIGNER.vkey.format()}\nwitness W {WITNESS.vkey.format()}\nquorum W"
    )
    witnessed = proof.verify(NAIVE.entries[6], policy)
    assert witnessed.times == {"W": 1700000000}
    with pytest.raises(VerificationError) as error:
        PROOF.verify(NAIVE.entries[6], policy)
    assert reason_of(error) == "QUORUM_UNMET"


def test_a_receipt_proves_its_entry() -> None:
    checkpoint = PROOF.verify(NAIVE.entries[6], POLICY).checkpoint
    assert checkpoint == Checkpoint("national.example", 11, NAIVE.root(11))


@pytest.mark.parametrize(
    ("proof", "entry"),
    [
        pytest.param(PROOF, NAIVE.entries[5], id="other-entry"),
        pytest.param(PROOF, NAIVE.leaf_hashes[6], id="leaf-hash-for-entry"),
        pytest.param(PROOF, b"", id="no-entry"),
        pytest.param(
            TlogProof(7, PROOF.path, NOTE), NAIVE.entries[6], id="other-index"
        ),
        pytest.param(
            TlogProof(11, PROOF.path, NOTE), NAIVE.entries[6], id="index-past-the-end"
        ),
        pytest.param(
            TlogProof(6, PROOF.path[:-1], NOTE), NAIVE.entries[6], id="truncated"
        ),
        pytest.param(
            TlogProof(6, (*PROOF.path, PROOF.path[0]), NOTE),
            NAIVE.entries[6],
            id="extended",
        ),
        pytest.param(
            TlogProof(6, tuple(NAIVE.inclusion(6, 12)), NOTE),
            NAIVE.entries[6],
            id="other-size",
        ),
    ],
)
def test_a_proof_that_does_not_lead_to_the_root(proof: TlogProof, entry: bytes) -> None:
    with pytest.raises(VerificationError) as error:
        proof.verify(entry, POLICY)
    assert reason_of(error) == "PROOF_INVALID"


def test_a_proof_up_to_a_checkpoint_of_somebody_else() -> None:
    stranger = NoteSigner("national.example", Ed25519PrivateKey.generate())
    note = Checkpoint("national.example", 11, NAIVE.root(11)).sign(stranger)
    with pytest.raises(VerificationError) as error:
        TlogProof(6, PROOF.path, note).verify(NAIVE.entries[6], POLICY)
    assert reason_of(error) == "NOTE_UNTRUSTED"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(NOTE, id="only-the-checkpoint"),
        pytest.param(PROOF.format().replace("@v1", "@v2"), id="other-version"),
        pytest.param("\n" + PROOF.format(), id="leading-line"),
        pytest.param(PROOF.format().replace("\n", "\r\n"), id="carriage-returns"),
        pytest.param(PROOF.format().replace("\n\n", "\n", 1), id="no-blank-line"),
        pytest.param(text_of("index 6", *HASHES, note=""), id="no-checkpoint"),
        pytest.param(text_of("index 6", note="unsigned\n"), id="unsigned-checkpoint"),
        pytest.param(text_of(*HASHES), id="no-index"),
        pytest.param(text_of(), id="header-only"),
        pytest.param(text_of("extra b3BhcXVl"), id="extra-only"),
        pytest.param(text_of("index 06"), id="leading-zero"),
        pytest.param(text_of("index -6"), id="negative-index"),
        pytest.param(text_of("index  6"), id="two-spaces"),
        pytest.param(text_of("index"), id="index-without-number"),
        pytest.param(text_of(f"index {2**63}"), id="index-too-large"),
        pytest.param(text_of("Index 6"), id="capital-index"),
        pytest.param(text_of("extra ", "index 6"), id="extra-empty"),
        pytest.param(text_of("extra b3Bh_", "index 6"), id="extra-not-base64"),
        pytest.param(text_of("index 6", "extra b3BhcXVl"), id="extra-below-index"),
        pytest.param(
            text_of("extra b3BhcXVl", "extra b3BhcXVl", "index 6"), id="extra-twice"
        ),
        pytest.param(text_of("index 6", "index 6"), id="index-twice"),
        pytest.param(text_of("index 6", HASHES[0][:-1]), id="hash-without-padding"),
        pytest.param(text_of("index 6", HASHES[0] + " "), id="hash-with-space"),
        pytest.param(
            text_of("index 6", base64.b64encode(b"\x00" * 31).decode()), id="31-bytes"
        ),
        pytest.param(text_of("index 6", *(HASHES[:1] * 64)), id="64-hashes"),
        pytest.param(text_of("index 6", "\ud800"), id="surrogate"),
    ],
)
def test_what_is_not_a_proof_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        TlogProof.parse(text)


def test_a_proof_has_at_most_63_hashes() -> None:
    assert len(TlogProof.parse(text_of("index 6", *(HASHES[:1] * 63))).path) == 63


@pytest.mark.parametrize(
    ("index", "path", "extra"),
    [
        (-1, (), None),
        (2**63, (), None),
        (0, (b"\x00" * 32,) * 64, None),
        (0, (b"\x00" * 33,), None),
        (0, (), b""),
    ],
)
def test_what_has_no_text_is_not_made(
    index: int, path: tuple[bytes, ...], extra: bytes | None
) -> None:
    with pytest.raises(MalformedError):
        TlogProof(index, path, NOTE, extra)


def test_a_proof_has_at_most_64_kib() -> None:
    room = 64 * 1024 - len(TlogProof(0, (), NOTE, b"xxx").format().encode()) + 4
    extra = b"x" * (room // 4 * 3)
    largest = TlogProof(0, (), NOTE, extra).format()
    assert TlogProof.parse(largest).extra == extra
    with pytest.raises(TooLargeError):
        TlogProof.parse(TlogProof(0, (), NOTE, extra + b"xxx").format())
    # Bytes count, not characters.
    with pytest.raises(TooLargeError):
        TlogProof.parse("\N{EM DASH}" * 22_000)
