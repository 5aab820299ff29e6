"""The configuration, written for people: the reference page, and the file of ``init``.

Both are made from the structs of :mod:`onward_server.config` and the docstrings under
their fields, so neither can say something else than the program does::

    python -m onward_server.config_pages > docs/reference/configuration.md
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from onward.core.errors import MalformedError
from onward_server import config
from onward_server.config import ENVIRONMENT_PREFIX, FILE_NAME, Config, Section

_WIDTH: Final = 88

_INTRODUCTION: Final = f"""\
# Configuration

An exchange reads one TOML file, `{FILE_NAME}` in the folder that `onward-server init`
made; another is named with `--config` or `ONWARD_CONFIG`. Each value can also be set by
an environment variable, which wins over the file. A name that does not exist is refused
in both places.

Secrets are never values: a field that ends in `_file` names a file. Relative paths
begin at `exchange.data_dir`, and that one at the folder of the configuration file.
The exchange's certificate, its key and `tls.client_ca_file` are taken over when the
files change; everything else needs a restart.

This page is generated from the program: `python -m onward_server.config_pages`.
"""

_HEADER: Final = (
    "The configuration of an Onward exchange. Commented lines show defaults. "
    f"{ENVIRONMENT_PREFIX}SECTION__FIELD in the environment wins over a value here."
)


def reference() -> str:
    """Returns the reference page, Markdown."""
    sections = (_section_page(name, kind) for name, kind in _sections())
    return "\n".join([_INTRODUCTION, *sections])


def commented_toml(chosen: Mapping[str, Mapping[str, object]]) -> str:
    """Returns a configuration file with every field and what it means.

    Args:
        chosen: values by section and field. All others are commented out, with their
            defaults.
    """
    blocks = [_comment(_HEADER)]
    for name, kind in _sections():
        lines = [_comment(inspect.getdoc(kind) or ""), f"[{name}]\n"]
        docs = _field_docs(kind)
        for field in msgspec.structs.fields(kind):
            value = chosen.get(name, {}).get(field.name)
            shown = _toml(field.default if value is None else value)
            mark = "# " if value is None else ""
            lines += [_comment(docs[field.name]), f"{mark}{field.name} = {shown}\n"]
        blocks.append("".join(lines))
    return "\n".join(blocks)


def with_value(text: str, section: str, field: str, value: object) -> str:
    """Returns a configuration file with one value set, and all else as it stands.

    Raises:
        MalformedError: the file is not TOML, or is written so that it cannot be done.
    """
    line = f"{field} = {_toml(value)}"
    head = rf"^\[{section}\].*\n"
    present = rf"({head}(?:(?!\[).*\n)*?)(?:# *)?{field} *=.*"
    if re.search(present, text, re.MULTILINE):
        parts = re.split(present, text, maxsplit=1, flags=re.MULTILINE)
        changed = f"{parts[0]}{parts[1]}{line}{parts[2]}"
    elif found := re.search(head, text, re.MULTILINE):
        changed = f"{text[: found.end()]}{line}\n{text[found.end() :]}"
    else:
        changed = f"{text}\n[{section}]\n{line}\n"
    try:
        expected = tomllib.loads(text)
        expected.setdefault(section, {})[field] = json.loads(_toml(value))
        done = tomllib.loads(changed) == expected
    except tomllib.TOMLDecodeError:
        done = False
    if not done:
        raise MalformedError(
            f"the configuration cannot be edited; write {line} into [{section}]"
        )
    return changed


def _sections() -> Iterator[tuple[str, type[Section]]]:
    """Yields the sections by name, in the order of the file."""
    for field in msgspec.structs.fields(Config):
        yield field.name, field.type


def _section_page(name: str, kind: type[Section]) -> str:
    """Returns one section of the reference page."""
    docs = _field_docs(kind)
    lines = [f"## `[{name}]`\n", f"{inspect.getdoc(kind)}\n"]
    for field in msgspec.structs.fields(kind):
        variable = f"{ENVIRONMENT_PREFIX}{name}__{field.name}".upper()
        required = field.default is msgspec.NODEFAULT
        default = "Required." if required else f"Default: `{_toml(field.default)}`."
        lines += [
            f"### `{name}.{field.name}`\n",
            f"{textwrap.fill(docs[field.name], _WIDTH)}\n",
            f"{default}{_bounds(field.type)} Environment: `{variable}`.\n",
        ]
    return "\n".join(lines)


def _bounds(kind: Any) -> str:  # noqa: ANN401 - an annotation
    """Returns the bounds of a field in words."""
    schema = msgspec.json.schema(kind, schema_hook=lambda _: {"type": "string"})
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "enum": "one of",
    }
    said = [
        f"{words[name]} {', '.join(map(str, value)) if name == 'enum' else value}"
        for name, value in schema.items()
        if name in words
    ]
    return f" {', '.join(said).capitalize()}." if said else ""


def _field_docs(kind: type[Section]) -> dict[str, str]:
    """Returns the docstring under each field of a struct, unwrapped."""
    (definition,) = (
        node
        for node in ast.parse(inspect.getsource(config)).body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    docs = {}
    for field, after in pairwise(definition.body):
        match field, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = " ".join(text.split())
    return docs


def _comment(text: str) -> str:
    return (
        textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n"
    )


def _toml(value: object) -> str:
    """Returns a value as TOML; a JSON string is a TOML string too."""
    if value is msgspec.NODEFAULT or value is None:
        return '""'
    return json.dumps(str(value) if isinstance(value, Path) else value)


if __name__ == "__main__":
    sys.stdout.write(reference())
