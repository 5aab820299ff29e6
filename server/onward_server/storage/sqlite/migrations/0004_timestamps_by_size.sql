-- Tokens are listed in the log's order, too.

CREATE INDEX timestamps_by_size ON timestamps (size);
