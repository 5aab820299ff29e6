"""The policy sets of an exchange: which one is in force, which ones were, changing it.

A change is one statement in the log, and from there on the exchange judges by the new
set: each referral and withholding by the one that is in force at its own place of the
log. Earlier sets are kept whole, so that what was judged by them can be understood.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onward.core.errors import Reason, StateError, UnknownError
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.exchange.policy_files import PolicyFiles
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import Needs, Store


@dataclass(frozen=True, slots=True)
class FirstPolicyChange:
    """The change: an exchange that has logged no policy begins with one."""

    policy: DisclosurePolicy

    @property
    def needs(self) -> Needs:
        """Nothing but the policy in force, which is always at hand."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs it, or answers with the change in force."""
        if draft.in_force.log_index >= 0:
            return [draft.in_force.log_index]
        return [draft.change_policy(self.policy, draft.exchange)]


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The change: another policy takes the place of one that its caller has seen.

    Attributes:
        replaces: digest of the set that the caller believes is in force.
    """

    policy: DisclosurePolicy
    replaces: bytes
    requested_by: str

    @property
    def needs(self) -> Needs:
        """Nothing but the policy in force, which is always at hand."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs it, or answers with the change in force if it is the same set.

        Raises:
            StateError: POLICY_CHANGED.
        """
        present = draft.in_force
        if present.policy.digest == self.policy.digest and present.log_index >= 0:
            return [present.log_index]
        if present.policy.digest != self.replaces:
            digest = present.policy.digest.hex()
            raise StateError(
                Reason.ERROR_REASON_POLICY_CHANGED,
                f"the policy set {present.policy.version} is in force, with the digest "
                f"{digest}, and not the one that was to be replaced; look at it, and "
                "apply again",
                metadata={"digest": digest, "version": present.policy.version},
            )
        return [draft.change_policy(self.policy, self.requested_by)]


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy set, and the last change that put it in force."""

    change: Logged
    files: PolicyFiles


class Policies:
    """Changes the policy, and looks up which there were.

    Args:
        ledger: where every change goes.
        store: where past sets are read.
    """

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store

    async def begin(self) -> None:
        """Logs the policy in force, if an exchange has not done so yet."""
        await self._ledger.apply(FirstPolicyChange(self._ledger.policy))

    async def apply(
        self, caller: Caller, texts: Mapping[str, str], replaces: bytes
    ) -> Logged:
        """Puts a set in force. Idempotent.

        Args:
            caller: the operator who asks for it.
            texts: its files.
            replaces: digest of the set that the caller believes is in force.

        Raises:
            PolicyInvalidError: the set is not sound.
            StateError: POLICY_CHANGED: another set is in force.
        """
        policy = await asyncio.to_thread(DisclosurePolicy.load, texts)
        change = PolicyChange(policy, replaces, caller.name)
        (logged,) = await self._ledger.apply(change)
        return logged

    async def get(self, digest: bytes) -> Kept:
        """Returns a set that is or was in force; the one in force for no digest.

        Raises:
            UnknownError: POLICY_UNKNOWN.
        """
        row = await self._store.policy(digest)
        if row is None:
            raise UnknownError(
                Reason.ERROR_REASON_POLICY_UNKNOWN,
                f"no policy set with the digest {digest.hex()} was ever in force here",
                metadata={"digest": digest.hex()},
            )
        (change,) = await self._ledger.logged([row.log_index])
        return Kept(change, json.loads(row.files))

    async def changes(self) -> Sequence[Logged]:
        """Returns all changes, oldest first; the last one is in force."""
        rows = await self._store.policies()
        return await self._ledger.logged([row.log_index for row in rows])
