"""Reading what ``onward-server policy explain`` is asked about: one JSON file.

A referral::

    {"publisher": MEMBER, "recipients": [MEMBER, ...], "referral": {...},
     "parent": {...}}

A withholding::

    {"hotline": MEMBER, "intake": {...}, "withholding": {...}}

``referral``, ``parent``, ``intake`` and ``withholding`` are the contract's messages in
their JSON form, as far as the policy looks at them; of a transfer, ``parent`` is the
referral that it comes from. MEMBER is an object with ``kind`` and
``jurisdictions``, and a ``name`` where a consent names it. Values of an enumeration may
be written without their prefix.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from onward.core.consent import binds
from onward.core.errors import MalformedError
from onward.v1 import directory_pb2, statement_pb2

_HOTLINE: Final = {"kind": "HOTLINE", "jurisdictions": ["US"]}
_MAX_FILE: Final = 1 << 20

MessageT = TypeVar("MessageT", bound=Message)


class Question:
    """A file that was read; what it lacks is as if the publisher had not stated it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = _object(path)

    def message(self, name: str, kind: type[MessageT]) -> MessageT:
        """Returns one of the messages.

        Raises:
            MalformedError: it is missing, or is not of its kind.
        """
        if name not in self._data:
            raise MalformedError(f"{self._path} lacks {name}")
        return self._parsed(name, self._data[name], kind)

    def member(self, name: str) -> directory_pb2.Member:
        """Returns who asks; a hotline of the whole country if the file does not say."""
        found = self._data.get(name, _HOTLINE)
        return self._named(self._parsed(name, found, directory_pb2.Member), name)

    def recipients(self) -> list[directory_pb2.Member]:
        """Returns the recipients.

        Raises:
            MalformedError: there are none.
        """
        found = self._data.get("recipients")
        if not isinstance(found, list) or not found:
            raise MalformedError(
                f"{self._path} lacks recipients: a list of objects with kind and "
                "jurisdictions"
            )
        return [
            self._named(
                self._parsed("recipients", item, directory_pb2.Member),
                f"recipient {number}",
            )
            for number, item in enumerate(found, 1)
        ]

    def referral(self) -> statement_pb2.Referral:
        """Returns the referral."""
        return self.message("referral", statement_pb2.Referral)

    def above(self) -> statement_pb2.Referral | None:
        """Returns the referral whose consent binds a transfer, if there is one."""
        if "parent" not in self._data:
            return None
        parent = self.message("parent", statement_pb2.Referral)
        return parent if binds(parent.basis, parent.reporter_type) else None

    def _parsed(self, name: str, data: Any, kind: type[MessageT]) -> MessageT:  # noqa: ANN401
        message = kind()
        try:
            ParseDict(_with_full_names(data, message.DESCRIPTOR), message)
        except ParseError as error:
            raise MalformedError(f"{self._path}: {name}: {error}") from error
        return message

    @staticmethod
    def _named(member: directory_pb2.Member, name: str) -> directory_pb2.Member:
        """Returns a member that has a name, since the policy asks for one."""
        member.name = member.name or name
        return member


def _object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file."""
    try:
        with path.open("rb") as opened:
            data = json.loads(opened.read(_MAX_FILE))
    except OSError as error:
        raise MalformedError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise MalformedError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise MalformedError(f"{path} is not one JSON object")
    return data


def _with_full_names(data: Any, kind: Any) -> Any:  # noqa: ANN401 - any JSON, message
    """Returns JSON in which the values of enumerations have their whole names."""
    if not isinstance(data, dict):
        return data
    fields = {
        name: field for field in kind.fields for name in (field.name, field.json_name)
    }
    return {
        name: _whole(value, fields[name]) if name in fields else value
        for name, value in data.items()
    }


def _whole(value: Any, field: FieldDescriptor) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [_whole(item, field) for item in value]
    if field.enum_type is not None and isinstance(value, str):
        return _whole_name(value, field.enum_type)
    if field.message_type is not None:
        return _with_full_names(value, field.message_type)
    return value


def _whole_name(name: str, vocabulary: EnumDescriptor) -> str:
    """Returns the whole name of a value that may lack its prefix."""
    prefix = vocabulary.values[0].name.removesuffix("UNSPECIFIED")
    whole = f"{prefix}{name.removeprefix(prefix)}"
    return whole if whole in vocabulary.values_by_name else name
