"""The names of chains: which statements belong together.

An export is read chain by chain: all statements about one referral, or about one
intake. What concerns everybody (keys, directory, policies, audits) is one chain, too.
"""

from __future__ import annotations

from typing import Final

from onward.core.statements import UnverifiedStatement
from onward.v1 import statement_pb2

EXCHANGE: Final = ""
"""The name of the chain of what concerns everybody."""

_DECISIONS: Final = frozenset({"withholding", "hold", "link"})
_REMARKS: Final = frozenset({"warning", "breach"})


class ChainNamer:
    """Names the chain of each statement. Statements come in the log's order.

    A statement about an intake names hotline and number; but the rejection of a
    withholding names only the number and, by its digest, what it answers.
    """

    def __init__(self) -> None:
        self._withholdings: dict[bytes, str] = {}

    def name(self, statement: UnverifiedStatement) -> str:
        """Returns the name of a statement's chain: :data:`EXCHANGE` for many."""
        message, kind = statement.message, statement.body_kind
        if message.referral_id:
            return message.referral_id
        if kind == "rejection":
            return self._withholdings.get(message.previous, EXCHANGE)
        hotline, number = intake_of(message)
        if not number:
            return EXCHANGE
        name = intake_chain(hotline, number)
        if kind == "withholding":
            self._withholdings[statement.digest] = name
        return name


def intake_chain(hotline: str, number: int) -> str:
    """Returns the name of the chain of an intake."""
    return f"{hotline}#{number}"


def intake_of(message: statement_pb2.Statement) -> tuple[str, int]:
    """Returns hotline and number of the intake that a statement is about, or zero."""
    kind = message.WhichOneof("body") or ""
    if kind == "intake":
        return message.issuer, message.intake.number
    if kind in _DECISIONS:
        return message.issuer, getattr(message, kind).intake_number
    if kind in _REMARKS:
        due = getattr(message, kind).due
        return due.hotline, due.intake_number
    return "", 0
