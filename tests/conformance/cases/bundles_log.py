"""Vectors of ``bundle`` in which form, keys, signatures or the log do not hold."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Any

from onward.core.checkpoints import Checkpoint
from onward.core.statements import SignedStatement, statement_digest
from onward.v1 import statement_pb2, vocabulary_pb2
from tests.conformance.case import base64
from tests.conformance.cases.bundle_parts import (
    Made,
    Vectors,
    edited,
    received,
    small,
    with_receipt,
    without,
)
from tests.support.chain_builder import (
    HOTLINE,
    NEVADA,
    OHIO,
    ChainBuilder,
    Logged,
    private_key,
    statement_key,
)

vectors = Vectors()
cases = vectors.cases

_READ = statement_pb2.Acknowledgment(reader_role="watch officer")
_WITNESSES = ("w1.example", "w2.example", "w3.example")


# --- 1. format


@vectors.add
def not_a_bundle() -> Made:
    """The format is another one: nothing can be checked."""
    exchange, referral, _ = received()
    bundle = edited(
        exchange.bundle(referral), lambda members: members.update(format="v2")
    )
    return Made(bundle, exchange.trust(), "MALFORMED", unreadable=True)


@vectors.add
def no_view() -> Made:
    """A bundle has a view, even if nobody looks at it."""
    exchange, referral, _ = received()
    bundle = edited(exchange.bundle(referral), lambda members: members.pop("view"))
    return Made(bundle, exchange.trust(), "MALFORMED", unreadable=True)


@vectors.add
def hash_of_31_bytes() -> Made:
    """A hash of a consistency proof has 31 bytes."""
    exchange, referral, _ = received()

    def edit(members: dict[str, Any]) -> None:
        path = members["consistency"][-1]["path"]
        path[0] = base64(b64decode(path[0])[:31])

    bundle = edited(exchange.bundle(referral), edit)
    return Made(bundle, exchange.trust(), "MALFORMED", unreadable=True)


@vectors.add
def trust_file_unreadable() -> Made:
    """The trust file has a line that is none: nothing can be checked."""
    exchange, referral, _ = received()
    trust = f"trust {exchange.signer.vkey.format()}\nquorum none\n"
    return Made(exchange.bundle(referral), trust, "MALFORMED", unreadable=True)


@vectors.add
def reordered_chain() -> Made:
    """Two statements have changed places in the bundle, which is in the log's order."""
    exchange, referral, _ = received()
    listed = [item.bundled() for item in exchange.chain(referral.id)]
    listed[2], listed[3] = listed[3], listed[2]
    bundle = exchange.bundle(referral, statements=listed)
    return Made(bundle, exchange.trust(), "MALFORMED", {1})


@vectors.add
def statement_twice() -> Made:
    """A statement is listed twice, as if it had been said twice."""
    exchange, referral, _ = received()
    listed = [item.bundled() for item in exchange.chain(referral.id)]
    bundle = exchange.bundle(referral, statements=[*listed, listed[-1]])
    return Made(bundle, exchange.trust(), "MALFORMED", {1})


@vectors.add
def receipt_with_extra_data() -> Made:
    """A receipt has extra data, which nobody vouches for."""
    exchange, referral, _ = received()
    bundle = with_receipt(
        exchange.bundle(referral), lambda receipt: replace(receipt, extra=b"believe me")
    )
    return Made(bundle, exchange.trust(), "MALFORMED", {1})


@vectors.add
def nothing_seen() -> Made:
    """A statement names no checkpoint that its issuer had seen."""
    exchange, referral, arrived = received()
    exchange.answer(OHIO, arrived, acknowledgment=_READ, seen=None)
    return Made(exchange.bundle(referral), exchange.trust(), "MALFORMED", {1})


@vectors.add
def audit_access_in_the_chain() -> Made:
    """A statement that belongs to no custody chain is listed in one."""
    exchange, referral, _ = received()
    body = statement_pb2.AuditAccess(auditor="spiffe://national.example/auditor/a")
    exchange.say(exchange.exchange, referral_id=referral.id, audit_access=body)
    return Made(exchange.bundle(referral), exchange.trust(), "MALFORMED", {1, 7})


@vectors.add
def body_not_well_formed() -> Made:
    """An acknowledgment does not say in which role it was read."""
    exchange, referral, arrived = received()
    exchange.answer(OHIO, arrived, acknowledgment=statement_pb2.Acknowledgment())
    return Made(exchange.bundle(referral), exchange.trust(), "MALFORMED", {1})


# --- 2. keys


@vectors.add
def genesis_missing() -> Made:
    """The log's first entry, which introduces the exchange's key, is left out."""
    exchange, referral, _ = received()
    bundle = without(exchange.bundle(referral), "directory", 0)
    return Made(bundle, exchange.trust(), "ENTRY_UNKNOWN", {2, 3})


@vectors.add
def genesis_not_first() -> Made:
    """The exchange's key is introduced by the log's second entry.

    Only the first is trusted through the log: any later one could be anybody's.
    """
    exchange = ChainBuilder()
    exchange.parties[HOTLINE] = exchange.parties[exchange.exchange]
    exchange.say(HOTLINE, referral_id=exchange.new_id(), taking=statement_pb2.Taking())
    exchange.found()
    exchange.enrol(HOTLINE)
    exchange.enrol(OHIO)
    referral = exchange.publish(HOTLINE, OHIO)
    return Made(exchange.bundle(referral), exchange.trust(), "ENTRY_UNKNOWN", {2, 3})


@vectors.add
def genesis_of_another_log() -> Made:
    """The first entry names a log key that the trust file does not list."""
    exchange = ChainBuilder()
    change = exchange.key_change()
    change.log_vkey = ChainBuilder(domain="fl.example").signer.vkey.format()
    exchange.say(exchange.exchange, key_change=change)
    exchange.enrol(HOTLINE)
    exchange.enrol(OHIO)
    referral = exchange.publish(HOTLINE, OHIO)
    return Made(exchange.bundle(referral), exchange.trust(), "NOTE_UNTRUSTED", {2, 3})


@vectors.add
def genesis_signed_with_another_key() -> Made:
    """The first entry is not signed with a key that it introduces."""
    exchange = ChainBuilder()
    exchange.say(
        exchange.exchange,
        key=private_key("a key of nobody"),
        key_change=exchange.key_change(),
    )
    exchange.enrol(HOTLINE)
    exchange.enrol(OHIO)
    referral = exchange.publish(HOTLINE, OHIO)
    return Made(exchange.bundle(referral), exchange.trust(), "KEY_NOT_VALID", {2, 3})


@vectors.add
def genesis_of_an_agency() -> Made:
    """The first entry introduces keys of an agency, as if it were the exchange."""
    exchange = ChainBuilder()
    exchange.parties[HOTLINE] = exchange.parties[exchange.exchange]
    exchange.say(HOTLINE, key_change=exchange.key_change())
    exchange.enrol(HOTLINE)
    exchange.enrol(OHIO)
    referral = exchange.publish(HOTLINE, OHIO)
    return Made(exchange.bundle(referral), exchange.trust(), "MALFORMED", {2, 3})


@vectors.add
def key_change_missing() -> Made:
    """A change of the exchange's keys is left out between two others."""
    exchange, referral, _ = received()
    name = exchange.exchange
    added = exchange.say(
        name,
        key_change=exchange.key_change(statement_key(private_key("second key"))),
        previous=exchange.log[0],
    )
    exchange.say(name, key_change=exchange.key_change(), previous=added)
    bundle = without(exchange.bundle(referral), "directory", 3)
    return Made(bundle, exchange.trust(), "PREVIOUS_MISMATCH", {2})


@vectors.add
def entry_of_the_exchange_itself() -> Made:
    """The directory lists the exchange as if it were one of its members."""
    exchange, referral, _ = received()
    entry = exchange.parties[OHIO].entry
    entry.name = exchange.exchange
    change = statement_pb2.DirectoryChange(
        kind=statement_pb2.DIRECTORY_CHANGE_KIND_ADDED, member=entry
    )
    exchange.say(exchange.exchange, directory_change=change, previous=exchange.log[0])
    return Made(exchange.bundle(referral), exchange.trust(), "ISSUER_MISMATCH", {2})


@vectors.add
def directory_change_missing() -> Made:
    """The change of a key is left out between two others of the same member."""
    exchange, referral, _ = received()
    exchange.rotate(OHIO)
    exchange.rotate(OHIO)
    bundle = without(exchange.bundle(referral), "directory", 3)
    return Made(bundle, exchange.trust(), "PREVIOUS_MISMATCH", {2})


@vectors.add
def directory_change_by_a_member() -> Made:
    """A member signed a change of its own entry: only the exchange does that."""
    exchange, referral, arrived = received()
    stolen = private_key("a key of nobody")
    entry = exchange.parties[OHIO].entry
    entry.statement_keys.append(statement_key(stolen))
    change = statement_pb2.DirectoryChange(
        kind=statement_pb2.DIRECTORY_CHANGE_KIND_KEYS_ROTATED, member=entry
    )
    exchange.say(OHIO, directory_change=change, previous=exchange.log[2])
    exchange.parties[OHIO].key = stolen
    exchange.acknowledge(arrived)
    return Made(exchange.bundle(referral), exchange.trust(), "ISSUER_MISMATCH", {2, 3})


@vectors.add
def member_of_another_exchange() -> Made:
    """The exchange lists a member whose home is elsewhere, and has it say something.

    An exchange must not be able to speak for the members of others.
    """
    exchange = small()
    stranger = "spiffe://fl.example/agency/fdle"
    exchange.enrol(stranger)
    referral = exchange.publish(HOTLINE, stranger)
    exchange.receive(referral, stranger)
    return Made(exchange.bundle(referral), exchange.trust(), "ISSUER_MISMATCH", {2, 3})


@vectors.add
def exchange_key_out_of_nowhere() -> Made:
    """A second key of the exchange is signed with itself, not with the first."""
    exchange = small()
    fresh = private_key("second exchange key")
    exchange.say(
        exchange.exchange,
        key=fresh,
        key_change=exchange.key_change(statement_key(fresh)),
        previous=exchange.log[0],
    )
    exchange.parties[exchange.exchange].key = fresh
    referral = exchange.publish(HOTLINE, OHIO)
    return Made(exchange.bundle(referral), exchange.trust(), "KEY_NOT_VALID", {2, 3})


# --- 3. signatures


@vectors.add
def replayed_signature() -> Made:
    """The signature of a statement stands under the same statement with another id."""
    exchange, referral, arrived = received()
    forged = _with_other_id(exchange, exchange.sign(OHIO, **_reading(arrived)))
    exchange.append(forged)
    return Made(exchange.bundle(referral), exchange.trust(), "SIGNATURE_INVALID", {3})


@vectors.add
def retired_key() -> Made:
    """A statement is signed with a key that was retired before it was logged."""
    exchange, referral, arrived = received()
    old = exchange.rotate(OHIO)
    exchange.say(OHIO, key=old, **_reading(arrived))
    return Made(exchange.bundle(referral), exchange.trust(), "KEY_NOT_VALID", {3})


@vectors.add
def revoked_key() -> Made:
    """A statement is signed with a key that was revoked before it was logged."""
    exchange, referral, arrived = received()
    old = exchange.rotate(OHIO, vocabulary_pb2.KEY_STATUS_REVOKED)
    exchange.say(OHIO, key=old, **_reading(arrived))
    return Made(exchange.bundle(referral), exchange.trust(), "KEY_NOT_VALID", {3})


@vectors.add
def key_not_yet_listed() -> Made:
    """A statement is signed with a key that the directory lists only afterwards."""
    exchange, referral, arrived = received()
    fresh = private_key(f"{OHIO} {len(exchange.log) + 1}")
    exchange.say(OHIO, key=fresh, **_reading(arrived))
    exchange.rotate(OHIO)
    assert exchange.parties[OHIO].key.key_id == fresh.key_id
    return Made(exchange.bundle(referral), exchange.trust(), "KEY_NOT_VALID", {3})


@vectors.add
def key_past_its_validity() -> Made:
    """A statement claims a time at which its key was not valid any more."""
    exchange, referral, arrived = received()
    exchange.wait(days=400)
    exchange.say(OHIO, **_reading(arrived))
    return Made(exchange.bundle(referral), exchange.trust(), "KEY_NOT_VALID", {3})


@vectors.add
def key_of_another_member() -> Made:
    """A statement in the recipient's name is signed with the publisher's key."""
    exchange, referral, arrived = received()
    exchange.say(OHIO, key=exchange.parties[HOTLINE].key, **_reading(arrived))
    return Made(exchange.bundle(referral), exchange.trust(), "KEY_NOT_VALID", {3})


@vectors.add
def statement_by_a_non_party() -> Made:
    """A member that the referral was not sent to says that it has read it."""
    exchange, referral, arrived = received()
    exchange.enrol(NEVADA)
    exchange.say(NEVADA, **_reading(arrived))
    return Made(
        exchange.bundle(referral), exchange.trust(), "ISSUER_MISMATCH", {3, 7, 8}
    )


@vectors.add
def handover_by_the_recipient() -> Made:
    """The recipient, and not the exchange, says that the content went out."""
    exchange = small()
    referral = exchange.publish(HOTLINE, OHIO)
    body = statement_pb2.Handover(
        recipient=OHIO,
        certificate_fingerprint=bytes(32),
        content_digest=referral.statement.message.referral.content_digest,
    )
    exchange.answer(OHIO, exchange.log[referral.index + 1], handover=body)
    return Made(exchange.bundle(referral), exchange.trust(), "ISSUER_MISMATCH", {3})


# --- 4. inclusion


@vectors.add
def statement_not_in_the_log() -> Made:
    """A statement that was never logged has the receipt of the one in its place."""
    exchange, referral, arrived = received()
    exchange.acknowledge(arrived)
    other = exchange.sign(OHIO, **_reading(arrived))
    chain = exchange.chain(referral.id)
    chain[-1] = Logged(chain[-1].index, other, chain[-1].receipt)
    listed = [item.bundled() for item in chain]
    bundle = exchange.bundle(referral, statements=listed)
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {4})


@vectors.add
def truncated_proof() -> Made:
    """The last hash of a receipt is missing."""
    exchange, referral, _ = received()
    bundle = with_receipt(
        exchange.bundle(referral),
        lambda receipt: replace(receipt, path=receipt.path[:-1]),
    )
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {4})


@vectors.add
def wrong_size_tree() -> Made:
    """The path of a receipt is right for one tree, and its checkpoint is of another."""
    exchange, referral, _ = received()
    exchange.enrol(NEVADA)
    bundle = with_receipt(
        exchange.bundle(referral),
        lambda receipt: replace(receipt, checkpoint_note=exchange.checkpoint()),
    )
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {4})


@vectors.add
def foreign_log() -> Made:
    """Everything is right, in a log that the trust file does not list."""
    exchange, referral, _ = received()
    trust = ChainBuilder(domain="fl.example").trust()
    return Made(exchange.bundle(referral), trust, "NOTE_UNTRUSTED", {2, 3, 4, 5})


@vectors.add
def receipt_of_another_listed_log() -> Made:
    """A receipt is of another log, which the trust file lists too."""
    exchange, referral, arrived = received()
    other = ChainBuilder(domain="fl.example")
    for item in exchange.log:
        other.append(item.statement)
    bundle = with_receipt(
        exchange.bundle(referral), lambda _: other.receipt(arrived.index)
    )
    trust = f"log {other.signer.vkey.format()}\n{exchange.trust()}"
    return Made(bundle, trust, "NOTE_UNTRUSTED", {4})


# --- 5. consistency


@vectors.add
def consistency_missing() -> Made:
    """The bundle does not prove that one of the older trees grew into its own."""
    exchange, referral, _ = received()
    bundle = without(exchange.bundle(referral), "consistency", -1)
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {5})


@vectors.add
def consistency_truncated() -> Made:
    """A consistency proof lacks its last hash."""
    exchange, referral, _ = received()
    bundle = edited(
        exchange.bundle(referral),
        lambda members: members["consistency"][-1]["path"].pop(),
    )
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {5})


@vectors.add
def checkpoint_older_than_a_receipt() -> Made:
    """A receipt goes up to a larger tree than the bundle's own checkpoint."""
    exchange, referral, _ = received()
    size = len(exchange.log) - 1
    older = exchange.checkpoint(size)
    needed = sorted({item.index + 1 for item in exchange.log if item.index + 1 < size})
    leaves = ChainBuilder()
    leaves.append(*(item.statement for item in exchange.log[:size]))
    proofs = [leaves.consistency(smaller) for smaller in needed]
    bundle = exchange.bundle(referral, checkpoint=older, consistency=proofs)
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {5})


@vectors.add
def forked_log() -> Made:
    """A party has seen another tree of the same size: the log showed two histories."""
    exchange, referral, arrived = received()
    seen = statement_pb2.Seen(
        origin=exchange.signer.name, size=5, root=sha256(b"other history").digest()
    )
    exchange.answer(OHIO, arrived, acknowledgment=_READ, seen=seen)
    return Made(exchange.bundle(referral), exchange.trust(), "LOG_FORKED", {5})


@vectors.add
def checkpoint_of_another_root() -> Made:
    """The log signed another root for the size of the bundle's checkpoint."""
    exchange, referral, _ = received()
    other = Checkpoint(
        exchange.signer.name, len(exchange.log), sha256(b"other history").digest()
    )
    bundle = exchange.bundle(referral, checkpoint=other.sign(exchange.signer))
    return Made(bundle, exchange.trust(), "PROOF_INVALID", {5})


@vectors.add
def checkpoint_signature_changed() -> Made:
    """The log's signature on the bundle's checkpoint does not verify."""
    exchange, referral, _ = received()
    other = exchange.checkpoint(len(exchange.log) - 1).rpartition("\n\n")[2]
    text = exchange.checkpoint().rpartition("\n\n")[0]
    bundle = exchange.bundle(referral, checkpoint=f"{text}\n\n{other}")
    return Made(bundle, exchange.trust(), "NOTE_UNTRUSTED", {2, 3, 4, 5})


# --- 6. witnesses


@vectors.add
def quorum_unmet() -> Made:
    """The trust file asks for two of three witnesses, and none cosigned."""
    exchange, referral, _ = received()
    trust = ChainBuilder(witnesses=_WITNESSES).trust()
    return Made(exchange.bundle(referral), trust, "QUORUM_UNMET", {6})


@vectors.add
def quorum_met_by_a_receipt_only() -> Made:
    """Witnesses cosigned an older tree, and not the bundle's checkpoint."""
    exchange, referral, _ = received(witnesses=_WITNESSES)
    trust = exchange.trust()
    exchange.witnesses = ()
    bundle = exchange.bundle(referral, checkpoint=exchange.checkpoint())
    return Made(bundle, trust, "QUORUM_UNMET", {6}, checked={9})


def _reading(arrived: Logged) -> dict[str, Any]:
    """Returns an acknowledgment of what arrived, as fields of a statement."""
    return {
        "referral_id": arrived.statement.message.referral_id,
        "previous": arrived,
        "acknowledgment": _READ,
    }


def _with_other_id(exchange: ChainBuilder, signed: SignedStatement) -> SignedStatement:
    """Returns a statement under another id, with the signature that it had."""
    message = statement_pb2.Statement.FromString(signed.message.SerializeToString())
    message.id = exchange.new_id()
    header, _, signature = signed.jws.split(".")
    payload = urlsafe_b64encode(message.SerializeToString(deterministic=True))
    jws = f"{header}.{payload.rstrip(b'=').decode()}.{signature}"
    digest = statement_digest(jws)
    return SignedStatement(jws, digest, signed.key_id, signed.algorithm, message)
