"""Reading a policy set: files, checked before anything is decided by them.

Which files a set has is said in ``policy_files``. A rule is a Cedar policy with three
annotations, which make a refusal an answer that people can act on: ``@id``,
``@citation`` and ``@sentence``. Its head names one action, ``pass-on`` or ``withhold``.

The rules of ``default.cedar`` apply everywhere, in the order of the text. Those of a
jurisdiction's file apply to tips that point there, and only to these: one with the @id
of a default rule takes that rule's place there, and the others follow the default ones.
A country's file, such as ``US.cedar``, applies to the country and to all of its states;
a state's own file comes after it in the same way, so of two rules with one @id the
state's counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

import cedarpy

from onward.core.policy_sets import policy_digest
from onward_server.exchange.deadlines import DeadlineTable, parse_deadlines
from onward_server.exchange.policy_depth import MAX_OPERATORS, too_deep
from onward_server.exchange.policy_facts import Action, CedarJson, country_of
from onward_server.exchange.policy_files import (
    DEADLINES,
    DEFAULT_RULES,
    SCHEMA,
    VERSION,
    PolicyFiles,
    PolicyInvalidError,
    check_policy_files,
    default_policy_folder,
    jurisdiction_of,
)

NO_PERMISSION: Final = "no-permission"
"""What a refusal names where no rule says anything; no rule may be called so."""

POLICY_ERROR: Final = "policy-error"
"""What a refusal names where a rule fails; no rule may be called so."""

MAX_TEXT: Final = 300
MAX_VERSION: Final = 64

_NEWLINE: Final = "\n"
_OF_POLICY: Final = re.compile("^for policy `[^`]*`[:,] ")
_ID: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as people read it.

    Attributes:
        id: what a refusal calls it.
        effect: what it does where it applies.
        action: what it is about.
        citation: its legal citation.
        sentence: the rule in one plain sentence.
        group: the group of recipients that its head names; empty where it names none.
        cedar: the rule itself, in Cedar's JSON form.
    """

    id: str
    effect: Literal["permit", "forbid"]
    action: Action
    citation: str
    sentence: str
    group: str = ""
    cedar: CedarJson = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that apply in one place.

    Attributes:
        rules: in order.
        policies: the same rules, prepared; Cedar's policy ids are the rules' ids.
    """

    rules: tuple[Rule, ...]
    policies: cedarpy.PolicySet


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A policy set that was found sound.

    Attributes:
        version: the set's own name for itself.
        digest: SHA-256 over the whole set, 32 bytes; see :func:`policy_digest`.
        files: what it was read from.
        default: the rules where no jurisdiction has its own.
        jurisdictions: by the code of each jurisdiction with rules of its own, all rules
            that apply there.
        own: by the same codes, the rules of the jurisdiction's own file.
        deadlines: the table of ``deadlines.toml``.
        schema: the facts, prepared.
    """

    version: str
    digest: bytes
    files: PolicyFiles
    default: Rules
    jurisdictions: Mapping[str, Rules]
    own: Mapping[str, tuple[Rule, ...]]
    deadlines: DeadlineTable
    schema: cedarpy.Schema

    def at(self, jurisdiction: str) -> Rules:
        """Returns the rules that apply to a tip that points there."""
        found = self.jurisdictions.get(jurisdiction)
        country = self.jurisdictions.get(country_of(jurisdiction), self.default)
        return found or country


def read_policy_set(texts: Mapping[str, str]) -> PolicySet:
    """Reads a set from the texts of its files.

    Raises:
        PolicyInvalidError: the files are not those of a set; the schema is not that of
            this release; the deadlines are not sound; or a rule cannot be parsed, lacks
            its id, citation or sentence, or does not follow the schema. The message
            names the file and the rule.
    """
    files = check_policy_files(texts)
    if files[SCHEMA] != _schema_of_release():
        raise PolicyInvalidError(
            f"{SCHEMA} of the policy set is not that of this release; copy it from "
            "the default set, and check the rules against it"
        )
    return read_logged_policy_set(files)


def read_logged_policy_set(texts: Mapping[str, str]) -> PolicySet:
    """Reads a set that was put in force, perhaps by an earlier release.

    Its rules are checked against the facts that this release has, which may be more
    than those that its own schema describes.

    Raises:
        PolicyInvalidError: as :func:`read_policy_set`, but for the schema.
    """
    files = check_policy_files(texts)
    schema = cedarpy.Schema.from_str(_schema_of_release())
    default = _policies(DEFAULT_RULES, files[DEFAULT_RULES], schema)
    own = {
        code: _policies(name, text, schema)
        for name, text in files.items()
        if (code := jurisdiction_of(name))
    }
    return PolicySet(
        version=_version(files[VERSION]),
        digest=policy_digest(files),
        files=files,
        default=_rules(default),
        jurisdictions=MappingProxyType(
            {
                code: _rules(default | own.get(country_of(code), {}) | policies)
                for code, policies in own.items()
            }
        ),
        own=MappingProxyType(
            {
                code: tuple(map(_rule, policies.values()))
                for code, policies in own.items()
            }
        ),
        deadlines=parse_deadlines(files[DEADLINES]),
        schema=schema,
    )


def _schema_of_release() -> str:
    """Returns the facts that this release knows."""
    return (default_policy_folder() / SCHEMA).read_text("utf-8")


def _rules(policies: Mapping[str, CedarJson]) -> Rules:
    """Returns rules ready for evaluation, under their own ids."""
    return Rules(tuple(map(_rule, policies.values())), _prepared(policies))


def _prepared(policies: Mapping[str, CedarJson]) -> cedarpy.PolicySet:
    """Returns rules in the form in which Cedar evaluates them."""
    document = {"templates": {}, "staticPolicies": policies, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(document))


def _version(text: str) -> str:
    """Returns the version that a set gives itself."""
    version = text.strip()
    if not version.isprintable() or not 0 < len(version) <= MAX_VERSION:
        raise PolicyInvalidError(
            f"{VERSION} of the policy set is not one line of 1 to {MAX_VERSION} "
            "characters; write the set's version there"
        )
    return version


def _policies(name: str, text: str, schema: cedarpy.Schema) -> dict[str, CedarJson]:
    """Returns the rules of one file by id, in order, each found sound by itself."""
    for rule in too_deep(text):
        raise _too_deep(name, text, rule)
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        msg = f"{_suspect(name, text)} is not Cedar: {error}"
        raise PolicyInvalidError(msg) from error
    if parsed["templates"]:
        msg = f"{name}: a template decides nothing; write it out as a rule"
        raise PolicyInvalidError(msg)
    policies = dict(sorted(parsed["staticPolicies"].items(), key=_place))
    ids = {place: _checked_id(name, policy) for place, policy in policies.items()}
    for problem in cedarpy.validate_policies(text, schema).errors:
        rule = ids.get(problem.policy_id, "")
        why = _OF_POLICY.sub("", problem.error)
        msg = f"{_where(name, text, rule)} does not follow {SCHEMA}: {why}"
        raise PolicyInvalidError(msg)
    found: dict[str, CedarJson] = {}
    for rule, policy in zip(ids.values(), policies.values(), strict=True):
        if rule in found:
            raise PolicyInvalidError(
                f"{name} has a second rule {rule}; an @id is unique in its file: "
                "rename one of them"
            )
        try:
            _prepared({rule: policy})
        except ValueError as error:
            raise _too_deep(name, text, rule) from error
        found[rule] = policy
    return found


def _too_deep(name: str, text: str, rule: str) -> PolicyInvalidError:
    """Returns the error for a rule of which Cedar cannot be asked."""
    return PolicyInvalidError(
        f"{_where(name, text, rule)} goes too deep, or has more than {MAX_OPERATORS} "
        "brackets and operators; compare with a set of values by contains(), or make "
        "several rules of it"
    )


def _place(item: tuple[str, CedarJson]) -> int:
    """Returns where in its file a policy is; Cedar calls them policy0, policy1, ..."""
    return int(item[0].removeprefix("policy"))


def _suspect(name: str, text: str) -> str:
    """Returns which rule to look at: the first that cannot be parsed alone."""
    for part in re.split(r"(?=@id\()", text):
        try:
            cedarpy.policies_to_json_str(part)
        except ValueError:
            found = re.match(r'@id\("([^"]*)"\)', part)
            if found:
                return _where(name, text, found[1])
            return f"{name}: what comes before the first @id"
    return f"{name}: the file as a whole"


def _where(name: str, text: str, rule: str) -> str:
    """Returns the file, the line and the name of a rule."""
    before, found, _ = text.partition(f'@id("{rule}")')
    line = f", line {before.count(_NEWLINE) + 1}" if found else ""
    return f"{name}{line}: rule {rule}"


def _checked_id(name: str, policy: CedarJson) -> str:
    """Returns a rule's id, after checking its annotations.

    Raises:
        PolicyInvalidError: an annotation is missing, or is not what it should be.
    """
    notes = policy.get("annotations", {})
    rule: str = notes.get("id") or ""
    if not _ID.fullmatch(rule) or rule in {NO_PERMISSION, POLICY_ERROR}:
        raise PolicyInvalidError(
            f"{name}: a rule has the @id {rule!r}; give it one of lower-case letters, "
            f"digits and dashes that is neither {NO_PERMISSION} nor {POLICY_ERROR}"
        )
    for key in ("citation", "sentence"):
        value = notes.get(key) or ""
        if not value.strip() or not value.isprintable() or len(value) > MAX_TEXT:
            raise PolicyInvalidError(
                f"{name}: rule {rule} needs a @{key} of 1 to {MAX_TEXT} characters"
            )
    if policy["action"]["op"] != "==":
        raise PolicyInvalidError(
            f"{name}: rule {rule} does not say what it is about; write action == "
            'Action::"pass-on" or Action::"withhold" in its head'
        )
    return rule


def _rule(policy: CedarJson) -> Rule:
    """Returns a rule as people read it."""
    notes, head = policy["annotations"], policy["resource"]
    named = head.get("entity", {}) if head["op"] == "in" else {}
    return Rule(
        id=notes["id"],
        effect=policy["effect"],
        action=policy["action"]["entity"]["id"],
        citation=notes["citation"],
        sentence=notes["sentence"],
        group=named["id"] if named.get("type") == "Group" else "",
        cedar=policy,
    )
