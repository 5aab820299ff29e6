"""By which rules and deadlines the exchange judges."""

from __future__ import annotations

from onward.v1 import policy_pb2, policy_pb2_grpc
from onward_server.exchange.policies import Policies
from onward_server.services import convert
from onward_server.services.interceptor import Context
from onward_server.services.shapes import check_digest


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    """See ``proto/onward/v1/policy.proto``."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    async def GetPolicy(
        self, request: policy_pb2.GetPolicyRequest, context: Context
    ) -> policy_pb2.GetPolicyResponse:
        """Returns a policy set."""
        if request.policy_digest:
            check_digest(request.policy_digest, "policy_digest")
        kept = await self._policies.get(request.policy_digest)
        return policy_pb2.GetPolicyResponse(
            change=convert.to_logged_statement(kept.change),
            files=[
                policy_pb2.PolicyFile(name=name, text=text)
                for name, text in kept.files.items()
            ],
        )

    async def ListPolicyChanges(
        self, request: policy_pb2.ListPolicyChangesRequest, context: Context
    ) -> policy_pb2.ListPolicyChangesResponse:
        """Returns all policy changes."""
        changes = await self._policies.changes()
        return policy_pb2.ListPolicyChangesResponse(
            changes=convert.to_logged_statements(changes)
        )
