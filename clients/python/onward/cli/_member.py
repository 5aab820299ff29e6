"""Becoming a member, and the member's keys."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509

from onward import enroll as enrolment
from onward.cli._connection import connected, running
from onward.cli._messages import value_of, word_of
from onward.cli._output import print_json, print_line, print_table
from onward.cli._records import print_logged
from onward.client import Client, Logged
from onward.core.directory import MemberEntry, Validity
from onward.core.keys import DEFAULT_ALGORITHM, StatementPublicKey
from onward.core.sealing import ContentPublicKey
from onward.home import Home
from onward.v1.vocabulary_pb2 import KeyStatus, SealingSuite

_PublicKey: TypeAlias = StatementPublicKey | ContentPublicKey
_MLKEM: Final = SealingSuite.SEALING_SUITE_MLKEM768_X25519


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of the member, as home and directory have it.

    Attributes:
        key_id: its id.
        use: ``statement`` or ``content``.
        kind: its algorithm or suite.
        status: what the directory says of it; empty when it does not know it.
        not_after: until when it is valid, RFC 3339; empty as ``status``.
        here: whether the home has its private part.
    """

    key_id: str
    use: str
    kind: str
    status: str
    not_after: str
    here: bool


def enroll(
    path: Path, token: str, algorithm: str | None, suite: str | None, *, as_json: bool
) -> None:
    """Makes a home a member's, and prints whose."""
    kind = value_of(SealingSuite, suite) if suite else _MLKEM
    home = running(
        enrolment.enroll(
            token, path, statement_algorithm=algorithm or DEFAULT_ALGORITHM, suite=kind
        )
    )
    settings = home.settings
    if as_json:
        print_json(
            {
                "member": settings.member,
                "exchange": settings.exchange,
                "home": str(home.path),
                "certificate_not_after": certificate_end(home),
            }
        )
        return
    print_line(f"{settings.member} is a member of {settings.exchange}")
    print_line(f"its home is {home.path}; its trust file {home.path / 'trust.txt'}")


def follow(path: Path, trust: Path) -> None:
    """Makes a home follow the log of another trust file."""
    home = Home.open(path)
    home.follow(trust.read_text(encoding="utf-8"))
    for log in home.policy.logs:
        print_line(f"trusted: {log.vkey.format()}")


def list_keys(path: Path, *, as_json: bool) -> None:
    """Prints the member's keys, and until when its certificate is valid."""

    async def work(client: Client) -> MemberEntry:
        return await client.find_member(client.member)

    entry = connected(path, work)
    home = Home.open(path)
    keys = known_keys(home, entry)
    if as_json:
        listed = [asdict(key) for key in keys]
        end = certificate_end(home)
        print_json({"member": entry.name, "certificate_not_after": end, "keys": listed})
        return
    print_table(
        ("use", "kind", "status", "valid until", "in this home", "key"),
        [
            (
                key.use,
                key.kind,
                key.status or "not registered",
                key.not_after[:10],
                "yes" if key.here else "no",
                key.key_id,
            )
            for key in keys
        ],
    )
    print_line(f"the certificate is valid until {certificate_end(home)}")


def rotate(
    path: Path, algorithm: str | None, suite: str | None, *, as_json: bool
) -> None:
    """Replaces the member's keys, and prints where that is logged."""
    kind = value_of(SealingSuite, suite) if suite else None

    async def work(client: Client) -> Logged:
        return await client.rotate_keys(statement_algorithm=algorithm, suite=kind)

    print_logged(connected(path, work), as_json=as_json)


def renew(path: Path, *, as_json: bool) -> None:
    """Renews the member's certificate, and prints until when it is valid."""
    connected(path, lambda client: client.renew_certificate())
    end = certificate_end(Home.open(path))
    if as_json:
        print_json({"certificate_not_after": end})
    else:
        print_line(f"the certificate is valid until {end}")


def known_keys(home: Home, entry: MemberEntry) -> list[KnownKey]:
    """Returns all keys that the home or the directory knows; registered ones last."""
    here: dict[str, _PublicKey] = {
        **{key_id: key.public for key_id, key in home.statement_keys().items()},
        **{key_id: key.public for key_id, key in home.content_keys().items()},
    }
    registered: dict[str, tuple[_PublicKey, Validity]] = {
        **entry.statement_keys.keys,
        **entry.content_keys,
    }
    return [
        *(
            _known(key, None, here=True)
            for key_id, key in here.items()
            if key_id not in registered
        ),
        *(
            _known(key, validity, here=key_id in here)
            for key_id, (key, validity) in registered.items()
        ),
    ]


def _known(key: _PublicKey, validity: Validity | None, *, here: bool) -> KnownKey:
    use, kind = (
        ("statement", key.algorithm)
        if isinstance(key, StatementPublicKey)
        else ("content", word_of(SealingSuite, key.suite))
    )
    status = word_of(KeyStatus, validity.status) if validity else ""
    end = _text(validity.not_after) if validity else ""
    return KnownKey(key.key_id, use, kind, status, end, here)


def certificate_end(home: Home) -> str:
    """Returns until when the member's certificate is valid, RFC 3339."""
    certificate = x509.load_pem_x509_certificates(home.certificate_chain)[0]
    return _text(certificate.not_valid_after_utc)


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
