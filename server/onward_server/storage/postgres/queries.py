"""The named queries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosql
from aiosql.adapters import asyncpg as aiosql_asyncpg

HERE = Path(__file__).parent

_Base: Any = aiosql_asyncpg.AsyncPGAdapter


def _runs(method: str) -> Callable[..., Awaitable[Any]]:
    """Returns what runs a query by a method of asyncpg's connection."""

    def run(adapter: _Adapter, connection: object, *query: object) -> Awaitable[Any]:
        name, sql, parameters, *_ = query
        ordered = adapter.maybe_order_params(name, parameters)
        done: Awaitable[Any] = getattr(connection, method)(sql, *ordered)
        return done

    return run


class _Adapter(_Base):  # type: ignore[misc] # its methods have no types
    """Runs queries on the connection that the caller has; returns all their rows."""

    is_aio_driver = False  # what is returned is awaitable already

    select = _runs("fetch")
    select_one = _runs("fetchrow")
    select_value = _runs("fetchval")
    insert_update_delete = _runs("execute")

    def execute_script(self, connection: Any, sql: str) -> Awaitable[Any]:  # noqa: ANN401 - asyncpg has no types
        """Runs several statements without parameters."""
        done: Awaitable[Any] = connection.execute(sql)
        return done


QUERIES: Any = aiosql.from_path(HERE / "queries", _Adapter)
"""Each takes a connection and its named parameters, and is awaited."""
