"""The page about timestamps: what it tells people to type is run here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.pages import DOCS, SECONDS, session
from tests.support.process import ExchangeProcess
from tests.support.tsa import TimestampAuthority

pytestmark = pytest.mark.timeout(SECONDS + 30)


def test_a_log_is_stamped_as_the_page_says(tmp_path: Path) -> None:
    ExchangeProcess.found(tmp_path)
    authority = TimestampAuthority(tmp_path / "authority")
    shutil.copy(authority.root_file, tmp_path / "authority.pem")
    page = (DOCS / "how-to" / "timestamp-the-log.md").read_text("utf-8")
    with authority.serving() as url:
        for step in session(page, tmp_path, {"TSA": url}):
            step.check()
    assert len(authority.requests) == 2
