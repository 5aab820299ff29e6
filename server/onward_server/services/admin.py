"""Running the exchange."""

from __future__ import annotations

from onward.core.errors import MalformedError
from onward.v1 import admin_pb2, admin_pb2_grpc
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.policies import Policies
from onward_server.exchange.policy_files import PolicyInvalidError
from onward_server.exchange.records import Records
from onward_server.exchange.registry import Registry
from onward_server.services import calls, convert
from onward_server.services.interceptor import Context
from onward_server.services.shapes import check_digest

_MAX_CITATION = 200


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """See ``proto/onward/v1/admin.proto``."""

    def __init__(
        self,
        registry: Registry,
        erasing: Erasing,
        records: Records,
        policies: Policies,
    ) -> None:
        self._registry = registry
        self._erasing = erasing
        self._records = records
        self._policies = policies

    async def AddMember(
        self, request: admin_pb2.AddMemberRequest, context: Context
    ) -> admin_pb2.AddMemberResponse:
        """Adds a member, and issues its enrolment token."""
        added = await self._registry.add_member(calls.caller(), request.member)
        return admin_pb2.AddMemberResponse(
            change=convert.to_logged_statement(added.change),
            token=added.token.text,
            token_expire_time=to_timestamp(added.token.row.expire_ms),
        )

    async def IssueToken(
        self, request: admin_pb2.IssueTokenRequest, context: Context
    ) -> admin_pb2.IssueTokenResponse:
        """Issues another enrolment token."""
        token = await self._registry.issue_token(request.name)
        return admin_pb2.IssueTokenResponse(
            token=token.text, token_expire_time=to_timestamp(token.row.expire_ms)
        )

    async def SuspendMember(
        self, request: admin_pb2.SuspendMemberRequest, context: Context
    ) -> admin_pb2.SuspendMemberResponse:
        """Locks a member out."""
        change = await self._registry.suspend(calls.caller(), request.name)
        return admin_pb2.SuspendMemberResponse(
            change=convert.to_logged_statement(change)
        )

    async def ReinstateMember(
        self, request: admin_pb2.ReinstateMemberRequest, context: Context
    ) -> admin_pb2.ReinstateMemberResponse:
        """Lets a member in again."""
        change = await self._registry.reinstate(calls.caller(), request.name)
        return admin_pb2.ReinstateMemberResponse(
            change=convert.to_logged_statement(change)
        )

    async def RevokeKey(
        self, request: admin_pb2.RevokeKeyRequest, context: Context
    ) -> admin_pb2.RevokeKeyResponse:
        """Revokes a key."""
        change = await self._registry.revoke_key(
            calls.caller(), request.name, request.key_id
        )
        return admin_pb2.RevokeKeyResponse(change=convert.to_logged_statement(change))

    async def RevokeCertificate(
        self, request: admin_pb2.RevokeCertificateRequest, context: Context
    ) -> admin_pb2.RevokeCertificateResponse:
        """Revokes a certificate."""
        check_digest(request.fingerprint, "fingerprint")
        change = await self._registry.revoke_certificate(
            calls.caller(), request.name, request.fingerprint
        )
        return admin_pb2.RevokeCertificateResponse(
            change=convert.to_logged_statement(change)
        )

    async def EraseReferralContent(
        self, request: admin_pb2.EraseReferralContentRequest, context: Context
    ) -> admin_pb2.EraseReferralContentResponse:
        """Erases content by a legal duty."""
        citation = request.citation.strip()
        if not 1 <= len(citation) <= _MAX_CITATION:
            raise MalformedError(
                f"citation names the legal duty, in at most {_MAX_CITATION} characters",
                field="citation",
            )
        erasure = await self._erasing.by_operator(
            calls.caller(), request.referral_id, citation
        )
        return admin_pb2.EraseReferralContentResponse(
            erasure=convert.to_logged_statement(erasure)
        )

    async def ApplyPolicy(
        self, request: admin_pb2.ApplyPolicyRequest, context: Context
    ) -> admin_pb2.ApplyPolicyResponse:
        """Puts a policy set in force."""
        check_digest(request.replaces_digest, "replaces_digest")
        texts = {file.name: file.text for file in request.files}
        if len(texts) != len(request.files):
            raise PolicyInvalidError("two files of the policy set have the same name")
        change = await self._policies.apply(
            calls.caller(), texts, request.replaces_digest
        )
        return admin_pb2.ApplyPolicyResponse(change=convert.to_logged_statement(change))

    async def GetStatus(
        self, request: admin_pb2.GetStatusRequest, context: Context
    ) -> admin_pb2.GetStatusResponse:
        """Returns how the exchange is."""
        return convert.to_status_response(await self._records.status())
