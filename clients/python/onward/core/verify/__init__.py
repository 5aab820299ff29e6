"""Verification of bundles: offline, by anybody, from the bytes and a trust file alone.

:func:`verify_bundle` is the one list of what is checked. The modules beside it do the
single steps: they read the evidence (``evidence``), say whose keys were in force
(``keys``), what the log proves (``log``), how statements hang together (``chains``) and
whether they came in time (``deadlines``).
"""

from __future__ import annotations

from onward.core.verify.report import (
    STEPS,
    DeliveryReport,
    ExitCode,
    Report,
    StatementReport,
    Step,
    Verdict,
)
from onward.core.verify.verifier import verify_bundle

__all__ = [
    "STEPS",
    "DeliveryReport",
    "ExitCode",
    "Report",
    "StatementReport",
    "Step",
    "Verdict",
    "verify_bundle",
]
