"""Messages of the contract as JSON, with the words of the vocabulary.

The JSON form of protobuf, with two differences that make it easier to write: a value of
an enum may be its word, ``IMMINENT_DANGER`` for ``URGENCY_IMMINENT_DANGER``, and is
always printed so; and what protobuf would pass over in silence (a name twice, bytes
that are not base64) is refused.

What is wrong is told by its place. Values are never repeated, since they may be those
of a tip.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, Protocol, TypeVar, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from onward.core._jose import json_object
from onward.core.encoding import decode_base64
from onward.core.errors import MalformedError

_Message = TypeVar("_Message", bound=Message)
_Value_co = TypeVar("_Value_co", bound=int, covariant=True)

_FAILED_FIELD: Final = re.compile(r"Failed to parse (\w+) field")
_BYTES: Final = FieldDescriptor.TYPE_BYTES


class EnumWrapper(Protocol[_Value_co]):
    """An enum as protobuf generates it."""

    @property
    def DESCRIPTOR(self) -> EnumDescriptor:  # noqa: N802 - protobuf's name
        """Describes it."""

    def Value(self, name: str) -> _Value_co:  # noqa: N802 - protobuf's name
        """Returns a value by its full name."""


def value_of(enum: EnumWrapper[_Value_co], word: str) -> _Value_co:
    """Returns the value of a word that the enum has."""
    return enum.Value(_names(enum.DESCRIPTOR)[word])


def word_of(enum: EnumWrapper[int], value: int) -> str:
    """Returns the word of a value; of one that is not known here, its number."""
    found = enum.DESCRIPTOR.values_by_number.get(value)
    return _word(found.name, enum.DESCRIPTOR) if found else str(value)


def words_of(enum: EnumDescriptor) -> list[str]:
    """Returns the words of an enum, without that of "not stated"."""
    return list(_names(enum))


def read_members(text: str | bytes, message: Message, what: str) -> dict[str, object]:
    """Reads the JSON form of a message into members with the contract's names.

    Args:
        text: JSON; bytes are UTF-8.
        message: of the type to read. It is not changed.
        what: names the text in errors.

    Raises:
        MalformedError: with the path of what is wrong.
    """
    return members_of(json_object(text, what), message, what)


def members_of(value: object, message: Message, what: str) -> dict[str, object]:
    """Reads a value of JSON as :func:`read_members` reads text."""
    if not isinstance(value, dict):
        raise _malformed(what, "is a JSON object")
    return _members(value, _descriptor(message), what)


def fill(message: _Message, members: Mapping[str, object], what: str) -> _Message:
    """Fills a message with what :func:`read_members` returned, and returns it.

    Raises:
        MalformedError: with the path of what is wrong.
    """
    try:
        return ParseDict(dict(members), message)
    except ParseError as error:
        path = ".".join([what, *_FAILED_FIELD.findall(str(error))])
        name = message.DESCRIPTOR.full_name
        raise _malformed(path, f"has the JSON form that {name} gives it") from None


def to_members(message: Message) -> dict[str, object]:
    """Returns the JSON form of a message, with words."""
    members = MessageToDict(message, preserving_proto_field_name=True)
    return _shortened(members, _descriptor(message))


def _members(
    value: Mapping[str, object], descriptor: Descriptor, path: str
) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, item in value.items():
        field = descriptor.fields_by_name.get(
            name
        ) or descriptor.fields_by_camelcase_name.get(name)
        if field is None:
            known = ", ".join(descriptor.fields_by_name)
            raise _malformed(path, f"has no other names than {known}")
        if field.name in members:
            raise _malformed(f"{path}.{field.name}", "is there once")
        members[field.name] = _item(item, field, f"{path}.{field.name}")
    return members


def _item(value: object, field: FieldDescriptor, path: str) -> object:
    if isinstance(value, list):
        items = enumerate(value)
        return [_item(item, field, f"{path}[{index}]") for index, item in items]
    if isinstance(value, dict) and field.message_type:
        return _members(value, field.message_type, path)
    if isinstance(value, str) and field.type == _BYTES:
        decode_base64(value, path)
    if isinstance(value, str) and field.enum_type:
        return _full_name(value, field.enum_type, path)
    return value


def _full_name(text: str, enum: EnumDescriptor, path: str) -> str:
    names = _names(enum)
    if text in enum.values_by_name:
        return text
    if text not in names:
        raise _malformed(path, f"is one of {', '.join(names)}")
    return names[text]


def _shortened(
    members: Mapping[str, object], descriptor: Descriptor
) -> dict[str, object]:
    return {
        name: _short_item(item, descriptor.fields_by_name[name])
        for name, item in members.items()
    }


def _short_item(value: object, field: FieldDescriptor) -> object:
    if isinstance(value, list):
        return [_short_item(item, field) for item in value]
    if isinstance(value, dict) and field.message_type:
        return _shortened(value, field.message_type)
    if isinstance(value, str) and field.enum_type:
        return _word(value, field.enum_type)
    return value


def _descriptor(message: Message) -> Descriptor:
    # The stubs of protobuf name its two implementations.
    return cast("Descriptor", message.DESCRIPTOR)


@cache
def _names(enum: EnumDescriptor) -> dict[str, str]:
    """Returns the full names of an enum by their words."""
    return {_word(item.name, enum): item.name for item in enum.values[1:]}


def _word(name: str, enum: EnumDescriptor) -> str:
    """Returns a name without its prefix, but for a word that a digit would begin."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    word = name.removeprefix(prefix)
    return f"{prefix.partition('_')[0]}_{word}" if word[0].isdigit() else word


def _malformed(path: str, rule: str) -> MalformedError:
    return MalformedError(f"{path} does not follow the rule: it {rule}", field=path)
