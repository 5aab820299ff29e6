"""What an auditor downloads: an export, and the log's entries to judge it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from google.protobuf.json_format import MessageToJson, Parse, ParseError

from onward.core.errors import MalformedError
from onward.core.statements import parse_statement
from onward.core.tlog_proof import TlogProof
from onward.core.verify.evidence import Entry
from onward.v1 import audit_pb2

WHOLE = "*"
"""The code of an auditor's jurisdiction that covers every statement of the log."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the exchange said before it showed anything.

    Attributes:
        access: the logged ``AuditAccess``, whose receipt says only where it stands.
        intakes: how many intakes each hotline has of each class in each state, by the
            exchange's tables: (hotline, urgency, state).
        deliveries: the same of recipients: (recipient, urgency, state).
    """

    access: Entry
    intakes: Mapping[tuple[str, int, int], int]
    deliveries: Mapping[tuple[str, int, int], int]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads ``header.json``: ``onward.v1.ExportHeader`` in the JSON of protobuf.

        Raises:
            MalformedError: it is not one.
        """
        try:
            message = Parse(data, audit_pb2.ExportHeader())
        except (ParseError, ValueError, RecursionError):
            raise MalformedError("header.json is not the header of an export") from None
        statement = parse_statement(message.access.statement)
        if statement.body_kind != "audit_access":
            raise MalformedError("header.json has no AuditAccess")
        receipt = TlogProof.parse(message.access.receipt)
        intakes: Counter[tuple[str, int, int]] = Counter()
        for item in message.intakes:
            intakes[item.hotline, item.urgency, item.state] += item.count
        deliveries: Counter[tuple[str, int, int]] = Counter()
        for figure in message.deliveries:
            key = figure.recipient, figure.urgency, figure.state
            deliveries[key] += figure.count
        access = Entry(receipt.index, statement, "the AuditAccess", receipt)
        return cls(access, intakes, deliveries)


def format_header(message: audit_pb2.ExportHeader) -> bytes:
    """Returns a header as ``header.json`` has it."""
    text = MessageToJson(message, preserving_proto_field_name=True, indent=1)
    return text.encode() + b"\n"


def covers(codes: frozenset[str], jurisdiction: str) -> bool:
    """Whether an auditor's codes cover a place: ``US`` each part of it, ``*`` all."""
    country = jurisdiction.partition("-")[0]
    return bool({WHOLE, jurisdiction, country} & codes)
