"""Openings: what shows later, and offline, what an intake committed a hotline to.

An opening is a JSON object in UTF-8::

    format    "onward-opening/v1"
    salt      base64 of the 32 secret bytes
    proof     a bundle that holds the one `Intake`, the directory statements of its
              hotline, and what proves them (docs/reference/bundle.md); its referral_id
              is empty

With the content it proves that the hotline had exactly these bytes when the log took
the intake. Without the content it proves nothing about it; but whoever has the salt can
test guesses, so an opening is as confidential as the tip.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from typing import Final, Self

from onward.core._jose import json_object
from onward.core.bodies import check_body
from onward.core.bundle import (
    MAX_BUNDLE_SIZE,
    Bundle,
    ConsistencyProof,
    LoggedStatement,
    build_bundle,
)
from onward.core.encoding import decode_base64, encode_base64
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    TooLargeError,
    VerificationError,
)
from onward.core.intakes import commitment
from onward.core.statements import parse_statement
from onward.core.timing import intervals
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.core.verify.evidence import Entry, Evidence, Problem, noting, read_evidence
from onward.core.verify.keys import Keys, read_keys
from onward.core.verify.log import (
    Trees,
    check_consistency,
    check_inclusion,
    check_quorum,
)
from onward.core.verify.report import Report, StatementReport, Step, Verdict
from onward.core.verify.shown import check_view

FORMAT: Final = "onward-opening/v1"

_INTAKE: Final = "intake"


@dataclass(frozen=True, slots=True)
class Opening:
    """An opening as it was read: well-formed, and nothing more.

    Attributes:
        salt: of the commitment.
        proof: the bundle with the intake.
    """

    salt: bytes = field(repr=False)
    proof: Bundle

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads an opening.

        Raises:
            TooLargeError: over the size of a bundle.
            MalformedError: not an opening of this format.
        """
        if len(data) > MAX_BUNDLE_SIZE:
            raise TooLargeError("the opening", len(data), MAX_BUNDLE_SIZE)
        members = json_object(data, "the opening")
        if members.get("format") != FORMAT:
            raise MalformedError(f"the opening's format is not {FORMAT}")
        salt, proof = members.get("salt"), members.get("proof")
        if not isinstance(salt, str) or not isinstance(proof, dict):
            raise MalformedError("an opening has a salt and a proof")
        bundle = Bundle.parse(json.dumps(proof).encode())
        if len(bundle.statements) != 1:
            raise MalformedError("the proof of an opening has one statement")
        return cls(decode_base64(salt, "salt"), bundle)


def build_opening(
    salt: bytes,
    checkpoint: str,
    intake: LoggedStatement,
    directory: Sequence[LoggedStatement],
    consistency: Sequence[ConsistencyProof],
) -> bytes:
    """Returns an opening.

    Args:
        salt: of the commitment, 32 bytes.
        checkpoint: the newest checkpoint, a signed note.
        intake: the ``Intake``.
        directory: as in a bundle: of the exchange, and of the hotline.
        consistency: as in a bundle.
    """
    proof = build_bundle("", checkpoint, [intake], directory, consistency)
    members = {
        "format": FORMAT,
        "salt": encode_base64(salt),
        "proof": json.loads(proof),
    }
    return json.dumps(members, ensure_ascii=False, indent=1).encode() + b"\n"


def verify_opening(data: bytes, content: bytes, trust: str) -> Report:
    """Judges an opening offline; the steps have the numbers that they have for bundles.

    1. Format: opening, statements and receipts can be read, and are an intake's.
    2. Keys: the directory leads to the hotline's keys.
    3. Signatures: the hotline signed the intake, with a key of that time.
    4. Inclusion: each statement is in the log, at its place.
    5. Consistency: every tree that is named is a beginning of the checkpoint's.
    6. Witnesses: the quorum of the trust file cosigned the checkpoint.
    11. Content: it is what the intake committed to.
    12. View: what people read in the opening is what was signed.

    Args:
        data: the opening.
        content: what the hotline says was told, byte for byte.
        trust: the trust file, in the ``tlog-policy`` format.

    Returns:
        The report. Its exit code is 2 when opening or trust file cannot be read at all.
    """
    try:
        policy, subject = Policy.parse(trust), "opening"
        opening = Opening.parse(data)
        proof = opening.proof
        entry = _entry(proof.statements[0])
    except OnwardError as error:
        step = Step.refused(1, "opening or trust file", error)
        return Report((replace(step, verdict=Verdict.NOT_CHECKED),))
    steps: list[Step] = []

    def conclude(number: int, problems: Sequence[Problem], proven: str) -> None:
        steps.extend(
            Step.refused(number, item.subject, item.error) for item in problems
        )
        if not problems:
            steps.append(Step(number, subject, Verdict.PROVEN, proven))

    known, problems = read_evidence(replace(proof, statements=()))  # 1
    evidence = Evidence((entry,), known.directory)
    conclude(1, [*problems, *_check_form(entry)], f"it is of {_named(entry)}")
    trees = Trees.open(proof, evidence.entries, policy)
    keys, problems = read_keys(evidence.directory, trees.vkeys(policy))  # 2
    conclude(2, problems, f"{len(evidence.directory)} changes lead to the keys")
    problems = _check_signature(entry, keys)  # 3
    conclude(3, problems, "the hotline signed it, with a key of that time")
    problems = check_inclusion(evidence.entries, trees)  # 4
    conclude(4, problems, f"it is log entry {entry.index}")
    problems = check_consistency(proof, evidence.entries, trees)  # 5
    conclude(5, problems, "the log only ever grew")
    if policy.quorum is None:  # 6
        why = "the trust file asks for no witness"
        steps.append(Step(6, subject, Verdict.NOT_CHECKED, why))
    else:
        problems = check_quorum(proof, policy)
        conclude(6, problems, f"the quorum {policy.quorum} cosigned it")
    conclude(
        11, _check_content(entry, opening.salt, content), "it is the content"
    )  # 11
    conclude(12, check_view(proof, evidence), "it shows what was signed")  # 12

    seen = trees.witnessed()
    times = intervals(evidence.entries, keys.exchange, trees.origin, seen)
    when = times[entry.index]
    shown = StatementReport("", entry.index, entry.kind, entry.issuer, when)
    return Report(tuple(steps), (shown,))


def _entry(item: LoggedStatement) -> Entry:
    receipt = TlogProof.parse(item.receipt)
    statement = parse_statement(item.statement)
    return Entry(receipt.index, statement, _INTAKE, receipt)


def _named(entry: Entry) -> str:
    return f"{entry.issuer}, intake {entry.statement.message.intake.number}"


def _check_form(entry: Entry) -> list[Problem]:
    problems: list[Problem] = []
    with noting(problems, entry.subject):
        check_body(entry.statement.message)
        if entry.kind != _INTAKE:
            raise MalformedError(f"a statement of kind {entry.kind} is no intake")
        if entry.receipt.extra is not None:
            raise MalformedError("the receipt has extra data, which nobody vouches for")
    return problems


def _check_signature(entry: Entry, keys: Keys) -> list[Problem]:
    problems: list[Problem] = []
    with noting(problems, entry.subject):
        keys.check_signature(entry)
    return problems


def _check_content(entry: Entry, salt: bytes, content: bytes) -> list[Problem]:
    problems: list[Problem] = []
    with noting(problems, "content"):
        signed = entry.statement.message.intake.content_commitment
        if not compare_digest(commitment(salt, content), signed):
            raise VerificationError(
                Reason.ERROR_REASON_CONTENT_MISMATCH,
                "it is not what the intake committed to: other bytes, or another salt",
            )
    return problems
