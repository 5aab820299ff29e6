"""The backend beyond one machine: PostgreSQL, with as many processes as there are."""

from onward_server.storage.postgres.migrations import migrate_postgres
from onward_server.storage.postgres.store import PostgresStore, open_postgres

__all__ = ["PostgresStore", "migrate_postgres", "open_postgres"]
