"""What commands print about statements."""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from onward.cli._connection import connected
from onward.cli._messages import to_members
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line
from onward.client import Client, Logged
from onward.core.notes import parse_note
from onward.core.tlog_policy import WitnessedCheckpoint
from onward.core.tlog_proof import TlogProof
from onward.v1 import statement_pb2


def record_of(item: Logged) -> dict[str, object]:
    """Returns a logged statement as JSON has it."""
    message = item.message
    return {
        "log_index": item.log_index,
        "kind": item.kind,
        "id": message.id,
        "referral_id": message.referral_id,
        "issuer": message.issuer,
        "made_time": time_of(message),
        "body": to_members(getattr(message, item.kind)),
        "digest": item.digest.hex(),
    }


def print_logged(item: Logged, *, as_json: bool) -> None:
    """Prints that a statement is in the log."""
    if as_json:
        print_json(record_of(item))
        return
    kind = item.kind.replace("_", " ")
    print_line(f"{kind} of {subject_of(item)}: log entry {item.log_index}")


def print_receipt(
    home: Path, digest: bytes, wait: float | None, *, as_json: bool
) -> None:
    """Prints a receipt, verified: as it is, or with what it says."""

    async def work(client: Client) -> tuple[TlogProof, WitnessedCheckpoint]:
        proof = await client.receipt(digest, wait=wait)
        return proof, proof.verify(digest, client.home.policy)

    proof, found = connected(home, work)
    if not as_json:
        sys.stdout.write(proof.format())
        return
    signers = [line.name for line in parse_note(proof.checkpoint_note).signatures]
    print_json(
        {
            "digest": digest.hex(),
            "log_index": proof.index,
            "size": found.checkpoint.size,
            "root": found.checkpoint.root.hex(),
            "signers": signers,
            "receipt": proof.format(),
        }
    )


def time_of(message: statement_pb2.Statement) -> str:
    """Returns when a statement was made, as its issuer claims: RFC 3339, UTC."""
    return message.made_time.ToJsonString()


def duration_of(duration: Duration) -> str:
    """Returns a length of time as people read it, such as ``30 min``."""
    seconds = duration.ToSeconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s" if seconds else ""


def names_of(names: list[str]) -> str:
    """Returns parties as people read them."""
    return ", ".join(map(short_name, names))


def subject_of(item: Logged) -> str:
    """Returns what a statement is about: a referral, an intake or a member."""
    message = item.message
    body = getattr(message, item.kind)
    due = getattr(body, "due", body)
    number = getattr(due, "intake_number", getattr(due, "number", 0))
    if message.referral_id or not number:
        return message.referral_id or short_name(message.directory_change.member.name)
    return f"intake {number}"
