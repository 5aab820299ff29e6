"""Fetching bundles. What is written was verified; it can be verified again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from onward.cli._connection import connected
from onward.cli._output import say
from onward.client import Client
from onward.core.bundle import Bundle
from onward.core.errors import Reason, StateError, VerificationError
from onward.core.verify import Verdict, verify_bundle

_STDOUT: Final = Path("-")


def fetch(home: Path, referral_id: str, file: Path, *, content: bool) -> None:
    """Writes the bundle of a referral, and tells that it is proven."""
    connected(
        home, lambda client: write_bundle(client, referral_id, file, content=content)
    )
    say(f"{referral_id}: proven, and written to {file}")


async def write_bundle(
    client: Client, referral_id: str, file: Path, *, content: bool = False
) -> None:
    """Fetches a bundle, verifies it with the home's trust file, and writes it.

    Args:
        client: fetches it.
        referral_id: the referral.
        file: where to write it; ``-`` is standard output.
        content: attach the sealed content that the home keeps of it.

    Raises:
        VerificationError: what the exchange sent is not proven; nothing was written.
        StateError: the home keeps no content of it.
    """
    data = await client.bundle(referral_id)
    if content:
        data = _with_content(client, referral_id, data)
    report = await asyncio.to_thread(verify_bundle, data, client.home.trust)
    if report.verdict is not Verdict.PROVEN:
        wrong = next(
            step for step in report.steps if step.verdict is not Verdict.PROVEN
        )
        raise VerificationError(
            Reason.ERROR_REASON_PROOF_INVALID,
            f"the bundle that the exchange sent is not proven: {wrong.why} "
            f"({wrong.subject}, step {wrong.number} {wrong.name}); report it to an "
            "auditor",
        )
    await asyncio.to_thread(_write, file, data)


def _with_content(client: Client, referral_id: str, data: bytes) -> bytes:
    sealed = client.home.content(referral_id)
    if sealed is None:
        raise StateError(
            Reason.ERROR_REASON_CONTENT_UNKNOWN,
            f"{client.home.path} keeps no content of {referral_id}; "
            f"fetch it with 'onward content {referral_id}' while the exchange has it",
        )
    return Bundle.parse(data).with_content(sealed).format()


def _write(file: Path, data: bytes) -> None:
    if file == _STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        file.write_bytes(data)
