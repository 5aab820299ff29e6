"""New keys, and the proof that we hold them (``EnrollmentService``, ``RotateKeys``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey, open_secret
from onward.core.statements import POSSESSION_TYPE, sign_jws
from onward.home import Home
from onward.v1 import directory_pb2
from onward.v1.vocabulary_pb2 import KEY_STATUS_ACTIVE

_CHALLENGE_INFO: Final = b"onward-possession-v1"


@dataclass(frozen=True, slots=True)
class NewKeys:
    """Private keys whose public parts are offered to the exchange.

    Attributes:
        statement_key: signs statements.
        content_key: opens content; None for members that receive none.
    """

    statement_key: StatementPrivateKey
    content_key: ContentPrivateKey | None

    @property
    def offer(self) -> directory_pb2.KeyOffer:
        """The public parts."""
        return directory_pb2.KeyOffer(
            statement_jwks=[self.statement_key.public.jwk],
            content_keys=[key.public.to_proto() for key in self._content_keys],
        )

    def save(self, home: Home) -> None:
        """Keeps them; until the directory lists them nobody uses them."""
        home.add_statement_key(self.statement_key)
        for key in self._content_keys:
            home.add_content_key(key)

    def prove(
        self,
        possession: directory_pb2.Possession,
        challenges: Sequence[bytes],
        signers: Iterable[StatementPrivateKey],
    ) -> list[str]:
        """Answers challenges, and returns one JWS of each signer, in order.

        Args:
            possession: all of it but the answers and the keys.
            challenges: one for each content key.
            signers: the new statement key, and who must sign besides.

        Raises:
            VerificationError: a challenge was not made for our key.
        """
        if len(challenges) != len(self._content_keys):
            raise MalformedError("the exchange did not challenge each content key")
        possession.answers[:] = [
            open_secret(challenge, key, _CHALLENGE_INFO)
            for challenge, key in zip(challenges, self._content_keys, strict=True)
        ]
        possession.key_ids[:] = self._key_ids
        payload = possession.SerializeToString()
        return [sign_jws(payload, POSSESSION_TYPE, signer) for signer in signers]

    def check_registered(self, member: directory_pb2.Member) -> None:
        """Checks that a directory entry has these keys in force.

        Raises:
            VerificationError: it has not.
        """
        keys = chain[directory_pb2.StatementKey | directory_pb2.ContentKey](
            member.statement_keys, member.content_keys
        )
        active = {key.key_id for key in keys if key.status == KEY_STATUS_ACTIVE}
        if not active.issuperset(self._key_ids):
            raise VerificationError(
                Reason.ERROR_REASON_KEY_NOT_VALID,
                "the exchange logged an entry of this member without its new keys",
            )

    @property
    def _key_ids(self) -> list[str]:
        content_keys = [key.public.key_id for key in self._content_keys]
        return [self.statement_key.key_id, *content_keys]

    @property
    def _content_keys(self) -> list[ContentPrivateKey]:
        return [self.content_key] if self.content_key else []


def make_tls_key() -> bytes:
    """Returns a new private key for a certificate, PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def certificate_request(tls_key: bytes) -> bytes:
    """Returns a certificate request for a key: PKCS #10 in DER, without a name."""
    key = serialization.load_pem_private_key(tls_key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedError("the private key of a certificate is on P-256 or P-384")
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def check_certificate(certificates: bytes, tls_key: bytes, member: str) -> None:
    """Checks that a certificate is for our key and name.

    Args:
        certificates: the certificate, then its issuers, PEM.
        tls_key: the private key, PEM.
        member: the member's SPIFFE ID.

    Raises:
        VerificationError: it is not.
    """
    try:
        certificate = x509.load_pem_x509_certificates(certificates)[0]
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, IndexError, x509.ExtensionNotFound):
        names, certificate = [], None
    key = serialization.load_pem_private_key(tls_key, password=None).public_key()
    if names != [member] or certificate is None or certificate.public_key() != key:
        raise VerificationError(
            Reason.ERROR_REASON_NOT_AUTHENTICATED,
            "the certificate that the exchange issued is not for this member's key "
            "and name",
        )
