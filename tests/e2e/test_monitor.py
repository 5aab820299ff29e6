"""``onward monitor`` as an auditor runs it: processes, a real port, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from onward.client import Client
from onward.core.errors import ForkError
from onward.core.merkle import leaf_hash
from onward.core.notes import open_note, parse_note
from onward.core.tiles import tile_paths
from onward.core.witness import AddCheckpoint, Verdict
from onward.monitor import Condition, HttpSource, Mirror, Monitor, load_cosigner
from onward_server.witnessing.store import EvidenceKind
from tests.support import fake_exchange
from tests.support.chain_builder import HOTLINE, OHIO, note_key
from tests.support.desk import WITH_CTRL_C
from tests.support.pages import DOCS, SECONDS, session
from tests.support.process import BIN, ExchangeProcess, _environment, free_port
from tests.support.served_log import ServedLog, digests, serving
from tests.support.witnessing import make_witness

pytestmark = pytest.mark.timeout(SECONDS + 30)


class Auditor:
    """Somebody with a trust file and a folder.

    Attributes:
        log: what is monitored.
        url: where it is.
        folder: where the mirror and everything else is.
    """

    def __init__(self, log: ServedLog, url: str, folder: Path) -> None:
        self.log = log
        self.url = url
        self.folder = folder
        (folder / "trust.txt").write_text(log.trust)

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"

    def start(self, *more: str) -> subprocess.Popen[str]:
        trust, mirror = str(self.folder / "trust.txt"), str(self.mirror)
        words = ("monitor", self.url, "--trust", trust, "--mirror", mirror, "--json")
        return subprocess.Popen(
            [sys.executable, "-c", WITH_CTRL_C, str(BIN / "onward"), *words, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        )

    def once(self, *more: str) -> tuple[int, dict[str, Any]]:
        """Does one round; returns the exit code and what was said."""
        with self.start("--once", *more) as process:
            said, error = process.communicate()
        assert said, error
        return process.returncode, json.loads(said)

    def is_complete(self) -> bool:
        """Whether the mirror has every file of the log."""
        return all(
            (self.mirror / path).read_bytes() == self.log.file(path)
            for path in ("checkpoint", *tile_paths(len(self.log.entries)))
        )


@pytest.fixture
def auditor(tmp_path: Path) -> Iterator[Auditor]:
    log = ServedLog(digests(700))
    with serving(log) as url:
        yield Auditor(log, url, tmp_path)


def test_each_condition_has_its_exit_code(auditor: Auditor) -> None:
    log = auditor.log
    # 1. An honest log.
    code, said = auditor.once()
    assert (code, said["condition"], said["size"], said["added"]) == (0, None, 700, 700)
    assert auditor.is_complete()
    # 2. What it serves is not what it has signed.
    log.grow(100)
    log.tamper["tile/entries/003.p/32"] = lambda honest: honest[:-1] + b"\0"
    code, said = auditor.once()
    assert (code, said["condition"], said["size"]) == (1, "BAD_TILE", 700)
    assert "tile/entries/003.p/32" in said["why"]
    log.tamper.clear()
    # 3. It cannot be reached.
    log.down = True
    code, said = auditor.once()
    assert (code, said["condition"]) == (3, "UNREACHABLE")
    log.down = False
    # 4. It is well again.
    code, said = auditor.once()
    assert (code, said["condition"], said["added"]) == (0, None, 100)
    # 5. It takes something back.
    whole = log.entries
    log.entries = whole[:750]
    code, said = auditor.once()
    assert (code, said["condition"]) == (1, "SHRUNK")
    # 6. It has another history.
    log.entries = [*whole[:750], *digests(100, "another")]
    code, said = auditor.once()
    assert (code, said["condition"]) == (1, "FORK")
    evidence = Path(said["evidence"])
    assert (evidence / "second").read_text() == log.note()
    assert (evidence / "README.txt").exists()
    # 7. That is not forgotten.
    log.entries = whole
    code, said = auditor.once()
    assert (code, said["condition"], said["evidence"]) == (1, "FORK", str(evidence))


def test_what_is_not_well_formed_is_told_before_any_work(auditor: Auditor) -> None:
    for url, trust in (("ftp://a.example", auditor.log.trust), (auditor.url, "x")):
        auditor.url = url
        (auditor.folder / "trust.txt").write_text(trust)
        with auditor.start("--once") as process:
            assert process.wait() == 2
    assert not auditor.log.fetched


def test_a_program_is_told_once_of_each_condition(auditor: Auditor) -> None:
    told = auditor.folder / "told"
    script = (
        "import os, sys; "
        f"open({str(told)!r}, 'a').write(sys.stdin.read()); "
        "sys.exit(os.environ['ONWARD_CONDITION'] == 'STALE' and "
        f"not os.path.exists({str(auditor.folder / 'ready')!r}))"
    )
    program = "--exec", shlex.join([sys.executable, "-c", script])

    def conditions() -> list[str]:
        lines = told.read_text().splitlines() if told.exists() else []
        return [json.loads(line)["condition"] for line in lines]

    auditor.once(*program)
    assert conditions() == []
    auditor.log.tamper["checkpoint"] = lambda _: b"under construction"
    for _ in range(2):
        code, _ = auditor.once(*program)
        assert code == 3
    assert conditions() == ["UNTRUSTED"]
    # A program that fails is told again, also after a restart.
    auditor.log.tamper.clear()
    for _ in range(2):
        auditor.once(*program, "--stale-after", "0.0001")
    assert conditions() == ["UNTRUSTED", "STALE", "STALE"]
    (auditor.folder / "ready").touch()
    for _ in range(2):
        auditor.once(*program, "--stale-after", "0.0001")
    assert conditions() == ["UNTRUSTED", *["STALE"] * 3]
    # What ended and comes again is told again.
    auditor.once(*program)
    auditor.once(*program, "--stale-after", "0.0001")
    assert conditions() == ["UNTRUSTED", *["STALE"] * 4]


def test_a_monitor_follows_and_ends_with_a_fork(auditor: Auditor) -> None:
    log = auditor.log
    key = "--cosign-key", str(auditor.folder / "key")
    process = auditor.start("--interval", "1", *key, "--cosign-name", "auditor.example")
    assert process.stdout
    with process:
        first = json.loads(process.stdout.readline())
        assert (first["size"], first["condition"]) == (700, None)
        note, vkey = log.note(), load_cosigner(auditor.folder / "key").vkey
        assert open_note(note + first["cosignature"], [vkey]).signatures[0].time
        log.grow(7)
        assert json.loads(process.stdout.readline())["added"] == 7
        log.entries = digests(706) + digests(1, "another")
        last = json.loads(process.stdout.readline())
        assert (last["condition"], last["cosignature"]) == ("FORK", None)
    assert process.returncode == 1


def test_a_monitor_stops_in_good_order(auditor: Auditor) -> None:
    for how, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = auditor.start()
        assert process.stdout
        with process:
            process.stdout.readline()
            process.send_signal(how)
        assert process.returncode == code


def killing(process: Callable[[], int], answers: int) -> Callable[[], None]:
    """Kills a process after some more answers."""
    came = count(1)

    def after() -> None:
        if next(came) == answers:
            os.kill(process(), signal.SIGKILL)

    return after


def test_a_monitor_that_is_killed_goes_on_where_it_was(auditor: Auditor) -> None:
    log = auditor.log
    for answers in (1, 2, 4, 8, 16):
        log.grow(600)
        started: list[int] = []
        log.after = killing(lambda pids=started: pids[0], answers)  # type: ignore[misc]
        process = auditor.start("--once")
        started.append(process.pid)
        with process:
            process.wait()
        log.after = lambda: None
        assert process.returncode in {-signal.SIGKILL, 0}
    log.fetched.clear()
    code, said = auditor.once()
    assert (code, said["size"]) == (0, 3700)
    assert len(log.fetched) < 40, "what was there is not fetched again"
    assert auditor.is_complete()


def test_a_mirror_is_a_log_to_others(auditor: Auditor) -> None:
    auditor.once()
    copy = ServedLog()
    copy.file = lambda path: (  # type: ignore[method-assign]
        file.read_bytes() if (file := auditor.mirror / path).is_file() else None
    )
    with serving(copy) as url:
        second = auditor.folder / "second"
        second.mkdir()
        other = Auditor(auditor.log, url, second)
        assert other.once()[0] == 0
        assert other.is_complete()


async def test_client_witness_and_monitor_each_notice_a_fork(tmp_path: Path) -> None:
    async with fake_exchange.running(tmp_path) as exchange:
        builder = exchange.builder
        builder.publish(HOTLINE, OHIO)
        entries = [item.statement.digest for item in builder.log]
        log = ServedLog(entries, builder.signer.name, note_key)
        witness = make_witness(tmp_path)
        (tmp_path / "logs").write_text(f"log {log.signer.vkey.format()}\n")

        def ask(old: int) -> Verdict:
            note = parse_note(log.note())
            return witness.add_checkpoint(AddCheckpoint(old, (), note).format()).verdict

        with serving(log) as url, Mirror(tmp_path / "mirror") as mirror:
            async with (
                HttpSource(url) as source,
                Client.open(
                    exchange.home(HOTLINE), clock=lambda: exchange.now
                ) as client,
            ):
                monitor = Monitor(source, log.policy, mirror)
                # 1. All three see one history, and are content.
                assert (await monitor.round()).finding is None
                assert ask(0) is Verdict.CONSISTENT
                size = (await client.checkpoint()).size
                assert size == len(entries)
                assert client.home.checkpoint() == log.note()
                # 2. The log's key signs another one of the same size.
                log.entries = [*entries[:-1], *digests(1, "another")]
                builder._leaves[-1] = leaf_hash(log.entries[-1])
                assert builder.checkpoint() == log.note()
                # 3. Each of them notices, alone, and has the evidence.
                found = (await monitor.round()).finding
                assert found
                assert found.condition is Condition.FORK
                assert ask(size) is Verdict.INCONSISTENT
                (kept,) = witness.store.evidence()
                assert kept.kind is EvidenceKind.FORK
                with pytest.raises(ForkError) as caught:
                    await client.checkpoint()
                assert found.evidence
                seconds = {
                    (found.evidence / "second").read_text(),
                    kept.second.note,
                    caught.value.second,
                }
                assert seconds == {log.note()}
        witness.close()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[tuple[ExchangeProcess, str]]:
    """A running exchange that shows its log, and where."""
    port = free_port()
    found = ExchangeProcess.found(
        tmp_path, {"ONWARD__WEB__LISTEN": f"127.0.0.1:{port}"}
    )
    (tmp_path / "trust.txt").write_bytes((found.operator / "trust.txt").read_bytes())
    found.start()
    yield found, f"http://127.0.0.1:{port}"
    found.stop()


def test_an_exchange_is_monitored_as_the_page_says(
    exchange: tuple[ExchangeProcess, str], tmp_path: Path
) -> None:
    running, url = exchange
    asyncio.run(running.populate())
    page = (DOCS / "how-to" / "monitor-a-log.md").read_text("utf-8")
    for step in session(page, tmp_path, {"LOG": url}):
        step.check()
    words = [f"`{condition.value}`" for condition in Condition]
    assert all(word in page for word in words)
    assert (tmp_path / "mirror/cosigned").exists()
