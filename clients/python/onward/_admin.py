"""Running the exchange, for members with the operator role."""

from __future__ import annotations

from collections.abc import Mapping

from onward._session import Session
from onward._values import Logged
from onward.v1 import admin_pb2, directory_pb2, policy_pb2
from onward.v1.admin_pb2_grpc import AdminServiceStub


class Admin:
    """The operator's calls. Each change is a logged statement, returned verified.

    When the answer to ``add_member`` gets lost, the member is there and its token is
    not: repeating it fails with ``MEMBER_EXISTS``, and ``issue_token`` gives another.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stub = AdminServiceStub(session.channel)

    async def add_member(
        self, member: directory_pb2.Member
    ) -> admin_pb2.AddMemberResponse:
        """Adds a member, without keys.

        Args:
            member: ``name``, ``display_name``, ``kind`` and ``jurisdictions``, with
                ``roles`` and ``ori`` if they apply.

        Returns:
            The logged change, verified, and the member's one-time enrolment token.

        Raises:
            ConflictError: it is a member already.
        """
        response = await self._session.call(
            self._stub.AddMember, admin_pb2.AddMemberRequest(member=member)
        )
        await self._session.verify(response.change)
        return response

    async def issue_token(self, name: str) -> admin_pb2.IssueTokenResponse:
        """Issues another enrolment token; unused ones become invalid."""
        return await self._session.call(
            self._stub.IssueToken, admin_pb2.IssueTokenRequest(name=name)
        )

    async def suspend(self, name: str) -> Logged:
        """Locks a member out, on open streams too, within a minute."""
        response = await self._session.call(
            self._stub.SuspendMember, admin_pb2.SuspendMemberRequest(name=name)
        )
        return await self._session.verify(response.change)

    async def reinstate(self, name: str) -> Logged:
        """Lets a suspended member in again."""
        response = await self._session.call(
            self._stub.ReinstateMember, admin_pb2.ReinstateMemberRequest(name=name)
        )
        return await self._session.verify(response.change)

    async def revoke_key(self, name: str, key_id: str) -> Logged:
        """Revokes a statement key or content key of a member."""
        response = await self._session.call(
            self._stub.RevokeKey,
            admin_pb2.RevokeKeyRequest(name=name, key_id=key_id),
        )
        return await self._session.verify(response.change)

    async def revoke_certificate(self, name: str, fingerprint: bytes) -> Logged:
        """Revokes a certificate, by the SHA-256 of its DER form."""
        response = await self._session.call(
            self._stub.RevokeCertificate,
            admin_pb2.RevokeCertificateRequest(name=name, fingerprint=fingerprint),
        )
        return await self._session.verify(response.change)

    async def erase_content(self, referral_id: str, citation: str) -> Logged:
        """Erases the content of a referral by a legal duty; the proofs stay."""
        response = await self._session.call(
            self._stub.EraseReferralContent,
            admin_pb2.EraseReferralContentRequest(
                referral_id=referral_id, citation=citation
            ),
        )
        return await self._session.verify(response.erasure)

    async def apply_policy(self, files: Mapping[str, str], replaces: bytes) -> Logged:
        """Puts a policy set in force. Idempotent.

        Args:
            files: the text of each file by its name.
            replaces: digest of the set that you have seen in force.

        Raises:
            MalformedError: the set is not sound.
            StateError: another set is in force than ``replaces``.
        """
        request = admin_pb2.ApplyPolicyRequest(
            files=[
                policy_pb2.PolicyFile(name=name, text=text)
                for name, text in files.items()
            ],
            replaces_digest=replaces,
        )
        response = await self._session.call(self._stub.ApplyPolicy, request)
        return await self._session.verify(response.change)

    async def status(self) -> admin_pb2.GetStatusResponse:
        """Returns how the exchange is; its checkpoint is verified."""
        response = await self._session.call(
            self._stub.GetStatus, admin_pb2.GetStatusRequest()
        )
        await self._session.log.observe(response.checkpoint)
        return response
