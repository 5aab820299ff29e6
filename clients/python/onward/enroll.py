"""Becoming a member: from the operator's one-time token to a home that works."""

from __future__ import annotations

from os import PathLike
from secrets import token_bytes

from onward._clock import Clock, Entropy, system_clock
from onward.home import Home
from onward.v1.vocabulary_pb2 import SealingSuite


async def enroll(
    token: str,
    home: str | PathLike[str],
    *,
    statement_algorithm: str = "EdDSA",
    suite: SealingSuite.ValueType = SealingSuite.SEALING_SUITE_MLKEM768_X25519,
    clock: Clock = system_clock,
    entropy: Entropy = token_bytes,
) -> Home:
    """Makes keys, proves that they are ours, and gets a certificate for them.

    The private keys never leave the home. A lost answer does no harm: run it again with
    the same token and home, and it goes on with the same keys.

    Args:
        token: the one-time token, from the operator over a trusted channel.
        home: the directory to make; may exist, but not with another member in it.
        statement_algorithm: of the statement key: ``EdDSA``, ``ES256`` or ``ES384``.
        suite: of the content key.
        clock: tells the time, in UTC.
        entropy: returns random bytes.

    Raises:
        ConflictError: another member lives there.
        UnauthenticatedError: the token is not valid, expired, or used.
        VerificationError: the server is not the one of the token, or what it answers
            cannot be proven.
        UnavailableError: the exchange cannot be reached.
    """
    raise NotImplementedError
