"""Is the log sound, and does it belong to these keys and this guard?"""

from __future__ import annotations

from collections.abc import AsyncIterator

from onward.core.checkpoints import Checkpoint
from onward.core.directory import StatementKeySet
from onward.core.errors import OnwardError
from onward.core.notes import open_note
from onward.core.statements import parse_statement
from onward_server.config import Config
from onward_server.databases import open_store
from onward_server.doctor.database import RESTORE
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.exchange.guard import SignedHead, read_guard
from onward_server.exchange.receipts import Receipts
from onward_server.material import Material, load_material
from onward_server.rotation import waiting_file
from onward_server.storage.contract import CheckpointRow, Store


async def check_log(config: Config, clock: Clock) -> AsyncIterator[Finding]:
    """Looks at the log, and the guard."""
    material = load_material(config)
    # The guard first: a running exchange moves on between the two.
    last = read_guard(config.storage.guard_file)
    store = await open_store(config, beside=True)
    try:
        head = await store.head()
        if head is None:
            yield problem(
                "log", "it has not begun", "remove the folder and run init again"
            )
            return
        yield await _head(store, head, material)
        yield await _genesis(config, store, material, clock)
        yield await _guard(config, store, head, last)
        yield _time(head, clock, config)
    finally:
        await store.close()


async def _head(store: Store, head: CheckpointRow, material: Material) -> Finding:
    """Checks the newest checkpoint: its signature, its name, and its root."""
    signer = material.log_signer
    try:
        text = open_note(head.note, [signer.vkey]).text
        checkpoint = Checkpoint.parse(text)
        tree = await Receipts(store).tree(head.size, ())
    except OnwardError as error:
        return problem(
            "log",
            f"the newest checkpoint does not verify with the log's key for "
            f"{signer.name}: {error.message}",
            "put back keys.log_key_file and exchange.origin as they were",
        )
    if (checkpoint.size, checkpoint.root) != (head.size, tree.root):
        return problem("log", "the stored tree does not have the signed root", RESTORE)
    return fine("log", f"{head.size:,} entries; {signer.vkey.format()}")


async def _genesis(
    config: Config, store: Store, material: Material, clock: Clock
) -> Finding:
    """Checks that the keys are those that the log introduced."""
    subject, remedy = "statement key", "put back keys.statement_key_file as it was"
    changes = await store.history("key_change", "")
    first, last = (
        parse_statement(row.jws).message for row in (changes[0], changes[-1])
    )
    vkey = material.log_signer.vkey.format()
    if first.key_change.log_vkey != vkey:
        return problem(
            subject, f"the log began with another log key than {vkey}", remedy
        )
    keys = StatementKeySet.from_protos(first.issuer, list(last.key_change.keys))
    key_id = material.statement_key.key_id
    try:
        keys.usable(key_id, to_datetime(clock.now_ms()))
    except OnwardError as error:
        if waiting_file(config).exists():
            remedy = "run `onward-server rotate-key` again: it was cut off"
        return problem(subject, error.message, remedy)
    return fine(subject, f"{key_id} is the one that the log introduced")


async def _guard(
    config: Config, store: Store, head: CheckpointRow, last: SignedHead | None
) -> Finding:
    """Compares the log with what was signed last."""
    subject, path = "restore guard", config.storage.guard_file
    if last is None:
        return warning(
            subject,
            f"{path} holds nothing: an old copy of the database would not be noticed",
            "start the exchange once, after you have made sure that the database is "
            "the newest one",
        )
    if last.successor:
        return problem(
            subject,
            f"the log was retired at size {last.size:,}; {last.successor} goes on",
            "start the exchange in the folder of that log",
        )
    if head.size < last.size:
        return problem(
            subject,
            f"the database has {head.size:,} entries, and {last.size:,} were signed: "
            "it is an old copy, and signing on would fork the log",
            RESTORE,
        )
    root = (await Receipts(store).tree(last.size, ())).root if last.size else last.root
    if root != last.root:
        return problem(
            subject,
            f"at size {last.size:,} another root was signed than the database has",
            RESTORE,
        )
    return fine(subject, f"agrees with the log at size {last.size:,}")


def _time(head: CheckpointRow, clock: Clock, config: Config) -> Finding:
    """Compares the machine's clock with the newest checkpoint."""
    ahead_ms = head.signed_ms - clock.now_ms()
    if ahead_ms > config.limits.clock_tolerance_seconds * 1000:
        return problem(
            "clock",
            f"the newest checkpoint was signed {ahead_ms // 1000:,} s in the future",
            "set the machine's clock, and keep it with NTP",
        )
    signed = to_datetime(head.signed_ms)
    return fine("clock", f"the newest checkpoint is of {signed:%Y-%m-%d %H:%M:%S} UTC")
