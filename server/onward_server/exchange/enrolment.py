"""Enrolment: how a member that an operator added comes by its keys in the directory.

1. ``start``: the member shows its token, a certificate request and its public keys, and
   gets a challenge sealed to each content key. Nothing is changed or kept.
2. ``complete``: it shows the same again, with each statement key's signature over what
   the challenges held. In *one* change the keys enter the directory, the certificate is
   issued, and the token is used up. If the answer gets lost, the same request gets the
   same answer until the token expires: what it was used for is kept with the token.

A member that enrols again, with another token, gets new keys, and its earlier ones are
retired. Who is suspended stays suspended: enrolling lets nobody in again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from onward.core.errors import MalformedError
from onward.core.identity import SpiffeId
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.authority import CertificateAuthority, requested_key
from onward_server.exchange.clock import Clock, to_datetime
from onward_server.exchange.draft import Draft
from onward_server.exchange.edits import with_keys, with_status
from onward_server.exchange.issuing import Issuing, Terms
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.possession import Occasion, Offer
from onward_server.exchange.receipts import Logged
from onward_server.exchange.tokens import TokenClaims, invalid_token
from onward_server.storage.contract import Needs, Store, TokenRow

_ACTIVE = vocabulary_pb2.MEMBER_STATUS_ACTIVE
_PENDING = vocabulary_pb2.MEMBER_STATUS_PENDING
_RECIPIENT = vocabulary_pb2.ROLE_RECIPIENT


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a new member gets.

    Attributes:
        certificate_chain: PEM: the certificate, then its issuer.
        server_ca: PEM: whom to trust for the exchange's servers.
        change: the logged change that registered its keys.
        trust: the trust file of this exchange.
    """

    certificate_chain: str
    server_ca: str
    change: Logged
    trust: str


@dataclass(frozen=True, slots=True)
class _Request:
    """An enrolment request whose token and shape were checked."""

    claims: TokenClaims
    certificate_request: bytes
    offer: Offer

    @property
    def occasion(self) -> Occasion:
        """What the possession is to be proven for."""
        return Occasion(
            self.claims.member,
            self.claims.digest,
            sha256(self.certificate_request).digest(),
        )

    @property
    def digest(self) -> bytes:
        """Tells this request from every other one with the same token."""
        occasion = self.occasion
        return sha256(
            occasion.token_digest + occasion.request_digest + self.offer.digest
        ).digest()


@dataclass(slots=True)
class EnrolmentChange:
    """The change: keys enter the directory, a certificate is issued, a token is used.

    Attributes:
        chain: after planning: the certificate chain to answer with.
    """

    request: _Request
    authority: CertificateAuthority
    terms: Terms
    chain: str = field(default="", init=False)

    @property
    def needs(self) -> Needs:
        """The token."""
        return Needs(tokens={self.request.claims.token_id})

    def plan(self, draft: Draft) -> Sequence[int]:
        """Enrols, or answers as the first time."""
        token = _usable(draft.token(self.request.claims.token_id))
        member = draft.member(self.request.claims.member)
        if member is None:
            raise invalid_token("is for somebody who is no member here")
        if token.request_digest:
            if token.request_digest != self.request.digest:
                raise invalid_token("was used already")
            self.chain = token.certificate_chain
            return [token.log_index]
        index = self._enrol(draft, member.proto)
        draft.put_token(
            replace(
                token,
                request_digest=self.request.digest,
                certificate_chain=self.chain,
                log_index=index,
            )
        )
        return [index]

    def _enrol(self, draft: Draft, member: directory_pb2.Member) -> int:
        """Logs the entry with its new keys, and issues the certificate."""
        enrolled = with_keys(member, self.request.offer, self.terms, draft.now_ms)
        if member.status == _PENDING:
            enrolled = with_status(enrolled, _ACTIVE)
        self.chain = self.authority.issue(
            self.request.certificate_request,
            SpiffeId.parse(member.name),
            to_datetime(draft.now_ms),
            self.terms.certificate_validity,
        )
        kind = statement_pb2.DIRECTORY_CHANGE_KIND_ENROLLED
        return draft.change_member(kind, enrolled, member.name)


class Enrolment:
    """Enrols members that hold a token.

    Args:
        ledger: where the change goes.
        store: where tokens are kept.
        issuing: what new members get.
        clock: tells the time.
    """

    def __init__(
        self, ledger: Ledger, store: Store, issuing: Issuing, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._issuing = issuing
        self._clock = clock

    async def start(
        self, token: str, request: bytes, offer: directory_pb2.KeyOffer
    ) -> list[bytes]:
        """Returns a challenge for each offered content key, in order.

        Args:
            token: the one-time token.
            request: the certificate request, PKCS #10, DER.
            offer: at least one statement key; content keys for recipients.

        Raises:
            UnauthenticatedError: TOKEN_INVALID.
            VerificationError: POSSESSION_UNPROVEN: by the certificate request.
            MalformedError: something has not the required shape.
        """
        read = await self._read(token, request, offer)
        return self._issuing.challenger.challenges(read.occasion, read.offer)

    async def complete(
        self,
        token: str,
        request: bytes,
        offer: directory_pb2.KeyOffer,
        possessions: Sequence[str],
    ) -> Enrolled:
        """Enrols the member. Repeating the same request is answered again.

        Args:
            token: as in ``start``.
            request: as in ``start``.
            offer: as in ``start``.
            possessions: one compact JWS of each offered statement key, in order.

        Raises:
            UnauthenticatedError: TOKEN_INVALID.
            VerificationError: POSSESSION_UNPROVEN.
            MalformedError: something has not the required shape.
            StateError: KEY_NOT_VALID: an offered key was retired or revoked before.
        """
        read = await self._read(token, request, offer)
        keys = read.offer.statement_keys
        self._issuing.challenger.check(read.occasion, read.offer, possessions, keys)
        change = EnrolmentChange(read, self._issuing.authority, self._issuing.terms)
        (logged,) = await self._ledger.apply(change)
        return Enrolled(
            change.chain,
            self._issuing.authority.certificate_pem,
            logged,
            self._issuing.trust,
        )

    async def _read(
        self, token: str, request: bytes, offer: directory_pb2.KeyOffer
    ) -> _Request:
        """Checks all that can be checked without a change."""
        claims = self._issuing.tokens.read(token, self._clock.now_ms())
        _usable(await self._store.token(claims.token_id))
        requested_key(request)
        parsed = Offer.parse(offer)
        entry = self._ledger.directory.find(claims.member)
        if not parsed.statement_keys:
            raise MalformedError(
                "a member enrols with at least one statement key",
                field="offer.statement_jwks",
            )
        if entry is not None and _RECIPIENT in entry.roles and not parsed.content_keys:
            raise MalformedError(
                "a recipient enrols with at least one content key",
                field="offer.content_keys",
            )
        return _Request(claims, request, parsed)


def _usable(token: TokenRow | None) -> TokenRow:
    """Returns a token that exists and was not replaced by another."""
    if token is None:
        raise invalid_token("is not known here")
    if token.revoked:
        raise invalid_token("was replaced by a newer one")
    return token
