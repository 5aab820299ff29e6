"""A member's home: the directory that holds its keys, its trust and what it has seen.

::

    member.toml            who the member is, and where its exchange is
    tls.crt                its certificate, then the issuers
    server-ca.pem          whom to trust for the exchange's servers
    trust.txt              trust file (tlog-policy)
    keys/tls.key           private keys; mode 0600 in a directory of mode 0700
    keys/<key id>.pem      ... one for each statement key
    keys/<key id>.json     ... one for each content key
    keys/attempt           what an enrolment under way is repeated with
    state/checkpoint       the newest verified checkpoint, a signed note
    state/alerts           up to where alerts were dealt with
    state/fork-*.txt       evidence of a forked log; with one, no work is done
    state/checkpoint-*.txt the last checkpoint of a log that was succeeded by another
    receipts/<id>.jsonl    statements about a referral with their receipts
    content/<id>.sealed    content received, as it came, while it may be needed
    queue/                 intakes that are not registered yet, in their order
    intakes/<number>.json  an intake registered here: its salt, statement and receipt

Losing ``keys`` loses the tips that were sealed to them, and nothing else: the operator
issues another token. Losing ``state`` loses the memory by which a fork is noticed.
``receipts`` can be fetched again while the exchange lives; they are kept for when it
does not. Losing ``queue`` loses intakes; losing ``intakes`` loses their salts, and with
a salt the means to prove what an intake was about.

Several processes may share a home. Files are replaced whole, and what is read before it
is written is read and written under one lock. Methods block; call them from a thread
where that matters.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Final, Self

from onward._files import append_durably, locked, make_private_dir, write_atomically
from onward.core.errors import ForkError, MalformedError, Reason, StateError
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.core.statements import is_statement_id
from onward.core.tlog_policy import Policy
from onward.v1 import log_pb2

_DIRECTORIES: Final = ("keys", "state", "receipts", "content", "queue", "intakes")
_FORK_TEXT: Final = (
    "Two checkpoints of one log contradict each other. Both are signed, so together\n"
    "they prove that the log's operator showed different histories, or lost one. Give\n"
    "this file to an auditor. The client does nothing until the file is removed.\n"
)
_SEPARATOR: Final = "\n====\n\n"


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """What ``member.toml`` holds.

    Attributes:
        member: the member's SPIFFE ID.
        exchange: the exchange's SPIFFE ID.
        address: ``host:port`` of the exchange; or of each of its replicas, IP addresses
            separated by commas, of which one that answers is called. A DNS name with
            several addresses does the same.
        server_name: the DNS name that the exchange's certificate must have.
    """

    member: str
    exchange: str
    address: str
    server_name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the file.

        Raises:
            MalformedError: not TOML, or a setting is missing, unknown or no text.
        """
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise MalformedError(f"member.toml is not TOML: {error}") from None
        names = {field.name for field in fields(cls)}
        if values.keys() != names or not all(
            isinstance(value, str) for value in values.values()
        ):
            raise MalformedError(
                f"member.toml has exactly these texts: {', '.join(sorted(names))}"
            )
        return cls(**values)

    def format(self) -> str:
        """Writes the file. A JSON string is a TOML string too."""
        return "".join(
            f"{name} = {json.dumps(value)}\n" for name, value in asdict(self).items()
        )


class Home:
    """A member's home directory. Made by :meth:`create` or :meth:`open`.

    Attributes:
        path: where it is.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: str | PathLike[str]) -> Self:
        """Makes the directories, and leaves alone what is there already."""
        home = cls(Path(path).expanduser())
        make_private_dir(home.path)
        for name in _DIRECTORIES:
            make_private_dir(home.path / name)
        return home

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """Opens the home of an enrolled member.

        Raises:
            StateError: no member has enrolled there.
        """
        home = cls(Path(path).expanduser())
        if not home.is_enrolled:
            raise StateError(
                Reason.ERROR_REASON_NOT_A_MEMBER,
                f"no member has enrolled in {home.path}; run 'onward enroll TOKEN'",
            )
        return home

    @property
    def is_enrolled(self) -> bool:
        """Whether an enrolment was completed here."""
        return self._settings_file.exists()

    @property
    def settings(self) -> MemberSettings:
        """Who the member is, and where its exchange is."""
        return MemberSettings.parse(self._settings_file.read_text())

    @property
    def trust(self) -> str:
        """The text of the trust file."""
        return (self.path / "trust.txt").read_text()

    @property
    def policy(self) -> Policy:
        """The parsed trust file."""
        return Policy.parse(self.trust)

    @property
    def tls_key(self) -> bytes:
        """The private key of the certificate, PEM."""
        return (self.path / "keys" / "tls.key").read_bytes()

    @property
    def certificate_chain(self) -> bytes:
        """The certificate, then its issuers, PEM."""
        return (self.path / "tls.crt").read_bytes()

    @property
    def server_ca(self) -> bytes:
        """The certificates to trust for the exchange's servers, PEM."""
        return (self.path / "server-ca.pem").read_bytes()

    def save_enrollment(
        self,
        settings: MemberSettings,
        *,
        certificate_chain: bytes,
        server_ca: bytes,
        trust: str,
    ) -> None:
        """Completes the home; ``member.toml`` comes last, and makes it one."""
        self.save_certificate(certificate_chain)
        write_atomically(self.path / "server-ca.pem", server_ca)
        write_atomically(self.path / "trust.txt", trust.encode())
        write_atomically(self._settings_file, settings.format().encode())

    def save_certificate(self, certificate_chain: bytes) -> None:
        """Replaces the certificate."""
        write_atomically(self.path / "tls.crt", certificate_chain)

    def follow(self, trust: str) -> None:
        """Goes over to the log of another trust file: the exchange's log was succeeded.

        What was seen of the log before is kept beside, and not compared any more.

        Raises:
            MalformedError: it is no trust file.
        """
        Policy.parse(trust)
        with self._lock():
            for file in (self._checkpoint_file, self._alerts_file):
                if seen := _read_or_empty(file):
                    mark = sha256(seen.encode()).hexdigest()[:16]
                    file.replace(file.with_name(f"{file.name}-{mark}.txt"))
            write_atomically(self.path / "trust.txt", trust.encode())

    # --- keys -----------------------------------------------------------------------

    def save_tls_key(self, pem: bytes) -> None:
        """Keeps the private key of the certificate."""
        write_atomically(self.path / "keys" / "tls.key", pem)

    def add_statement_key(self, key: StatementPrivateKey) -> None:
        """Keeps a statement key."""
        write_atomically(self.path / "keys" / f"{key.key_id}.pem", key.to_pem())

    def add_content_key(self, key: ContentPrivateKey) -> None:
        """Keeps a content key. Old ones stay, for what was sealed to them."""
        name = f"{key.public.key_id}.json"
        write_atomically(self.path / "keys" / name, key.to_bytes())

    def statement_keys(self) -> dict[str, StatementPrivateKey]:
        """Returns all statement keys, by key id."""
        files = (self.path / "keys").glob("*.pem")
        keys = (StatementPrivateKey.from_pem(file.read_bytes()) for file in files)
        return {key.key_id: key for key in keys}

    def content_keys(self) -> dict[str, ContentPrivateKey]:
        """Returns all content keys, by key id."""
        files = (self.path / "keys").glob("*.json")
        keys = (ContentPrivateKey.from_bytes(file.read_bytes()) for file in files)
        return {key.public.key_id: key for key in keys}

    def attempt(self) -> str:
        """Returns the enrolment under way or done last, as it was saved; or nothing."""
        return _read_or_empty(self.path / "keys" / "attempt")

    def save_attempt(self, text: str) -> None:
        """Keeps an enrolment under way, with the key that it is for."""
        write_atomically(self.path / "keys" / "attempt", text.encode())

    # --- what was seen --------------------------------------------------------------

    def checkpoint(self) -> str:
        """Returns the newest verified checkpoint, a signed note; empty before it."""
        return _read_or_empty(self._checkpoint_file)

    def replace_checkpoint(self, expected: str, note: str) -> bool:
        """Replaces the checkpoint if it is still the one expected.

        Compare-and-swap: another process of this home may have verified a newer one
        meanwhile, with which ``note`` was not compared yet.
        """
        with self._lock():
            if self.checkpoint() != expected:
                return False
            write_atomically(self._checkpoint_file, note.encode())
            return True

    def keep_fork(self, error: ForkError) -> Path:
        """Keeps the evidence of a fork, and returns its file."""
        text = _SEPARATOR.join([_FORK_TEXT + error.message, error.first, error.second])
        name = f"fork-{sha256(text.encode()).hexdigest()[:16]}.txt"
        path = self.path / "state" / name
        write_atomically(path, text.encode())
        return path

    def check_no_fork(self) -> None:
        """Refuses to go on when there is evidence of a fork.

        Raises:
            ForkError: there is.
        """
        for path in sorted((self.path / "state").glob("fork-*.txt")):
            _, _, rest = path.read_text().partition(_SEPARATOR)
            first, _, second = rest.partition(_SEPARATOR)
            raise ForkError(
                f"the exchange's log forked; {path} holds the evidence: give it to an "
                "auditor, and remove it to go on",
                first,
                second,
            )

    def alerts_token(self) -> str:
        """Returns the resume token of the last alert dealt with; empty before it."""
        return _read_or_empty(self._alerts_file)

    def save_alerts_token(self, token: str) -> None:
        """Keeps up to where alerts were dealt with."""
        write_atomically(self._alerts_file, token.encode())

    # --- receipts and content -------------------------------------------------------

    def add_receipts(
        self, referral_id: str, logged: Iterable[log_pb2.LoggedStatement]
    ) -> None:
        """Keeps statements with their receipts, each once."""
        path = self._of_referral("receipts", referral_id, "jsonl")
        with self._lock():
            known = {item.statement for item in self.receipts(referral_id)}
            lines = [
                json.dumps({"statement": item.statement, "receipt": item.receipt})
                for item in logged
                if item.statement not in known
            ]
            # A line that a crash tore apart must not swallow the next one.
            torn = _read_or_empty(path).rpartition("\n")[2]
            lines[:0] = [""] if torn and lines else []
            if lines:
                append_durably(path, ("\n".join(lines) + "\n").encode())

    def receipts(self, referral_id: str) -> list[log_pb2.LoggedStatement]:
        """Returns what is kept about a referral, in the order in which it came."""
        text = _read_or_empty(self._of_referral("receipts", referral_id, "jsonl"))
        return [item for line in text.split("\n") if (item := _receipt(line))]

    def keep_content(self, referral_id: str, sealed: bytes) -> None:
        """Keeps sealed content as it arrived."""
        write_atomically(self._of_referral("content", referral_id, "sealed"), sealed)

    def content(self, referral_id: str) -> bytes | None:
        """Returns the sealed content kept of a referral, or None."""
        path = self._of_referral("content", referral_id, "sealed")
        return path.read_bytes() if path.exists() else None

    def contents(self) -> list[str]:
        """Returns the ids of the referrals of which content is kept."""
        return [file.stem for file in (self.path / "content").glob("*.sealed")]

    def forget_content(self, referral_id: str) -> None:
        """Removes the content kept of a referral, if there is any."""
        self._of_referral("content", referral_id, "sealed").unlink(missing_ok=True)

    @property
    def _settings_file(self) -> Path:
        return self.path / "member.toml"

    @property
    def _checkpoint_file(self) -> Path:
        return self.path / "state" / "checkpoint"

    @property
    def _alerts_file(self) -> Path:
        return self.path / "state" / "alerts"

    def _lock(self) -> AbstractContextManager[None]:
        return locked(self.path / "state" / "lock")

    def _of_referral(self, directory: str, referral_id: str, suffix: str) -> Path:
        # The id may come from outside; a checked one cannot leave the directory.
        if not is_statement_id(referral_id):
            raise MalformedError("a referral's id is a UUIDv7", field="referral_id")
        return self.path / directory / f"{referral_id}.{suffix}"


def _receipt(line: str) -> log_pb2.LoggedStatement | None:
    """Reads a line of a receipts file; one that a crash tore apart is no receipt."""
    try:
        return log_pb2.LoggedStatement(**json.loads(line))
    except ValueError:
        return None


def _read_or_empty(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
