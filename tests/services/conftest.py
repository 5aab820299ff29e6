"""An exchange with real ports for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.service import Service, open_service


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A running exchange with members of every role, suspended and pending ones too."""
    async with open_service(tmp_path) as opened:
        yield opened
