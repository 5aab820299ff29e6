"""The witness over HTTP, as any log finds it: every status, header and byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from onward.core.checkpoints import Checkpoint
from onward.core.notes import Note, open_note, parse_note
from onward.core.witness import AddCheckpoint, Verdict
from onward_server.telemetry import Metric, Telemetry
from onward_server.web.server import WebPort, WebServer, web_app
from onward_server.web.witness import witness_routes
from onward_server.witnessing.founding import WitnessFounding, found_witness
from onward_server.witnessing.store import EvidenceKind
from onward_server.witnessing.witness import Witness
from tests.support.service import open_service
from tests.support.witnessing import (
    COSIGNER,
    GrownLog,
    key,
    make_witness,
    write_logs,
)
from tests.support.world import START_MS, SettableClock

LOG = GrownLog()
OTHER = GrownLog("log.example/other")
FORKED = GrownLog(story="another")


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def witness(tmp_path: Path, clock: SettableClock) -> Witness:
    return make_witness(tmp_path, LOG, clock=clock)


@pytest.fixture
async def log(witness: Witness) -> AsyncIterator[httpx.AsyncClient]:
    server = WebServer(web_app(witness_routes(witness)), WebPort("127.0.0.1:0"))
    await server.start()
    url = f"http://127.0.0.1:{server.number}"
    try:
        async with httpx.AsyncClient(base_url=url) as client:
            yield client
    finally:
        await server.stop(0)
        witness.close()


async def add(
    client: httpx.AsyncClient, old: int, size: int, log: GrownLog = LOG
) -> httpx.Response:
    return await client.post("/add-checkpoint", content=log.request(old, size))


def times(answer: httpx.Response, log: GrownLog, size: int) -> list[int | None]:
    """Verifies an answer as a log does: after its own note, by the witness's key."""
    assert answer.status_code == 200, answer.text
    note = log.note(size) + answer.text
    opened = open_note(note, [COSIGNER.vkey])
    assert Checkpoint.parse(opened.text) == log.checkpoint(size)
    return [signature.time for signature in opened.signatures]


def stale(answer: httpx.Response, size: int) -> bool:
    """Whether it says that the witness goes on from a size, to the byte."""
    return (answer.status_code, answer.headers["content-type"], answer.content) == (
        409,
        "text/x.tlog.size",
        f"{size}\n".encode(),
    )


async def test_a_log_that_grows_is_cosigned(
    log: httpx.AsyncClient, clock: SettableClock
) -> None:
    for old, size in [(0, 1), (1, 2), (2, 7), (7, 8), (8, 300)]:
        clock.advance(10)
        answer = await add(log, old, size)
        assert times(answer, LOG, size) == [clock.ms // 1000]
        assert answer.text.startswith("\N{EM DASH} witness.example/w1 ")
        assert answer.text.count("\n") == 1


async def test_the_same_checkpoint_is_cosigned_again_at_its_time(
    log: httpx.AsyncClient, clock: SettableClock
) -> None:
    first = await add(log, 0, 5)
    assert (await add(log, 5, 5)).text == first.text
    clock.advance(60)
    assert times(await add(log, 5, 5), LOG, 5) == [START_MS // 1000 + 60]


async def test_an_empty_log_can_be_witnessed_from_its_beginning(
    log: httpx.AsyncClient,
) -> None:
    assert times(await add(log, 0, 0), LOG, 0)
    assert times(await add(log, 0, 0), LOG, 0)
    assert times(await add(log, 0, 3), LOG, 3)


async def test_a_log_that_has_lost_the_thread_is_told_the_size(
    log: httpx.AsyncClient,
) -> None:
    assert stale(await add(log, 3, 5), 0)
    await add(log, 0, 5)
    for old, size in [(0, 5), (0, 6), (4, 6), (3, 4), (6, 6), (6, 9)]:
        assert stale(await add(log, old, size), 5), (old, size)
    assert times(await add(log, 5, 6), LOG, 6)


async def test_old_zero_asks_for_the_size_also_with_a_proof(
    log: httpx.AsyncClient,
) -> None:
    await add(log, 0, 5)
    request = AddCheckpoint(0, [bytes(32)], parse_note(LOG.note(6)))
    assert stale(await log.post("/add-checkpoint", content=request.format()), 5)


async def test_an_unknown_log_is_not_found(log: httpx.AsyncClient) -> None:
    assert (await add(log, 0, 5, OTHER)).status_code == 404


async def test_a_signature_of_no_known_key_is_forbidden(
    log: httpx.AsyncClient,
) -> None:
    text = LOG.checkpoint(5).text
    by_other = OTHER.signer.sign(text)
    request = AddCheckpoint(0, [], Note(text, (by_other,)))
    answer = await log.post("/add-checkpoint", content=request.format())
    assert answer.status_code == 403


async def test_a_known_key_that_signed_something_else_is_forbidden(
    log: httpx.AsyncClient,
) -> None:
    wrong = LOG.signer.sign(LOG.checkpoint(4).text)
    right = LOG.signer.sign(LOG.checkpoint(5).text)
    for lines in [(wrong,), (right, wrong)]:
        request = AddCheckpoint(0, [], Note(LOG.checkpoint(5).text, lines))
        answer = await log.post("/add-checkpoint", content=request.format())
        assert answer.status_code == 403


async def test_unknown_signatures_beside_a_known_one_are_ignored(
    log: httpx.AsyncClient, witness: Witness
) -> None:
    text = LOG.checkpoint(5).text
    lines = (OTHER.signer.sign(text), LOG.signer.sign(text), COSIGNER.sign(text, 7))
    request = AddCheckpoint(0, [], Note(text, lines))
    answer = await log.post("/add-checkpoint", content=request.format())
    assert times(answer, LOG, 5) == [START_MS // 1000]
    (head,) = witness.store.heads()
    assert head.signed.note == LOG.note(5)


@pytest.mark.parametrize(
    "proof",
    [
        [],
        [bytes(32)],
        list(LOG.proof(5, 9))[:-1],
        [*LOG.proof(5, 9), bytes(32)],
        list(LOG.proof(5, 8)),
    ],
)
async def test_a_proof_that_fails_is_not_processed(
    log: httpx.AsyncClient, proof: list[bytes]
) -> None:
    await add(log, 0, 5)
    request = AddCheckpoint(5, proof, parse_note(LOG.note(9)))
    answer = await log.post("/add-checkpoint", content=request.format())
    assert answer.status_code == 422
    assert stale(await add(log, 0, 9), 5)
    assert times(await add(log, 5, 9), LOG, 9)


async def test_a_proof_from_nothing_is_not_processed(log: httpx.AsyncClient) -> None:
    request = AddCheckpoint(0, [bytes(32)], parse_note(LOG.note(5)))
    answer = await log.post("/add-checkpoint", content=request.format())
    assert answer.status_code == 422


async def test_another_root_of_the_same_size_is_not_processed_and_kept(
    log: httpx.AsyncClient, witness: Witness
) -> None:
    await add(log, 0, 5)
    answer = await add(log, 5, 5, FORKED)
    assert answer.status_code == 422
    assert answer.headers["content-type"] != "text/x.tlog.size"
    (evidence,) = witness.store.evidence()
    assert evidence.kind is EvidenceKind.FORK
    assert (evidence.first.note, evidence.second.note) == (LOG.note(5), FORKED.note(5))
    assert times(await add(log, 5, 6), LOG, 6)


async def test_an_empty_log_with_entries_is_not_processed(
    log: httpx.AsyncClient,
) -> None:
    text = LOG.checkpoint(0).text.replace("47DEQpj8", "57DEQpj8")
    request = AddCheckpoint(0, [], Note(text, (LOG.signer.sign(text),)))
    answer = await log.post("/add-checkpoint", content=request.format())
    assert answer.status_code == 422


NOTE = LOG.note(5)
LINE = "A" * 43 + "=\n"


MALFORMED = [
    "",
    "\n",
    "old 0",
    "old 0\n",
    f"old 0\n{NOTE}",
    NOTE,
    f"\n{NOTE}",
    f"old\n\n{NOTE}",
    f"old \n\n{NOTE}",
    f"old  0\n\n{NOTE}",
    f"old 00\n\n{NOTE}",
    f"old 05\n\n{NOTE}",
    f"old -1\n\n{NOTE}",
    f"old +0\n\n{NOTE}",
    f"old 0 \n\n{NOTE}",
    f"old 0\r\n\r\n{NOTE}",
    f"Old 0\n\n{NOTE}",
    f"old 9223372036854775808\n\n{NOTE}",
    f"old 6\n\n{NOTE}",  # larger than the checkpoint
    f"old 0\n{LINE * 64}\n{NOTE}",
    f"old 0\nAAAA\n\n{NOTE}",
    f"old 0\n{LINE[:-2]}\n\n{NOTE}",
    f"old 0\n\n{NOTE[:-1]}",
    f"old 0\n\n{LOG.checkpoint(5).text}",
    f"old 0\n\n{NOTE}".replace("\N{EM DASH}", "-"),
]


async def test_what_is_malformed_is_a_bad_request(log: httpx.AsyncClient) -> None:
    for body in MALFORMED:
        answer = await log.post("/add-checkpoint", content=body)
        assert answer.status_code == 400, body
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_bytes_that_are_no_text_are_a_bad_request(log: httpx.AsyncClient) -> None:
    body = LOG.request(0, 5).replace(b"old", b"ol\xff")
    assert (await log.post("/add-checkpoint", content=body)).status_code == 400


async def test_extension_lines_are_a_bad_request(log: httpx.AsyncClient) -> None:
    text = f"{LOG.checkpoint(5).text}extension\n"
    request = AddCheckpoint(0, [], Note(text, (LOG.signer.sign(text),)))
    answer = await log.post("/add-checkpoint", content=request.format())
    assert answer.status_code == 400


async def test_a_large_body_is_not_read(log: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield bytes(1024)

    body = LOG.request(0, 5) + b" " * 65536
    assert (await log.post("/add-checkpoint", content=body)).status_code == 413
    answer = await log.post("/add-checkpoint", content=endless())
    assert answer.status_code == 413


async def test_a_body_may_come_in_pieces(log: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in LOG.request(0, 5):
            yield bytes([byte])

    answer = await log.post("/add-checkpoint", content=pieces())
    assert times(answer, LOG, 5)


async def test_only_post_is_allowed(log: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await log.request(method, "/add-checkpoint")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
    assert (await log.post("/add-checkpoint/", content=b"")).status_code == 404


async def test_a_log_is_known_as_soon_as_its_file_says_so(
    log: httpx.AsyncClient, tmp_path: Path
) -> None:
    await add(log, 0, 5)
    write_logs(tmp_path / "logs", LOG, OTHER)
    assert times(await add(log, 0, 3, OTHER), OTHER, 3)
    write_logs(tmp_path / "logs", OTHER)
    assert (await add(log, 5, 6)).status_code == 404
    write_logs(tmp_path / "logs", LOG)
    assert stale(await add(log, 0, 6), 5), "what was cosigned stays"


async def test_a_file_of_logs_that_is_broken_changes_nothing(
    log: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "logs").write_text("log nonsense\n")
    assert times(await add(log, 0, 5), LOG, 5)
    (tmp_path / "logs").unlink()
    assert times(await add(log, 5, 6), LOG, 6)


async def test_a_log_may_change_its_key(log: httpx.AsyncClient, tmp_path: Path) -> None:
    await add(log, 0, 5)
    successor = type(LOG.signer)(LOG.origin, key("successor"))
    vkey = f"log {successor.vkey.format()}\n"
    (tmp_path / "logs").write_text(f"log {LOG.signer.vkey.format()}\n{vkey}")
    note = parse_note(LOG.checkpoint(8).sign(successor))
    request = AddCheckpoint(5, LOG.proof(5, 8), note)
    answer = await log.post("/add-checkpoint", content=request.format())
    assert times(answer, LOG, 8)


async def test_of_many_histories_at_once_one_is_cosigned(
    log: httpx.AsyncClient,
) -> None:
    stories = [GrownLog(story=f"story {number}") for number in range(20)]
    answers = await asyncio.gather(*(add(log, 0, 4, story) for story in stories))
    codes = [answer.status_code for answer in answers]
    assert sorted(codes) == [200] + [409] * 19
    chosen = stories[codes.index(200)]
    assert times(await add(log, 4, 9, chosen), chosen, 9)


async def test_a_database_that_fails_is_told_as_such(
    log: httpx.AsyncClient, witness: Witness
) -> None:
    witness.store._connection.execute("PRAGMA query_only = ON")
    answer = await add(log, 0, 5)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    witness.store._connection.execute("PRAGMA query_only = OFF")
    assert times(await add(log, 0, 5), LOG, 5)


class Counted:
    """Telemetry that keeps what counters are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, str]]] = []
        self.telemetry = Telemetry()
        self.telemetry.tell = self.tell  # type: ignore[method-assign]

    def tell(
        self, metric: Metric, value: float, attributes: Mapping[str, str] | None = None
    ) -> None:
        assert value == 1
        self.told.append((metric.name, attributes or {}))


async def test_a_fork_alarms_once(tmp_path: Path) -> None:
    counted = Counted()
    witness = make_witness(tmp_path, LOG, telemetry=counted.telemetry)
    requests = [
        LOG.request(0, 5),
        FORKED.request(5, 5),
        FORKED.request(5, 5),
        FORKED.request(0, 5),  # told the size, and still two roots for one size
        FORKED.request(5, 6),
        FORKED.request(5, 6),
    ]
    with capture_logs() as events:
        verdicts = [witness.add_checkpoint(request).verdict for request in requests]
    wrong, stale = Verdict.INCONSISTENT, Verdict.STALE
    assert verdicts == [Verdict.CONSISTENT, wrong, wrong, stale, wrong, wrong]
    assert [
        (event["event"], event["log_level"], event["refused_size"]) for event in events
    ] == [("witness.fork", "error", 5), ("witness.unproven", "error", 6)]
    log = {"onward.log": LOG.origin}
    assert counted.told == [
        ("onward.witness.cosigned", log),
        ("onward.witness.evidence", log | {"onward.evidence": "fork"}),
        ("onward.witness.evidence", log | {"onward.evidence": "unproven"}),
    ]
    witness.close()


async def test_an_exchange_witnesses_on_its_port_for_everybody(tmp_path: Path) -> None:
    cosigner = found_witness(WitnessFounding(tmp_path / "witness", "peer.example/w1"))
    write_logs(tmp_path / "witness" / "logs", LOG)
    settings = {
        "ONWARD__WEB__LISTEN": "127.0.0.1:0",
        "ONWARD__WEB__URL": "https://national.example/log",
        "ONWARD__WITNESS__NAME": "peer.example/w1",
        "ONWARD__WITNESS__KEY_FILE": str(tmp_path / "witness" / "witness.key"),
        "ONWARD__WITNESS__LOGS_FILE": str(tmp_path / "witness" / "logs"),
        "ONWARD__WITNESS__DATABASE_FILE": str(tmp_path / "witness" / "witness.sqlite"),
    }
    async with open_service(tmp_path, settings) as service:
        url = f"http://127.0.0.1:{service.app.web_port}/log"
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.post("/add-checkpoint", content=LOG.request(0, 5))
            note = open_note(LOG.note(5) + answer.text, [cosigner.vkey])
            assert note.text == LOG.checkpoint(5).text
            own = await client.get("/checkpoint")
            assert own.status_code == 200
            request = AddCheckpoint(0, (), parse_note(own.text))
            answer = await client.post("/add-checkpoint", content=request.format())
            assert answer.status_code == 404, "its own log is not one that it was told"
            trust = (service.folder / "operator" / "trust.txt").read_text()
            (tmp_path / "witness" / "logs").write_text(trust)
            answer = await client.post("/add-checkpoint", content=request.format())
            note = open_note(own.text + answer.text, [cosigner.vkey])
            assert note.text == request.note.text


async def test_an_exchange_that_is_no_witness_has_no_such_path(tmp_path: Path) -> None:
    async with open_service(
        tmp_path, {"ONWARD__WEB__LISTEN": "127.0.0.1:0"}
    ) as service:
        url = f"http://127.0.0.1:{service.app.web_port}"
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.post("/add-checkpoint", content=LOG.request(0, 5))
            assert answer.status_code == 404
