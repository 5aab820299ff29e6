"""What a program of ``receive --exec`` says: statements of its agency, as JSON.

Each member of the object is one statement. They are logged in the order in which
:class:`Answer` lists them, whatever their order in the JSON: custody has no other.
"""

from __future__ import annotations

from typing import Any

import msgspec

from onward.cli import words
from onward.core.errors import MalformedError


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an answer."""


class Acknowledge(_Said, frozen=True):
    """A person has read it.

    Attributes:
        reader_role: the person's role, never a name.
    """

    reader_role: str


class Decline(_Said, frozen=True):
    """The agency does not take responsibility."""

    reason: words.DeclineReason
    suggested_agency: str = ""


class Transfer(_Said, frozen=True):
    """The agency passes it on.

    Attributes:
        recipients: SPIFFE IDs of who gets it.
        referral: what is different, as members of ``onward.v1.Referral``.
    """

    recipients: list[str]
    referral: dict[str, Any] = msgspec.field(default_factory=dict)


class Outcome(_Said, frozen=True):
    """What came of it."""

    code: words.OutcomeCode
    closes: bool = False


class Reply(_Said, frozen=True):
    """What was done about a retraction."""

    action: words.RetractionAction
    citation: str = ""


class Answer(_Said, frozen=True):
    """All that a program says."""

    acknowledge: Acknowledge | None = None
    take: bool = False
    decline: Decline | None = None
    transfer: Transfer | None = None
    outcome: Outcome | None = None
    reply: Reply | None = None


def read_answer(output: bytes) -> Answer:
    """Reads what a program said; nothing is an answer too.

    Raises:
        MalformedError: it is no answer.
    """
    if not output.strip():
        return Answer()
    try:
        return msgspec.json.decode(output, type=Answer)
    except msgspec.ValidationError as error:
        place = str(error).partition(" - at ")[2] or "`$`"  # not what stands there
        raise MalformedError(
            f"the program's answer has not the form of one, at {place}"
        ) from None
    except msgspec.DecodeError:
        raise MalformedError("the program's answer is not JSON") from None
