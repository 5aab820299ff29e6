"""What replicas of an exchange must have in common, and how one works alone.

Replicas share a database and nothing else: each has a configuration and files of its
own. Whatever would make two of them contradict each other, or give members another
answer here than there, is a *fact*, and one that has another fact than those that run
is not let in. What may differ is where each listens, its logs and metrics, its
certificate, how much it lets a member do, and its release.

The policy in force is no fact: it is in the database, and changes while replicas run.
A release that reads it otherwise than it was written refuses it
(:func:`~onward_server.exchange.catching_up.read_policy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from onward.core.errors import Reason, StateError, UnavailableError
from onward_server.config import Config
from onward_server.material import Material, read_file, second_vkey
from onward_server.storage.contract import Store

_LIMITS: Final = (
    "inline_content_size",
    "content_size",
    "batch_items",
    "clock_tolerance_seconds",
    "lease_seconds",
    "upload_hours",
)
"""What members are told, or what one replica begins and another one ends."""

_TASK: Final = "task"


def facts(config: Config, material: Material) -> dict[str, str]:
    """Returns what must be the same in all replicas, by its name for people.

    No secret is among them: of keys the public part, of files, and of URLs that may
    hold a password, the digest.
    """
    authorities = config.timestamps.authorities
    return {
        "exchange.trust_domain": config.exchange.trust_domain,
        "key of the log": material.log_signer.vkey.format(),
        "second key of the log": second_vkey(material),
        "statement key": material.statement_key.key_id,
        "certificate authority": material.authority.fingerprint.hex(),
        "witnesses.policy_file": _digest(config.witnesses.policy_file),
        "timestamps.authorities": " ".join(
            f"{item.name}={sha256(item.url.encode()).hexdigest()} {item.policy} "
            f"{_digest(item.certificate_file)}"
            for item in sorted(authorities, key=lambda item: item.name)
        ),
        "test.clock": config.test.clock,
        _TASK: "serving",
        **{f"limits.{name}": str(getattr(config.limits, name)) for name in _LIMITS},
    }


async def join_alone(store: Store, present: Mapping[str, str]) -> None:
    """Takes the place of all replicas, for work that none of them may see half of.

    While it works no other one is let in.

    Args:
        store: the database.
        present: the facts.

    Raises:
        UnavailableError: a replica runs.
    """
    try:
        await store.join({**present, _TASK: f"alone: {store.replica}"})
    except StateError:
        raise UnavailableError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
            "the exchange runs; stop every replica of it first",
        ) from None


def _digest(file: Path | None) -> str:
    """Returns the digest of a file; empty where none is named."""
    return sha256(read_file(file)).hexdigest() if file else ""
