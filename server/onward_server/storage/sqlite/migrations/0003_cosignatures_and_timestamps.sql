-- What others say about when they saw a checkpoint.

CREATE TABLE cosignatures (
  size INTEGER NOT NULL,
  witness TEXT NOT NULL,
  line TEXT NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (size, witness)
) STRICT;

CREATE TABLE timestamps (
  size INTEGER NOT NULL,
  authority TEXT NOT NULL,
  token BLOB NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (authority, size)
) STRICT;
