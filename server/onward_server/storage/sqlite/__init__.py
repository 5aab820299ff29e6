"""The embedded backend: one SQLite file, one writing connection, a few reading ones."""

from onward_server.storage.sqlite.files import claim_database
from onward_server.storage.sqlite.store import SqliteStore, migrate_sqlite, open_sqlite
from onward_server.storage.sqlite.successor import make_successor

__all__ = [
    "SqliteStore",
    "claim_database",
    "make_successor",
    "migrate_sqlite",
    "open_sqlite",
]
