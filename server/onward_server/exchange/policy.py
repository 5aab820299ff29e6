"""The disclosure policy: whether a referral may go to a recipient (DESIGN.md, 11).

A referral with several recipients is one question for each of them. How a question is
answered:

* Nothing is permitted unless a rule permits it, and a rule that forbids wins over every
  rule that permits. Where several forbid, the refusal names the first of them in the
  order of the set.
* Where no rule forbids and none permits, the refusal is ``no-permission``.
* Cedar skips a rule whose evaluation fails. A skipped rule may have been one that
  forbids, so any error at all refuses, as ``policy-error``. That the facts do not
  follow the schema, such as a value of the vocabulary that it lacks, is an error too.

An answer depends on nothing but the facts, so answers are remembered by them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.resources.abc import Traversable
from typing import Final, Self

import cedarpy
import structlog

from onward.v1 import directory_pb2, statement_pb2
from onward_server.exchange.policy_facts import Facts, Party, facts_of
from onward_server.exchange.policy_set import (
    NO_PERMISSION,
    POLICY_ERROR,
    PolicySet,
    Rule,
    default_policy_set,
    read_policy_set,
)

REMEMBERED_ANSWERS: Final = 4096
REMEMBERED_PAIRS: Final = 4096

_ACTION: Final = 'Action::"pass-on"'
_CITATION: Final = "exchange policy"

_FAILED: Final = Rule(
    POLICY_ERROR,
    "forbid",
    _CITATION,
    "The rules could not be evaluated for this referral, which holds a value that they "
    "do not know or meets a rule that fails; ask the exchange's operator.",
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the policy refuses a referral.

    Attributes:
        rule: the id of the rule, ``no-permission`` or ``policy-error``.
        citation: the rule's legal citation.
        sentence: the rule in one plain sentence.
        recipient: SPIFFE ID of the first recipient for whom it is refused.
    """

    rule: str
    citation: str
    sentence: str
    recipient: str


class DisclosurePolicy:
    """Judges referrals by one policy set. Safe to share between threads.

    Attributes:
        version: the set's own name for itself.
        digest: SHA-256 of the whole set, 32 bytes; see :class:`PolicySet`.
        rules: the rules of the set, in order.
    """

    def __init__(self, policy_set: PolicySet) -> None:
        self.version = policy_set.version
        self.digest = policy_set.digest
        self.rules = policy_set.rules
        self._policies = policy_set.policies
        self._schema = policy_set.schema
        self._answer = lru_cache(REMEMBERED_ANSWERS)(self._evaluate)
        self._members = lru_cache(REMEMBERED_PAIRS)(self._prepare)

    @classmethod
    def load_default(cls) -> Self:
        """Loads the set that comes with the exchange."""
        return cls.load(default_policy_set())

    @classmethod
    def load(cls, directory: Traversable) -> Self:
        """Loads a set from a folder.

        Raises:
            MalformedError: the set is not sound; see :func:`read_policy_set`.
        """
        return cls(read_policy_set(directory))

    def refusal(
        self,
        publisher: directory_pb2.Member,
        referral: statement_pb2.Referral,
        recipients: Sequence[directory_pb2.Member],
        now: datetime,
    ) -> Refusal | None:
        """Returns why a referral may not go to one of its recipients.

        Args:
            publisher: the directory entry of who signed the referral.
            referral: well-formed by ``onward.core.bodies``.
            recipients: the directory entries, in the referral's order.
            now: decides whether a consent has ended; UTC.

        Returns:
            The refusal for the first recipient to which it may not go, or None where it
            may go to all of them.
        """
        for recipient in recipients:
            rule = self._answer(facts_of(publisher, recipient, referral, now))
            if rule is not None:
                return Refusal(rule.id, rule.citation, rule.sentence, recipient.name)
        return None

    def _evaluate(self, facts: Facts) -> Rule | None:
        """Returns the rule that refuses, or None where the facts permit."""
        request = {
            "principal": facts.publisher.uid,
            "action": _ACTION,
            "resource": facts.recipient.uid,
            "context": facts.context(),
        }
        try:
            members = self._members(facts.publisher, facts.recipient)
            answer = cedarpy.is_authorized(
                request, self._policies, members, self._schema
            )
        except ValueError as error:
            return _failed([str(error)])
        if answer.diagnostics.errors:
            return _failed(answer.diagnostics.errors)
        if answer.allowed:
            return None
        forbid = set(answer.diagnostics.reasons)
        first = next((rule for rule in self.rules if rule.id in forbid), None)
        return first or self._no_permission(facts.recipient)

    def _prepare(self, publisher: Party, recipient: Party) -> cedarpy.Entities:
        """Returns the two members, ready for evaluation: half of a question's cost.

        Raises:
            ValueError: an entry does not follow the schema.
        """
        entries = {party.name: party.entity() for party in (publisher, recipient)}
        text = json.dumps(list(entries.values()))
        return cedarpy.Entities.from_json_str(text, self._schema)

    def _no_permission(self, recipient: Party) -> Rule:
        """Returns the refusal where no rule applies: it says which ones could."""
        could = ", ".join(
            rule.id
            for rule in self.rules
            if rule.effect == "permit" and rule.group in {"", *recipient.groups}
        )
        sentence = (
            f"No rule permits this; for this recipient it would take one of: {could}."
            if could
            else "No rule permits passing anything on to a recipient of this kind."
        )
        return Rule(NO_PERMISSION, "forbid", _CITATION, sentence)


def _failed(errors: Sequence[str]) -> Rule:
    """Returns the refusal where there is no answer, and tells the operator why."""
    _log.error("disclosure policy could not be evaluated", errors=list(errors))
    return _FAILED
