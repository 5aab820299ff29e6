"""The how-to pages: what they tell people to type is run here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exchange.test_submission import acknowledged
from tests.support.world import HOTLINE, open_world, populate

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    """Returns the code blocks of a page in one language."""
    text = (HOW_TO / page).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    """A folder with ``bundle.json`` in it, and nothing else."""
    (tmp_path / "exchange").mkdir()
    async with open_world(tmp_path / "exchange") as world:
        await populate(world)
        chain = await acknowledged(world)
        data = await world.records.bundle(world.caller(HOTLINE), chain.referral_id)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "bundle.json").write_bytes(data)
    return folder


def shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as a person would, and stops at the first failure."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_openssl_verifies_a_statement_from_a_bundle(bundle: Path) -> None:
    script = "\n".join(blocks("verify-without-our-software.md", "sh"))
    done = shell(bundle, script)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    signed = bundle / "signed-bytes"
    data = bytearray(signed.read_bytes())
    data[len(data) // 2] ^= 1
    signed.write_bytes(data)
    (check,) = re.findall(r"^openssl pkeyutl .*$", script, re.MULTILINE)
    again = shell(bundle, check)
    assert again.returncode != 0
    assert "Signature Verified Successfully" not in again.stdout


def test_a_jose_library_verifies_a_statement_from_a_bundle(bundle: Path) -> None:
    shell(bundle, "\n".join(blocks("verify-without-our-software.md", "sh")))
    (program,) = blocks("verify-without-our-software.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("verified ")
