"""``python tools/docs.py``: write the reference pages that the code determines.

With ``--check`` nothing is written, and it fails when a page is not what the code says.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, get_args, get_origin

import msgspec
import typer

from onward.cli import _answer, _monitor, _program, words
from onward.cli import main as member_cli
from onward.cli._errors import EXITS
from onward.cli.exits import Exit
from onward.core import custody, due, intakes
from onward.core.errors import OnwardError
from onward.v1 import vocabulary_pb2
from onward_server import telemetry
from onward_server.cli import app as server_app
from onward_server.config_pages import reference as configuration
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.exchange.policy_explaining import (
    STEPS,
    RuleText,
    deadline_texts,
    rule_texts,
)
from onward_server.exchange.policy_files import SCHEMA
from onward_server.services.access import RULES
from onward_server.services.errors import CODES

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
PROTO = ROOT / "proto" / "onward" / "v1"

_REASON = re.compile(
    r"((?:^  // .*\n)+)  ERROR_REASON_(?P<name>\w+) = (?P<number>\d+);", re.MULTILINE
)
_TYPE = re.compile(r" <[\w ]+>$")
_BRACES = re.compile(r"[{}]")


def main() -> int:
    """Writes or checks every page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = [name for name, page in _PAGES.items() if not _same(name, page(), check)]
    if stale and check:
        print("run 'make docs', and commit what it writes")
    return int(bool(stale) and check)


def _same(name: str, text: str, check: bool) -> bool:  # noqa: FBT001
    """Says whether a page is what the code says; shows or mends what is not."""
    path = PAGES / name
    before = path.read_text("utf-8") if path.exists() else ""
    if check:
        lines = before.splitlines(), text.splitlines()
        print(
            *unified_diff(*lines, f"{path}", "the code", lineterm=""), sep="\n", end=""
        )
    elif before != text:
        path.write_text(text, "utf-8")
        print(f"{path.relative_to(ROOT)} is new")
    return before == text


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table in Markdown."""
    cells = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in cells)


def _generated(title: str, *parts: str) -> str:
    """Returns a page of parts, which says where it comes from."""
    note = "This page is generated from the code: `make docs`."
    return "\n\n".join([f"# {title}", note, *map(_wrapped, parts)]) + "\n"


def _wrapped(part: str) -> str:
    """Returns a part of a page; a paragraph in lines as long as those of the code."""
    return part.strip() if "\n" in part else fill(part, 88)


def _plain(doc: str | None) -> str:
    """Returns a docstring as Markdown."""
    text = inspect.cleandoc(doc or "").replace("``", "`")
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)


def _docs_of_members(enum: type) -> Iterator[tuple[str, str]]:
    """Yields the names of an enum with the docstrings below them."""
    source = inspect.getsource(enum)
    found = re.findall(r'^    (\w+) = .+\n    """((?:.|\n)*?)"""', source, re.MULTILINE)
    for name, doc in found:
        yield name, " ".join(doc.split())


# --- the command line -----------------------------------------------------------------


def cli() -> str:
    """Returns the page of the two command lines."""
    exits = [
        (int(Exit[name]), doc.replace("``", "`"))
        for name, doc in _docs_of_members(Exit)
    ]
    return _generated(
        "The command line",
        "`onward` is for members and for whoever verifies; `onward-server` runs an "
        "exchange. Standard output is data: a table, or with `--json` one JSON object, "
        "or one on each line where things come one by one. Standard error is for "
        "people. `--install-completion` sets up completion for the shell.",
        "## Exit codes",
        _table(("code", "says"), exits),
        "`onward-server` uses 0 to 3 in the same way.",
        "## Words",
        "Options take the words of the vocabulary, and so does JSON that is read; "
        "there the full names of `vocabulary.proto` work too. JSON that is printed has "
        "words.",
        _table(("of", "words"), _words()),
        "## Commands of `onward`",
        *_commands("onward", typer.main.get_command(member_cli.app)),
        "## Programs for `--exec`",
        _programs(),
        "## Commands of `onward-server`",
        *_commands("onward-server", typer.main.get_command(server_app)),
    )


def _words() -> Iterator[tuple[str, str]]:
    for name, alias in vars(words).items():
        if get_origin(alias) is Literal:
            yield name, ", ".join(f"`{word}`" for word in get_args(alias))


def _commands(path: str, group: Any) -> Iterator[str]:  # noqa: ANN401 - a typer group
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _commands(full, command)
        else:
            yield _command(full, command)


def _command(path: str, command: Any) -> str:  # noqa: ANN401 - a typer command
    """Returns the section of a command: how to call it, and what it takes."""
    context = command.context_class(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    records = [item.get_help_record(context) for item in command.params]
    items = [
        f"- `{_TYPE.sub('', left)}`: {' '.join(right.split())}"
        for left, right in filter(None, records)
    ]
    usage = f"    {_BRACES.sub('', usage)}"
    return "\n\n".join([f"### {path}", _plain(command.help), usage, "\n".join(items)])


def _programs() -> str:
    """Returns what a program for ``--exec`` must know."""
    facts, alert_facts = (
        _table(
            ("variable", "says"),
            [(f"`{name}`", fact.meaning) for name, fact in known.items()],
        ).strip()
        for known in (_program.FACTS, _program.ALERT_FACTS)
    )
    answers = [
        (f"`{item.name}`", _fields(item.type), _doc_of(item.type))
        for item in msgspec.structs.fields(_answer.Answer)
    ]
    return "\n\n".join(
        [
            _plain(_program.__doc__).partition("\n\n")[2],
            "The environment of a program of `receive`:",
            facts,
            "That of a program of `alerts`:",
            alert_facts,
            _plain(_monitor.__doc__).partition("\n\n")[2],
            _table(
                ("variable", "says"),
                [(f"`{name}`", says) for name, says in _monitor.FACTS.items()],
            ).strip(),
            _plain(_answer.__doc__)
            .partition("\n\n")[2]
            .replace("`Answer`", "this table"),
            _table(("member", "value", "says"), answers).strip(),
            '    {"acknowledge": {"reader_role": "watch officer"}, "take": true}',
        ]
    )


def _struct(kind: Any) -> Any:  # noqa: ANN401 - a type
    """Returns the struct in an optional type, or None."""
    structs = [arg for arg in get_args(kind) if isinstance(arg, type)]
    return next((arg for arg in structs if issubclass(arg, msgspec.Struct)), None)


def _fields(kind: Any) -> str:  # noqa: ANN401 - a type
    struct = _struct(kind)
    if struct is None:
        return "`true`"
    names = [
        item.name if item.required else f"{item.name} (optional)"
        for item in msgspec.structs.fields(struct)
    ]
    return f"object: {', '.join(names)}"


def _doc_of(kind: Any) -> str:  # noqa: ANN401 - a type
    struct = _struct(kind)
    doc = struct.__doc__ if struct else "The agency takes responsibility."
    return inspect.cleandoc(doc or "").partition("\n")[0]


# --- the contract and the core --------------------------------------------------------


def errors() -> str:
    """Returns the page of the reasons for which a call is refused."""
    text = (PROTO / "error.proto").read_text("utf-8")
    rows = [
        (f"`{found['name']}`", found["number"], *_code_and_meaning(found[1]))
        for found in _REASON.finditer(text)
        if found["number"] != "0"
    ]
    classes = [
        (f"`{cls.__name__}`", f"`{code.name}`", _exit_of(cls), _first_line(cls))
        for cls, code in CODES.items()
        if cls.__module__ == OnwardError.__module__
    ]
    return _generated(
        "Errors",
        "Every refused call has a canonical gRPC code and exactly one "
        "`google.rpc.ErrorInfo` with the domain `onward.v1`, one of the reasons below, "
        "and facts for machines in its `metadata`, among them a `correlation_id` that "
        "finds the call in the exchange's logs. A `google.rpc.BadRequest` names the "
        "field that is wrong, a `PreconditionFailure` what must be otherwise first, "
        "and a `RetryInfo` when to try again. Branch on the reason, never on the "
        "message.",
        "## Reasons",
        _table(("reason", "number", "code", "says"), rows),
        "## Classes",
        "The SDK raises these, of `onward.core.errors`; the code follows from the "
        "class, and so does what the command line ends with.",
        _table(("class", "code", "`onward` ends with", "says"), classes),
    )


def _code_and_meaning(comment: str) -> tuple[str, str]:
    text = " ".join(
        line.strip().removeprefix("//").strip() for line in comment.splitlines()
    )
    code, _, meaning = text.partition(": ")
    if code.isupper():
        return f"`{code}`", meaning
    return "", text


def _exit_of(cls: type[OnwardError]) -> int:
    return int(next(EXITS[base] for base in cls.__mro__ if base in EXITS))


def _first_line(thing: type) -> str:
    return _plain(thing.__doc__).partition("\n")[0]


def custody_table() -> str:
    """Returns the page of the transition table."""
    answers = [
        (
            f"`{kind}`",
            f"the {custody.SIGNERS[kind]}",
            _or_nothing(custody.ANSWERS, kind),
        )
        for kind in custody.SIGNERS
    ]
    return _generated(
        "Custody",
        "The state of a delivery follows from the statements in the log, in the log's "
        "order, by one table: exchange, client and verifier run the same "
        "(`onward.core.custody`).",
        f"```mermaid\n{custody.diagram()}```",
        "## Who says what, and what it answers",
        "`previous` of a statement holds the digest of the one that it answers.",
        _table(("statement", "signed by", "answers"), answers),
        "## Transitions",
        "What is not in this table is refused with `STATE_FORBIDS`, and the present "
        "state is named. An acceptance puts each delivery into "
        f"`{custody.state_name(custody.INITIAL)}`. A retraction and an erasure concern "
        "every delivery of the referral.",
        _transitions(custody.transitions()),
        "A link, a warning and a breach stand in the chain, and move nothing.",
        "## What is due",
        "In each state, and who holds the tip there. An outcome is due until the first "
        "one. In the other states nothing is due.",
        _table(
            ("state", "what is due", "who holds it"),
            [
                (
                    f"`{custody.state_name(custody.State.ValueType(state))}`",
                    ", ".join(due.kind_name(kind) for kind in kinds),
                    due.role_name(due.HOLDERS[state]),
                )
                for state, kinds in due.OPEN.items()
            ],
        ),
    )


def intake_table() -> str:
    """Returns the page of what becomes of an intake."""
    answers = [
        (
            f"`{kind}`",
            "the hotline" if kind in intakes.OF_THE_HOTLINE else "the exchange",
            _or_nothing(intakes.ANSWERS, kind),
        )
        for kind in intakes.ANSWERS
    ]
    return _generated(
        "Intakes",
        "What becomes of an intake follows from the statements in the log, in the "
        "log's order, by one table: exchange and auditor run the same "
        "(`onward.core.intakes`). An intake is in exactly one state, so at every place "
        "of the log *received = passed on + withheld + duplicates + open*.",
        f"```mermaid\n{intakes.diagram()}```",
        "## Who says what, and what it answers",
        "`previous` of a statement holds the digest of the one that it answers. An "
        "`intake` answers the hotline's intake before it, and nothing if it is the "
        "first. `referral_id` is empty in all of them; a referral names the intakes "
        "that it answers by `intake_numbers`.",
        _table(("statement", "signed by", "answers"), answers),
        "## Transitions",
        "What is not in this table is refused with `INTAKE_DECIDED`, and the present "
        "state is named.",
        _transitions(intakes.transitions()),
        "## The commitment",
        "`content_commitment` is SHA-256 over the 16 bytes `onward-intake/v1`, a zero "
        f"byte, a salt of {intakes.SALT_SIZE} unpredictable bytes that the hotline "
        "keeps to itself and uses once, and the bytes of what was told. Without the "
        "salt it says nothing; with it, the hotline shows in a dispute what it was "
        "told.",
    )


def _transitions(transitions: Iterable[tuple[str, str, str]]) -> str:
    """Returns the table of a transition table."""
    rows = [
        (f"`{before}`", event, f"`{after}`") for before, event, after in transitions
    ]
    return _table(("state", "event", "state after"), rows)


def _or_nothing(answers: Mapping[str, frozenset[str]], kind: str) -> str:
    return (
        " or ".join(f"`{name}`" for name in sorted(answers.get(kind, ()))) or "nothing"
    )


# --- the policy -----------------------------------------------------------------------


def policy() -> str:
    """Returns the page of the policy set that the exchange comes with."""
    policy_set = DisclosurePolicy.load_default().policy_set
    rules = [
        _rule(number, rule) for number, rule in enumerate(rule_texts(policy_set), 1)
    ]
    deadlines = [
        (f"`{row.urgency}`", *row.spans.values()) for row in deadline_texts(policy_set)
    ]
    return _generated(
        "The default policy set",
        f"The set `{policy_set.version}`, with which an exchange begins until its "
        "operator puts [another in force](../how-to/change-the-policy.md). What it is "
        "for, and what its words mean, is told in "
        "[The disclosure policy](../explanation/disclosure-policy.md).",
        f"The SHA-256 of the set is `{policy_set.digest.hex()}`.",
        "## Rules",
        "Nothing is permitted unless a rule permits it, and a rule that forbids wins "
        "over every rule that permits. Where several forbid, a refusal names the "
        "first. A rule applies when every *when* holds and no *unless* does; these "
        "lines are made from the rule itself, in the words of `vocabulary.proto`. The "
        "publisher of a withholding is the hotline.",
        *rules,
        "## Deadlines",
        "To pass on, to breach and to hold are counted from the tip's receipt; to "
        "deliver from the acceptance; to acknowledge and to the first outcome from the "
        "delivery. A warning is logged when half of a time is over, and a breach when "
        "all of it is. No law or published rule sets these times.",
        _table(("class", *STEPS.values()), deadlines),
        "## What rules can see",
        f"```cedar\n{policy_set.files[SCHEMA].strip()}\n```",
    )


def _rule(number: int, rule: RuleText) -> str:
    """Returns the section of a rule."""
    conditions = "".join(f"- {condition}\n" for condition in rule.conditions)
    effect = f"{rule.effect.capitalize()}s {rule.about}"
    return "\n\n".join(
        [
            f"### {number}. {rule.id}",
            fill(rule.sentence, 88),
            fill(f"Citation: {rule.citation}.", 88),
            f"{effect}:\n\n{conditions.strip()}" if conditions else f"{effect}.",
        ]
    )


# --- the exchange ---------------------------------------------------------------------


def metrics() -> str:
    """Returns the page of metrics and spans."""
    rows = [
        (
            f"`{metric.name}`",
            metric.kind.value,
            metric.unit,
            ", ".join(f"`{name}`" for name in metric.attributes),
            metric.description,
        )
        for metric in telemetry.METRICS
    ]
    return _generated(
        "Metrics and traces",
        _plain(telemetry.__doc__).partition("\n\n")[2],
        "Where they go is set in [`telemetry`](configuration.md#telemetry). Prometheus "
        "writes an underscore for each dot, and puts the unit behind the name.",
        _table(("metric", "kind", "unit", "attributes", "says"), rows),
        "Each call has a span with the method's name and the attributes of the "
        "semantic conventions for RPC. Trace Context (`traceparent`) is taken from the "
        "caller, kept with the referral, and handed to its recipients, who may go on "
        "with it.",
    )


def access() -> str:
    """Returns the page of who may call what."""
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for path, rule in RULES.items():
        _, service, method = path.split("/")
        uses = [str(rule.resource), *([str(rule.place)] if rule.place else [])]
        who = _callers(rule.roles)
        rows.setdefault(service, []).append((f"`{method}`", who, ", ".join(uses)))
    sections = [
        f"## {service}\n\n{_table(('call', 'callers', 'counts as'), methods)}"
        for service, methods in rows.items()
    ]
    return _generated(
        "Who may call what",
        "A call that is not listed here is not served. The rule is about the caller's "
        "role; that a member sees only its own referrals, and an auditor only those of "
        "its jurisdictions, is decided for each referral. What a call counts as has a "
        "quota: see [`quotas`](configuration.md#quotas).",
        *sections,
    )


def _callers(roles: frozenset[int] | None) -> str:
    if roles is None:
        return "anyone who can connect"
    if roles >= set(vocabulary_pb2.Role.values()):
        return "every active member"
    names = vocabulary_pb2.Role.DESCRIPTOR.values_by_number
    words_of_roles = sorted(names[role].name.removeprefix("ROLE_") for role in roles)
    return " or ".join(word.lower() for word in words_of_roles)


_PAGES: Mapping[str, Callable[[], str]] = {
    "access.md": access,
    "cli.md": cli,
    "configuration.md": configuration,
    "custody.md": custody_table,
    "intakes.md": intake_table,
    "errors.md": errors,
    "metrics.md": metrics,
    "policy.md": policy,
}


if __name__ == "__main__":
    sys.exit(main())
