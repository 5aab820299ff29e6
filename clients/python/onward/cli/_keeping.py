"""Signed referrals that are kept until they are published, and after.

A referral is signed, written to a file, and only then published. Publishing the same
bytes again is safe for ever, so a run that was cut off is repeated with the same file,
and ends as if it had never been cut off. When the exchange has refused the referral the
file goes, since those bytes can never succeed.

The file says for what it was made, so that it is never published in the place of
another tip: SHA-256 over a salt, the tip and the routing, after the 16 bytes of salt
and before the referral. It never leaves the machine on which the tip itself is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from secrets import token_bytes
from typing import Final

from onward._files import write_atomically
from onward.cli._routing import routing_of
from onward.client import Client, PreparedReferral, Tip
from onward.core.errors import (
    ConflictError,
    OnwardError,
    QuotaError,
    Reason,
    UnavailableError,
)

PASSING: Final = (UnavailableError, QuotaError)
"""After these the same bytes may succeed, or have succeeded."""

_SALT: Final = 16
_DIGEST: Final = 32


@dataclass(frozen=True, slots=True)
class Publication:
    """A tip to publish.

    Attributes:
        tip: the content.
        members: of the referral.
        file: where the signed referral is kept, if anywhere.
    """

    tip: Tip
    members: Mapping[str, object]
    file: Path | None

    async def prepare(self, client: Client) -> PreparedReferral:
        """Returns the referral that was kept, or signs one and keeps it.

        Raises:
            ConflictError: the file is about another tip, or another routing of it.
        """
        if self.file and self.file.exists():
            return self._kept(self.file)
        routing = routing_of(self.members)
        prepared = await client.prepare_referral(self.tip, **routing)
        if self.file:
            salt = token_bytes(_SALT)
            data = salt + self._digest(salt) + prepared.to_bytes()
            write_atomically(self.file, data)
        return prepared

    def ended(self, error: OnwardError) -> None:
        """Forgets a kept referral that can never succeed."""
        if self.file and not isinstance(error, PASSING):
            self.file.unlink(missing_ok=True)

    def _kept(self, file: Path) -> PreparedReferral:
        data = file.read_bytes()
        salt, digest = data[:_SALT], data[_SALT : _SALT + _DIGEST]
        if not compare_digest(digest, self._digest(salt)):
            raise ConflictError(
                Reason.ERROR_REASON_REFERRAL_ID_REUSED,
                f"{file} keeps the referral of another tip, or of another routing; "
                "give each tip a --keep of its own",
            )
        return PreparedReferral.from_bytes(data[_SALT + _DIGEST :])

    def _digest(self, salt: bytes) -> bytes:
        tip = self.tip.SerializeToString(deterministic=True)
        members = json.dumps(self.members, sort_keys=True).encode()
        sizes = len(tip).to_bytes(8, "big")
        return sha256(salt + sizes + tip + members).digest()
