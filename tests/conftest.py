"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.support.scenarios import note_scenarios, seen

__all__ = ["seen"]

# How long an example takes says more about the machine than about the code; what
# reproduces a failure is printed with it.
settings.register_profile("onward", deadline=None, print_blob=True)
settings.load_profile("onward")


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Ends with the test what a command, run in it, has set for its own output."""
    yield
    structlog.reset_defaults()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says what is left out; pytest-xdist does not."""
    if config.getoption("markexpr").strip() != "not failures":
        return []
    return ["failures: the scenarios that take long are left to 'make failures'"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notes which tests are scenarios of the report on failures."""
    note_scenarios(items)
