"""The words of the vocabulary, as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from onward.v1 import vocabulary_pb2

URGENCIES: Final = (1, 2, 3, 4, 5)
"""The classes, the most urgent first."""

_PREFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Urgency": "URGENCY_",
        "ReporterType": "REPORTER_TYPE_",
        "AgeGroup": "AGE_GROUP_",
        "WithholdReason": "WITHHOLD_REASON_",
        "DeclineReason": "DECLINE_REASON_",
        "OutcomeCode": "OUTCOME_CODE_",
        "RetractionAction": "RETRACTION_ACTION_",
        "RetractionReason": "RETRACTION_REASON_",
        "DisclosureBasis": "DISCLOSURE_BASIS_",
        "DeliveryState": "DELIVERY_STATE_",
        "IntakeState": "INTAKE_STATE_",
        "DeadlineKind": "DEADLINE_KIND_",
        "HolderRole": "HOLDER_ROLE_",
    }
)


@lru_cache(maxsize=1024)
def word(enum: str, value: int) -> str:
    """Returns a value of the vocabulary in plain words, such as ``imminent danger``.

    Args:
        enum: the name of the enum.
        value: known to this version, or not.
    """
    names = vocabulary_pb2.DESCRIPTOR.enum_types_by_name[enum].values_by_number
    found = names.get(value)
    if found is None:
        return f"unknown ({value})"
    name: str = found.name
    return name.removeprefix(_PREFIXES[enum]).lower().replace("_", " ")
