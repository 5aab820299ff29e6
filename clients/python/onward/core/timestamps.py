"""Trusted timestamps on checkpoints (RFC 3161).

An authority signs that it saw a digest at a time. Here it is the SHA-256 of a
checkpoint's *text*, without its signatures, so that a token stays true when others
cosign later. It bounds the tree from above: all of its entries existed by then.

* The exchange makes a :func:`timestamp_request` with a nonce that nobody can foresee,
  and takes the token out of the answer (:func:`parse_response`).
* Anybody reads a token with :meth:`Token.parse`, and judges it by :meth:`Token.verify`
  with the certificates of authorities that they trust, however long ago it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Self

import rfc3161_client as rfc3161
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onward.core import _der
from onward.core.errors import MalformedError, Reason, TooLargeError, VerificationError

MAX_TOKEN_SIZE: Final = 64 * 1024
"""Of a token or an answer, in bytes."""

_SHA256: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_SHA256_ALGORITHM: Final = bytes.fromhex("300d06096086480165030402010500")
_GRANTED: Final = bytes.fromhex("3003020100")
_STATUSES: Final = frozenset({0, 1})
"""PKIStatus: granted, granted with modifications."""
_SECOND: Final = timedelta(seconds=1)

_USAGE: Final = x509.ExtendedKeyUsage


@dataclass(frozen=True, slots=True)
class Authorities:
    """The timestamp authorities that somebody trusts.

    Attributes:
        certificates: self-signed ones, and any between them and those that sign tokens
            which the tokens do not bring themselves. None: nobody is trusted.
    """

    certificates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def parse(cls, pem: str) -> Self:
        """Reads certificates; text that is empty or blank trusts nobody.

        Raises:
            MalformedError: it is not PEM with certificates.
        """
        if not pem.strip():
            return cls()
        try:
            found = x509.load_pem_x509_certificates(pem.encode())
        except ValueError:
            raise MalformedError(
                "the certificates of timestamp authorities are not PEM"
            ) from None
        return cls(tuple(dict.fromkeys(found)))

    def know(self, token: Token) -> bool:
        """Says whether a token says that it is by one of them, which is unproven.

        The names lead from the signer's certificate to one of these.
        """
        issuers = dict(token.names)
        trusted = {item.subject for item in self.certificates}
        name: x509.Name | None = token.issuer
        while name not in trusted:
            if name is None:
                return False
            name = issuers.pop(name, None)
        return True


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it was read: nothing of it is trusted until verified.

    Attributes:
        data: DER, the ``TimeStampToken``.
        time: by when what it stamps existed: its ``genTime``, with the accuracy that it
            states, up to the end of that second; aware, UTC.
        signer: the name of who signed it, for people.
        issuer: who issued the certificate that it says to be signed with.
        names: subject and issuer of each certificate that it brings.
    """

    data: bytes
    time: datetime
    signer: str
    issuer: x509.Name
    names: tuple[tuple[x509.Name, x509.Name], ...]
    _usages: tuple[x509.ObjectIdentifier, ...]
    _response: rfc3161.TimeStampResponse

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a token.

        Raises:
            TooLargeError: over :data:`MAX_TOKEN_SIZE`.
            MalformedError: not strict DER, not a token that one signer signed, or
                without that signer's certificate.
        """
        # An answer that grants it is what the library reads.
        response = _read(_der.encode(_der.SEQUENCE, _GRANTED, data))
        try:
            info, signed = response.tst_info, response.signed_data
            brought = [*map(x509.load_der_x509_certificate, signed.certificates)]
            (signer,) = signed.signer_infos
            own = next(
                item
                for item in brought
                if (item.issuer, item.serial_number)
                == (signer.issuer, signer.serial_number)
            )
            return cls(
                data,
                info.gen_time + _accuracy(info.accuracy) + _SECOND,
                _common_name(own.subject),
                own.issuer,
                tuple((item.subject, item.issuer) for item in brought),
                tuple(own.extensions.get_extension_for_class(_USAGE).value),
                response,
            )
        except Exception:  # noqa: BLE001 - libraries raise many kinds about such bytes
            raise MalformedError(
                "the timestamp is not an RFC 3161 token with its signer's certificate, "
                "which says what it is for"
            ) from None

    def stamps(self, text: str) -> bool:
        """Says whether its imprint is the SHA-256 of a text."""
        imprint = self._response.tst_info.message_imprint
        digest = sha256(text.encode()).digest()
        return imprint.hash_algorithm == _SHA256 and imprint.message == digest

    def verify(
        self,
        text: str,
        authorities: Authorities,
        *,
        nonce: int | None = None,
        policy: str = "",
    ) -> datetime:
        """Verifies that an authority saw a text.

        1. Its imprint is the SHA-256 of the text.
        2. It has the nonce of the request, and the policy, where these are given.
        3. It is signed, and the signer's certificate leads to a trusted one. All of
           them were valid at ``genTime``, whatever they are now.
        4. The signer's certificate is for timestamps alone (a critical extended key
           usage of that one purpose, RFC 3161 2.3).

        Args:
            text: what was stamped, such as the text of a checkpoint.
            authorities: who is trusted.
            nonce: that of the request, where it is known.
            policy: the OID of the policy that is asked for, if any.

        Returns:
            :attr:`time`.

        Raises:
            VerificationError: a rule does not hold (``TIMESTAMP_UNTRUSTED``).
        """
        if not self.stamps(text):  # 1
            raise _untrusted("it stamps something else")
        info = self._response.tst_info
        if nonce is not None and info.nonce != nonce:  # 2
            raise _untrusted("it does not answer the request: its nonce is another")
        if policy and info.policy.dotted_string != policy:
            raise _untrusted(f"it was given under the policy {info.policy}")
        if not authorities.certificates:
            raise _untrusted("no authority is trusted")
        trusted = list(authorities.certificates)
        if self._usages != (ExtendedKeyUsageOID.TIME_STAMPING,):  # 4
            raise _untrusted("its signer's certificate is not for timestamps alone")
        trusted = list(authorities.certificates)
        verifier = rfc3161.VerifierBuilder(roots=trusted).build()
        try:
            verifier.verify_message(self._response, text.encode())  # 3, 4
        except Exception:  # noqa: BLE001 - libraries raise many kinds about such bytes
            raise _untrusted(
                "no trusted authority signed it with a certificate that was valid "
                "then and is for timestamps"
            ) from None
        return self.time


def timestamp_request(text: str, nonce: int, policy: str = "") -> bytes:
    """Returns a ``TimeStampReq`` (RFC 3161 2.4.1) that asks for the certificate too.

    Args:
        text: what is to be stamped.
        nonce: not negative, and not foreseeable; the answer has it again.
        policy: the OID of the policy that is asked for, such as ``1.2.840.1``; empty
            for the authority's own.
    """
    digest = _der.encode(_der.OCTETS, sha256(text.encode()).digest())
    return _der.encode(
        _der.SEQUENCE,
        _der.integer(1),
        _der.encode(_der.SEQUENCE, _SHA256_ALGORITHM, digest),
        _der.identifier(policy) if policy else b"",
        _der.integer(nonce),
        _der.encode(_der.BOOLEAN, b"\xff"),
    )


def parse_response(data: bytes) -> Token:
    """Returns the token of a ``TimeStampResp`` (RFC 3161 2.4.2).

    Certificates that are not in the order of DER are put in that order, as many
    authorities do not. They are no part of what is signed.

    Raises:
        TooLargeError: over :data:`MAX_TOKEN_SIZE`.
        MalformedError: not strict DER otherwise, or the authority did not grant it.
    """
    response = _read(_in_order(data))
    if response.status not in _STATUSES:
        raise MalformedError(
            f"the authority refused: its answer has the status {response.status}"
        )
    try:
        token = response.time_stamp_token()
    except ValueError:
        raise MalformedError("the authority's answer has no token") from None
    return Token.parse(token)


def _in_order(answer: bytes) -> bytes:
    """Returns an answer with its certificates as DER orders a set (X.690 11.6)."""
    try:
        (response,) = _der.elements(answer, 0, len(answer))
        _, token = _der.elements(answer, response.content, response.end)
        _, wrapped = _der.elements(answer, token.content, token.end)
        (signed,) = _der.elements(answer, wrapped.content, wrapped.end)
        fields = _der.elements(answer, signed.content, signed.end)
        (brought,) = (field for field in fields if field.tag == _der.FIRST)
        found = _der.elements(answer, brought.content, brought.end)
        certificates = sorted(answer[item.begin : item.end] for item in found)
    except ValueError:
        return answer  # which is for the library to refuse
    return b"".join([answer[: brought.content], *certificates, answer[brought.end :]])


def _read(data: bytes) -> rfc3161.TimeStampResponse:
    if len(data) > MAX_TOKEN_SIZE:
        raise TooLargeError("a timestamp", len(data), MAX_TOKEN_SIZE)
    try:
        return rfc3161.decode_timestamp_response(data)
    except ValueError:
        raise MalformedError("the timestamp is not RFC 3161 in strict DER") from None


def _accuracy(accuracy: rfc3161.Accuracy | None) -> timedelta:
    """Returns by how much ``genTime`` may be off; zero where nothing is stated."""
    if accuracy is None:
        return timedelta()
    return timedelta(
        seconds=accuracy.seconds or 0,
        milliseconds=accuracy.millis or 0,
        microseconds=accuracy.micros or 0,
    )


def _common_name(name: x509.Name) -> str:
    """Returns a name for people."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _untrusted(why: str) -> VerificationError:
    return VerificationError(
        Reason.ERROR_REASON_TIMESTAMP_UNTRUSTED, f"the timestamp does not hold: {why}"
    )
