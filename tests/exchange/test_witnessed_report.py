"""The auditor's report on an exchange with real witnesses, whatever its clock says."""

from __future__ import annotations

from pathlib import Path

from onward._audit import _Writer
from onward._auditing import audit_folder
from onward._evidence import Folder
from onward._vouchers import write_voucher
from onward.core.audit.deadlines import judge_duty
from onward.core.audit.evidence import format_header
from onward.core.audit.result import Audited
from onward.core.notes import parse_note
from onward.core.timing import Judgement, Source
from onward.v1 import log_pb2
from onward_server.exchange.voucher_pages import voucher_page
from onward_server.services import convert
from tests.exchange.test_submission import acknowledged
from tests.exchange.test_witnessed_bundles import trust
from tests.support.auditing import WHOLE_AUDITOR, join_auditors, nothing
from tests.support.audits import whys, wrong
from tests.support.witnesses import Town, WitnessedWorld, be_witnessed
from tests.support.world import SettableClock, open_world, populate

HOUR = 3600


async def download(witnessed: WitnessedWorld, path: Path) -> None:
    """Writes an export, with what the witnesses had seen, as an auditor keeps it."""
    world, folder = witnessed.world, Folder(path)
    path.mkdir()
    with folder.statements.open("w") as file:
        writer = _Writer(file)
        async for part in world.auditing.export(
            world.caller(WHOLE_AUDITOR), 0, nothing
        ):
            message = convert.to_export_response(part)
            if message.HasField("header"):
                folder.header.write_bytes(format_header(message.header))
            for item in message.statements.statements:
                writer.write(item.log_index, item.statement)
    await witnessed.ask()
    note = witnessed.log.witnessed()
    size = int(note.split("\n")[1])
    folder.checkpoint.write_text(note)
    folder.entries.write_bytes(b"".join(await world.store.digests(0, size)))
    page = await voucher_page(world.store, 0, 0, 250)
    with folder.checkpoints.open("w") as first, folder.timestamps.open("w") as second:
        for voucher in page.vouchers:
            size = int(parse_note(voucher.note).text.split("\n")[1])
            listed = log_pb2.VouchedCheckpoint(checkpoint=voucher.note)
            write_voucher(first, second, size, listed)


async def audited(folder: Path, ahead: int, *, jumps: bool = False) -> Audited:
    """A tip is read at an exchange whose clock, and its members', is ahead."""
    truth = SettableClock()
    clock = SettableClock(truth.ms + (0 if jumps else ahead * 1000))
    (folder / "exchange").mkdir()
    async with open_world(folder / "exchange", clock) as world:
        town = Town(folder / "town", truth)
        async with be_witnessed(world, town) as witnessed:
            await populate(world)
            await join_auditors(world)
            await acknowledged(world)
            await witnessed.ask()
            clock.advance(ahead if jumps else 0)
            await witnessed.grow()
            for moved in (truth, clock):
                moved.advance(HOUR)
            await download(witnessed, folder / "evidence")
            policy = trust(witnessed, "all")
    return audit_folder(folder / "evidence", policy, "*", lambda _: None, 0)


async def test_a_right_clock_is_borne_out_by_the_witnesses(tmp_path: Path) -> None:
    found = await audited(tmp_path, 0)
    assert wrong(found) == set()
    sources = {found.clock.source(at) for at in found.places}
    assert sources == {Source.WITNESSES}
    assert "0 claimed only" in found.steps[9].why


async def test_a_clock_that_is_ahead_is_refuted(tmp_path: Path) -> None:
    found = await audited(tmp_path, 2 * HOUR)
    assert wrong(found) == {"timing"}
    assert len(whys(found, "timing")) == len(found.places)
    assert "had seen it in the log (witnessed)" in whys(found, "timing")[0]


async def test_a_clock_that_falls_back_contradicts_itself(tmp_path: Path) -> None:
    found = await audited(tmp_path, -2 * HOUR, jumps=True)
    assert "timing" in wrong(found)
    assert any("backdated" in why for why in whys(found, "timing"))


async def test_a_clock_that_is_behind_proves_nothing_in_time(tmp_path: Path) -> None:
    found = await audited(tmp_path, -60 * 24 * HOUR)
    assert wrong(found) == set()
    kept = [
        judge_duty(duty, found.clock, found.log_size)
        for duty in found.duties
        if duty.done >= 0
    ]
    assert kept
    assert {item.judgement for item in kept if item} == {Judgement.UNDETERMINED}
