"""The members as they are now, in memory: the ledger keeps it in step with the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onward.core.directory import MemberEntry
from onward.core.errors import Reason, UnknownError


@dataclass(frozen=True, slots=True)
class Registration:
    """A member's present entry, and the logged change that put it in force."""

    entry: MemberEntry
    log_index: int
    digest: bytes


class Directory:
    """Present entries by name. Only the ledger changes it, after a commit.

    Attributes:
        log_index: of the newest change; -1 before the first.
    """

    def __init__(self) -> None:
        self._registrations: dict[str, Registration] = {}
        self.log_index = -1

    def __iter__(self) -> Iterator[MemberEntry]:
        """All present entries, ordered by name."""
        for name in sorted(self._registrations):
            yield self._registrations[name].entry

    def apply(self, registrations: Iterable[Registration]) -> None:
        """Puts entries in force."""
        for registration in registrations:
            self._registrations[registration.entry.name] = registration
            self.log_index = max(self.log_index, registration.log_index)

    def registration(self, name: str) -> Registration | None:
        """Returns a member's registration, or None."""
        return self._registrations.get(name)

    def find(self, name: str) -> MemberEntry | None:
        """Returns a member's entry, or None."""
        registration = self._registrations.get(name)
        return registration.entry if registration else None

    def entry(self, name: str) -> MemberEntry:
        """Returns a member's entry.

        Raises:
            UnknownError: ``MEMBER_UNKNOWN``.
        """
        found = self.find(name)
        if found is None:
            raise UnknownError(
                Reason.ERROR_REASON_MEMBER_UNKNOWN,
                f"there is no member {name} at this exchange",
                metadata={"member": name},
            )
        return found


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: resolved once, from the verified certificate alone.

    ``fingerprint`` is the SHA-256 of the DER certificate.
    """

    entry: MemberEntry
    fingerprint: bytes

    @property
    def name(self) -> str:
        """The caller's SPIFFE ID."""
        return self.entry.name
