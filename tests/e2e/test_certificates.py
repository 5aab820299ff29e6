"""The commands of ``certs/README.md`` make certificates that a verifier accepts."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

README = Path(__file__).parents[2] / "certs" / "README.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's commands were run, as a reader would."""
    made = tmp_path_factory.mktemp("authority")
    commands = BLOCK.findall(README.read_text(encoding="utf-8"))
    environment = {
        **os.environ,
        "folder": str(made),
        "domain": "fl.example",
        "host": "exchange.fl.example",
        "member": "agency/fdle",
    }
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        env=environment,
        check=True,
        capture_output=True,
    )
    return made


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def verifier(folder: Path) -> PolicyBuilder:
    return PolicyBuilder().store(Store([read(folder / "ca.pem")]))


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("exchange", "spiffe://fl.example/exchange"),
        ("fdle", "spiffe://fl.example/agency/fdle"),
    ],
)
def test_each_certificate_carries_one_identity(
    folder: Path, name: str, identity: str
) -> None:
    verified = (
        verifier(folder)
        .build_client_verifier()
        .verify(read(folder / f"{name}.pem"), [])
    )
    names = verified.subjects or []
    uris = [n.value for n in names if isinstance(n, x509.UniformResourceIdentifier)]
    assert uris == [identity]


def test_the_exchange_is_found_under_its_host_name(folder: Path) -> None:
    server = verifier(folder).build_server_verifier(x509.DNSName("exchange.fl.example"))
    assert server.verify(read(folder / "exchange.pem"), [])


def test_private_keys_are_for_their_owner_only(folder: Path) -> None:
    keys = list(folder.glob("*.key"))
    assert {key.stat().st_mode & 0o077 for key in keys} == {0}
