"""What a successor carries on, compared with what its predecessor has signed."""

from __future__ import annotations

from typing import Any

import pytest

from onward.core.audit.carrying import check_carried
from onward.core.errors import VerificationError
from onward.core.verify.evidence import Entry
from tests.support.chain_builder import HOTLINE
from tests.unit.test_verify_succession import Heir, entry


def successor(**fields: Any) -> tuple[Entry, list[bytes]]:
    """Returns the first entry of a successor, and all: its log had three before."""
    heir = Heir()
    heir.first.rotate(HOTLINE)
    heir.before.append(heir.first.log[-1].statement)
    log = heir.log(**fields)
    return log[0], [item.statement.digest for item in log]


def test_all_entries_are_carried_on_as_they_were() -> None:
    first, entries = successor()
    check_carried(first, b"".join(entries))


def test_a_change_of_keys_within_a_log_carries_nothing_on() -> None:
    heir = Heir()
    check_carried(entry(0, heir.before[0]), heir.before[0].digest)


@pytest.mark.parametrize("how", ["left out", "put in", "replaced", "moved", "cut off"])
def test_no_entry_is_left_out_put_in_or_replaced(how: str) -> None:
    first, entries = successor()
    match how:
        case "left out":
            del entries[2]
        case "put in":
            entries.insert(2, bytes(32))
        case "replaced":
            entries[2] = bytes(32)
        case "moved":
            entries[1], entries[2] = entries[2], entries[1]
        case "cut off":
            del entries[3:]
    with pytest.raises(VerificationError, match="left out, put in or replaced"):
        check_carried(first, b"".join(entries))


def test_what_is_said_to_be_lost_is_not_missed() -> None:
    first, entries = successor(carried_size=2)
    del entries[3]
    check_carried(first, b"".join(entries))
