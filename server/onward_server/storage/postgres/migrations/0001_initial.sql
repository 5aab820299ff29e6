-- The present schema of an exchange's database. A new database is made from this file;
-- an older one is brought here by the numbered files in migrations/, and a test proves
-- that both ways lead to the same.
--
-- Times are milliseconds since 1970-01-01 UTC, digests are 32 bytes. Names and codes are
-- compared byte by byte, whatever the database's own collation is. Nothing that grows
-- with the number of referrals is ever read without an index.
--
-- Columns have the names of the contract's fields; writing queries take rows as values
-- of a table's own type.

-- Which of the numbered files the database is as new as: one row.
CREATE TABLE schema_version (
  version integer NOT NULL
);

-- The processes that work on the database, and what must be the same in all of them.
-- Who has no place any more (queries/replicas.sql) is forgotten when the next one joins.
CREATE TABLE replicas (
  replica text COLLATE "C" PRIMARY KEY,
  facts jsonb NOT NULL,
  joined_ms bigint NOT NULL
);

-- The log's entries.
CREATE TABLE statements (
  log_index bigint PRIMARY KEY,
  digest bytea NOT NULL UNIQUE,
  jws text NOT NULL,
  kind text COLLATE "C" NOT NULL,
  referral_id text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  logged_ms bigint NOT NULL,
  places text[] COLLATE "C" NOT NULL DEFAULT '{}'
);

-- Nothing here gets shorter by compression: signatures in base64, hashes, ciphertext.
ALTER TABLE statements ALTER COLUMN jws SET STORAGE EXTERNAL;

CREATE INDEX statements_chain ON statements (referral_id, log_index)
  WHERE referral_id <> '';
CREATE INDEX statements_history ON statements (kind, subject, log_index);

-- Signed heads of the log, by size.
CREATE TABLE checkpoints (
  size bigint PRIMARY KEY,
  root bytea NOT NULL,
  note text NOT NULL,
  signed_ms bigint NOT NULL
);

-- The first cosignature of each key on a checkpoint. `witness` is the key's name and id.
CREATE TABLE cosignatures (
  size bigint NOT NULL,
  witness text COLLATE "C" NOT NULL,
  line text NOT NULL,
  time_ms bigint NOT NULL,
  PRIMARY KEY (size, witness)
);

-- The first token of each timestamp authority on a checkpoint.
CREATE TABLE timestamps (
  size bigint NOT NULL,
  authority text COLLATE "C" NOT NULL,
  token bytea NOT NULL,
  time_ms bigint NOT NULL,
  PRIMARY KEY (authority, size)
);

CREATE INDEX timestamps_by_size ON timestamps (size);

-- Hash tiles of the tree; the last one of each level grows until it is full, with each
-- commit, and so leaves much to clean up.
CREATE TABLE tiles (
  level integer NOT NULL,
  tile_index bigint NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (level, tile_index)
) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
  toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 5000
);

ALTER TABLE tiles ALTER COLUMN data SET STORAGE EXTERNAL;

-- Referrals, in the order of the log.
CREATE TABLE referrals (
  referral_id text COLLATE "C" NOT NULL UNIQUE,
  digest bytea NOT NULL,
  log_index bigint PRIMARY KEY,
  answer_index bigint NOT NULL,
  rejected boolean NOT NULL,
  publisher text COLLATE "C" NOT NULL,
  watchers text[] COLLATE "C" NOT NULL,
  parent_id text COLLATE "C" NOT NULL,
  urgency integer NOT NULL,
  jurisdiction text COLLATE "C" NOT NULL,
  accepted_ms bigint NOT NULL,
  expire_ms bigint NOT NULL,
  content_digest bytea NOT NULL,
  content_size bigint NOT NULL,
  erased boolean NOT NULL,
  retracted boolean NOT NULL,
  test boolean NOT NULL,
  traceparent text NOT NULL,
  places text[] COLLATE "C" NOT NULL DEFAULT '{}',
  intakes bigint[] NOT NULL DEFAULT '{}'
);

CREATE INDEX referrals_published ON referrals (publisher, log_index)
  WHERE NOT rejected;
CREATE INDEX referrals_children ON referrals (parent_id, log_index)
  WHERE parent_id <> '';
CREATE INDEX referrals_retracted ON referrals (referral_id) WHERE retracted;
CREATE INDEX referrals_expiring ON referrals (expire_ms)
  WHERE NOT rejected AND NOT erased;

-- Where to look for the referrals that an auditor may see: each under the codes of its
-- places, under their countries' (`US-OH` under `US-OH` and `US`), and under `*`.
CREATE TABLE places (
  code text COLLATE "C" NOT NULL,
  log_index bigint NOT NULL,
  PRIMARY KEY (code, log_index)
);

CREATE FUNCTION place_referrals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO places (code, log_index)
  SELECT place, log_index FROM added, unnest(places) AS place
  UNION
  SELECT split_part(place, '-', 1), log_index FROM added, unnest(places) AS place
  WHERE strpos(place, '-') > 0
  UNION
  SELECT '*', log_index FROM added;
  RETURN NULL;
END
$$;

CREATE TRIGGER referrals_placed AFTER INSERT ON referrals
  REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION place_referrals();

-- Deliveries. `log_index` is the referral's.
CREATE TABLE deliveries (
  referral_id text COLLATE "C" NOT NULL,
  recipient text COLLATE "C" NOT NULL,
  log_index bigint NOT NULL,
  state integer NOT NULL,
  state_ms bigint NOT NULL,
  urgency integer NOT NULL,
  order_index bigint NOT NULL,
  waiting boolean NOT NULL,
  lease_holder text COLLATE "C" NOT NULL,
  lease_until_ms bigint NOT NULL,
  attempt integer NOT NULL,
  deliver_by_ms bigint NOT NULL DEFAULT 0,
  acknowledge_within_ms bigint NOT NULL DEFAULT 0,
  outcome_within_ms bigint NOT NULL DEFAULT 0,
  received_ms bigint NOT NULL DEFAULT 0,
  told integer NOT NULL DEFAULT 0,
  alarm_ms bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (referral_id, recipient)
);

CREATE INDEX deliveries_received ON deliveries (recipient, log_index);
CREATE INDEX deliveries_waiting ON deliveries (recipient, urgency, order_index)
  WHERE waiting AND lease_holder = '';
CREATE INDEX deliveries_oldest ON deliveries (urgency, order_index) WHERE waiting;
CREATE INDEX deliveries_held ON deliveries (lease_holder) WHERE lease_holder <> '';
CREATE INDEX deliveries_lapsing ON deliveries (recipient, lease_until_ms)
  WHERE waiting AND lease_holder <> '';
-- 11 is DELIVERY_STATE_RETRACTION_PENDING.
CREATE INDEX deliveries_retracting ON deliveries (recipient, order_index)
  WHERE state = 11;
-- What has no deadline, or is done with it, is not in here.
CREATE INDEX deliveries_due ON deliveries (alarm_ms) WHERE alarm_ms > 0;

-- How many deliveries are in each state, so that nobody has to count them. A few rows
-- that change with every commit: room is left beside them, so that they stay in place.
CREATE TABLE delivery_counts (
  state integer PRIMARY KEY,
  deliveries bigint NOT NULL
) WITH (fillfactor = 10);

CREATE FUNCTION count_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO delivery_counts (state, deliveries)
  SELECT state, count(*) FROM added GROUP BY state
  ON CONFLICT (state) DO UPDATE SET
    deliveries = delivery_counts.deliveries + excluded.deliveries;
  RETURN NULL;
END
$$;

CREATE TRIGGER deliveries_counted AFTER INSERT ON deliveries
  REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();

CREATE FUNCTION recount_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO delivery_counts (state, deliveries)
  SELECT state, sum(change)
  FROM (
    SELECT state, 1 AS change FROM present
    UNION ALL
    SELECT state, -1 FROM past
  ) AS changes
  GROUP BY state
  HAVING sum(change) <> 0
  ON CONFLICT (state) DO UPDATE SET
    deliveries = delivery_counts.deliveries + excluded.deliveries;
  RETURN NULL;
END
$$;

CREATE TRIGGER deliveries_recounted AFTER UPDATE ON deliveries
  REFERENCING NEW TABLE AS present OLD TABLE AS past
  FOR EACH STATEMENT EXECUTE FUNCTION recount_deliveries();

-- The books of the hotlines.
CREATE TABLE intakes (
  hotline text COLLATE "C" NOT NULL,
  number bigint NOT NULL,
  jurisdiction text COLLATE "C" NOT NULL,
  number_in_jurisdiction bigint NOT NULL,
  log_index bigint NOT NULL,
  digest bytea NOT NULL,
  urgency integer NOT NULL,
  age_group integer NOT NULL,
  test boolean NOT NULL,
  received_ms bigint NOT NULL,
  state integer NOT NULL,
  reached integer[] NOT NULL,
  warn_ms bigint NOT NULL,
  due_ms bigint NOT NULL,
  told integer NOT NULL,
  alarm_ms bigint NOT NULL,
  PRIMARY KEY (hotline, number)
);

CREATE UNIQUE INDEX intakes_in_jurisdiction
  ON intakes (hotline, jurisdiction, number_in_jurisdiction);
CREATE INDEX intakes_in_state ON intakes (hotline, state, number);
CREATE INDEX intakes_due ON intakes (alarm_ms) WHERE alarm_ms > 0;

-- Which entries a member is to hear of, by topic.
CREATE TABLE feed (
  member text COLLATE "C" NOT NULL,
  topic integer NOT NULL,
  log_index bigint NOT NULL,
  PRIMARY KEY (member, topic, log_index)
);

-- Sealed content. `uploader` is empty once it is complete. The first referral that names
-- it is kept for ever, also when the bytes are erased; from then on `uploaded_ms` is NULL.
CREATE TABLE contents (
  content_id bigint PRIMARY KEY,
  digest bytea NOT NULL,
  uploader text COLLATE "C" NOT NULL,
  referral_id text COLLATE "C" NOT NULL DEFAULT '',
  uploaded_ms bigint,
  UNIQUE (digest, uploader)
);

CREATE INDEX contents_unnamed ON contents (uploaded_ms) WHERE uploaded_ms IS NOT NULL;

-- The content's bytes in pieces of at most 1 MiB, each encrypted with the content's
-- secret, so that erasing the secret erases all copies of them.
CREATE TABLE content_chunks (
  content_id bigint NOT NULL,
  position integer NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (content_id, position)
);

ALTER TABLE content_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- Secrets, never deleted, and erased by zeros. PostgreSQL writes a changed row beside the
-- old one, and when it cleans up, moves the rows of the page together: what then is left
-- behind them are copies of the last ones. So there is always room for all rows of a page
-- to be erased within it: the last ones are zeros then, and no copy of a secret is left.
-- The erasing process has it cleaned up at once; should a reader prevent that, the server
-- does so within a minute of the last erasure.
CREATE TABLE content_secrets (
  content_id bigint PRIMARY KEY,
  secret bytea NOT NULL CHECK (length(secret) = 32)
) WITH (
  fillfactor = 45, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0
);

CREATE FUNCTION forget_contents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE content_secrets SET secret = decode(repeat('00', 32), 'hex')
  WHERE content_id IN (SELECT content_id FROM removed)
    AND secret <> decode(repeat('00', 32), 'hex');
  DELETE FROM content_chunks
  WHERE content_id IN (SELECT content_id FROM removed);
  RETURN NULL;
END
$$;

CREATE TRIGGER contents_forgotten AFTER DELETE ON contents
  REFERENCING OLD TABLE AS removed
  FOR EACH STATEMENT EXECUTE FUNCTION forget_contents();

-- Present directory entries.
CREATE TABLE members (
  name text COLLATE "C" PRIMARY KEY,
  entry bytea NOT NULL,
  log_index bigint NOT NULL
);

CREATE INDEX members_newest ON members (log_index);

-- Enrolment tokens, used and unused.
CREATE TABLE tokens (
  token_id text COLLATE "C" PRIMARY KEY,
  member text COLLATE "C" NOT NULL,
  expire_ms bigint NOT NULL,
  request_digest bytea NOT NULL,
  certificate_chain text NOT NULL,
  log_index bigint NOT NULL,
  revoked boolean NOT NULL
);

CREATE INDEX tokens_member ON tokens (member);

-- Policy sets that were put in force, each by an entry of the log. Few, ever. `files` is
-- a JSON object.
CREATE TABLE policies (
  log_index bigint PRIMARY KEY,
  digest bytea NOT NULL,
  version text NOT NULL,
  files text NOT NULL
);
