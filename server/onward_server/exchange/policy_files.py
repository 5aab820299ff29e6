"""The files of a policy set: which there are, and how large they may be.

A set is a folder with ``VERSION``, the name that acceptances and rejections quote;
``schema.cedarschema`` with the facts that rules can see; ``deadlines.toml``; the rules
in ``default.cedar``; and for a jurisdiction with rules of its own a file such as
``US-OH.cedar``. A file of any other name is refused, since a misspelt one would else
silently be no rule. Hidden files are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final, TypeAlias

from onward.core.errors import MalformedError, OnwardError, Reason

VERSION: Final = "VERSION"
SCHEMA: Final = "schema.cedarschema"
DEADLINES: Final = "deadlines.toml"
DEFAULT_RULES: Final = "default.cedar"

MAX_SET: Final = 256 * 1024
MAX_FILES: Final = 64

JURISDICTION: Final = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
"""ISO 3166-2, as a referral states it."""

_PLACE: Final = re.compile(rf"[A-Z]{{2}}|{JURISDICTION.pattern}")
"""The same, or ISO 3166-1: a country with all of its states."""

_REQUIRED: Final = frozenset({VERSION, SCHEMA, DEADLINES, DEFAULT_RULES})
_RULES: Final = ".cedar"

PolicyFiles: TypeAlias = Mapping[str, str]
"""The text of each file by its name, in the order of the names' bytes."""


class PolicyInvalidError(MalformedError):
    """A policy set is not sound. The message names the file, and the rule if any."""

    def __init__(self, message: str) -> None:
        OnwardError.__init__(self, Reason.ERROR_REASON_POLICY_INVALID, message)


def default_policy_folder() -> Traversable:
    """Returns the folder of the set that comes with the exchange."""
    return files("onward_server") / "policies"


def read_policy_files(folder: Traversable) -> PolicyFiles:
    """Reads a set from a folder.

    Raises:
        PolicyInvalidError: as :func:`check_policy_files`, or a file cannot be read or
            is not UTF-8.
    """
    found = folder.iterdir() if folder.is_dir() else ()
    texts: dict[str, str] = {}
    for entry in found:
        if not entry.name.startswith("."):
            _check_name(entry.name)
            texts[entry.name] = _read(entry)
    if not texts:
        raise PolicyInvalidError(
            f"{folder} holds no policy set; begin with a copy of a set, which "
            "`onward-server policy export` writes"
        )
    return check_policy_files(texts)


def check_policy_files(texts: Mapping[str, str]) -> PolicyFiles:
    """Returns the files in order, if they are those of a set and not too large.

    Raises:
        PolicyInvalidError: a file is missing, too many, has a name that means nothing,
            or they are too large together.
    """
    for name in texts:
        _check_name(name)
    missing = sorted(_REQUIRED - texts.keys())
    if missing:
        raise PolicyInvalidError(
            f"the policy set lacks {', '.join(missing)}; copy it from the default set"
        )
    size = sum(len(text.encode()) for text in texts.values())
    if len(texts) > MAX_FILES or size > MAX_SET:
        raise PolicyInvalidError(
            f"the policy set has {len(texts)} files and {size} bytes; at most "
            f"{MAX_FILES} and {MAX_SET} are allowed"
        )
    return MappingProxyType(dict(sorted(texts.items())))


def jurisdiction_of(name: str) -> str:
    """Returns whose rules a file holds; empty for the rules of everywhere."""
    return name.removesuffix(_RULES) if is_jurisdiction(name) else ""


def is_jurisdiction(name: str) -> bool:
    """Whether a file holds the rules of one state, or of a country."""
    code, _, kind = name.rpartition(".")
    return f".{kind}" == _RULES and _PLACE.fullmatch(code) is not None


def _check_name(name: str) -> None:
    """Refuses a name that no file of a set has."""
    if name not in _REQUIRED and not is_jurisdiction(name):
        raise PolicyInvalidError(
            f"{name[:64]!r} is no file of a policy set, which has "
            f"{', '.join(sorted(_REQUIRED))}, US-OH.cedar for rules of Ohio alone, and "
            "US.cedar for those of all states; rename it, or move it away"
        )


def _read(entry: Traversable) -> str:
    """Returns the text of one file, without reading more than a set may have."""
    try:
        with entry.open("rb") as opened:
            data = opened.read(MAX_SET + 1)
    except OSError as error:
        msg = f"{entry.name} of the policy set cannot be read: {error.strerror}"
        raise PolicyInvalidError(msg) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if len(data) > MAX_SET:  # its last character may be cut
            return data.decode(errors="replace")
        msg = f"{entry.name} of the policy set is not UTF-8; save it as UTF-8"
        raise PolicyInvalidError(msg) from error
