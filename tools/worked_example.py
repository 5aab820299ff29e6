"""``python tools/worked_example.py``: fill in the worked bytes of the protocol page.

One statement, from its fields to its receipt, with fixed keys. The page says what each
block is; its content is made here, by the block's label. With ``--check`` nothing is
written, and it fails when the page holds other bytes.
"""

import argparse
import base64
import re
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.text_format import MessageToString
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.checkpoints import Checkpoint
from onward.core.keys import StatementPrivateKey
from onward.core.merkle import leaf_hash, node_hash
from onward.core.notes import NoteSigner
from onward.core.statements import SignedStatement, sign_statement
from onward.core.tlog_proof import TlogProof
from onward.v1 import statement_pb2

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "protocol.md"

ORIGIN = "national.example/log"
STATEMENT_KEY = StatementPrivateKey(
    Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
)
LOG_KEY = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))))
EARLIER = [sha256(text).digest() for text in (b"first entry", b"second entry")]
ROOT_OF_EARLIER = node_hash(*map(leaf_hash, EARLIER))

_WIDTH = 88


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    page = PAGE.read_text("utf-8")
    made = filled(page)
    if not parser.parse_args().check:
        PAGE.write_text(made, "utf-8")
    elif page != made:
        print("protocol.md is stale: run 'python tools/worked_example.py'")
        return 1
    return 0


def filled(page: str) -> str:
    """Returns a page whose labelled blocks hold what is made here."""
    for label, text in (statement_values(signed()) | log_values(signed())).items():
        block = re.compile(rf"^```{label}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
        found = block.findall(page)
        if len(found) != 1:
            raise SystemExit(f"protocol.md has {len(found)} blocks {label!r}, not one")
        page = page.replace(f"```{label}\n{found[0]}```", f"```{label}\n{text}\n```")
    return page


def signed() -> SignedStatement:
    """Returns the statement of the example."""
    made_time = Timestamp()
    made_time.FromDatetime(datetime(2026, 11, 2, 2, 41, tzinfo=UTC))
    message = statement_pb2.Statement(
        id="019d0000-0000-7000-8000-000000000003",
        issuer="spiffe://national.example/agency/ohio-state-police",
        made_time=made_time,
        seen=statement_pb2.Seen(origin=ORIGIN, size=2, root=ROOT_OF_EARLIER),
        previous=EARLIER[1],
        referral_id="019d0000-0000-7000-8000-000000000001",
        acknowledgment=statement_pb2.Acknowledgment(reader_role="watch officer"),
    )
    return sign_statement(message, STATEMENT_KEY)


def statement_values(statement: SignedStatement) -> dict[str, str]:
    """Returns the way from the fields of a statement to its digest, by label."""
    header, payload, signature = statement.jws.split(".")
    return {
        "json jwk": STATEMENT_KEY.public.jwk,
        "text kid": statement.key_id,
        "textproto statement": MessageToString(statement.message).strip(),
        "hex payload": wrapped(unbase64url(payload).hex()),
        "json header": unbase64url(header).decode(),
        "text signing-input": wrapped(f"{header}.{payload}"),
        "hex signature": wrapped(unbase64url(signature).hex()),
        "hex digest": statement.digest.hex(),
        "hex leaf-hash": leaf_hash(statement.digest).hex(),
    }


def log_values(statement: SignedStatement) -> dict[str, str]:
    """Returns the way from a statement's digest to its receipt, by label."""
    root = node_hash(ROOT_OF_EARLIER, leaf_hash(statement.digest))
    note = Checkpoint(ORIGIN, 3, root).sign(LOG_KEY)
    receipt = TlogProof(2, (ROOT_OF_EARLIER,), note).format()
    return {
        "text trust": f"log {LOG_KEY.vkey.format()}\nquorum none",
        "hex root": root.hex(),
        "text receipt": receipt.rstrip("\n"),
    }


def wrapped(text: str) -> str:
    """Returns text in lines that fit on a page."""
    return "\n".join(text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH))


def unbase64url(text: str) -> bytes:
    """Reads base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    sys.exit(main())
