"""Proof of possession: whoever registers a key shows that it holds the private part.

A statement key signs a ``Possession``. A content key cannot sign, so the exchange seals
32 bytes to it, and what comes out stands in the ``Possession``. The challenges are not
kept anywhere: each is an HMAC over all that the proof is about, so the exchange can
compute it again when the answer comes, after a restart too, and an answer fits nothing
else: not another member, token, request, offer, or state of the directory.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError

from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    TooLargeError,
    VerificationError,
)
from onward.core.keys import StatementPrivateKey, StatementPublicKey
from onward.core.sealing import ContentPublicKey, seal_secret
from onward.core.statements import POSSESSION_TYPE, verify_jws
from onward.v1 import directory_pb2

MAX_KEYS: Final = 8
"""Keys of one use in an offer (``directory.proto``)."""

MAX_POSSESSION_SIZE: Final = 4096

CHALLENGE_INFO: Final = b"onward-possession-v1"
"""The HPKE ``info`` of a sealed challenge (``enrollment.proto``)."""

_SECRET_INFO: Final = b"onward-possession-secret-v1"
_SECRET_SIZE: Final = 32

K = TypeVar("K", StatementPublicKey, ContentPublicKey)


@dataclass(frozen=True, slots=True)
class Offer:
    """Public keys that a member offers, parsed."""

    statement_keys: tuple[StatementPublicKey, ...]
    content_keys: tuple[ContentPublicKey, ...]

    @classmethod
    def parse(cls, message: directory_pb2.KeyOffer) -> Self:
        """Reads an offer: at most 8 keys of each use, each once, at least one in all.

        Raises:
            MalformedError: a key cannot be used, or there are too many or none.
        """
        offer = cls(
            _parse_keys(
                "offer.statement_jwks",
                message.statement_jwks,
                StatementPublicKey.from_jwk,
            ),
            _parse_keys(
                "offer.content_keys", message.content_keys, ContentPublicKey.from_proto
            ),
        )
        if not offer.key_ids:
            raise MalformedError("the offer has no key", field="offer")
        return offer

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, in order."""
        keys: list[StatementPublicKey | ContentPublicKey] = [
            *self.statement_keys,
            *self.content_keys,
        ]
        return tuple(key.key_id for key in keys)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the ids: they determine the keys."""
        statement_ids = ",".join(key.key_id for key in self.statement_keys)
        content_ids = ",".join(key.key_id for key in self.content_keys)
        return sha256(f"{statement_ids};{content_ids}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a proof is for.

    Attributes:
        member: who proves.
        token_digest: SHA-256 of the enrolment token; empty for a rotation.
        request_digest: SHA-256 of the certificate request; empty for a rotation.
        state: for a rotation: the digest of the directory change in force, so that a
            proof is worth nothing once the entry has changed.
    """

    member: str
    token_digest: bytes = b""
    request_digest: bytes = b""
    state: bytes = b""


class Challenger:
    """Challenges members, and checks what they answer.

    Args:
        key: the exchange's statement key, from which the challenges' secret follows.
    """

    def __init__(self, key: StatementPrivateKey) -> None:
        kdf = HKDF(hashes.SHA256(), _SECRET_SIZE, salt=None, info=_SECRET_INFO)
        self._secret = kdf.derive(key.to_pem())

    def challenges(self, occasion: Occasion, offer: Offer) -> list[bytes]:
        """Returns for each content key, in order, 32 bytes sealed to it."""
        answers = self._answers(occasion, offer)
        return [
            seal_secret(answer, key, CHALLENGE_INFO)
            for answer, key in zip(answers, offer.content_keys, strict=True)
        ]

    def check(
        self,
        occasion: Occasion,
        offer: Offer,
        possessions: Sequence[str],
        signers: Sequence[StatementPublicKey],
    ) -> None:
        """Checks that the private part of every offered key is at hand.

        Args:
            occasion: what the proof is for.
            offer: the offered keys.
            possessions: compact JWS, one of each signer, in order.
            signers: the offered statement keys, and whoever must sign besides.

        Raises:
            VerificationError: POSSESSION_UNPROVEN.
        """
        if len(possessions) != len(signers):
            raise unproven(
                f"{len(signers)} signed possessions are needed, one of each key, and "
                f"{len(possessions)} came"
            )
        expected = directory_pb2.Possession(
            member=occasion.member,
            token_digest=occasion.token_digest,
            csr_digest=occasion.request_digest,
            answers=self._answers(occasion, offer),
            key_ids=offer.key_ids,
        )
        for jws, key in zip(possessions, signers, strict=True):
            if _signed(jws, key) != expected:
                raise unproven(
                    f"what key {key.key_id} signed does not answer the challenge of "
                    "this token, request and offer; begin again"
                )

    def _answers(self, occasion: Occasion, offer: Offer) -> list[bytes]:
        """Returns the 32 bytes that each content key's challenge holds.

        A token is for one member, and so is a change, so the member is in the context.
        """
        digests = (
            sha256(occasion.token_digest).digest(),
            sha256(occasion.request_digest).digest(),
            sha256(occasion.state).digest(),
            offer.digest,
        )
        # Each part before the key's id has 32 bytes, so no two contexts are the same.
        context = b"".join(digests)
        return [
            hmac.digest(self._secret, context + key.key_id.encode(), "sha256")
            for key in offer.content_keys
        ]


def unproven(why: str) -> VerificationError:
    """Returns the error that the possession of a key was not proven."""
    return VerificationError(
        Reason.ERROR_REASON_POSSESSION_UNPROVEN, why, field="possessions"
    )


def _signed(jws: str, key: StatementPublicKey) -> directory_pb2.Possession:
    """Returns the ``Possession`` that a key has signed."""
    if len(jws) > MAX_POSSESSION_SIZE:
        raise TooLargeError(
            "a possession", len(jws), MAX_POSSESSION_SIZE, field="possessions"
        )
    try:
        payload = verify_jws(jws, POSSESSION_TYPE, key)
        return directory_pb2.Possession.FromString(payload)
    except OnwardError as error:
        raise unproven(f"a possession of key {key.key_id}: {error.message}") from None
    except DecodeError:
        raise unproven(
            f"what key {key.key_id} signed is no Possession message"
        ) from None


def _parse_keys(
    field: str, items: Sequence[object], parse: Callable[..., K]
) -> tuple[K, ...]:
    """Reads the keys of one use."""
    if len(items) > MAX_KEYS:
        raise MalformedError(f"{field} has at most {MAX_KEYS} keys", field=field)
    keys = tuple(_parse_each(field, items, parse))
    if len({key.key_id for key in keys}) != len(keys):
        raise MalformedError(f"{field} has a key twice", field=field)
    return keys


def _parse_each(
    field: str, items: Iterable[object], parse: Callable[..., K]
) -> Iterable[K]:
    """Yields the parsed keys; an error names the place."""
    for index, item in enumerate(items):
        try:
            yield parse(item)
        except MalformedError as error:
            place = f"{field}[{index}]"
            raise MalformedError(f"{place}: {error.message}", field=place) from None
