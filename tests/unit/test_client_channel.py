"""Calls outlast what passes, and say clearly what does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from onward._channel import Caller, _target, open_channel
from onward._errors import error_of_call, error_of_item
from onward.client import Client
from onward.core.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    OnwardError,
    QuotaError,
    RangeError,
    Reason,
    StateError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnknownError,
    VerificationError,
)
from onward.home import Home
from onward.v1 import log_pb2, referral_pb2
from onward.v1.log_pb2_grpc import LogServiceStub
from tests.support.chain_builder import OHIO
from tests.support.fake_exchange import Authority, Failure, running

CARRYING_A_REJECTION = (
    Reason.ERROR_REASON_DISCLOSURE_FORBIDDEN,
    Reason.ERROR_REASON_WITHHOLDING_FORBIDDEN,
)

CODES = {
    "INVALID_ARGUMENT": VerificationError,
    "FAILED_PRECONDITION": StateError,
    "PERMISSION_DENIED": ForbiddenError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "NOT_FOUND": UnknownError,
    "ALREADY_EXISTS": ConflictError,
    "OUT_OF_RANGE": RangeError,
    "RESOURCE_EXHAUSTED": QuotaError,
    "UNAVAILABLE": UnavailableError,
    "INTERNAL": OnwardError,
    "UNIMPLEMENTED": OnwardError,
}


def raised(
    code: grpc.StatusCode, details: str = "", status: bytes = b""
) -> grpc.aio.AioRpcError:
    """Returns what gRPC raises."""
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


def refused(code: grpc.StatusCode, error: OnwardError) -> grpc.aio.AioRpcError:
    """Returns what gRPC raises when an exchange refuses."""
    return raised(code, str(error), Failure(code, error).status())


def test_every_reason_comes_back_as_the_class_of_its_code() -> None:
    contract = Path("proto/onward/v1/error.proto").read_text()
    for name, number in Reason.items():
        before, _, _ = contract.partition(f"{name} = {number};")
        comment = before.rpartition(";")[2]
        code = next((code for code in CODES if f"// {code}:" in comment), None)
        if code is None:
            continue  # never sent
        expected = {
            Reason.ERROR_REASON_MALFORMED: MalformedError,
            Reason.ERROR_REASON_TOO_LARGE: TooLargeError,
        }.get(number, CODES[code])
        error = OnwardError(number, "why", metadata={"state": "TAKEN"})
        found = error_of_call(refused(getattr(grpc.StatusCode, code), error))
        if number in CARRYING_A_REJECTION:
            assert isinstance(found, StateError)
            continue
        assert type(found) is expected, name
        assert found.reason == number
        assert found.message == "why"
        assert found.metadata == {"state": "TAKEN"}


def test_an_item_of_a_batch_is_refused_like_a_call() -> None:
    item = referral_pb2.ItemError(
        code=grpc.StatusCode.NOT_FOUND.value[0],
        reason=Reason.ERROR_REASON_CONTENT_UNKNOWN,
        message="upload it",
        field="referral",
    )
    error = error_of_item(item)
    assert type(error) is UnknownError
    assert (error.reason, error.field) == (
        Reason.ERROR_REASON_CONTENT_UNKNOWN,
        "referral",
    )


def test_field_and_pause_come_along() -> None:
    error = OnwardError(
        Reason.ERROR_REASON_QUOTA_EXCEEDED, "slowly", field="x.y", retry_after=1.5
    )
    found = error_of_call(refused(grpc.StatusCode.RESOURCE_EXHAUSTED, error))
    assert (found.field, found.retry_after) == ("x.y", 1.5)


@pytest.mark.parametrize(
    "status", [b"", b"\xff\xff", b"\x08\x0e\x1a\x04\x12\x02\xff\xff"]
)
def test_what_no_exchange_has_said_has_no_reason(status: bytes) -> None:
    error = error_of_call(raised(grpc.StatusCode.UNKNOWN, "odd", status))
    assert type(error) is OnwardError
    assert error.reason == Reason.ERROR_REASON_UNSPECIFIED


def test_a_reason_of_another_domain_is_not_ours() -> None:
    code = grpc.StatusCode.PERMISSION_DENIED
    foreign = Failure(code, OnwardError(Reason.ERROR_REASON_ROLE_REQUIRED, "no"))
    status = foreign.status().replace(b"onward.v1", b"onwards.v")
    error = error_of_call(raised(code, "no", status))
    assert error.reason == Reason.ERROR_REASON_UNSPECIFIED


def test_a_reason_of_a_later_version_keeps_its_class() -> None:
    code = grpc.StatusCode.NOT_FOUND
    known = Failure(code, OnwardError(Reason.ERROR_REASON_MEMBER_UNKNOWN, "no"))
    status = known.status().replace(b"MEMBER_UNKNOWN", b"PLANET_UNKNOWN")
    error = error_of_call(raised(code, "no such planet", status))
    assert type(error) is UnknownError
    assert error.message == "no such planet"


def test_a_closed_connection_is_explained() -> None:
    error = error_of_call(raised(grpc.StatusCode.UNAVAILABLE, "Socket closed"))
    assert isinstance(error, UnavailableError)
    assert "certificate" in error.message


def test_bytes_that_changed_on_the_way_are_worth_another_call() -> None:
    said = "Stream removed (Unwrap failed (TSI_DATA_CORRUPTED))"
    error = error_of_call(raised(grpc.StatusCode.UNKNOWN, said))
    assert isinstance(error, UnavailableError)


# --- repeating ------------------------------------------------------------------------


def failing(times: int, *failures: Exception) -> Callable[[float], Awaitable[int]]:
    """Returns an attempt that fails some times and then returns how often it failed."""
    left = iter(failures * times)

    async def attempt(_: float) -> int:
        for failure in left:
            raise failure
        return times

    return attempt


def zeros(count: int) -> bytes:
    """Draws no jitter."""
    return bytes(count)


UNAVAILABLE = raised(grpc.StatusCode.UNAVAILABLE, "connection refused")


async def test_what_passes_is_repeated() -> None:
    assert await Caller(5, zeros).repeat(failing(3, UNAVAILABLE)) == 3


async def test_what_does_not_pass_is_not_repeated() -> None:
    error = OnwardError(Reason.ERROR_REASON_ROLE_REQUIRED, "no")
    failure = refused(grpc.StatusCode.PERMISSION_DENIED, error)
    with pytest.raises(ForbiddenError):
        await Caller(5, zeros).repeat(failing(1, failure))


async def test_an_attempt_knows_how_long_it_may_take() -> None:
    given: list[float] = []

    async def attempt(left: float) -> None:
        given.append(left)
        if len(given) < 3:
            raise UNAVAILABLE

    await Caller(5, zeros).repeat(attempt)
    assert given == sorted(given, reverse=True)
    assert 0 < given[-1] < given[0] <= 5


async def test_no_attempt_is_begun_that_is_too_late() -> None:
    error = QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "slowly", retry_after=9)
    failure = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, error)
    with pytest.raises(QuotaError):
        await Caller(8, zeros).repeat(failing(1, failure))


async def test_running_out_of_time_does_not_hide_what_went_wrong() -> None:
    late = raised(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    with pytest.raises(UnavailableError, match="connection refused"):
        await Caller(1, zeros).repeat(failing(1, UNAVAILABLE, *[late] * 50))
    with pytest.raises(UnavailableError, match="in time"):
        await Caller(0.05, zeros).repeat(failing(1, late))


def test_pauses_grow_are_bounded_and_spread() -> None:
    shortest, longest = Caller(5, zeros), Caller(5, lambda count: b"\xff" * count)
    for number in range(100):
        low, high = shortest.pause(number), longest.pause(number)
        assert 0 < low < high <= 10
        assert low >= shortest.pause(max(number - 1, 0))
    assert shortest.pause(0, retry_after=7) >= 7
    assert longest.pause(0, retry_after=7) > shortest.pause(0, retry_after=7)


# --- streams --------------------------------------------------------------------------


class Stream:
    """A stream that yields some messages, and then ends or fails."""

    def __init__(self, *messages: str, failure: Exception | None = None) -> None:
        self._messages = messages
        self._failure = failure
        self.cancelled = False

    async def __aiter__(self) -> AsyncIterator[str]:
        for message in self._messages:
            yield message
        if self._failure:
            raise self._failure

    def cancel(self) -> None:
        self.cancelled = True


async def pauses_between(
    monkeypatch: pytest.MonkeyPatch, *streams: Stream
) -> list[float]:
    """Reads streams one after the other; returns the pause after each."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses[-1] = seconds

    monkeypatch.setattr("onward._channel.asyncio.sleep", note)
    left = iter([*streams, Stream("the end")])

    def open_stream() -> Any:
        pauses.append(0)
        return next(left)

    async with aclosing(Caller(5, zeros).reopened(open_stream)) as messages:
        async for message in messages:
            if message == "the end":
                break
    assert all(stream.cancelled for stream in streams)
    return pauses[:-1]


DRAINING = refused(
    grpc.StatusCode.UNAVAILABLE,
    UnavailableError(Reason.ERROR_REASON_DRAINING, "shutting down"),
)


async def test_a_stream_that_ended_in_good_order_is_opened_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = [Stream("a"), Stream("b", failure=DRAINING), Stream("c")]
    assert await pauses_between(monkeypatch, *streams) == [0, 0, 0]


async def test_streams_that_bring_nothing_are_opened_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for empty in (Stream(), Stream(failure=DRAINING)):
        first, *others = await pauses_between(monkeypatch, empty, empty, empty, empty)
        assert first == 0
        assert others == sorted(others)
        assert 0 < others[0] < others[-1]


async def test_a_stream_that_failed_is_opened_after_a_pause_that_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = Stream(failure=UNAVAILABLE)
    pauses = await pauses_between(monkeypatch, lost, lost, lost)
    assert 0 < pauses[0] < pauses[1] < pauses[2]


async def test_a_message_ends_a_bad_series(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, lively = Stream(failure=UNAVAILABLE), Stream("a", failure=UNAVAILABLE)
    pauses = await pauses_between(monkeypatch, lost, lost, lost, lively, lively)
    assert pauses[3] == pauses[4] == pauses[0] < pauses[2]


async def test_a_stream_waits_as_long_as_the_exchange_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "slowly", retry_after=7)
    failure = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, error)
    (pause,) = await pauses_between(monkeypatch, Stream(failure=failure))
    assert pause >= 7


# --- the connection -------------------------------------------------------------------


async def test_speaks_only_with_a_server_of_its_authority(tmp_path: Path) -> None:
    async with running(tmp_path) as exchange:
        home = exchange.home(OHIO)
        (home.path / "server-ca.pem").write_bytes(Authority.make().pem)
        async with Client.open(home, deadline=0.5) as client:
            with pytest.raises(UnavailableError, match="cannot be reached"):
                await client.checkpoint()
        assert not exchange.calls


async def test_speaks_only_with_a_server_of_the_name(tmp_path: Path) -> None:
    async with running(tmp_path) as exchange:
        home = exchange.home(OHIO)
        toml = home.path / "member.toml"
        toml.write_text(toml.read_text().replace('"localhost"', '"elsewhere"'))
        async with Client.open(home, deadline=0.5) as client:
            with pytest.raises(UnavailableError):
                await client.checkpoint()
        assert not exchange.calls


async def test_a_refused_certificate_is_explained(tmp_path: Path) -> None:
    async with running(tmp_path) as exchange:
        home = exchange.home(OHIO)
        key, chain = Authority.make().issue(OHIO)
        home.save_tls_key(key)
        home.save_certificate(chain)
        async with Client.open(home, deadline=0.5) as client:
            with pytest.raises(UnavailableError, match="certificate"):
                await client.checkpoint()


async def test_an_expired_certificate_is_said_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as exchange:
        home = exchange.home(OHIO)
        later = exchange.now + timedelta(days=4000)
        with pytest.raises(UnauthenticatedError, match="expired"):
            await Client.open(home, clock=lambda: later).__aenter__()


async def test_a_certificate_for_another_key_is_not_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as exchange:
        home = exchange.home(OHIO)
        before = home.certificate_chain
        async with Client.open(home, clock=lambda: exchange.now) as client:
            with pytest.raises(VerificationError, match="certificate"):
                await client.renew_certificate()
        assert home.certificate_chain == before


async def test_a_stranger_gets_nowhere_without_a_certificate(tmp_path: Path) -> None:
    async with running(tmp_path) as exchange:
        home: Home = exchange.home(OHIO)
        settings = home.settings
        async with open_channel(
            settings.address, settings.server_name, root_certificates=home.server_ca
        ) as channel:
            with pytest.raises(UnavailableError):
                await Caller(0.5, zeros).call(
                    LogServiceStub(channel).GetCheckpoint,
                    log_pb2.GetCheckpointRequest(),
                )


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("exchange.example:7443", "exchange.example:7443"),
        ("10.0.0.1:7443", "10.0.0.1:7443"),
        ("10.0.0.1:7443,10.0.0.2:7444", "ipv4:10.0.0.1:7443,10.0.0.2:7444"),
        ("[::1]:7443,[fe80::2]:7444", "ipv6:[::1]:7443,[fe80::2]:7444"),
    ],
)
def test_several_addresses_are_tried_in_turn(address: str, target: str) -> None:
    assert _target(address) == target


@pytest.mark.parametrize(
    "address",
    ["a.example:7443,b.example:7443", "10.0.0.1:7443,[::1]:7443", "10.0.0.1:7443,"],
)
def test_several_addresses_that_grpc_cannot_take_are_refused(address: str) -> None:
    with pytest.raises(MalformedError, match="IP addresses of one version"):
        _target(address)
