"""What a witness keeps: never two histories, whoever asks at once."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from onward.core.errors import ConflictError, UnavailableError
from onward.core.witness import SignedCheckpoint, Verdict
from onward_server.witnessing.logs import add_log
from onward_server.witnessing.store import (
    MAX_EVIDENCE,
    Evidence,
    EvidenceKind,
    WitnessStore,
)
from tests.support.witnessing import GrownLog, make_witness, write_logs

LOG = GrownLog()
FORKED = GrownLog(story="another")
OTHER = GrownLog("log.example/other")
TIME = 1_790_000_000


def signed(log: GrownLog, size: int) -> SignedCheckpoint:
    return SignedCheckpoint(log.checkpoint(size), log.note(size))


@pytest.fixture
def store(tmp_path: Path) -> WitnessStore:
    return WitnessStore.create(tmp_path / "witness.sqlite")


def test_only_the_checkpoint_that_was_judged_by_is_replaced(
    store: WitnessStore,
) -> None:
    assert store.advance(None, signed(LOG, 3), TIME)
    assert not store.advance(None, signed(FORKED, 4), TIME)
    assert not store.advance(signed(FORKED, 3), signed(FORKED, 4), TIME)
    assert not store.advance(signed(LOG, 2), signed(LOG, 4), TIME)
    assert store.advance(signed(LOG, 3), signed(LOG, 4), TIME + 1)
    head = store.head(LOG.origin)
    assert head is not None
    assert (head.signed, head.time) == (signed(LOG, 4), TIME + 1)
    assert store.head(OTHER.origin) is None


def test_what_was_kept_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "witness.sqlite"
    store = WitnessStore.create(path)
    store.advance(None, signed(LOG, 3), TIME)
    evidence = Evidence(EvidenceKind.FORK, signed(LOG, 3), signed(FORKED, 3), TIME)
    assert store.keep(evidence)
    store.close()
    again = WitnessStore.open(path)
    assert [head.signed for head in again.heads()] == [signed(LOG, 3)]
    assert again.evidence() == [evidence]
    (durable,) = again._connection.execute("PRAGMA synchronous").fetchone()
    assert durable == 2


def test_a_witness_never_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "witness.sqlite"
    with pytest.raises(UnavailableError, match="missing"):
        WitnessStore.open(path)
    assert not path.exists()
    WitnessStore.create(path).close()
    with pytest.raises(ConflictError):
        WitnessStore.create(path)
    assert path.stat().st_mode & 0o077 == 0


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "witness.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE heads (origin TEXT)")
    connection.close()
    with pytest.raises(UnavailableError, match="no witness's database"):
        WitnessStore.open(path)
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(UnavailableError, match="cannot use its database"):
        WitnessStore.open(path)


def test_the_same_evidence_is_kept_once(store: WitnessStore) -> None:
    evidence = Evidence(EvidenceKind.FORK, signed(LOG, 3), signed(FORKED, 3), TIME)
    assert store.keep(evidence)
    later = Evidence(EvidenceKind.FORK, signed(LOG, 3), signed(FORKED, 3), TIME + 9)
    assert not store.keep(later)
    assert store.evidence() == [evidence]


def test_of_forks_the_first_are_kept_and_of_doubts_the_newest(
    store: WitnessStore,
) -> None:
    first = signed(LOG, 1)
    for size in range(2, MAX_EVIDENCE + 12):
        for kind in EvidenceKind:
            evidence = Evidence(kind, first, signed(FORKED, size), TIME)
            is_fork = kind is EvidenceKind.FORK
            assert store.keep(evidence) is (not is_fork or size < MAX_EVIDENCE + 2)
    sizes = {
        kind: [
            item.second.checkpoint.size
            for item in store.evidence()
            if item.kind is kind
        ]
        for kind in EvidenceKind
    }
    assert sizes[EvidenceKind.FORK] == [*range(2, MAX_EVIDENCE + 2)]
    assert sizes[EvidenceKind.UNPROVEN] == [*range(12, MAX_EVIDENCE + 12)]
    other = Evidence(EvidenceKind.FORK, signed(OTHER, 1), signed(OTHER, 2), TIME)
    assert store.keep(other), "each log has its own share"


def test_a_doubt_ends_when_the_log_proves_it(store: WitnessStore) -> None:
    store.advance(None, signed(LOG, 3), TIME)
    for size in (5, 6):
        doubt = Evidence(EvidenceKind.UNPROVEN, signed(LOG, 3), signed(LOG, size), TIME)
        store.keep(doubt)
    fork = Evidence(EvidenceKind.FORK, signed(LOG, 3), signed(FORKED, 5), TIME)
    store.keep(fork)
    store.advance(signed(LOG, 3), signed(LOG, 5), TIME)
    assert [(item.kind, item.second.checkpoint.size) for item in store.evidence()] == [
        (EvidenceKind.UNPROVEN, 6),
        (EvidenceKind.FORK, 5),
    ]


def test_of_two_histories_in_many_threads_one_is_cosigned(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, LOG)
    stories = [GrownLog(story=f"story {number}") for number in range(8)]
    requests = [story.request(0, 4) for story in stories] * 8
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(witness.add_checkpoint, requests))
    verdicts = {answer.verdict for answer in answers}
    assert verdicts <= {Verdict.CONSISTENT, Verdict.STALE}
    cosigned = {
        request
        for request, answer in zip(requests, answers, strict=True)
        if answer.verdict is Verdict.CONSISTENT
    }
    assert len(cosigned) == 1
    witness.close()


def test_of_many_processes_one_gets_each_size_cosigned(tmp_path: Path) -> None:
    make_witness(tmp_path, LOG).close()
    reports = [tmp_path / f"process-{number}" for number in range(4)]
    fork = get_context("fork")
    processes = [fork.Process(target=_grow, args=(tmp_path, one)) for one in reports]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    sizes = [int(line) for one in reports for line in one.read_text().split()]
    assert sorted(sizes) == list(range(1, len(sizes) + 1))
    assert len(sizes) >= 60
    witness = make_witness(tmp_path)
    assert witness.store.evidence() == []
    witness.close()


def _grow(folder: Path, report: Path) -> None:
    """Competes for each next size; reports those that it got cosigned."""
    witness = make_witness(folder)
    sizes = []
    for _ in range(60):
        head = witness.store.head(LOG.origin)
        old = head.signed.checkpoint.size if head else 0
        answer = witness.add_checkpoint(LOG.request(old, old + 1))
        if answer.verdict is Verdict.CONSISTENT:
            sizes.append(answer.size)
    report.write_text("\n".join(map(str, sizes)))
    witness.close()


def test_a_log_is_added_once_and_other_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / "logs"
    write_logs(path, LOG)
    path.write_text(path.read_text().rstrip("\n"))
    assert add_log(path, OTHER.signer.vkey, "https://log.example")
    assert not add_log(path, OTHER.signer.vkey)
    assert path.read_text() == (
        f"# logs\nlog {LOG.signer.vkey.format()}\n"
        f"log {OTHER.signer.vkey.format()} https://log.example\n"
    )
