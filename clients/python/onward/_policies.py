"""By which rules and deadlines the exchange judges, proven by its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onward._session import Session
from onward._values import Logged
from onward.core.errors import Reason, VerificationError
from onward.core.policy_sets import policy_digest
from onward.v1 import log_pb2, policy_pb2
from onward.v1.policy_pb2_grpc import PolicyServiceStub

_KIND = "policy_change"


@dataclass(frozen=True, slots=True)
class PolicyDetail:
    """A policy set, and the logged change that put it in force.

    Attributes:
        change: the exchange's ``PolicyChange``.
        files: the text of each file by its name; their digest is that of the change.
    """

    change: Logged
    files: Mapping[str, str] = field(repr=False)

    @property
    def version(self) -> str:
        """The version that the set gives itself."""
        return self.change.message.policy_change.policy_version

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole set, 32 bytes."""
        return self.change.message.policy_change.policy_digest


class Policies:
    """The exchange's policy sets, for every member."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stub = PolicyServiceStub(session.channel)

    async def get(self, digest: bytes = b"") -> PolicyDetail:
        """Returns a policy set that is or was in force; without a digest, the present.

        Raises:
            UnknownError: no set with this digest was ever in force.
            VerificationError: the files are not those that the log names.
        """
        response = await self._session.call(
            self._stub.GetPolicy, policy_pb2.GetPolicyRequest(policy_digest=digest)
        )
        change = await self._change(response.change)
        files = {file.name: file.text for file in response.files}
        found = PolicyDetail(change, files)
        if policy_digest(files) != found.digest or digest not in {b"", found.digest}:
            raise VerificationError(
                Reason.ERROR_REASON_CONTENT_MISMATCH,
                "the policy set that the exchange sent is not the one that was asked "
                "for, or not the one that its log names",
            )
        return found

    async def changes(self) -> list[Logged]:
        """Returns every change of the policy, oldest first; the last is in force."""
        response = await self._session.call(
            self._stub.ListPolicyChanges, policy_pb2.ListPolicyChangesRequest()
        )
        return [await self._change(logged) for logged in response.changes]

    async def _change(self, logged: log_pb2.LoggedStatement) -> Logged:
        """Returns a change of the exchange's policy, verified."""
        change = await self._session.verify(logged)
        if (change.kind, change.issuer) != (_KIND, self._session.exchange):
            raise VerificationError(
                Reason.ERROR_REASON_CONTENT_MISMATCH,
                "what the exchange sent is no change of its policy",
            )
        return change
