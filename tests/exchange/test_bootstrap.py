"""Setting up: what there is after ``init``, and that nothing is ever overwritten."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from onward.core.errors import ConflictError, MalformedError
from onward.core.keys import StatementPublicKey
from onward.core.statements import parse_statement
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.home import Home
from onward.v1 import statement_pb2
from onward_server.bootstrap import Founding, found
from onward_server.config import Config, load
from onward_server.exchange.authority import hosts_of
from onward_server.exchange.clock import system_entropy, to_datetime
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.exchange.receipts import Receipts
from onward_server.renewal import renew_operator_certificate, renew_server_certificate
from onward_server.storage.sqlite import open_sqlite
from tests.support.founding import contents, new_exchange
from tests.support.world import SettableClock

OPERATOR = "spiffe://national.example/operator/admin"


def founding(folder: Path, **choices: str) -> Founding:
    return Founding(folder / "exchange", "national.example", **choices)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder of an exchange that was just set up."""
    return new_exchange(tmp_path / "exchange")


def config_of(folder: Path) -> Config:
    return load(folder / "exchange.toml", {})


def leaf_of(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


async def test_the_log_begins_with_the_keys_the_policy_and_the_operator(
    made: Path,
) -> None:
    store = await open_sqlite(
        str(config_of(made).storage.database_file), read_only=True
    )
    try:
        head = await store.head()
        assert head is not None
        rows = await store.statements(range(head.size))
        receipts = await Receipts(store).up_to(rows, head)
    finally:
        await store.close()
    statements = [parse_statement(row.jws) for row in rows]
    default = DisclosurePolicy.load_default()
    genesis, policy_change, added, enrolled = (item.message for item in statements)
    key = StatementPublicKey.from_jwk(genesis.key_change.keys[0].jwk)
    assert all(item.verify(key) for item in statements)
    assert not genesis.HasField("seen")
    assert not genesis.previous
    assert policy_change.policy_change == statement_pb2.PolicyChange(
        policy_version=default.version,
        policy_digest=default.digest,
        requested_by="spiffe://national.example/exchange",
    )
    assert not policy_change.previous
    later = (policy_change, added, enrolled)
    assert [item.seen.size for item in later] == [1, 2, 3]
    assert enrolled.previous == statements[2].digest
    assert enrolled.directory_change.member.name == OPERATOR
    policy = Policy.parse((made / "operator" / "trust.txt").read_text())
    assert policy.logs[0].vkey.format() == genesis.key_change.log_vkey
    for row, logged in zip(rows, receipts, strict=True):
        proof = TlogProof.parse(logged.receipt)
        trusted = policy.open_checkpoint(proof.checkpoint_note)
        assert trusted.checkpoint.size == 4
        assert proof.index == row.log_index


def test_everything_is_for_its_owner_only(made: Path) -> None:
    everything = [made, *made.rglob("*")]
    assert [path for path in everything if path.stat().st_mode & 0o077] == []


def test_the_operators_home_is_complete(made: Path) -> None:
    home = Home.open(made / "operator")
    assert home.settings.member == OPERATOR
    assert home.settings.address == "localhost:7443"
    assert len(home.statement_keys()) == 1
    authority = leaf_of((made / "tls" / "ca.pem").read_bytes())
    leaf_of(home.certificate_chain).verify_directly_issued_by(authority)
    assert leaf_of(home.server_ca) == authority


async def test_nothing_is_overwritten(made: Path) -> None:
    before = contents(made)
    with pytest.raises(ConflictError, match="already"):
        await found(founding(made.parent), SettableClock(), system_entropy)
    assert contents(made) == before


async def test_what_an_interrupted_attempt_left_is_not_overwritten(made: Path) -> None:
    (made / "exchange.toml").unlink()
    before = contents(made)
    with pytest.raises(ConflictError, match=r"tls, keys, db, guard, operator"):
        await found(founding(made.parent), SettableClock(), system_entropy)
    assert contents(made) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_name": "exchänge.example"},
        {"algorithm": "RS256"},
        {"operator": "two words"},
        {"listen": "7443"},
        {"origin": "two lines\n"},
    ],
)
async def test_a_failed_attempt_leaves_nothing_behind(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    (tmp_path / "exchange").mkdir()
    (tmp_path / "exchange" / "lost+found").mkdir()
    with pytest.raises(MalformedError):
        await found(founding(tmp_path, **wrong), SettableClock(), system_entropy)
    assert [path.name for path in (tmp_path / "exchange").iterdir()] == ["lost+found"]
    assert await found(founding(tmp_path), SettableClock(), system_entropy) is not None


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES384"])
async def test_the_statement_key_is_of_the_kind_that_was_asked_for(
    tmp_path: Path, algorithm: str
) -> None:
    await found(
        founding(tmp_path, algorithm=algorithm), SettableClock(), system_entropy
    )
    store = await open_sqlite(
        str(tmp_path / "exchange" / "db" / "exchange.sqlite"), read_only=True
    )
    try:
        (genesis,) = await store.statements([0])
    finally:
        await store.close()
    assert parse_statement(genesis.jws).algorithm == algorithm


async def test_another_origin_can_be_chosen(tmp_path: Path) -> None:
    made = await found(
        founding(tmp_path, origin="national.example/log-2"),
        SettableClock(),
        system_entropy,
    )
    assert "log national.example/log-2+" in made.trust
    origin = load(made.config_file, {}).exchange.origin
    assert origin == "national.example/log-2"


class TestRenewing:
    def test_the_server_keeps_its_key(self, made: Path) -> None:
        config, clock = config_of(made), SettableClock()
        key = config.tls.key_file.read_bytes()
        before = leaf_of(config.tls.certificate_file.read_bytes())
        clock.advance(300 * 24 * 3600)
        renew_server_certificate(config, ["other.example"], clock)
        after = leaf_of(config.tls.certificate_file.read_bytes())
        assert config.tls.key_file.read_bytes() == key
        assert after.public_key() == before.public_key()
        assert after.not_valid_after_utc == to_datetime(clock.ms) + timedelta(days=365)
        names = after.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost", "other.example"]

    def test_the_server_keeps_its_names(self, made: Path) -> None:
        config = config_of(made)
        hosts = ["other.example", "192.0.2.7"]
        renew_server_certificate(config, hosts, SettableClock())
        renew_server_certificate(config, [], SettableClock())
        leaf = leaf_of(config.tls.certificate_file.read_bytes())
        assert hosts_of(leaf) == ["localhost", *hosts]
        renew_server_certificate(config, ["192.0.2.8"], SettableClock())
        leaf = leaf_of(config.tls.certificate_file.read_bytes())
        assert hosts_of(leaf) == ["localhost", "192.0.2.8"]

    def test_a_server_key_that_was_removed_is_replaced(self, made: Path) -> None:
        config = config_of(made)
        before = leaf_of(config.tls.certificate_file.read_bytes())
        config.tls.key_file.unlink()
        renew_server_certificate(config, [], SettableClock())
        after = leaf_of(config.tls.certificate_file.read_bytes())
        assert after.public_key() != before.public_key()
        assert config.tls.key_file.stat().st_mode & 0o077 == 0

    def test_an_operator_gets_another_key(self, made: Path) -> None:
        home = Home.open(made / "operator")
        before, keys = leaf_of(home.certificate_chain), home.statement_keys()
        renew_operator_certificate(config_of(made), "admin", home.path, SettableClock())
        after = leaf_of(home.certificate_chain)
        assert after.public_key() != before.public_key()
        assert home.statement_keys().keys() == keys.keys()

    def test_a_lost_home_is_made_again(self, made: Path) -> None:
        before = Home.open(made / "operator")
        expected = (before.settings, before.trust, before.server_ca)
        shutil.rmtree(made / "operator")
        path = made.parent / "home"
        renew_operator_certificate(config_of(made), "admin", path, SettableClock())
        home = Home.open(path)
        assert (home.settings, home.trust, home.server_ca) == expected

    def test_somebody_elses_home_is_left_alone(self, made: Path) -> None:
        before = contents(made)
        with pytest.raises(ConflictError, match="operator/admin"):
            renew_operator_certificate(
                config_of(made), "other", made / "operator", SettableClock()
            )
        assert contents(made) == before
