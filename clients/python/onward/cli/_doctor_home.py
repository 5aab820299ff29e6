"""What the doctor sees in a member's home."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from onward._clock import Clock
from onward._files import PRIVATE_DIR, PRIVATE_FILE
from onward._queue import Queue
from onward.cli._findings import Finding, fine, problem, warning
from onward.core.errors import ForkError
from onward.core.statements import parse_statement
from onward.core.timing import MAX_CLOCK_SKEW
from onward.home import Home

EXPIRES_SOON: Final = timedelta(days=14)

_NEW_TOKEN: Final = "ask the operator for a new enrolment token, and enrol again"  # noqa: S105 - what to do


def check_settings(home: Home, _: Clock) -> Iterator[Finding]:
    """Looks at ``member.toml``."""
    settings = home.settings
    yield fine("home", f"{home.path}, of {settings.member} at {settings.exchange}")


def check_permissions(home: Home, _: Clock) -> Iterator[Finding]:
    """Looks at who may read what is private."""
    folder = home.path / "keys"
    wrong = [
        path
        for path, allowed in [
            (folder, PRIVATE_DIR),
            *((file, PRIVATE_FILE) for file in sorted(folder.iterdir())),
        ]
        if stat.S_IMODE(path.stat().st_mode) & ~allowed
    ]
    for path in wrong:
        mode = PRIVATE_DIR if path == folder else PRIVATE_FILE
        yield problem(
            "permissions",
            f"others may use {path}",
            f"chmod {mode:o} {path}; if others may have read it, 'onward keys rotate', "
            "and tell the operator",
        )
    if not wrong:
        yield fine("permissions", f"only its owner may use {folder}")


def check_certificate(home: Home, clock: Clock) -> Iterator[Finding]:
    """Looks at the member's certificate: its name, its key and its dates."""
    subject = "certificate"
    certificate = x509.load_pem_x509_certificates(home.certificate_chain)[0]
    member = home.settings.member
    if _names(certificate) != [member]:
        yield problem(
            subject, f"it is not of {member} alone: {_names(certificate)}", _NEW_TOKEN
        )
    key = load_pem_private_key(home.tls_key, None)
    if key.public_key() != certificate.public_key():
        file = home.path / "keys" / "tls.key"
        yield problem(subject, f"its key is not the one in {file}", _NEW_TOKEN)
    yield _dates(subject, certificate, clock())


def check_trust(home: Home, _: Clock) -> Iterator[Finding]:
    """Looks at the trust file."""
    policy = home.policy
    logs = ", ".join(log.vkey.name for log in policy.logs)
    witnesses = f"quorum {policy.quorum}" if policy.quorum else "no witness"
    yield fine("trust file", f"{home.path / 'trust.txt'}: {logs}; {witnesses}")


def check_evidence(home: Home, _: Clock) -> Iterator[Finding]:
    """Looks for evidence of a forked log."""
    try:
        home.check_no_fork()
    except ForkError as error:
        yield problem(
            "log",
            error.message,
            "keep a copy of the file: it proves what the exchange did. Nothing works "
            "until it is removed",
        )


def check_queue(home: Home, _: Clock) -> Iterator[Finding]:
    """Looks for intakes that are not registered."""
    subject, queue = "intakes", Queue(home)
    refused = queue.refused()
    if refused:
        yield problem(
            subject,
            f"the exchange refused {len(refused)}, the first in {refused[0]}",
            "register these tips again with what is wrong set right, and remove the "
            "files",
        )
    if waiting := queue.count():
        yield warning(
            subject, f"{waiting} wait in the queue", "run 'onward intake --flush'"
        )


def check_clock(home: Home, clock: Clock) -> Iterator[Finding]:
    """Compares this machine's clock with the latest time that the exchange signed.

    A checkpoint has no time of its own, so a clock that is fast cannot be noticed here;
    the exchange refuses what it signs (``TIME_IMPLAUSIBLE``).
    """
    subject = "clock"
    latest = max(_signed_times(home), default=None)
    if latest is None:
        yield fine(subject, "there is nothing to compare it with yet")
    elif latest - clock() > MAX_CLOCK_SKEW:
        yield problem(
            subject,
            f"it is at least {latest - clock()} slow: the exchange has signed "
            f"something at {latest:%Y-%m-%d %H:%M:%S}Z",
            "set the clock by a time service",
        )
    else:
        yield fine(subject, "it does not contradict what the exchange has signed")


def _signed_times(home: Home) -> Iterator[datetime]:
    """Yields the times of what the exchange signed, of the newest receipts."""
    exchange = home.settings.exchange
    files = sorted((home.path / "receipts").glob("*.jsonl"), key=_modified)
    for file in files[-1:]:
        for item in home.receipts(file.stem):
            message = parse_statement(item.statement).message
            if message.issuer == exchange:
                yield message.made_time.ToDatetime(tzinfo=UTC)


def _modified(file: Path) -> float:
    return file.stat().st_mtime


def _names(certificate: x509.Certificate) -> list[str]:
    """Returns the URIs that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def _dates(subject: str, certificate: x509.Certificate, now: datetime) -> Finding:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        return problem(
            subject,
            f"it is valid only from {begin:%Y-%m-%d %H:%M}Z on",
            "look at this machine's clock",
        )
    if now >= end:
        return problem(subject, f"it expired on {end:%Y-%m-%d %H:%M}Z", _NEW_TOKEN)
    detail = f"it is valid until {end:%Y-%m-%d %H:%M}Z"
    if end - now < EXPIRES_SOON:
        return warning(subject, detail, "run 'onward keys renew'")
    return fine(subject, detail)
