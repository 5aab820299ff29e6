"""At start: do the witnesses know more of this log than its database?

The restore guard is a file beside the exchange, and can be lost together with it. The
witnesses are elsewhere. So before anything is signed, each of them is asked to cosign
the present head, which asks at the same time where it stands:

* It goes on from a smaller size, or the same one: fine.
* It has cosigned a larger log than the database has: that is older than the log.
* It says that the log was forked: something was signed on an old copy before.

In the last two cases nothing is signed. Whoever cannot be reached in time is not waited
for: a witness that is down must not keep an exchange down. But where the guard is lost,
one of them must answer, since nobody else could tell an old copy from the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import structlog

from onward.core.errors import Reason, StateError
from onward_server.exchange.asking import Asking, Standing
from onward_server.storage.contract import CheckpointRow

PATIENCE: Final = 3.0
"""Seconds that a start waits for witnesses."""

_log = structlog.get_logger(__name__)


async def check_witnesses(
    askings: Iterable[Asking],
    head: CheckpointRow,
    note: str,
    patience: float = PATIENCE,
    *,
    needed: bool = False,
) -> None:
    """Refuses a database that is older than what witnesses have cosigned.

    Args:
        askings: the witnesses, each knowing from where it goes on.
        head: the newest checkpoint.
        note: the same with the log's own signatures.
        patience: how long to wait for answers, in seconds.
        needed: whether one must answer, since there is nothing in the guard.

    Raises:
        StateError: a witness has cosigned more than the database has, or says that the
            log was forked; or none has cosigned, and one is needed. Nothing may be
            signed.
    """
    asked = list(askings)
    await asyncio.gather(*(_ask(asking, head, note, patience) for asking in asked))
    for asking in asked:
        if asking.standing is Standing.AHEAD:
            raise StateError(
                Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
                f"the witness {asking.name} has cosigned {asking.size} entries of this "
                f"log, and the database has {head.size}: it is older than the log. Put "
                "a newer copy in place with `onward-server restore`; if there is none, "
                "begin a successor with `onward-server log succeed`. If it is the "
                "witness that is wrong, take it out of witnesses.policy_file",
            )
        if asking.standing is Standing.ACCUSES:
            raise StateError(
                Reason.ERROR_REASON_LOG_FORKED,
                f"the witness {asking.name} says that this log has forked: it knows "
                f"another history than the database has at size {head.size}. Its "
                "answer is in witnesses.evidence_file. Compare the two before anything "
                "else; if the witness is wrong, take it out of witnesses.policy_file",
            )
    if needed and all(asking.standing is not Standing.COSIGNS for asking in asked):
        raise StateError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
            "the restore guard holds nothing, and no witness can be reached that knows "
            f"whether {head.size} entries are all that were signed. Start again when "
            "one of them answers. If they never will, compare the database with what "
            "members have kept, and take them out of witnesses.policy_file",
        )


async def _ask(asking: Asking, head: CheckpointRow, note: str, patience: float) -> None:
    """Asks one witness; a cosignature is asked for again once the exchange runs."""
    with suppress(TimeoutError):
        await asyncio.wait_for(asking.ask(head, note), patience)
        return
    _log.warning("witness_check.no_answer", witness=asking.name)
