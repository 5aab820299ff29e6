-- For each log the newest checkpoint that this witness cosigned.
CREATE TABLE heads (
  origin TEXT PRIMARY KEY,
  size INTEGER NOT NULL CHECK (size >= 0),
  root BLOB NOT NULL CHECK (length(root) = 32),
  note TEXT NOT NULL, -- with the signatures of the log's keys only
  time INTEGER NOT NULL -- of the newest cosignature, POSIX seconds
) STRICT, WITHOUT ROWID;

-- Pairs of checkpoints that a log signed, and that contradict each other ('fork'), or
-- of which nobody has shown that the first began the second ('unproven').
CREATE TABLE evidence (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('fork', 'unproven')),
  origin TEXT NOT NULL,
  size INTEGER NOT NULL, -- of the second checkpoint
  root BLOB NOT NULL,
  first TEXT NOT NULL, -- what the witness had cosigned
  second TEXT NOT NULL, -- what it refused
  time INTEGER NOT NULL, -- POSIX seconds
  UNIQUE (kind, origin, size, root)
) STRICT;
