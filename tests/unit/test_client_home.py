"""A member's home: what is kept, for whom, and that it survives."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onward.core.errors import (
    ForkError,
    MalformedError,
    Reason,
    StateError,
    UnavailableError,
)
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.home import Home, MemberSettings
from onward.v1 import log_pb2
from onward.v1.vocabulary_pb2 import SealingSuite
from tests.support.chain_builder import HOTLINE

REFERRAL = "01a1ff84-c176-7a81-af64-19b0158f2b38"
SETTINGS = MemberSettings(
    member=HOTLINE,
    exchange="spiffe://national.example/exchange",
    address="localhost:7443",
    server_name='a "quoted" \\ näme',
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def logged(number: int) -> log_pb2.LoggedStatement:
    """Returns something to keep."""
    return log_pb2.LoggedStatement(
        statement=f"statement {number}", receipt=f"receipt\n{number}\n"
    )


def test_only_its_owner_may_enter(home: Home) -> None:
    home.save_tls_key(b"key")
    home.add_statement_key(StatementPrivateKey.generate())
    home.add_content_key(ContentPrivateKey.generate())
    home.add_receipts(REFERRAL, [logged(1)])
    for path in [home.path, *home.path.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_home_without_a_member_says_how_to_get_one(home: Home) -> None:
    with pytest.raises(StateError, match="onward enroll"):
        Home.open(home.path)
    with pytest.raises(StateError, match="onward enroll"):
        Home.open(home.path / "nowhere")


def test_settings_come_back(home: Home) -> None:
    home.save_enrollment(
        SETTINGS, certificate_chain=b"chain", server_ca=b"ca", trust="quorum none\n"
    )
    again = Home.open(str(home.path))
    assert again.settings == SETTINGS
    assert (again.certificate_chain, again.server_ca) == (b"chain", b"ca")
    assert again.trust == "quorum none\n"


@pytest.mark.parametrize(
    "text", ["member = ", 'member = "x"\n', SETTINGS.format() + 'more = "x"\n', "a=1"]
)
def test_settings_that_are_wrong_are_refused(text: str) -> None:
    with pytest.raises(MalformedError, match=r"member\.toml"):
        MemberSettings.parse(text)


def test_keys_come_back(home: Home) -> None:
    statement_keys = [StatementPrivateKey.generate(kind) for kind in ("EdDSA", "ES384")]
    content_keys = [
        ContentPrivateKey.generate(suite)
        for suite in (
            SealingSuite.SEALING_SUITE_MLKEM768_X25519,
            SealingSuite.SEALING_SUITE_P384,
        )
    ]
    for statement_key in statement_keys:
        home.add_statement_key(statement_key)
    for content_key in content_keys:
        home.add_content_key(content_key)
    home.save_tls_key(b"neither of them")
    home.save_attempt("neither")
    assert set(home.statement_keys()) == {key.key_id for key in statement_keys}
    assert set(home.content_keys()) == {key.public.key_id for key in content_keys}


def test_a_checkpoint_is_replaced_only_by_who_knows_it(home: Home) -> None:
    assert home.checkpoint() == ""
    assert home.replace_checkpoint("", "one")
    assert not home.replace_checkpoint("", "two")
    assert home.checkpoint() == "one"
    assert home.replace_checkpoint("one", "two")
    assert home.checkpoint() == "two"


def test_of_many_who_replace_a_checkpoint_one_succeeds(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: home.replace_checkpoint("", str(n)), range(40))
    assert list(results).count(True) == 1


def test_evidence_of_a_fork_stays_until_it_is_removed(home: Home) -> None:
    home.check_no_fork()
    path = home.keep_fork(ForkError("two roots", "first\n\n— a b\n", "second\n"))
    assert (
        home.keep_fork(ForkError("two roots", "first\n\n— a b\n", "second\n")) == path
    )
    with pytest.raises(ForkError, match=path.name) as caught:
        home.check_no_fork()
    assert caught.value.first == "first\n\n— a b\n"
    assert caught.value.second == "second\n"
    path.unlink()
    home.check_no_fork()


def test_receipts_are_kept_once_and_in_order(home: Home) -> None:
    assert home.receipts(REFERRAL) == []
    home.add_receipts(REFERRAL, [logged(1), logged(2)])
    home.add_receipts(REFERRAL, [logged(2), logged(3)])
    assert home.receipts(REFERRAL) == [logged(1), logged(2), logged(3)]


def test_receipts_of_many_processes_do_not_mix(home: Home) -> None:
    program = (
        "import sys; from onward.home import Home; from onward.v1 import log_pb2\n"
        "home = Home.create(sys.argv[1])\n"
        "for n in range(20):\n"
        "  said = sys.argv[3] + str(n)\n"
        "  item = log_pb2.LoggedStatement(statement=said, receipt='x')\n"
        "  home.add_receipts(sys.argv[2], [item])\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, home.path, REFERRAL, name])
        for name in "abc"
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    kept = [item.statement for item in home.receipts(REFERRAL)]
    assert sorted(kept) == sorted(f"{name}{n}" for name in "abc" for n in range(20))


def test_a_line_that_a_crash_tore_apart_spoils_no_other(home: Home) -> None:
    home.add_receipts(REFERRAL, [logged(1)])
    path = home.path / "receipts" / f"{REFERRAL}.jsonl"
    with path.open("a") as file:
        file.write('{"statement": "torn')
    assert home.receipts(REFERRAL) == [logged(1)]
    home.add_receipts(REFERRAL, [logged(2)])
    assert home.receipts(REFERRAL) == [logged(1), logged(2)]


def test_content_is_kept_until_it_is_forgotten(home: Home) -> None:
    assert home.content(REFERRAL) is None
    home.keep_content(REFERRAL, b"sealed")
    assert home.content(REFERRAL) == b"sealed"
    assert home.contents() == [REFERRAL]
    for _ in range(2):
        home.forget_content(REFERRAL)
    assert home.content(REFERRAL) is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "x", REFERRAL.upper()])
def test_no_id_leads_out_of_the_home(home: Home, name: str) -> None:
    with pytest.raises(MalformedError):
        home.content(name)
    with pytest.raises(MalformedError):
        home.add_receipts(name, [logged(1)])


def test_what_cannot_be_written_is_explained_and_leaves_the_old(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.save_attempt("old")

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="No space left") as caught:
        home.save_attempt("new")
    assert caught.value.reason == Reason.ERROR_REASON_STORAGE_UNAVAILABLE
    assert home.attempt() == "old"
    assert [path.name for path in (home.path / "keys").iterdir()] == ["attempt"]
