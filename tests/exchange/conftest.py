"""A populated exchange for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.world import World, open_world, populate


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An exchange with a hotline, two agencies and an auditor."""
    async with open_world(tmp_path) as opened:
        await populate(opened)
        yield opened
