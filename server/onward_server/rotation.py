"""Replacing the exchange's statement key, while the exchange does not run.

1. The new key is written beside the old one, as ``<file>.next``.
2. The change is logged, signed with the old key: from here on the new one is in force.
3. The new key takes the old one's place.

Whoever is cut off runs it again: if ``<file>.next`` is in force already, only the last
step is left. What the old key has signed stays valid for ever; it may be destroyed.
"""

from __future__ import annotations

from pathlib import Path

from onward._files import write_atomically
from onward.core.errors import Reason, StateError
from onward.core.keys import StatementPrivateKey
from onward.core.statements import UnverifiedStatement, parse_statement
from onward.v1 import vocabulary_pb2
from onward_server.bootstrap import open_ledger
from onward_server.config import Config
from onward_server.exchange.clock import Clock, Entropy
from onward_server.exchange.genesis import KeyReplacementChange
from onward_server.material import Material, load_material, load_statement_key
from onward_server.storage.contract import Store


async def replace_statement_key(
    config: Config, algorithm: str, clock: Clock, entropy: Entropy
) -> str:
    """Replaces the exchange's statement key; returns the new key's id.

    Args:
        config: of the exchange, which must not run.
        algorithm: of the new key.
        clock: tells the time.
        entropy: returns random bytes.

    Raises:
        MalformedError: no such algorithm, or a file cannot be used.
        UnavailableError: the exchange runs, or its database cannot be written.
    """
    waiting, material = waiting_file(config), load_material(config)
    async with open_ledger(config, material, clock, entropy) as (store, ledger):
        new = _prepared(waiting, algorithm)
        last = await _in_force(store)
        if new.key_id not in _active_ids(last):
            await ledger.apply(KeyReplacementChange(new.public, last))
    write_atomically(config.keys.statement_key_file, new.to_pem())
    waiting.unlink()
    return new.key_id


def check_finished(config: Config) -> None:
    """Refuses to go on with a key that may have been replaced.

    Raises:
        StateError: KEY_NOT_VALID: a replacement was begun, and not finished.
    """
    if waiting_file(config).exists():
        raise StateError(
            Reason.ERROR_REASON_KEY_NOT_VALID,
            f"{waiting_file(config)} is there: the statement key was being replaced. "
            "Run `onward-server rotate-key` again",
        )


async def check_in_force(store: Store, material: Material) -> None:
    """Refuses to sign with keys that the log does not have in force.

    Whatever the exchange said with them could never be proven.

    Raises:
        StateError: KEY_NOT_VALID: the statement key or the log key is another one.
    """
    last = await _in_force(store)
    vkey = material.log_signer.vkey.format()
    for name, in_force in (
        ("statement", material.statement_key.key_id in _active_ids(last)),
        ("log", vkey == last.message.key_change.log_vkey),
    ):
        if not in_force:
            raise StateError(
                Reason.ERROR_REASON_KEY_NOT_VALID,
                f"the {name} key in the configuration is not the one that this "
                "exchange's log has in force; put the right file in its place",
            )


def waiting_file(config: Config) -> Path:
    """Returns where the new key is while it is being put in force."""
    file = config.keys.statement_key_file
    return file.with_name(f"{file.name}.next")


def _prepared(waiting: Path, algorithm: str) -> StatementPrivateKey:
    """Returns the key that is to come: one that waits already, or a new one."""
    if waiting.exists():
        return load_statement_key(waiting)
    new = StatementPrivateKey.generate(algorithm)
    write_atomically(waiting, new.to_pem())
    return new


async def _in_force(store: Store) -> UnverifiedStatement:
    """Returns the newest ``KeyChange``."""
    return parse_statement((await store.history("key_change", ""))[-1].jws)


def _active_ids(change: UnverifiedStatement) -> set[str]:
    return {
        key.key_id
        for key in change.message.key_change.keys
        if key.status == vocabulary_pb2.KEY_STATUS_ACTIVE
    }
