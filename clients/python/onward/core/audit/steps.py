"""The steps of an audit by number: ``onward.core.audit.audit`` says what each asks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

READABLE: Final = 1
CHECKPOINT: Final = 2
ENTRIES: Final = 3
ACCESS: Final = 4
PLACES: Final = 5
KEYS: Final = 6
SIGNATURES: Final = 7
CHAINS: Final = 8
INTAKES: Final = 9
TIMING: Final = 10
DEADLINES: Final = 11
FIGURES: Final = 12
COVERAGE: Final = 13

STEPS: Final[Mapping[int, str]] = MappingProxyType(
    {
        READABLE: "evidence",
        CHECKPOINT: "checkpoint",
        ENTRIES: "entries",
        ACCESS: "access",
        PLACES: "places",
        KEYS: "keys",
        SIGNATURES: "signatures",
        CHAINS: "chains",
        INTAKES: "intakes",
        TIMING: "timing",
        DEADLINES: "deadlines",
        FIGURES: "figures",
        COVERAGE: "coverage",
    }
)
"""The name of each step, as the report shows it."""
