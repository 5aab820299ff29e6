"""What kind of work a function does: the table by which profiles are summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

Function: TypeAlias = tuple[str, int, str]
"""File, line and name; what is compiled has the file ``~``."""

Entry: TypeAlias = tuple[
    int, int, float, float, Mapping[Function, tuple[int, int, float, float]]
]
"""Primitive calls, calls, own seconds, whole seconds, and the same by caller."""

Stats: TypeAlias = Mapping[Function, Entry]

OTHER: Final = "other"

_KINDS: Final = {
    "cryptography": ("cryptography", "openssl", "'digest' of '_hashlib"),
    "SQLite": ("sqlite3", "aiosqlite", "aiosql", "onward_server/storage"),
    "disclosure policy": ("cedarpy", "exchange/policy"),
    "Merkle tree and receipts": (
        *("core/tree", "core/merkle", "core/tiles", "core/tlog_", "core/notes"),
        *("core/checkpoints", "exchange/receipts"),
    ),
    "statements and their rules": ("onward/core",),
    "protobuf": ("google/protobuf", "_upb", "FromString"),
    "telemetry": (
        *("opentelemetry", "structlog"),
        *("onward_server/telemetry", "onward_server/observing"),
    ),
    "interceptor and services": (
        *("onward_server/services", "exchange/gate", "exchange/quotas"),
    ),
    "ledger and domain": ("onward_server/exchange",),
    "gRPC and asyncio": (
        *("grpc", "asyncio", "'run' of '_contextvars"),
        *("selectors", "'poll' of 'select.", "_queue.SimpleQueue", "_socket.socket"),
    ),
}
"""Fragments of a function's file and name, by kind; the first that occurs decides."""


def kinds_of(stats: Stats) -> Iterator[tuple[Function, Mapping[str, float]]]:
    """Yields of each function which parts of its own time are of which kind.

    What belongs to no kind by its name, such as a built-in function or one of the
    standard library, works for those who call it, and is shared out to them.
    """
    known = {function: _named(function) for function in stats}

    def shares(function: Function, seen: frozenset[Function]) -> Mapping[str, float]:
        kind = known.get(function)
        if kind:
            return {kind: 1.0}
        callers = stats[function][4] if function in stats else {}
        spent = {
            caller: entry[2]
            for caller, entry in callers.items()
            if caller not in seen and entry[2] > 0
        }
        total = sum(spent.values())
        if not total:
            return {OTHER: 1.0}
        found: Counter[str] = Counter()
        for caller, seconds in spent.items():
            for name, part in shares(caller, seen | {function}).items():
                found[name] += part * seconds / total  # type: ignore[assignment]
        return found

    for function in stats:
        yield function, shares(function, frozenset())


def _named(function: Function) -> str:
    """Returns the kind that a function's name says, or nothing."""
    file, _line, name = function
    text = f"{file} {name}"
    return next(
        (
            kind
            for kind, fragments in _KINDS.items()
            if any(fragment in text for fragment in fragments)
        ),
        "",
    )
