"""``onward verify``: what people and programs learn of a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from onward.cli.main import app
from onward.core.bundle import StampedCheckpoint, Vouchers
from onward.core.notes import parse_note
from onward.core.verify import STEPS
from tests.support.chain_builder import (
    HOTLINE,
    NEVADA,
    UTAH,
    ChainBuilder,
    Logged,
    established,
)
from tests.support.tsa import TimestampAuthority


@pytest.fixture(scope="module")
def exchange() -> ChainBuilder:
    return established()


@pytest.fixture(scope="module")
def chain(exchange: ChainBuilder) -> tuple[Logged, Logged]:
    """A referral that was declined and transferred, and its child."""
    referral = exchange.publish(HOTLINE, NEVADA)
    declined = exchange.decline(
        exchange.acknowledge(exchange.receive(referral, NEVADA)), UTAH
    )
    return referral, exchange.transfer(referral, declined, UTAH)


@pytest.fixture
def folder(
    tmp_path: Path, exchange: ChainBuilder, chain: tuple[Logged, Logged]
) -> Path:
    """A folder with a bundle, one that was changed, one that is none, and trust."""
    data = exchange.bundle(*chain)
    (tmp_path / "good.json").write_bytes(data)
    at = data.index(b'"statement": "') + 200
    changed = bytes([data[at] ^ 1])
    (tmp_path / "changed.json").write_bytes(data[:at] + changed + data[at + 1 :])
    (tmp_path / "none.json").write_bytes(b"[]")
    (tmp_path / "trust.txt").write_text(exchange.trust())
    return tmp_path


def verify(folder: Path, *arguments: str, data: bytes | None = None) -> Result:
    files = [
        str(folder / word) if word.endswith(".json") else word for word in arguments
    ]
    trust = ["--trust", str(folder / "trust.txt")]
    return CliRunner(env={"COLUMNS": "300"}).invoke(
        app, ["verify", *files, *trust], input=data
    )


def test_a_proven_bundle(folder: Path) -> None:
    result = verify(folder, "good.json")
    assert result.exit_code == 0
    for number, name in STEPS.items():
        assert any(
            line.split()[:2] == [str(number), name]
            for line in result.stdout.splitlines()
        )
    assert "utah-state-police: ACCEPTED" in result.stdout
    assert result.stdout.splitlines()[-1] == f"PROVEN: {folder / 'good.json'}"


def test_the_chain_shows_the_times(folder: Path) -> None:
    assert "not before" not in verify(folder, "good.json").stdout
    shown = verify(folder, "good.json", "--chain").stdout
    assert "not before" in shown
    assert "decline" in shown


def test_a_changed_bundle_says_what_is_wrong(folder: Path) -> None:
    result = verify(folder, "changed.json")
    assert result.exit_code == 1
    assert "NOT_PROVEN" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last == f"NOT_PROVEN: {folder / 'changed.json'}"


def test_what_is_no_bundle_could_not_be_checked(folder: Path) -> None:
    assert verify(folder, "none.json").exit_code == 2


def test_a_trust_file_that_cannot_be_read(folder: Path) -> None:
    (folder / "trust.txt").write_bytes(b"\xff log")
    assert verify(folder, "good.json").exit_code == 2


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["good.json", "good.json"], 0),
        (["good.json", "none.json"], 2),
        (["none.json", "changed.json", "good.json"], 1),
    ],
)
def test_of_many_the_worst_decides(folder: Path, names: list[str], code: int) -> None:
    result = verify(folder, *names, "--json")
    assert result.exit_code == code
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(report["bundle"]).name for report in reports] == names
    by_name = {"good.json": 0, "changed.json": 1, "none.json": 2}
    assert [report["exit_code"] for report in reports] == [by_name[n] for n in names]


def test_a_bundle_from_standard_input(folder: Path) -> None:
    data = (folder / "good.json").read_bytes()
    result = verify(folder, "-", "--json", data=data)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["verdict"] == "PROVEN"


def test_certificates_of_authorities_make_tokens_count(
    folder: Path, exchange: ChainBuilder, chain: tuple[Logged, Logged]
) -> None:
    authority, other = (
        TimestampAuthority(folder / name, name) for name in ("Public Time", "Other")
    )
    note = exchange.checkpoint()
    token = authority.stamp(parse_note(note).text, exchange.now)
    vouchers = Vouchers((), (StampedCheckpoint(note, token),))
    data = exchange.bundle(*chain, vouchers=vouchers)
    (folder / "stamped.json").write_bytes(data)

    shown = verify(folder, "stamped.json", "--chain").stdout
    assert "exchange, claimed only" in shown
    trusted = [f"--tsa-certificates={item.root_file}" for item in (other, authority)]
    result = verify(folder, "stamped.json", "--chain", *trusted)
    assert result.exit_code == 0
    assert "Public Time, timestamped" in result.stdout
    assert "claimed only" not in result.stdout


def test_certificates_must_be_some(folder: Path) -> None:
    trusted = f"--tsa-certificates={folder / 'trust.txt'}"
    assert verify(folder, "good.json", trusted).exit_code == 2
