"""Publishing one tip, or a file of them.

A referral that is to be kept is signed, written to a file, and only then published.
Publishing the same bytes again is safe for ever, so a run that was cut off is repeated
with the same file, and ends as if it had never been cut off. The file goes when the
exchange has refused the referral, since those bytes can then never succeed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from onward._files import make_private_dir, write_atomically
from onward.cli._bundle import write_bundle
from onward.cli._chain import short_time
from onward.cli._connection import connected
from onward.cli._errors import told
from onward.cli._messages import fill, members_of, read_members, to_members
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, print_table, progress, say
from onward.cli._records import duration_of, time_of
from onward.cli._routing import routing_of
from onward.cli.exits import Exit
from onward.client import Client, PreparedReferral, Published, Tip
from onward.core._jose import json_object
from onward.core.errors import (
    MalformedError,
    OnwardError,
    QuotaError,
    UnavailableError,
)
from onward.v1 import statement_pb2

_STDIN: Final = Path("-")
_CHUNK: Final = 100
_TIP: Final = "tip"
_REFERRAL: Final = "referral"
_PASSING: Final = (UnavailableError, QuotaError)

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

    def tip(self, members: Mapping[str, object]) -> Tip:
        """Returns the tip of its members."""
        tip = fill(Tip(), members, _TIP)
        tip.test = tip.test or self.test
        return tip


def publish_one(home: Path, path: Path, job: Job, *, bundle: Path | None) -> None:
    """Publishes a tip, and prints what the exchange says of it."""
    text = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    tip = job.tip(read_members(text, Tip(), _TIP))
    routing = routing_of(*job.layers)

    async def work(client: Client) -> Published:
        if job.keep is None:
            published = await client.publish(tip, **routing)
        else:
            prepared = _kept(job.keep) or await client.prepare_referral(tip, **routing)
            published = await _publish_kept(client, prepared, job.keep)
        if bundle:
            await write_bundle(client, published.referral_id, bundle)
        return published

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


async def _publish_chunk(
    client: Client, job: Job, chunk: Sequence[tuple[int, bytes]]
) -> list[tuple[int, Published | OnwardError]]:
    """Publishes some lines; returns what came of each, by its number, in order."""
    results: dict[int, Published | OnwardError] = {}
    prepared: dict[int, PreparedReferral] = {}
    for number, line in chunk:
        try:
            prepared[number] = await _prepare_line(client, job, number, line)
        except _PASSING:
            raise
        except OnwardError as error:
            results[number] = error
    published = await client.publish_batch(list(prepared.values()))
    for number, result in zip(prepared, published, strict=True):
        results[number] = result
        if job.keep and isinstance(result, OnwardError):
            _forget_refused(_file_of_line(job.keep, number), result)
    return sorted(results.items())


async def _prepare_line(
    client: Client, job: Job, number: int, line: bytes
) -> PreparedReferral:
    """Signs the referral of a line, or takes the one that was kept."""
    file = _file_of_line(job.keep, number) if job.keep else None
    kept = _kept(file) if file else None
    if kept:
        return kept
    item = json_object(line, "the line")
    if not item.keys() <= {_TIP, _REFERRAL}:
        raise MalformedError("the line has other names than tip and referral")
    tip = job.tip(members_of(item.get(_TIP), Tip(), _TIP))
    own = members_of(item.get(_REFERRAL, {}), statement_pb2.Referral(), _REFERRAL)
    prepared = await client.prepare_referral(tip, **routing_of(*job.layers, own))
    if file:
        write_atomically(file, prepared.to_bytes())
    return prepared


async def _publish_kept(
    client: Client, prepared: PreparedReferral, file: Path
) -> Published:
    write_atomically(file, prepared.to_bytes())
    try:
        return await client.publish_prepared(prepared)
    except OnwardError as error:
        _forget_refused(file, error)
        raise


def _kept(file: Path) -> PreparedReferral | None:
    return PreparedReferral.from_bytes(file.read_bytes()) if file.exists() else None


def _forget_refused(file: Path, error: OnwardError) -> None:
    if not isinstance(error, _PASSING):
        file.unlink(missing_ok=True)


def _file_of_line(directory: Path, number: int) -> Path:
    return directory / f"{number}.referral"


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
