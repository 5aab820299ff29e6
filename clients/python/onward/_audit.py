"""Audits: downloading what an auditor may see, to judge it offline.

Nothing is believed on the way: the export is written down as it comes, with the log's
entries beside it, and ``onward report`` judges the folder. Only the checkpoint is
checked at once against all that were seen before, so that a log which shows auditors
another history than everybody else is noticed.
"""

from __future__ import annotations

import json
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final, TextIO

from onward._evidence import Advance, Folder
from onward._session import Session
from onward._vouchers import write_voucher
from onward.core.audit.chains import EXCHANGE, ChainNamer
from onward.core.audit.evidence import format_header
from onward.core.audit.policies import check_policy_name
from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, OnwardError, Reason, VerificationError
from onward.core.merkle import HASH_SIZE
from onward.core.notes import parse_note
from onward.core.statements import parse_statement, statement_digest
from onward.v1 import audit_pb2, log_pb2, policy_pb2
from onward.v1.audit_pb2_grpc import AuditServiceStub
from onward.v1.log_pb2_grpc import LogServiceStub
from onward.v1.policy_pb2_grpc import PolicyServiceStub

_PAGE: Final = 1000
_VOUCHERS: Final = 250
_SPACING: Final = timedelta(minutes=1)
"""Of the checkpoints that others vouch for: what is closer together tells little more,
and there can be one for each second of a year."""

_PATIENCE: Final = 60.0
"""Seconds that the exchange's witnesses may take for a checkpoint over the export."""

_NOT_WITNESSED: Final = frozenset(
    {Reason.ERROR_REASON_QUORUM_UNMET, Reason.ERROR_REASON_ENTRY_UNKNOWN}
)


class Audits:
    """Calls for auditors."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def download(self, folder: Path, advance: Advance = lambda _: None) -> int:
        """Downloads an export of the auditor's jurisdictions; the look is logged.

        Args:
            folder: where to; made if it is not there. What is there of an earlier
                export is replaced, and nothing of it is left in use on failure.
            advance: is told of statements and entries.

        Returns:
            How many statements were shown.

        Raises:
            OnwardError: it was refused, or broke off: start again.
        """
        names = Folder(folder)
        names.path.mkdir(parents=True, exist_ok=True)
        names.header.unlink(missing_ok=True)
        header, digests, count = await self._export(names, advance)
        note = await self._checkpoint(header)
        checkpoint = await self._session.log.observe(note)
        await self._entries(names, checkpoint.size, advance)
        await self._vouchers(names, checkpoint.size, advance)
        for digest in digests:
            await self._policy(names, digest)
        names.checkpoint.write_text(note, encoding="utf-8")
        names.header.write_bytes(format_header(header))  # last: it is whole
        return count

    async def _export(
        self, names: Folder, advance: Advance
    ) -> tuple[audit_pb2.ExportHeader, list[bytes], int]:
        """Writes the statements; returns the header and the policies' digests."""
        session = self._session
        stub = AuditServiceStub(session.channel)
        stream = stub.ExportStatements(audit_pb2.ExportStatementsRequest())
        header: audit_pb2.ExportHeader | None = None
        with names.statements.open("w", encoding="ascii") as file:
            writer = _Writer(file)
            async with aclosing(session.caller.messages(stream)) as parts:
                async for part in parts:
                    if part.HasField("header"):
                        header = part.header
                    for item in part.statements.statements:
                        writer.write(item.log_index, item.statement)
                    advance(len(part.statements.statements))
        if header is None:
            raise MalformedError("the export has no header; start it again")
        return header, writer.policies, writer.count

    async def _checkpoint(self, header: audit_pb2.ExportHeader) -> str:
        """Returns a checkpoint over the export that is witnessed, if there is one.

        The header's own is as new as the logged look: nobody else had seen it yet.
        """
        await self._session.log.observe(header.checkpoint)
        digest = statement_digest(header.access.statement)
        try:
            receipt = await self._session.log.receipt(digest, _PATIENCE)
        except OnwardError as error:
            if error.reason in _NOT_WITNESSED:
                return header.checkpoint  # which the report says
            raise
        return receipt.checkpoint_note

    async def _vouchers(self, names: Folder, size: int, advance: Advance) -> None:
        """Writes who had seen the log by when, as far as the entries go."""
        session = self._session
        stub = LogServiceStub(session.channel)
        request = log_pb2.ListVouchersRequest(page_size=_VOUCHERS)
        request.spacing.FromTimedelta(_SPACING)
        last = -1
        with (
            names.checkpoints.open("w", encoding="utf-8") as checkpoints,
            names.timestamps.open("w", encoding="utf-8") as timestamps,
        ):
            while last < size:
                page = await session.call(stub.ListVouchers, request)
                for item in page.checkpoints:
                    parsed = Checkpoint.parse(parse_note(item.checkpoint).text)
                    if parsed.size <= last:
                        raise _bad_vouchers()
                    last = parsed.size
                    if last <= size:
                        write_voucher(checkpoints, timestamps, last, item)
                advance(len(page.checkpoints))
                if page.next_page_token in {"", request.page_token}:
                    break
                request.page_token = page.next_page_token

    async def _entries(self, names: Folder, size: int, advance: Advance) -> None:
        """Writes the log's entries."""
        session = self._session
        stub = LogServiceStub(session.channel)
        with names.entries.open("wb") as file:
            first = 0
            while first < size:
                request = log_pb2.ListEntriesRequest(
                    first_index=first, page_size=min(_PAGE, size - first)
                )
                page = await session.call(stub.ListEntries, request)
                wrong = any(len(digest) != HASH_SIZE for digest in page.digests)
                if wrong or not 0 < len(page.digests) <= size - first:
                    raise _bad_entries()
                file.write(b"".join(page.digests))
                first += len(page.digests)
                advance(len(page.digests))

    async def _policy(self, names: Folder, digest: bytes) -> None:
        """Writes the files of a policy set; one that is gone stays unknown."""
        session = self._session
        stub = PolicyServiceStub(session.channel)
        request = policy_pb2.GetPolicyRequest(policy_digest=digest)
        try:
            response = await session.call(stub.GetPolicy, request)
        except OnwardError as error:
            if error.reason == Reason.ERROR_REASON_POLICY_UNKNOWN:
                return
            raise
        folder = names.policies / digest.hex()
        folder.mkdir(parents=True, exist_ok=True)
        for file in response.files:
            check_policy_name(file.name)
            (folder / file.name).write_text(file.text, encoding="utf-8", newline="")


class _Writer:
    """Writes statements as an auditor keeps them."""

    def __init__(self, file: TextIO) -> None:
        self.count = 0
        self.policies: list[bytes] = []
        self._file = file
        self._namer = ChainNamer()

    def write(self, index: int, jws: str) -> None:
        """Writes one statement."""
        chain = EXCHANGE
        # What cannot be read is kept all the same: the report says so.
        with suppress(OnwardError):
            statement = parse_statement(jws)
            chain = self._namer.name(statement)
            if statement.body_kind == "policy_change":
                digest = statement.message.policy_change.policy_digest
                known = digest in self.policies or len(digest) != HASH_SIZE
                self.policies += [] if known else [digest]
        line = {"index": index, "chain": chain, "statement": jws}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.count += 1


def _bad_vouchers() -> VerificationError:
    return VerificationError(
        Reason.ERROR_REASON_LOG_RANGE,
        "the exchange lists the checkpoints that others vouch for in another order",
    )


def _bad_entries() -> VerificationError:
    return VerificationError(
        Reason.ERROR_REASON_LOG_RANGE,
        "the exchange returned other log entries than were asked for",
    )
