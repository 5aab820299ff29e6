"""The policy: what may be passed on, what may be withheld, and what is due when.

(DESIGN.md, 11.) A referral with several recipients is one question for each of them. A
question is judged by the rules of the place that the tip points to. How it is answered:

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Self

import cedarpy
import structlog

from onward.v1 import directory_pb2, statement_pb2
from onward_server.exchange.deadlines import Deadlines
from onward_server.exchange.policy_facts import (
    Action,
    Facts,
    Party,
    WithholdingFacts,
    facts_of,
    facts_of_withholding,
)
from onward_server.exchange.policy_files import (
    default_policy_folder,
    read_policy_files,
)
from onward_server.exchange.policy_set import (
    NO_PERMISSION,
    POLICY_ERROR,
    PolicySet,
    Rule,
    read_logged_policy_set,
    read_policy_set,
)

REMEMBERED_ANSWERS: Final = 4096
REMEMBERED_PAIRS: Final = 4096

_CITATION: Final = "exchange policy"

_FAILED: Final = Rule(
    POLICY_ERROR,
    "forbid",
    "pass-on",
    _CITATION,
    "The rules could not be evaluated for this statement, which holds a value that "
    "they do not know or meets a rule that fails; ask the exchange's operator.",
)

_NOTHING: Final[Mapping[Action, str]] = MappingProxyType(
    {
        "pass-on": "No rule permits passing anything on to a recipient of this kind.",
        "withhold": "No rule permits withholding a tip.",
    }
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the policy refuses a referral, or a withholding.

    Attributes:
        rule: the id of the rule, ``no-permission`` or ``policy-error``.
        citation: the rule's legal citation.
        sentence: the rule in one plain sentence.
        recipient: SPIFFE ID of the first recipient for whom a referral is refused;
            empty for a withholding.
    """

    rule: str
    citation: str
    sentence: str
    recipient: str


class DisclosurePolicy:
    """Judges by one policy set. Safe to share between threads.

    Attributes:
        policy_set: what it judges by.
        version: the set's own name for itself.
        digest: SHA-256 of the whole set, 32 bytes; see :class:`PolicySet`.
    """

    def __init__(self, policy_set: PolicySet) -> None:
        self.policy_set = policy_set
        self.version = policy_set.version
        self.digest = policy_set.digest
        self._answer = lru_cache(REMEMBERED_ANSWERS)(self._evaluate)
        self._members = lru_cache(REMEMBERED_PAIRS)(self._prepare)

    @classmethod
    def load_default(cls) -> Self:
        """Loads the set that comes with the exchange."""
        return cls.load(read_policy_files(default_policy_folder()))

    @classmethod
    def load_logged(cls, texts: Mapping[str, str]) -> Self:
        """Loads a set that was put in force, perhaps by an earlier release.

        Raises:
            PolicyInvalidError: this release cannot use it; see
                :func:`read_logged_policy_set`.
        """
        return cls(read_logged_policy_set(texts))

    @classmethod
    def load(cls, texts: Mapping[str, str]) -> Self:
        """Loads a set from the texts of its files.

        Raises:
            PolicyInvalidError: the set is not sound; see :func:`read_policy_set`.
        """
        return cls(read_policy_set(texts))

    def deadlines(self, urgency: int, jurisdiction: str) -> Deadlines:
        """Returns what is due when for tips of a class that point to a place.

        Raises:
            MalformedError: the urgency is one that this release does not know.
        """
        return self.policy_set.deadlines.of(urgency, jurisdiction)

    def withholding_refusal(
        self,
        hotline: directory_pb2.Member,
        intake: statement_pb2.Intake,
        withholding: statement_pb2.Withholding,
    ) -> Refusal | None:
        """Returns why a hotline may not withhold a tip, or None where it may.

        Args:
            hotline: the directory entry of who signed the withholding.
            intake: what the hotline said of the tip.
            withholding: well-formed by ``onward.core.bodies``.
        """
        rule = self._answer(facts_of_withholding(hotline, intake, withholding))
        return None if rule is None else _refusal(rule)

    def refusal(
        self,
        publisher: directory_pb2.Member,
        referral: statement_pb2.Referral,
        recipients: Sequence[directory_pb2.Member],
        now: datetime,
        above: statement_pb2.Referral | None = None,
    ) -> Refusal | None:
        """Returns why a referral may not go to one of its recipients.

        Args:
            publisher: the directory entry of who signed the referral.
            referral: well-formed by ``onward.core.bodies``.
            recipients: the directory entries, in the referral's order.
            now: decides whether a consent has ended; UTC.
            above: for a transfer, the referral above it whose consent binds it.

        Returns:
            The refusal for the first recipient to which it may not go, or None where it
            may go to all of them.
        """
        for recipient in recipients:
            rule = self._answer(facts_of(publisher, recipient, referral, now, above))
            if rule is not None:
                return _refusal(rule, recipient.name)
        return None

    def _evaluate(self, facts: Facts | WithholdingFacts) -> Rule | None:
        """Returns the rule that refuses, or None where the facts permit."""
        rules = self.policy_set.at(facts.jurisdiction)
        try:
            members = self._members(facts.parties)
            answer = cedarpy.is_authorized(
                facts.request(), rules.policies, members, self.policy_set.schema
            )
        except ValueError as error:
            return _failed([str(error)])
        if answer.diagnostics.errors:
            return _failed(answer.diagnostics.errors)
        if answer.allowed:
            return None
        forbid = set(answer.diagnostics.reasons)
        first = next((rule for rule in rules.rules if rule.id in forbid), None)
        return first or _no_permission(facts, rules.rules)

    def _prepare(self, parties: Sequence[Party]) -> cedarpy.Entities:
        """Returns members, ready for evaluation: half of a question's cost.

        Raises:
            ValueError: an entry does not follow the schema.
        """
        entries = {party.name: party.entity() for party in parties}
        text = json.dumps(list(entries.values()))
        return cedarpy.Entities.from_json_str(text, self.policy_set.schema)


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The policy at one place of the log, and the statement that put it in force.

    Attributes:
        log_index: of the ``PolicyChange``; -1 where none is logged yet.
        digest: of that statement; empty where none is logged yet.
    """

    policy: DisclosurePolicy
    log_index: int = -1
    digest: bytes = b""


def _no_permission(facts: Facts | WithholdingFacts, rules: Sequence[Rule]) -> Rule:
    """Returns the refusal where no rule applies: it says which ones could."""
    groups = {"", *facts.parties[-1].groups}
    could = ", ".join(
        rule.id
        for rule in rules
        if (rule.effect, rule.action) == ("permit", facts.action)
        and rule.group in groups
    )
    sentence = (
        f"No rule permits this; it would take one of: {could}."
        if could
        else _NOTHING[facts.action]
    )
    return Rule(NO_PERMISSION, "forbid", facts.action, _CITATION, sentence)


def _refusal(rule: Rule, recipient: str = "") -> Refusal:
    """Returns a refusal by a rule."""
    return Refusal(rule.id, rule.citation, rule.sentence, recipient)


def _failed(errors: Sequence[str]) -> Rule:
    """Returns the refusal where there is no answer, and tells the operator why."""
    _log.error("disclosure policy could not be evaluated", errors=list(errors))
    return _FAILED
