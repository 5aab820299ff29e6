"""Beginning a successor of a log: ``onward-server log succeed``.

It takes the exchange, which must not run, into a new folder, where it goes on with a
new log key under another origin. Everything else stays as it was: members, their keys
and certificates, referrals, deliveries, deadlines, contents.

1. What the log signed last is found: in the database, by the guard, or by a checkpoint
   that somebody else has kept. If the database lacks entries of it, they are lost, and
   whoever runs this must have said so.
2. The exchange is copied, the log is taken out of the copy, and written again as the
   successor's (:mod:`onward_server.exchange.succession`).
3. The old folder's guard is retired: from here on nothing is signed there.
4. The new folder gets its configuration: from here on it is an exchange.

Whoever is cut off before the end removes the new folder and runs it again.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from onward._files import make_private_dir, write_atomically
from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, Reason, StateError
from onward.core.notes import Vkey, open_note, sign_note
from onward.core.statements import parse_statement
from onward.home import Home
from onward.v1 import statement_pb2
from onward_server import config_pages
from onward_server.backup import back_up
from onward_server.bootstrap import OPERATOR_HOME, make_log_keys, open_ledger
from onward_server.config import FILE_NAME, Config, Section, make
from onward_server.databases import open_store, require_file
from onward_server.exchange.clock import Clock, Entropy
from onward_server.exchange.draft import Voice
from onward_server.exchange.genesis import SuccessionChange
from onward_server.exchange.guard import Guard, SignedHead
from onward_server.exchange.receipts import Receipts
from onward_server.exchange.succession import Heir, carry_over
from onward_server.material import (
    load_log_cosigner,
    load_log_signer,
    load_material,
    make_issuing,
    read_file,
)
from onward_server.rotation import check_finished
from onward_server.storage.contract import CheckpointRow, Store
from onward_server.storage.sqlite import make_successor, open_sqlite

TRUST: Final = "trust.txt"
"""The trust file in the new folder: the successor's key, and the predecessor's."""

_OWN: Final = {
    "exchange": ("origin", "data_dir"),
    "keys": ("log_key_file", "log_mldsa_key_file"),
    "storage": ("database_file", "guard_file"),
}
"""Values that say where the log is: the successor's is in its own folder."""


@dataclass(frozen=True, slots=True)
class Succession:
    """What is to be done.

    Attributes:
        target: the folder to make.
        origin: the successor's.
        last: a checkpoint of the log, a signed note that somebody else has kept; may
            be empty.
        without_lost: go on although entries are lost.
    """

    target: Path
    origin: str
    last: str = ""
    without_lost: bool = False


@dataclass(frozen=True, slots=True)
class Succeeded:
    """What came out.

    Attributes:
        config_file: the successor's configuration.
        carried: how many entries it has of its predecessor.
        lost: how many of the predecessor's entries are in no database.
        trust: the trust file for both logs.
    """

    config_file: Path
    carried: int
    lost: int
    trust: str


async def succeed(
    config: Config,
    config_file: Path,
    succession: Succession,
    clock: Clock,
    entropy: Entropy,
    begin: Callable[[int], Callable[[int], object]],
) -> Succeeded:
    """Begins a successor of an exchange's log, and retires the log.

    Args:
        config: of the exchange, which must not run.
        config_file: where it was read.
        succession: what is to be done.
        clock: tells the time.
        entropy: returns random bytes.
        begin: is told how many entries there are; returns what is told how many were
            carried since the last time.

    Raises:
        MalformedError: the folder exists, or a value or file cannot be used.
        StateError: entries are lost, and ``without_lost`` was not said; or the database
            is not of the log that was signed, or is on a server.
        UnavailableError: the exchange runs, or a file cannot be written.
    """
    check_finished(config)
    require_file(
        config,
        "A log on a server goes on from its newest copy there: recover the server to "
        "the last moment that its archive has",
    )
    _check_origin(config, succession.origin)
    values = _values(config_file, succession.origin)
    store = await open_store(config)
    try:
        last, carried = await _last(config, store, succession)
        predecessor = statement_pb2.Predecessor(
            log_vkey=_vkey(config).format(), checkpoint=last.note, carried_size=carried
        )
        await back_up(config, config_file, succession.target, with_keys=True)
        (succession.target / FILE_NAME).unlink()
        _copy_rest(config, succession.target)
        heir = make(values, succession.target.absolute(), str(config_file))
        make_log_keys(heir)
        await _carry(store, heir, predecessor, clock, entropy, begin(carried))
    finally:
        await store.close()
    trust = _trust(config, heir, entropy)
    _move_operator(heir, trust)
    write_atomically(succession.target / TRUST, trust.encode())
    _retire(config, SignedHead(last.size, last.root, _vkey(heir).format()))
    text = config_pages.commented_toml(values)
    write_atomically(succession.target / FILE_NAME, text.encode())
    return Succeeded(succession.target / FILE_NAME, carried, last.size - carried, trust)


def _check_origin(config: Config, origin: str) -> None:
    """Requires another origin than the log has."""
    if not origin or origin == config.exchange.origin:
        raise MalformedError(
            f"the successor needs another origin than {config.exchange.origin}: two "
            "logs of one name would look like one that was forked",
            field="origin",
        )


def _values(config_file: Path, origin: str) -> dict[str, dict[str, Any]]:
    """Returns the values of the successor's configuration file."""
    values = tomllib.loads(read_file(config_file).decode())
    for section, fields in _OWN.items():
        for field in fields:
            values.get(section, {}).pop(field, None)
    values["exchange"]["origin"] = origin
    return values


async def _last(
    config: Config, store: Store, succession: Succession
) -> tuple[CheckpointRow, int]:
    """Returns the last checkpoint that was signed, and how many entries remain of it.

    Raises:
        StateError: see :func:`succeed`.
    """
    head = await store.head()
    if head is None:
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS, "the log has no entry; nothing succeeds"
        )
    last = head
    for known in _known(config, succession):
        await _check_same(store, head, known)
        last = max(last, known, key=lambda row: row.size)
    if last.size > head.size and not succession.without_lost:
        raise StateError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
            f"the entries {head.size} to {last.size - 1} were signed, and are not in "
            "this database. Look for a newer copy first, for `onward-server restore`; "
            "if there is none, say --without-lost",
        )
    return last, head.size


def _known(config: Config, succession: Succession) -> list[CheckpointRow]:
    """Returns the checkpoints that are known from outside of the database."""
    signer = load_log_signer(config.keys.log_key_file, config.exchange.origin)
    known = []
    if succession.last:
        found = Checkpoint.parse(open_note(succession.last, [signer.vkey]).text)
        known.append(CheckpointRow(found.size, found.root, succession.last, 0))
    guard = Guard(config.storage.guard_file)
    try:
        guarded = guard.last()
    finally:
        guard.close()
    if guarded is not None:
        # What was signed may be signed again: it says nothing new.
        text = Checkpoint(signer.name, guarded.size, guarded.root).text
        note = sign_note(text, [signer])
        known.append(CheckpointRow(guarded.size, guarded.root, note, 0))
    return known


async def _check_same(store: Store, head: CheckpointRow, known: CheckpointRow) -> None:
    """Requires that the database has the tree that was signed, as far as it goes."""
    if not 0 < known.size <= head.size:
        return
    if (await Receipts(store).tree(known.size, ())).root != known.root:
        raise StateError(
            Reason.ERROR_REASON_LOG_FORKED,
            f"at size {known.size} another root was signed than the database has: it "
            "belongs to another log, or was tampered with",
        )


def _copy_rest(config: Config, target: Path) -> None:
    """Copies what is in no backup, such as whom the log asks to witness it.

    The memory of a witness is such a file too. It may be copied here, and only here:
    the exchange that is left behind never runs again.
    """
    data_dir = config.exchange.data_dir
    for path in _files(config):
        if path in {config.storage.guard_file, config.storage.database_file}:
            continue
        for file in (path, path.with_name(f"{path.name}-wal")):
            if not file.is_relative_to(data_dir) or not file.is_file():
                continue
            copy = target / file.relative_to(data_dir)
            if not copy.exists():
                make_private_dir(copy.parent)
                write_atomically(copy, read_file(file))


def _files(value: object) -> Iterator[Path]:
    """Yields the files that a configuration names, at any depth."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Section):
        for field in msgspec.structs.fields(value):
            yield from _files(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _files(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _files(item)


async def _carry(
    source: Store,
    heir: Config,
    predecessor: statement_pb2.Predecessor,
    clock: Clock,
    entropy: Entropy,
    advance: Callable[[int], object],
) -> None:
    """Makes the successor's database of the copy."""
    material = load_material(heir)
    database = str(heir.storage.database_file)
    make_successor(database)
    voice = Voice(str(heir.name), material.statement_key, entropy)
    target = await open_sqlite(database)
    try:
        going_on = Heir(material.log_signer, voice, clock)
        await carry_over(source, target, going_on, predecessor, advance)
    finally:
        await target.close()
    make_private_dir(heir.storage.guard_file.parent)
    async with open_ledger(heir, material, clock, entropy) as (store, ledger):
        last = parse_statement((await store.history("key_change", ""))[-1].jws)
        vkey = material.log_signer.vkey.format()
        await ledger.apply(SuccessionChange(vkey, last))


def _vkey(config: Config) -> Vkey:
    """Returns the key of a log."""
    return load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey


def _trust(config: Config, heir: Config, entropy: Entropy) -> str:
    """Returns the trust file for what the successor and its predecessor have signed."""
    text = make_issuing(heir, load_material(heir), entropy).trust
    keys, origin = config.keys, config.exchange.origin
    second = load_log_cosigner(keys.log_mldsa_key_file, origin)
    vkeys = [_vkey(config), *([second.vkey] if second else [])]
    before = "".join(f"\nlog {vkey.format()}" for vkey in vkeys)
    return text.replace("\nquorum", f"{before}\nquorum", 1)


def _move_operator(heir: Config, trust: str) -> None:
    """Has the operator's home in the new folder follow the successor."""
    path = heir.exchange.data_dir / OPERATOR_HOME
    if path.is_dir():
        Home.open(path).follow(trust)


def _retire(config: Config, head: SignedHead) -> None:
    """Keeps in the old folder that nothing may be signed there."""
    guard = Guard(config.storage.guard_file)
    try:
        guard.retire(head)
    except OSError as error:
        raise MalformedError(
            f"{config.storage.guard_file} cannot be written: {error.strerror}"
        ) from error
    finally:
        guard.close()
