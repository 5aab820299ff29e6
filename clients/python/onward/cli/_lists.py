"""Lists of what the exchange has, and news as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

from onward.cli._chain import short_time, what_of
from onward.cli._connection import connected
from onward.cli._messages import to_members, word_of
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, print_table
from onward.cli._records import record_of, subject_of, time_of
from onward.client import Client
from onward.core.custody import state_name
from onward.v1 import directory_pb2, referral_pb2, vocabulary_pb2

_Item = TypeVar("_Item")


def list_referrals(
    home: Path, side: referral_pb2.ReferralSide.ValueType, limit: int, *, as_json: bool
) -> None:
    """Prints the newest referrals that a member published or received."""

    async def work(client: Client) -> list[referral_pb2.ReferralView]:
        return await _first(client.list_referrals(side), limit)

    views = connected(home, work)
    if as_json:
        for view in views:
            print_json(to_members(view))
        return
    print_table(
        ("referral", "accepted", "urgency", "place", "from", "deliveries"),
        [
            (
                view.referral_id,
                short_time(view.accept_time.ToJsonString()),
                word_of(vocabulary_pb2.Urgency, view.urgency),
                view.jurisdiction,
                short_name(view.publisher),
                "; ".join(map(_delivery, view.deliveries)),
            )
            for view in views
        ],
    )


def list_members(home: Path, *, as_json: bool) -> None:
    """Prints the exchange's directory."""

    async def work(client: Client) -> list[directory_pb2.Member]:
        return await _first(client.members())

    members = connected(home, work)
    if as_json:
        for member in members:
            print_json(to_members(member))
        return
    print_table(
        ("name", "called", "kind", "competent for", "status"),
        [
            (
                member.name,
                member.display_name,
                word_of(vocabulary_pb2.MemberKind, member.kind),
                ", ".join(member.jurisdictions),
                word_of(vocabulary_pb2.MemberStatus, member.status),
            )
            for member in members
        ],
    )


def list_chains(home: Path, *, as_json: bool) -> None:
    """Prints the ids of the referrals of an auditor's jurisdictions."""

    async def work(client: Client) -> None:
        async with aclosing(client.list_chains()) as ids:
            async for referral_id in ids:
                if as_json:
                    print_json({"referral_id": referral_id})
                else:
                    print_line(referral_id)

    connected(home, work)


def watch(home: Path, resume: str, *, as_json: bool) -> None:
    """Prints statements about own referrals as they come."""

    async def work(client: Client) -> None:
        async with aclosing(client.watch_own(resume)) as news:
            async for watched in news:
                item = watched.statement
                if as_json:
                    token = {"resume_token": watched.resume_token}
                    print_json(record_of(item) | token)
                    continue
                print_line(
                    f"{short_time(time_of(item.message))}  {subject_of(item)}  "
                    f"{short_name(item.issuer)}  {item.kind.replace('_', ' ')}  "
                    f"{what_of(item)}"
                )

    connected(home, work)


async def _first(items: AsyncIterator[_Item], limit: int | None = None) -> list[_Item]:
    """Returns all items, or as many as were asked for."""
    found: list[_Item] = []
    async for item in items:
        if len(found) == limit:
            break
        found.append(item)
    return found


def _delivery(item: referral_pb2.DeliveryView) -> str:
    return f"{short_name(item.recipient)} {state_name(item.state)}"
