"""Vectors of ``timestamp``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.conformance.case import Case, base64
from tests.conformance.cases.kept_tokens import Kept, kept
from tests.support.chain_builder import established

_TEXT = established().checkpoint().partition("\n\n")[0] + "\n"
_THEN = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)
_OLD = {
    "begin": datetime(2020, 1, 1, tzinfo=UTC),
    "end": datetime(2022, 1, 1, tzinfo=UTC),
}
_UNTRUSTED = "TIMESTAMP_UNTRUSTED"


def cases() -> Iterator[Case]:
    """Yields the vectors."""
    good = kept("timestamp/checkpoint", _TEXT, _THEN, **_OLD)
    why = (
        "A token over the text of a checkpoint. The signer's certificate was valid at "
        "its genTime, and has ended since. The time is the end of that second, with an "
        "accuracy of one second."
    )
    answer = {"time": "2021-03-04T05:06:09.000Z"}
    yield Case("timestamp", "checkpoint", why, _request(good), answer=answer)
    why = "The token was given under the policy that is asked for."
    request = _request(good, policy="1.2.840.99999.1")
    yield Case("timestamp", "policy", why, request, answer=answer)
    yield from _not_about_this(good)
    yield from _not_well_formed(good)
    yield from _by_others()


def _not_about_this(good: Kept) -> Iterator[Case]:
    """Yields what does not hold though the authority is trusted."""
    why = "The token stamps another text: this one lacks the last newline."
    request = _request(good, text=_TEXT[:-1])
    yield Case("timestamp", "other-text", why, request, _UNTRUSTED)
    why = "The token was given under another policy than the one that is asked for."
    request = _request(good, policy="1.2.840.99999.2")
    yield Case("timestamp", "other-policy", why, request, _UNTRUSTED)
    why = "One bit of the signature was changed."
    changed = good.token[:-1] + bytes([good.token[-1] ^ 1])
    request = _request(good, token=base64(changed))
    yield Case("timestamp", "signature-changed", why, request, _UNTRUSTED)
    why = "The year of genTime was changed."
    changed = good.token.replace(b"20210304050607Z", b"20200304050607Z")
    request = _request(good, token=base64(changed))
    yield Case("timestamp", "time-changed", why, request, _UNTRUSTED)
    why = "No authority is trusted."
    request = _request(good, authorities="")
    yield Case("timestamp", "nobody-trusted", why, request, _UNTRUSTED)


def _not_well_formed(good: Kept) -> Iterator[Case]:
    """Yields what cannot be read."""
    why = "A byte follows the token."
    request = _request(good, token=base64(good.token + b"\0"))
    yield Case("timestamp", "trailing-byte", why, request, "MALFORMED")
    why = "The token is the answer of an authority that refused."
    refused = bytes.fromhex("30053003020102")
    request = _request(good, token=base64(refused))
    yield Case("timestamp", "refusal", why, request, "MALFORMED")
    why = "What should be certificates is not PEM."
    request = _request(good, authorities="certificates")
    yield Case("timestamp", "authorities-not-pem", why, request, "MALFORMED")


def _by_others() -> Iterator[Case]:
    """Yields tokens whose signer should not be trusted."""
    stranger = _kept("stranger")
    other = kept("timestamp/checkpoint", _TEXT, _THEN)
    why = "The token is by an authority of the same name, whose root is another one."
    request = _request(stranger, authorities=other.root)
    # What is kept is the token; the root is that of the other one.
    yield Case("timestamp", "stranger", why, request, _UNTRUSTED)
    late = datetime(2023, 3, 4, 5, 6, 7, tzinfo=UTC)
    why = "The signer's certificate had ended before genTime."
    request = _request(_kept("certificate-ended", late))
    yield Case("timestamp", "certificate-ended", why, request, _UNTRUSTED)
    usages: dict[str, tuple[str, dict[str, Any]]] = {
        "not-for-timestamps": (
            "The signer's certificate is for TLS servers.",
            {"usages": [ExtendedKeyUsageOID.SERVER_AUTH]},
        ),
        "for-more-than-timestamps": (
            "The signer's certificate is for timestamps and for code (RFC 3161 2.3).",
            {
                "usages": [
                    ExtendedKeyUsageOID.TIME_STAMPING,
                    ExtendedKeyUsageOID.CODE_SIGNING,
                ]
            },
        ),
        "usage-not-critical": (
            "The extended key usage of the signer's certificate is not critical.",
            {"critical": False},
        ),
    }
    for name, (why, options) in usages.items():
        request = _request(_kept(name, **options))
        yield Case("timestamp", name, why, request, _UNTRUSTED)


def _kept(name: str, time: datetime = _THEN, **options: Any) -> Kept:
    return kept(f"timestamp/{name}_fail", _TEXT, time, **(_OLD | options))


def _request(made: Kept, **changes: str) -> dict[str, object]:
    token = base64(made.token)
    right = {"token": token, "text": _TEXT, "authorities": made.root}
    return {**right, **changes}
