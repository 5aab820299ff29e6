"""The backend beyond one machine: PostgreSQL, with as many processes as there are."""

from onward_server.storage.postgres.inspection import Inspected, inspect_postgres
from onward_server.storage.postgres.migrations import migrate_postgres
from onward_server.storage.postgres.store import PostgresStore, open_postgres

__all__ = [
    "Inspected",
    "PostgresStore",
    "inspect_postgres",
    "migrate_postgres",
    "open_postgres",
]
