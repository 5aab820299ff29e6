"""Enrolment tokens: what an operator hands to a new member.

A token is a JWT (RFC 7519) that the exchange signs with its statement key. It tells the
new member where to enrol and which authority to trust there, so it is all that must
travel by hand. It works once: what the token was used for is kept with its id. Claims:

=============  ========================================================
``iss``        the exchange's SPIFFE ID
``sub``        the new member's SPIFFE ID
``aud``        ``onward-enroll``
``jti``        the token's id
``iat, exp``   seconds since 1970
``enroll``     ``host:port`` of the enrolment service
``api``        ``host:port`` of the exchange
``server_name``  the DNS name in the exchange's certificate
``ca``         SHA-256 of the authority's certificate in DER, hex
=============  ========================================================
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Final

from onward.core.errors import (
    OnwardError,
    Reason,
    TooLargeError,
    UnauthenticatedError,
)
from onward.core.keys import StatementPrivateKey
from onward.core.statements import sign_jws, verify_jws
from onward_server.exchange.clock import Entropy
from onward_server.storage.contract import TokenRow

MAX_TOKEN_SIZE: Final = 4096
AUDIENCE: Final = "onward-enroll"

_TYPE: Final = "JWT"
_ID_SIZE: Final = 18


@dataclass(frozen=True, slots=True)
class Venue:
    """Where members enrol and connect.

    Attributes:
        exchange: the exchange's SPIFFE ID.
        enroll: ``host:port`` of the enrolment service.
        api: ``host:port`` of the port for members.
        server_name: the DNS name in the exchange's certificate.
        authority: SHA-256 of the authority's certificate in DER.
    """

    exchange: str
    enroll: str
    api: str
    server_name: str
    authority: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A new token: its text, and the row that says what became of it."""

    text: str = field(repr=False)
    row: TokenRow


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token that was verified says, and its digest."""

    token_id: str
    member: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes and reads tokens; whether one was used is not known here.

    Attributes:
        key: the exchange's statement key.
        venue: what the tokens tell.
        lifetime: how long a token can be used.
        entropy: makes the ids.
    """

    key: StatementPrivateKey
    venue: Venue
    lifetime: timedelta
    entropy: Entropy

    def issue(self, member: str, now_ms: int) -> Token:
        """Makes a token for a member."""
        issued = now_ms // 1000
        expires = issued + int(self.lifetime.total_seconds())
        token_id = urlsafe_b64encode(self.entropy(_ID_SIZE)).decode("ascii")
        claims = {
            "iss": self.venue.exchange,
            "sub": member,
            "aud": AUDIENCE,
            "jti": token_id,
            "iat": issued,
            "exp": expires,
            "enroll": self.venue.enroll,
            "api": self.venue.api,
            "server_name": self.venue.server_name,
            "ca": self.venue.authority.hex(),
        }
        payload = json.dumps(claims, separators=(",", ":")).encode()
        text = sign_jws(payload, _TYPE, self.key)
        return Token(text, TokenRow(token_id, member, expires * 1000))

    def read(self, text: str, now_ms: int) -> TokenClaims:
        """Returns what a token says.

        Raises:
            TooLargeError: over 4 KiB.
            UnauthenticatedError: TOKEN_INVALID: not one of this exchange, or expired.
        """
        if len(text) > MAX_TOKEN_SIZE:
            raise TooLargeError(
                "the enrolment token", len(text), MAX_TOKEN_SIZE, field="token"
            )
        try:
            payload = verify_jws(text, _TYPE, self.key.public)
        except OnwardError:
            raise invalid_token("is not one of this exchange") from None
        # What this exchange has signed as a token has the shape that `issue` gives it.
        claims = json.loads(payload)
        if claims["aud"] != AUDIENCE or claims["iss"] != self.venue.exchange:
            raise invalid_token("is not for enrolment at this exchange")
        if now_ms >= claims["exp"] * 1000:
            raise invalid_token("has expired")
        return TokenClaims(
            claims["jti"], claims["sub"], sha256(text.encode("ascii")).digest()
        )


def invalid_token(problem: str) -> UnauthenticatedError:
    """Returns the error that a token cannot be used, and why."""
    return UnauthenticatedError(
        Reason.ERROR_REASON_TOKEN_INVALID,
        f"the enrolment token {problem}; ask the operator for another",
    )
