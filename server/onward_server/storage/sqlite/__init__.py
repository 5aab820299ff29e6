"""The embedded backend: one SQLite file, one writing connection, a few reading ones."""

from onward_server.storage.sqlite.store import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
