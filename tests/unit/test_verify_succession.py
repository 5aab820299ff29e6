"""Keys across logs: how a successor begins, and what does not pass for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from onward.core.keys import StatementPrivateKey
from onward.core.statements import parse_statement, sign_statement
from onward.core.tlog_proof import TlogProof
from onward.core.verify.evidence import Entry
from onward.core.verify.keys import Keys, read_keys
from onward.v1 import statement_pb2
from tests.support.chain_builder import HOTLINE, ChainBuilder, statement_key

Change = Callable[[list[statement_pb2.Statement]], None]


def entry(at: int, statement: Any) -> Entry:
    """Returns a statement at a place of a log."""
    read = parse_statement(statement.jws)
    return Entry(at, read, f"entry {at}", TlogProof(at, (), ""))


class Heir:
    """A log with one member, and what goes on from it."""

    def __init__(self) -> None:
        self.first = ChainBuilder()
        self.first.found()
        self.first.enrol(HOTLINE)
        self.vkey = "heir.example/log/2+00000000+AQAAAA=="
        self.before = [item.statement for item in self.first.log]
        self.key = self.first.parties[self.first.exchange].key

    def say(self, key: StatementPrivateKey | None = None, **fields: Any) -> Any:
        """Signs a ``KeyChange``, as the exchange says it."""
        change = statement_pb2.KeyChange(
            keys=[statement_key(self.key)], log_vkey=self.vkey
        )
        if "predecessor" in fields:
            change.predecessor.CopyFrom(fields.pop("predecessor"))
        if "log_vkey" in fields:
            change.log_vkey = fields.pop("log_vkey")
        return self.first.sign(
            self.first.exchange, key=key, key_change=change, **fields
        )

    def predecessor(self, **fields: Any) -> statement_pb2.Predecessor:
        """Returns how the successor names the log before."""
        values: dict[str, Any] = {
            "log_vkey": self.first.signer.vkey.format(),
            "checkpoint": self.first.checkpoint(),
            "carried_size": len(self.before),
        }
        return statement_pb2.Predecessor(**(values | fields))

    def log(self, **fields: Any) -> list[Entry]:
        """Returns the successor's directory statements."""
        begins = self.say(predecessor=self.predecessor(**fields), seen=None)
        goes_on = self.say(previous=self.before[0])
        said = [begins, *self.before, goes_on]
        return [entry(at, statement) for at, statement in enumerate(said)]

    def read(self, entries: list[Entry]) -> tuple[Keys, list[str]]:
        """Follows the keys; returns what is wrong."""
        keys, problems = read_keys(entries, {self.vkey})
        return keys, [f"{item.subject}: {item.error.reason_name}" for item in problems]


def test_members_of_the_predecessor_have_their_keys_in_the_successor() -> None:
    heir = Heir()
    keys, problems = heir.read(heir.log())
    assert problems == []
    hotline = heir.first.sign(HOTLINE, taking=statement_pb2.Taking())
    keys.check_signature(entry(9, hotline))


@pytest.mark.parametrize(
    "fields",
    [
        {"checkpoint": "not a checkpoint"},
        {"log_vkey": "other.example/log+00000000+AQAAAA=="},
        {"carried_size": 99},
        {"carried_size": -1},
    ],
)
def test_a_predecessor_that_did_not_sign_its_end_is_none(
    fields: dict[str, Any],
) -> None:
    heir = Heir()
    _, problems = heir.read(heir.log(**fields))
    assert problems[0].startswith("entry 0: ")


def test_a_log_that_names_no_predecessor_has_one_beginning() -> None:
    heir = Heir()
    entries = [entry(0, heir.say(seen=None)), entry(1, heir.before[0])]
    _, problems = heir.read(entries)
    assert problems == ["entry 1: PREVIOUS_MISMATCH"]


def test_somebody_elses_beginning_is_not_carried_on() -> None:
    heir = Heir()
    other = StatementPrivateKey.generate()
    change = statement_pb2.KeyChange(
        keys=[statement_key(other)], log_vkey=heir.first.signer.vkey.format()
    )
    message = statement_pb2.Statement()
    message.CopyFrom(heir.before[0].message)
    message.issuer = "spiffe://other.example/exchange"
    message.key_change.CopyFrom(change)
    entries = heir.log()
    entries[1] = entry(1, sign_statement(message, other))
    _, problems = heir.read(entries)
    assert "entry 1: ISSUER_MISMATCH" in problems


def test_after_its_entries_the_predecessors_log_key_counts_no_more() -> None:
    heir = Heir()
    entries = heir.log()
    old = heir.first.signer.vkey.format()
    late = heir.say(log_vkey=old, previous=entries[-1].statement)
    entries.append(entry(len(entries), late))
    _, problems = heir.read(entries)
    assert problems == [f"entry {len(entries) - 1}: NOTE_UNTRUSTED"]
