"""What a bundle shows beside the signed bytes: the content, and the view for people."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from onward.core.bundle import Bundle, view_of
from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.verify.chains import Chain
from onward.core.verify.evidence import Evidence, Problem, noting


def check_content(bundle: Bundle, chains: Mapping[str, Chain]) -> list[Problem]:
    """Checks that the attached content is the one that the bundle's referral signed."""
    problems: list[Problem] = []
    with noting(problems, "content"):
        content = bundle.content or b""
        chain = chains.get(bundle.referral_id)
        if chain is None or chain.referral is None:
            raise _other_content("there is no referral that signed it")
        signed = chain.referral.statement.message.referral
        if len(content) != signed.content_size:
            raise _other_content("its size is not the one that the referral signed")
        if sha256(content).digest() != signed.content_digest:
            raise _other_content("its digest is not the one that the referral signed")
    return problems


def check_view(bundle: Bundle, evidence: Evidence) -> list[Problem]:
    """Checks that the view is the one that the signed bytes make."""
    problems: list[Problem] = []
    with noting(problems, "view"):
        if len(bundle.view) != len(bundle.statements):
            raise MalformedError("it has not one object for each statement")
        if len(evidence.statements) != len(bundle.statements):
            raise MalformedError("a statement that it shows cannot be read")
    if problems:
        return problems
    pairs = zip(evidence.statements, bundle.view, strict=True)
    for place, (entry, shown) in enumerate(pairs):
        with noting(problems, f"view[{place}]"):
            if not _same(view_of(entry.statement, entry.index), shown):
                raise MalformedError(f"it does not show what {entry.subject} says")
    return problems


def _same(made: object, shown: object) -> bool:
    """Compares JSON values; for Python 1 equals true, for JSON it does not."""
    if isinstance(made, bool) or isinstance(shown, bool):
        return made is shown
    if isinstance(made, dict) and isinstance(shown, dict):
        return made.keys() == shown.keys() and all(
            _same(value, shown[name]) for name, value in made.items()
        )
    if isinstance(made, list) and isinstance(shown, list):
        return len(made) == len(shown) and all(map(_same, made, shown))
    return made == shown


def _other_content(why: str) -> VerificationError:
    return VerificationError(Reason.ERROR_REASON_CONTENT_MISMATCH, why)
