"""A witness's folder: made once, and opened whenever it is to cosign.

``onward-server witness init`` makes::

    witness.toml       the configuration of a witness that is no exchange
    witness.key        the key: whoever has it can cosign anything
    logs               the logs that are witnessed
    witness.sqlite     what was cosigned; never to be restored from a copy
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from onward._files import make_private_dir, write_atomically
from onward.core.errors import ConflictError, MalformedError, Reason
from onward.core.notes import Cosigner
from onward_server.config import WitnessSection
from onward_server.exchange.clock import Clock
from onward_server.telemetry import Telemetry
from onward_server.witnessing.logs import KnownLogs
from onward_server.witnessing.store import WitnessStore
from onward_server.witnessing.witness import Witness

FILE_NAME: Final = "witness.toml"
"""What the configuration file is called in the folder that ``witness init`` makes."""

KEY_FILE: Final = "witness.key"

_LOGS: Final = "logs"
_DATABASE: Final = "witness.sqlite"

_LOGS_HEADER: Final = """\
# The logs that are witnessed, one a line:
#
#     log <vkey> [<url>]
#
# `onward-server witness add-log VKEY` adds one. A change is taken over at once.
"""


@dataclass(frozen=True, slots=True)
class WitnessFounding:
    """What ``witness init`` must be told.

    Attributes:
        directory: where it is to be.
        name: the witness's name, such as ``witness.example/w1``.
        listen: address and port.
        url: the URL under which logs find it, or empty.
    """

    directory: Path
    name: str
    listen: str = "0.0.0.0:8090"
    url: str = ""


def found_witness(founding: WitnessFounding) -> Cosigner:
    """Makes the folder of a new witness; the configuration comes last.

    Raises:
        ConflictError: the folder holds a witness, or a part of one.
        MalformedError: the name cannot name a key.
        UnavailableError: a file cannot be written.
    """
    directory = founding.directory
    key = Ed25519PrivateKey.generate()
    cosigner = Cosigner(founding.name, key)
    for name in (FILE_NAME, KEY_FILE, _LOGS, _DATABASE):
        if (directory / name).exists():
            raise ConflictError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                f"{directory} holds {name} already; name another folder",
            )
    make_private_dir(directory)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomically(directory / KEY_FILE, pem)
    write_atomically(directory / _LOGS, _LOGS_HEADER.encode())
    WitnessStore.create(directory / _DATABASE).close()
    write_atomically(directory / FILE_NAME, _configuration(founding).encode())
    return cosigner


def open_witness(
    section: WitnessSection, clock: Clock, telemetry: Telemetry
) -> Witness:
    """Opens a witness as configured.

    Raises:
        MalformedError: the key or the file of logs cannot be used, or none is named.
        UnavailableError: the database is missing or cannot be used.
    """
    cosigner = load_cosigner(section)
    logs = KnownLogs(section.logs_file)
    store = WitnessStore.open(section.database_file)
    return Witness(cosigner, logs, store, clock, telemetry)


def load_cosigner(section: WitnessSection) -> Cosigner:
    """Reads the witness's key.

    Raises:
        MalformedError: there is none, or it is none.
    """
    path = section.key_file
    if path is None:
        raise MalformedError("witness.key_file names no key", field="witness.key_file")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise MalformedError(
            f"the witness's key {path} cannot be read: {error.strerror}; an exchange "
            "goes on without a witness when witness.key_file is empty"
        ) from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedError(f"{path}: a witness's key is Ed25519 in PEM (PKCS #8)")
    return Cosigner(section.name, key)


def _configuration(founding: WitnessFounding) -> str:
    """Returns the configuration file; a JSON string is a TOML string too."""
    return (
        "# The configuration of an Onward witness. docs/reference/configuration.md\n"
        "# has every value of these sections, and of [telemetry].\n"
        "\n"
        "[web]\n"
        f"listen = {json.dumps(founding.listen)}\n"
        f"url = {json.dumps(founding.url)}\n"
        "\n"
        "[witness]\n"
        f"name = {json.dumps(founding.name)}\n"
        f"key_file = {json.dumps(KEY_FILE)}\n"
        f"logs_file = {json.dumps(_LOGS)}\n"
        f"database_file = {json.dumps(_DATABASE)}\n"
    )
