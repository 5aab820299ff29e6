"""``onward-server policy`` as counsel and an operator use it, and the page about it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onward.client import Client
from onward.core.errors import StateError
from onward_server.exchange.policy_files import (
    default_policy_folder,
    read_policy_files,
)
from tests.support.pages import BIN, DOCS, SECONDS, session
from tests.support.process import ExchangeProcess

PAGE = DOCS / "how-to" / "change-the-policy.md"
REFUSED, WRONG_USAGE, TRY_AGAIN = 1, 2, 3

pytestmark = pytest.mark.timeout(SECONDS + 30)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[ExchangeProcess]:
    """A running exchange."""
    founded = ExchangeProcess.found(tmp_path)
    founded.start()
    yield founded
    assert founded.stop() == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The default set, exported."""
    target = tmp_path / "set"
    assert run("export", target, "--default").returncode == 0
    return target


def run(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "onward-server", "policy", *words],
        capture_output=True,
        check=False,
        text=True,
        input=stdin,
    )


def asked(*words: str | Path) -> Any:
    done = run(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_shows_what_is_printed(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    page = PAGE.read_text("utf-8").replace("/var/lib/onward", str(exchange.config))
    for step in session(page, work):
        step.check()


async def test_a_set_goes_into_force_and_comes_back_whole(
    exchange: ExchangeProcess, folder: Path, tmp_path: Path
) -> None:
    config = ("--config", exchange.config)
    (folder / "VERSION").write_text("second-1\n")
    # 1. Nobody answers: nothing happens.
    declined = run("apply", folder, *config, stdin="n\n")
    assert declined.returncode == REFUSED
    assert "Put second-1 in force?" in declined.stderr
    assert asked("diff", folder, *config)["before"]["version"] == "default-3"
    # 2. Somebody does: it is in force; again, it is the same entry of the log.
    applied = asked("apply", folder, *config, "--yes")
    assert applied["version"] == "second-1"
    assert asked("apply", folder, *config, "--yes") == applied
    assert asked("diff", folder, *config)["differences"] == []
    # 3. What comes out is what went in.
    back = tmp_path / "back"
    assert run("export", back, *config).returncode == 0
    assert read_policy_files(back) == read_policy_files(folder)
    assert asked("check", back)["digest"] == applied["digest"]
    # 4. The SDK proves it, and the earlier set too.
    async with Client.open(exchange.operator) as client:
        present = await client.policies.get()
        assert present.digest.hex() == applied["digest"]
        assert present.change.log_index == applied["log_index"]
        first, second = await client.policies.changes()
        assert second.message.previous == first.digest
        earlier = await client.policies.get(first.message.policy_change.policy_digest)
        assert earlier.files == dict(read_policy_files(default_policy_folder()))
        # 5. Whoever has not seen the change does not undo it.
        third = dict(present.files) | {"VERSION": "third-1\n"}
        with pytest.raises(StateError, match="second-1"):
            await client.admin.apply_policy(third, earlier.digest)


def test_a_set_is_explained_rule_by_rule(folder: Path) -> None:
    told = asked("explain", folder)
    assert told["version"] == "default-3"
    rules = {rule["id"]: rule for rule in told["rules"]}
    assert rules["no-personal-data"] == {
        "place": "everywhere",
        "id": "no-personal-data",
        "effect": "permit",
        "replaces": False,
        "about": "passing on to any agency",
        "citation": "exchange policy",
        "sentence": "Content without personal data may go to any agency.",
        "conditions": ["when the basis is NO_PERSONAL_DATA"],
    }
    minor = next(row for row in told["deadlines"] if row["class"] == "MINOR")
    assert (minor["pass_on"], minor["pass_on_breach"]) == ("1 h", "24 h")
    shown = run("explain", folder).stdout
    for rule in rules.values():
        assert f". {rule['id']}" in shown
        assert f"Citation: {rule['citation']}" in shown
        assert rule["sentence"] in " ".join(shown.split())


def question(tmp_path: Path, **parts: Any) -> Path:
    path = tmp_path / "question.json"
    path.write_text(json.dumps(parts))
    return path


REFERRAL = {
    "urgency": "ROUTINE",
    "basis": "VICTIM_WRITTEN_RELEASE",
    "reporterType": "POTENTIAL_VICTIM",
    "subjectAgeGroup": "ADULT",
    "traffickingType": "SEX",
    "jurisdiction": {"code": "US-OH"},
    "consent": {"state": "GRANTED", "expireTime": "2999-01-01T00:00:00Z"},
}


def test_a_referral_is_asked_about_again_for_the_end_of_its_consent(
    folder: Path, tmp_path: Path
) -> None:
    police = {"name": "police", "kind": "LAW_ENFORCEMENT", "jurisdictions": ["US-OH"]}
    path = question(tmp_path, recipients=[police], referral=REFERRAL)
    told = asked("explain", folder, "--referral", path)
    (now,), (then,) = told["recipients"], told["after_consent"]
    assert (now["allowed"], now["permitted_by"]) == (True, ["release"])
    assert (then["allowed"], then["rule"]) == (False, "victim-declined")
    assert then["forbidden_by"] == ["victim-declined", "adult-self-report"]
    assert told["deadlines"]["deliver"] == "4 h"
    assert "From the end of the consent on" in run(
        "explain", folder, "--referral", path
    ).stdout  # fmt: skip


def test_an_ended_consent_has_ended(folder: Path, tmp_path: Path) -> None:
    police = {"kind": "LAW_ENFORCEMENT", "jurisdictions": ["US-OH"]}
    ended = {"state": "GRANTED", "expireTime": "2001-01-01T00:00:00Z"}
    path = question(
        tmp_path, recipients=[police], referral=REFERRAL | {"consent": ended}
    )
    (now,) = asked("explain", folder, "--referral", path)["recipients"]
    assert now["rule"] == "victim-declined"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"recipients": [{"kind": "TASK_FORCE"}]}, "lacks referral"),
        ({"referral": REFERRAL}, "lacks recipients"),
        ({"referral": REFERRAL, "recipients": [{"kind": "POLICE"}]}, "POLICE"),
        ({"referral": {"urgent": 1}, "recipients": [{"kind": "TASK_FORCE"}]}, "urgent"),
        ({"referral": {}, "recipients": [{"kind": "TASK_FORCE"}]}, "has no deadlines"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(
    folder: Path, tmp_path: Path, parts: dict[str, Any], said: str
) -> None:
    done = run("explain", folder, "--referral", question(tmp_path, **parts))
    assert done.returncode == WRONG_USAGE
    assert said in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "US-OH.cedar",
            '// Ohio\n@id("x")\npermit (principal;',
            "US-OH.cedar, line 2: rule x is not Cedar",
        ),
        ("US-Ohio.cedar", "", "'US-Ohio.cedar' is no file of a policy set"),
        ("deadlines.toml", "[default.MINOR", "deadlines.toml: "),
        ("VERSION", "", "VERSION of the policy set"),
    ],
)
def test_what_is_not_sound_is_named(
    folder: Path, name: str, text: str, said: str
) -> None:
    (folder / name).write_text(text)
    done = run("check", folder)
    assert done.returncode == WRONG_USAGE
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert run("apply", folder, "--yes").stderr == done.stderr


def test_nothing_is_overwritten(folder: Path) -> None:
    done = run("export", folder, "--default")
    assert done.returncode == WRONG_USAGE
    assert "is there already" in done.stderr


def test_an_exchange_that_does_not_run_is_told_apart(
    folder: Path, tmp_path: Path
) -> None:
    stopped = ExchangeProcess.found(tmp_path / "stopped")
    done = run("apply", folder, "--yes", "--config", stopped.config)
    assert done.returncode == TRY_AGAIN
