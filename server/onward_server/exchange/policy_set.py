"""Reading a policy set: a folder of Cedar, checked before anything is decided by it.

The folder holds ``*.cedar`` with the rules, ``schema.cedarschema`` with the facts that
rules can see, and ``VERSION`` with the name that acceptances and rejections quote.
Other files in it are no part of the set.

A rule is a Cedar policy with three annotations, which make a refusal an answer that
people can act on: ``@id``, ``@citation`` and ``@sentence``. Rules have an order, which
is that of the files' names, and then that of the text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Literal

import cedarpy

from onward.core.errors import MalformedError
from onward_server.exchange.policy_facts import CedarJson

NO_PERMISSION: Final = "no-permission"
"""What a refusal names where no rule says anything; no rule may be called so."""

POLICY_ERROR: Final = "policy-error"
"""What a refusal names where a rule fails; no rule may be called so."""

MAX_TEXT: Final = 300
MAX_VERSION: Final = 64

_SCHEMA: Final = "schema.cedarschema"
_VERSION: Final = "VERSION"
_RULES: Final = ".cedar"
_ID: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as people read it.

    Attributes:
        id: what a refusal calls it.
        effect: what it does where it applies.
        citation: its legal citation.
        sentence: the rule in one plain sentence.
        group: the group of recipients that its head names; empty where it names none.
    """

    id: str
    effect: Literal["permit", "forbid"]
    citation: str
    sentence: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A policy set that was found sound.

    Attributes:
        version: the set's own name for itself.
        digest: SHA-256 over the whole set, 32 bytes. It is that of the lines which
            ``sha256sum VERSION *.cedar schema.cedarschema`` prints, in the order of the
            names' bytes, so that standard tools can check it.
        rules: in order.
        policies: the same rules, prepared; Cedar's policy ids are the rules' ids.
        schema: the facts, prepared.
    """

    version: str
    digest: bytes
    rules: tuple[Rule, ...]
    policies: cedarpy.PolicySet
    schema: cedarpy.Schema


def default_policy_set() -> Traversable:
    """Returns the folder of the set that comes with the exchange."""
    return files("onward_server") / "policies"


def read_policy_set(directory: Traversable) -> PolicySet:
    """Reads a set.

    Raises:
        MalformedError: a file is missing or is not text; the schema is not that of this
            release; or a rule cannot be parsed, lacks its id, citation or sentence, or
            does not follow the schema. The message names the file and the rule.
    """
    parts = _read(directory)
    if parts[_SCHEMA] != (default_policy_set() / _SCHEMA).read_text("utf-8"):
        raise MalformedError(
            f"{_SCHEMA} of the policy set is not that of this release; copy it from "
            "the default set, and check the rules against it"
        )
    schema = cedarpy.Schema.from_str(parts[_SCHEMA])
    policies: dict[str, CedarJson] = {}
    for name, text in parts.items():
        for rule, policy in _policies(name, text, schema):
            if rule in policies:
                raise MalformedError(
                    f"{name} has a second rule {rule}; an @id is unique in the whole "
                    "set: rename one of them"
                )
            policies[rule] = policy
    return PolicySet(
        _version(parts[_VERSION]),
        _digest(parts),
        tuple(_rule(policy) for policy in policies.values()),
        _prepare(policies),
        schema,
    )


def _read(directory: Traversable) -> dict[str, str]:
    """Returns the files of a set by name, in the order of their names."""
    found = directory.iterdir() if directory.is_dir() else ()
    parts: dict[str, str] = {}
    for entry in sorted(found, key=lambda entry: entry.name):
        if entry.name in {_SCHEMA, _VERSION} or entry.name.endswith(_RULES):
            try:
                parts[entry.name] = entry.read_bytes().decode()
            except UnicodeDecodeError as error:
                msg = f"{entry.name} of the policy set is not UTF-8; save it as UTF-8"
                raise MalformedError(msg) from error
    if not {_SCHEMA, _VERSION} < parts.keys():
        raise MalformedError(
            f"{directory} is not a policy set, which has {_VERSION}, {_SCHEMA} and at "
            f"least one *{_RULES}; begin with a copy of the default set"
        )
    return parts


def _digest(parts: Mapping[str, str]) -> bytes:
    """Returns the digest of a whole set; see :class:`PolicySet`."""
    listing = "".join(
        f"{hashlib.sha256(parts[name].encode()).hexdigest()}  {name}\n"
        for name in sorted(parts)
    )
    return hashlib.sha256(listing.encode()).digest()


def _version(text: str) -> str:
    """Returns the version that a set gives itself."""
    version = text.strip()
    if not version.isprintable() or not 0 < len(version) <= MAX_VERSION:
        raise MalformedError(
            f"{_VERSION} of the policy set is not one line of 1 to {MAX_VERSION} "
            "characters; write the set's version there"
        )
    return version


def _policies(
    name: str, text: str, schema: cedarpy.Schema
) -> Iterator[tuple[str, CedarJson]]:
    """Yields the rules of one file by id, in order, each found sound by itself."""
    if not name.endswith(_RULES):
        return
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        msg = f"{name}: {_suspect(text)} is not Cedar: {error}"
        raise MalformedError(msg) from error
    if parsed["templates"]:
        msg = f"{name}: a template decides nothing; write it out as a rule"
        raise MalformedError(msg)
    policies = dict(sorted(parsed["staticPolicies"].items(), key=_place))
    ids = {place: _checked_id(name, policy) for place, policy in policies.items()}
    for problem in cedarpy.validate_policies(text, schema).errors:
        rule = ids.get(problem.policy_id, "")
        why = problem.error.replace(f"`{problem.policy_id}`", f"`{rule}`")
        msg = f"{name}: rule {rule} does not follow {_SCHEMA}: {why}"
        raise MalformedError(msg)
    for place, policy in policies.items():
        yield ids[place], policy


def _place(item: tuple[str, CedarJson]) -> int:
    """Returns where in its file a policy is; Cedar calls them policy0, policy1, ..."""
    return int(item[0].removeprefix("policy"))


def _suspect(text: str) -> str:
    """Returns which rule to look at: the first that cannot be parsed alone."""
    for part in re.split(r"(?=@id\()", text):
        try:
            cedarpy.policies_to_json_str(part)
        except ValueError:
            found = re.match(r'@id\("([^"]*)"\)', part)
            return f"rule {found[1]}" if found else "what comes before the first @id"
    return "the file as a whole"


def _checked_id(name: str, policy: CedarJson) -> str:
    """Returns a rule's id, after checking its annotations.

    Raises:
        MalformedError: an annotation is missing, or is not what it should be.
    """
    notes = policy.get("annotations", {})
    rule: str = notes.get("id") or ""
    if not _ID.fullmatch(rule) or rule in {NO_PERMISSION, POLICY_ERROR}:
        raise MalformedError(
            f"{name}: a rule has the @id {rule!r}; give it one of lower-case letters, "
            f"digits and dashes that is neither {NO_PERMISSION} nor {POLICY_ERROR}"
        )
    for key in ("citation", "sentence"):
        value = notes.get(key) or ""
        if not value.strip() or not value.isprintable() or len(value) > MAX_TEXT:
            raise MalformedError(
                f"{name}: rule {rule} needs a @{key} of 1 to {MAX_TEXT} characters"
            )
    return rule


def _rule(policy: CedarJson) -> Rule:
    """Returns a rule as people read it."""
    notes, head = policy["annotations"], policy["resource"]
    named = head.get("entity", {}) if head["op"] == "in" else {}
    group = named["id"] if named.get("type") == "Group" else ""
    return Rule(
        notes["id"], policy["effect"], notes["citation"], notes["sentence"], group
    )


def _prepare(policies: Mapping[str, CedarJson]) -> cedarpy.PolicySet:
    """Returns the rules ready for evaluation, under their own ids."""
    document = {"templates": {}, "staticPolicies": policies, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(document))
