"""A timestamp authority that is not ours: ``openssl ts``, behind a small HTTP server.

It has certificates of its own, made anew for each. ``openssl ts -reply`` answers with
the machine's time; :meth:`TimestampAuthority.stamp` signs with any other, for tests
about long ago and about lies.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

POLICY = "1.2.840.99999.1"
OTHER_POLICY = "1.2.840.99999.2"

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2036, 1, 1, tzinfo=UTC)

_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONFIGURATION = f"""
[tsa]
default_tsa = authority
[authority]
serial = serial
signer_cert = signer.pem
signer_key = signer.key
signer_digest = sha256
default_policy = {POLICY}
other_policies = {OTHER_POLICY}
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """An authority with a root and a signer.

    Args:
        folder: for its files; empty.
        name: its name.
        begin: from when its signer's certificate is valid.
        end: until when.
        chain: whether tokens bring the root's certificate too.
        usages: what that certificate is for.
        critical: whether that is critical.

    Attributes:
        root_file: PEM, the root's certificate.
        requests: the queries that it got over HTTP.
        broken: an answer to give to everybody instead of a token.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "Public Time",
        *,
        begin: datetime = BEGIN,
        end: datetime = END,
        usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.TIME_STAMPING,),
        critical: bool = True,
        chain: bool = False,
    ) -> None:
        self.root_file = folder / "root.pem"
        self.requests: list[bytes] = []
        self.broken: bytes | None = None
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        certificates = "certs = root.pem\n" if chain else ""
        (folder / "tsa.cnf").write_text(_CONFIGURATION + certificates)
        (folder / "serial").write_text("01")
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name, signer = _name(f"{name} Root"), _name(name)
        root = (
            _certificate(
                root_name, root_name, root_key.public_key(), min(begin, BEGIN), END
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(root_key, hashes.SHA256())
        )
        certificate = (
            _certificate(signer, root_name, key.public_key(), begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical)
            .sign(root_key, hashes.SHA256())
        )
        self.root_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        (folder / "signer.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )
        (folder / "signer.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @property
    def root(self) -> str:
        """The root's certificate, PEM."""
        return self.root_file.read_text()

    def reply(self, query: bytes) -> bytes:
        """Answers a ``TimeStampReq`` at the machine's time."""
        if self.broken is not None:
            return self.broken
        (self._folder / "query").write_bytes(query)
        self._openssl(
            *("ts", "-reply", "-config", "tsa.cnf"),
            *("-queryfile", "query", "-out", "answer"),
        )
        return (self._folder / "answer").read_bytes()

    def stamp(self, text: str, time: datetime) -> bytes:
        """Returns a token for a text, at any time."""
        (self._folder / "info").write_bytes(_tst_info(text, time))
        self._openssl(
            *("cms", "-sign", "-binary", "-nodetach", "-nosmimecap", "-cades"),
            *("-econtent_type", _TST_INFO, "-in", "info"),
            *("-signer", "signer.pem", "-inkey", "signer.key", "-md", "sha256"),
            *("-outform", "DER", "-out", "token"),
        )
        return (self._folder / "token").read_bytes()

    def accepts(self, token: bytes, text: str) -> bool:
        """Says what ``openssl ts -verify`` thinks of a token."""
        (self._folder / "checked").write_bytes(token)
        (self._folder / "text").write_text(text)
        command = "openssl ts -verify -token_in -in checked -data text -CAfile root.pem"
        done = subprocess.run(
            command.split(), cwd=self._folder, capture_output=True, check=False
        )
        return done.returncode == 0 and b"Verification: OK" in done.stdout

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Answers over HTTP (RFC 3161 3.4) while the block runs, which gets the URL."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/timestamp-query"
                query = self.rfile.read(int(self.headers["Content-Length"]))
                authority.requests.append(query)
                answer = authority.reply(query)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _openssl(self, *arguments: str) -> None:
        if not shutil.which("openssl"):
            pytest.skip("the openssl command is missing: apt-get install openssl")
        subprocess.run(
            ["openssl", *arguments], cwd=self._folder, capture_output=True, check=True
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(days=1))
        .not_valid_after(end)
    )


def _tst_info(text: str, time: datetime) -> bytes:
    """Returns a ``TSTInfo`` (RFC 3161 2.4.2); all of it is shorter than 128 bytes."""
    algorithm = bytes.fromhex("300d06096086480165030402010500")
    imprint = algorithm + _value(0x04, sha256(text.encode()).digest())
    return _value(
        0x30,
        _value(0x02, b"\x01"),
        _value(0x06, bytes.fromhex("2a8648868d1f01")),
        _value(0x30, imprint),
        _value(0x02, b"\x07"),
        _value(0x18, time.strftime("%Y%m%d%H%M%SZ").encode()),
        _value(0x30, _value(0x02, b"\x01")),
    )


def _value(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    return bytes([tag, len(value)]) + value
