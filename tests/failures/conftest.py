"""What the scenarios have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from onward.v1 import vocabulary_pb2
from tests.support.process import HOTLINE, POLICE, ExchangeProcess
from tests.support.traffic import UNHURRIED

Found: TypeAlias = Callable[..., ExchangeProcess]


@pytest.fixture(scope="session")
def populated(tmp_path_factory: pytest.TempPathFactory) -> ExchangeProcess:
    """An exchange with a hotline and a police agency, to be copied."""
    template = ExchangeProcess.found(tmp_path_factory.mktemp("populated"))
    template.start()
    asyncio.run(template.join(HOTLINE, vocabulary_pb2.MEMBER_KIND_HOTLINE))
    asyncio.run(template.join(POLICE, vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT))
    template.stop()
    return template


@pytest.fixture
def found(populated: ExchangeProcess, tmp_path: Path) -> Iterator[Found]:
    """Makes the exchange of a scenario with these settings; ends it with the test."""
    made = []

    def make(settings: Mapping[str, str] = UNHURRIED) -> ExchangeProcess:
        made.append(populated.copied(tmp_path / "exchange", settings))
        return made[0]

    yield make
    for exchange in made:
        exchange.kill()


@pytest.fixture
def exchange(found: Found) -> ExchangeProcess:
    """A running exchange with its members."""
    started = found()
    started.start()
    return started
