"""What the exchange gives its members, and on which terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from onward_server.exchange.authority import CertificateAuthority
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.possession import Challenger
from onward_server.exchange.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the keys and certificates of members.

    Attributes:
        key_validity: how long a key is valid from its registration on.
        certificate_validity: how long a certificate is.
        clock_tolerance: how far a member's clock may be behind ours.
    """

    key_validity: timedelta
    certificate_validity: timedelta
    clock_tolerance: timedelta

    def validity(self, now_ms: int) -> dict[str, Timestamp]:
        """Returns the validity of a key that is registered now."""
        tolerance = self.clock_tolerance // timedelta(milliseconds=1)
        length = self.key_validity // timedelta(milliseconds=1)
        return {
            "not_before_time": to_timestamp(now_ms - tolerance),
            "not_after_time": to_timestamp(now_ms + length),
        }


@dataclass(frozen=True, slots=True)
class Issuing:
    """All that enrolling and renewing takes.

    Attributes:
        authority: issues certificates.
        tokens: makes and reads enrolment tokens.
        challenger: makes challenges, and checks the answers.
        terms: what holds for new keys and certificates.
        trust: the trust file that new members get.
    """

    authority: CertificateAuthority
    tokens: Tokens
    challenger: Challenger
    terms: Terms
    trust: str


def trust_file(
    exchange: str, log_vkey: str, url: str = "", second_vkey: str = ""
) -> str:
    """Returns the trust file (C2SP tlog-policy) of an exchange without witnesses.

    Args:
        exchange: its SPIFFE ID.
        log_vkey: the key of its log.
        url: where strangers find the log's tiles, or empty.
        second_vkey: the log's key of type ML-DSA-44, or empty. A checkpoint that has
            the signature of one of the keys, and no false one, is trusted.
    """
    logs = (f"log {vkey} {url}".rstrip() for vkey in (log_vkey, second_vkey) if vkey)
    lines = [f"# Whom to trust for receipts of {exchange}", *logs, "quorum none"]
    return "".join(f"{line}\n" for line in lines)
