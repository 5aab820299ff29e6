"""Publishing one tip, or a file of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from onward._files import make_private_dir
from onward.cli._bundle import write_bundle
from onward.cli._chain import short_time
from onward.cli._connection import connected
from onward.cli._errors import told
from onward.cli._keeping import PASSING, Publication
from onward.cli._messages import fill, members_of, read_members, to_members
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, print_table, progress, say
from onward.cli._records import duration_of, time_of
from onward.cli._routing import laid_over, routing_of
from onward.cli.exits import Exit
from onward.client import Client, PreparedReferral, Published, Tip
from onward.core._jose import json_object
from onward.core.errors import MalformedError, OnwardError
from onward.v1 import statement_pb2

_STDIN: Final = Path("-")
_CHUNK: Final = 100
_TIP: Final = "tip"
_REFERRAL: Final = "referral"
_LARGE: Final = 1024 * 1024
"""Bytes of a tip that is uploaded in chunks."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Job:
    """What a run was asked for.

    Attributes:
        layers: members of the referral, the later the stronger.
        test: mark each tip as a test.
        keep: where signed referrals are kept; None to keep none.
        as_json: print JSON.
    """

    layers: Sequence[Mapping[str, object]]
    test: bool
    keep: Path | None
    as_json: bool

    def publication(
        self,
        tip: Mapping[str, object],
        referral: Mapping[str, object],
        file: Path | None,
    ) -> Publication:
        """Returns what to publish.

        Args:
            tip: members of the tip.
            referral: members of the referral that are stronger than all layers.
            file: where to keep it.
        """
        content = fill(Tip(), tip, _TIP)
        content.test = content.test or self.test
        return Publication(content, laid_over(*self.layers, referral), file)


def publish_one(home: Path, path: Path, job: Job, *, bundle: Path | None) -> None:
    """Publishes a tip, and prints what the exchange says of it."""
    text = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    members = read_members(text, Tip(), _TIP)
    publication = job.publication(members, {}, job.keep)
    routing = routing_of(publication.members)

    async def work(client: Client) -> Published:
        if job.keep:
            published = await _publish_kept(client, publication)
        else:
            published = await client.publish(publication.tip, **routing)
        if bundle:
            await write_bundle(client, published.referral_id, bundle)
        return published

    with progress("publishing", _steps(publication.tip)):
        published = connected(home, work)
    if job.as_json:
        print_json(record_of_published(published))
    else:
        print_published(published)


def publish_many(home: Path, path: Path, job: Job) -> Exit:
    """Publishes each line of a file, and prints what came of each."""
    if job.keep:
        make_private_dir(job.keep)
    lines = [line for line in enumerate(_lines(path), 1) if line[1].strip()]

    async def work(client: Client) -> Exit:
        worst = Exit.OK
        with progress("publishing", len(lines)) as advance:
            for chunk in _chunks(lines, _CHUNK):
                for number, result in await _publish_chunk(client, job, chunk):
                    _print_line(number, result, as_json=job.as_json)
                    if isinstance(result, OnwardError):
                        worst = Exit.REFUSED
                advance(len(chunk))
        return worst

    return connected(home, work)


async def _publish_kept(client: Client, publication: Publication) -> Published:
    prepared = await publication.prepare(client)
    try:
        return await client.publish_prepared(prepared)
    except OnwardError as error:
        publication.ended(error)
        raise


async def _publish_chunk(
    client: Client, job: Job, chunk: Sequence[tuple[int, bytes]]
) -> list[tuple[int, Published | OnwardError]]:
    """Publishes some lines; returns what came of each, by its number, in order."""
    results: dict[int, Published | OnwardError] = {}
    ready: dict[int, tuple[Publication, PreparedReferral]] = {}
    for number, line in chunk:
        try:
            publication = _read_line(job, number, line)
            ready[number] = publication, await publication.prepare(client)
        except PASSING:
            raise
        except OnwardError as error:
            results[number] = error
    published = await client.publish_batch([prepared for _, prepared in ready.values()])
    for (number, (publication, _)), result in zip(
        ready.items(), published, strict=True
    ):
        results[number] = result
        if isinstance(result, OnwardError):
            publication.ended(result)
    return sorted(results.items())


def _read_line(job: Job, number: int, line: bytes) -> Publication:
    item = json_object(line, "the line")
    if not item.keys() <= {_TIP, _REFERRAL}:
        raise MalformedError("the line has other names than tip and referral")
    tip = members_of(item.get(_TIP), Tip(), _TIP)
    referral = members_of(item.get(_REFERRAL, {}), statement_pb2.Referral(), _REFERRAL)
    file = job.keep / f"{number}.referral" if job.keep else None
    return job.publication(tip, referral, file)


def _steps(tip: Tip) -> int | None:
    """Returns how many steps publishing a tip has; None if it takes its time."""
    return None if tip.ByteSize() > _LARGE else 0


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def record_of_published(published: Published) -> dict[str, object]:
    """Returns an accepted referral as JSON has it."""
    message = published.acceptance.message
    return {
        "referral_id": published.referral_id,
        "log_index": published.referral.log_index,
        "accepted_time": time_of(message),
        "test": published.referral.message.referral.test,
        **to_members(message.acceptance),
    }


def print_published(published: Published) -> None:
    """Prints an accepted referral for people."""
    message = published.acceptance.message
    print_line(
        f"published {published.referral_id}: log entry {published.referral.log_index}, "
        f"accepted {short_time(time_of(message))} under policy "
        f"{message.acceptance.policy_version}"
    )
    print_table(
        ("recipient", "deliver by", "acknowledge within", "first outcome within"),
        [
            (
                short_name(item.recipient),
                short_time(item.deliver_by_time.ToJsonString()),
                duration_of(item.acknowledge_within),
                duration_of(item.outcome_within),
            )
            for item in message.acceptance.deadlines
        ],
    )


def _print_line(number: int, result: Published | OnwardError, *, as_json: bool) -> None:
    match result, as_json:
        case Published(), True:
            print_json({"line": number, **record_of_published(result)})
        case Published(), False:
            print_line(f"line {number}: published {result.referral_id}")
        case OnwardError(), True:
            error = {"reason": result.reason_name, "message": result.message}
            print_json({"line": number, "error": error})
        case OnwardError(), False:
            say(f"line {number}: {told(result)}")
