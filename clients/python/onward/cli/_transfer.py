"""Passing a tip on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onward.cli._connection import connected
from onward.cli._output import print_json
from onward.cli._publish import print_published, record_of_published
from onward.cli._records import print_logged, record_of
from onward.client import Client, RoutingChanges, Transferred


def transfer(
    home: Path,
    referral_id: str,
    recipients: Sequence[str],
    changes: RoutingChanges,
    *,
    as_json: bool,
) -> None:
    """Transfers a referral, and prints the transfer and its child."""

    async def work(client: Client) -> Transferred:
        return await client.transfer(referral_id, recipients, **changes)

    done = connected(home, work)
    if as_json:
        child = record_of_published(done.child)
        print_json({**record_of(done.transfer), "child": child})
        return
    print_logged(done.transfer, as_json=False)
    print_published(done.child)
