"""The key with which a monitor cosigns: one line of text, with the name in it.

It is the form of Go's ``sumdb/note``, ``PRIVATE+KEY+<name>+<key id>+<base64>``, where
the base64 is the type of the key, 04, and its Ed25519 seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward._files import write_atomically
from onward.core.encoding import decode_base64, encode_base64
from onward.core.errors import MalformedError
from onward.core.notes import Cosigner, KeyType

_START: Final = "PRIVATE+KEY+"
_TYPE: Final = bytes([KeyType.COSIGNATURE])
_SEED_BYTES: Final = 32


def load_cosigner(path: Path) -> Cosigner:
    """Reads a key.

    Raises:
        MalformedError: it is none, or not of this type.
    """
    text = path.read_text("utf-8", errors="replace").strip()
    name, _, rest = text.removeprefix(_START).partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        data = decode_base64(encoded, "the key")
    except MalformedError:
        data = b""
    seed = data.removeprefix(_TYPE)
    if not text.startswith(_START) or len(data) != 1 + _SEED_BYTES or seed == data:
        raise MalformedError(
            f"{path} is no key to cosign with; --cosign-name makes one in a new file"
        )
    cosigner = Cosigner(name, Ed25519PrivateKey.from_private_bytes(seed))
    if cosigner.vkey.key_id.hex() != key_id:
        raise MalformedError(f"{path} has a key id that is not its own")
    return cosigner


def make_cosigner(path: Path, name: str) -> Cosigner:
    """Makes a key in a new file, for its owner only.

    Raises:
        MalformedError: the file exists, or the name cannot be that of a key.
        UnavailableError: it cannot be written.
    """
    if path.exists():
        raise MalformedError(f"{path} exists; leave out --cosign-name to use its key")
    cosigner = Cosigner(name, Ed25519PrivateKey.generate())
    typed = _TYPE + cosigner.private_key.private_bytes_raw()
    key_id = cosigner.vkey.key_id.hex()
    line = f"{_START}{name}+{key_id}+{encode_base64(typed)}\n"
    write_atomically(path, line.encode())
    return cosigner
