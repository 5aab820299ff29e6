-- The present schema of an exchange's database. A new database is made from this file;
-- an older one is brought here by the numbered files in migrations/, and a test proves
-- that both ways lead to the same.
--
-- Times are milliseconds since 1970-01-01 UTC, digests are 32 bytes. Nothing that grows
-- with the number of referrals is ever read without an index.

-- The log's entries. Append-only, so rows never move. `places` is a JSON array of codes.
CREATE TABLE statements (
  log_index INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  jws TEXT NOT NULL,
  kind TEXT NOT NULL,
  referral_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  logged_ms INTEGER NOT NULL,
  places TEXT NOT NULL DEFAULT '[]'
) STRICT;

CREATE INDEX statements_chain ON statements (referral_id) WHERE referral_id <> '';
CREATE INDEX statements_history ON statements (kind, subject);

-- Signed heads of the log, by size.
CREATE TABLE checkpoints (
  size INTEGER PRIMARY KEY,
  root BLOB NOT NULL,
  note TEXT NOT NULL,
  signed_ms INTEGER NOT NULL
) STRICT;

-- The first cosignature of each key on a checkpoint. `witness` is the key's name and id.
CREATE TABLE cosignatures (
  size INTEGER NOT NULL,
  witness TEXT NOT NULL,
  line TEXT NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (size, witness)
) STRICT;

-- The first token of each timestamp authority on a checkpoint.
CREATE TABLE timestamps (
  size INTEGER NOT NULL,
  authority TEXT NOT NULL,
  token BLOB NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (authority, size)
) STRICT;

CREATE INDEX timestamps_by_size ON timestamps (size);

-- Hash tiles of the tree; the last one of each level grows until it is full.
CREATE TABLE tiles (
  level INTEGER NOT NULL,
  tile_index INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (level, tile_index)
) STRICT;

-- Referrals, in the order of the log. `watchers` is a JSON array of names, `places` one
-- of codes, `intakes` one of numbers.
CREATE TABLE referrals (
  log_index INTEGER PRIMARY KEY,
  referral_id TEXT NOT NULL UNIQUE,
  digest BLOB NOT NULL,
  answer_index INTEGER NOT NULL,
  rejected INTEGER NOT NULL,
  publisher TEXT NOT NULL,
  watchers TEXT NOT NULL,
  parent_id TEXT NOT NULL,
  urgency INTEGER NOT NULL,
  jurisdiction TEXT NOT NULL,
  accepted_ms INTEGER NOT NULL,
  expire_ms INTEGER NOT NULL,
  content_digest BLOB NOT NULL,
  content_size INTEGER NOT NULL,
  erased INTEGER NOT NULL,
  retracted INTEGER NOT NULL,
  test INTEGER NOT NULL,
  traceparent TEXT NOT NULL,
  places TEXT NOT NULL DEFAULT '[]',
  intakes TEXT NOT NULL DEFAULT '[]'
) STRICT;

CREATE INDEX referrals_published ON referrals (publisher) WHERE NOT rejected;
CREATE INDEX referrals_children ON referrals (parent_id) WHERE parent_id <> '';
CREATE INDEX referrals_retracted ON referrals (referral_id) WHERE retracted;
CREATE INDEX referrals_expiring ON referrals (expire_ms)
  WHERE NOT rejected AND NOT erased;

-- Where to look for the referrals that an auditor may see: each under the codes of its
-- places, under their countries' (`US-OH` under `US-OH` and `US`), and under `*`.
CREATE TABLE places (
  code TEXT NOT NULL,
  log_index INTEGER NOT NULL,
  PRIMARY KEY (code, log_index)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER referrals_placed AFTER INSERT ON referrals BEGIN
  INSERT INTO places (code, log_index)
  SELECT value, new.log_index FROM json_each(new.places)
  UNION
  SELECT substr(value, 1, instr(value, '-') - 1), new.log_index
  FROM json_each(new.places)
  WHERE instr(value, '-') > 0
  UNION
  SELECT '*', new.log_index;
END;

-- Deliveries. `log_index` is the referral's.
CREATE TABLE deliveries (
  referral_id TEXT NOT NULL,
  recipient TEXT NOT NULL,
  log_index INTEGER NOT NULL,
  state INTEGER NOT NULL,
  state_ms INTEGER NOT NULL,
  urgency INTEGER NOT NULL,
  order_index INTEGER NOT NULL,
  waiting INTEGER NOT NULL,
  lease_holder TEXT NOT NULL,
  lease_until_ms INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  deliver_by_ms INTEGER NOT NULL DEFAULT 0,
  acknowledge_within_ms INTEGER NOT NULL DEFAULT 0,
  outcome_within_ms INTEGER NOT NULL DEFAULT 0,
  received_ms INTEGER NOT NULL DEFAULT 0,
  told INTEGER NOT NULL DEFAULT 0,
  alarm_ms INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (referral_id, recipient)
) STRICT, WITHOUT ROWID;

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

-- How many deliveries are in each state, so that nobody has to count them.
CREATE TABLE delivery_counts (
  state INTEGER PRIMARY KEY,
  deliveries INTEGER NOT NULL
) STRICT;

CREATE TRIGGER deliveries_counted AFTER INSERT ON deliveries BEGIN
  INSERT INTO delivery_counts (state, deliveries) VALUES (new.state, 1)
  ON CONFLICT (state) DO UPDATE SET deliveries = deliveries + 1;
END;

CREATE TRIGGER deliveries_recounted AFTER UPDATE OF state ON deliveries
WHEN new.state <> old.state BEGIN
  UPDATE delivery_counts SET deliveries = deliveries - 1 WHERE state = old.state;
  INSERT INTO delivery_counts (state, deliveries) VALUES (new.state, 1)
  ON CONFLICT (state) DO UPDATE SET deliveries = deliveries + 1;
END;

-- The books of the hotlines. `reached` is a JSON array of counts.
CREATE TABLE intakes (
  hotline TEXT NOT NULL,
  number INTEGER NOT NULL,
  jurisdiction TEXT NOT NULL,
  number_in_jurisdiction INTEGER NOT NULL,
  log_index INTEGER NOT NULL,
  digest BLOB NOT NULL,
  urgency INTEGER NOT NULL,
  age_group INTEGER NOT NULL,
  test INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  state INTEGER NOT NULL,
  reached TEXT NOT NULL,
  warn_ms INTEGER NOT NULL,
  due_ms INTEGER NOT NULL,
  told INTEGER NOT NULL,
  alarm_ms INTEGER NOT NULL,
  PRIMARY KEY (hotline, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX intakes_in_jurisdiction
  ON intakes (hotline, jurisdiction, number_in_jurisdiction);
CREATE INDEX intakes_in_state ON intakes (hotline, state, number);
CREATE INDEX intakes_due ON intakes (alarm_ms) WHERE alarm_ms > 0;

-- Which entries a member is to hear of, by topic.
CREATE TABLE feed (
  member TEXT NOT NULL,
  topic INTEGER NOT NULL,
  log_index INTEGER NOT NULL,
  PRIMARY KEY (member, topic, log_index)
) STRICT, WITHOUT ROWID;

-- Sealed content. `uploader` is empty once it is complete. The first referral that names
-- it is kept for ever, also when the bytes are erased; from then on `uploaded_ms` is NULL.
CREATE TABLE contents (
  content_id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL,
  uploader TEXT NOT NULL,
  referral_id TEXT NOT NULL DEFAULT '',
  uploaded_ms INTEGER,
  UNIQUE (digest, uploader)
) STRICT;

CREATE INDEX contents_unnamed ON contents (uploaded_ms) WHERE uploaded_ms IS NOT NULL;

-- The content's bytes in pieces of at most 1 MiB, each encrypted with the content's
-- secret, so that erasing the secret erases all copies of them.
CREATE TABLE content_chunks (
  content_id INTEGER NOT NULL REFERENCES contents ON DELETE CASCADE,
  position INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (content_id, position)
) STRICT;

-- Secrets. SQLite copies rows from page to page when it balances its trees, and does not
-- overwrite what it copied from. So these rows never move: they are only ever added at
-- the end, never deleted, and erased by zeros in their place.
CREATE TABLE content_secrets (
  content_id INTEGER PRIMARY KEY,
  secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

CREATE TRIGGER contents_forgotten AFTER DELETE ON contents BEGIN
  UPDATE content_secrets SET secret = zeroblob(32) WHERE content_id = old.content_id;
END;

-- Present directory entries.
CREATE TABLE members (
  name TEXT PRIMARY KEY,
  entry BLOB NOT NULL,
  log_index INTEGER NOT NULL
) STRICT;

-- Enrolment tokens, used and unused.
CREATE TABLE tokens (
  token_id TEXT PRIMARY KEY,
  member TEXT NOT NULL,
  expire_ms INTEGER NOT NULL,
  request_digest BLOB NOT NULL,
  certificate_chain TEXT NOT NULL,
  log_index INTEGER NOT NULL,
  revoked INTEGER NOT NULL
) STRICT;

CREATE INDEX tokens_member ON tokens (member);

-- Policy sets that were put in force, each by an entry of the log. Few, ever. `files` is
-- a JSON object.
CREATE TABLE policies (
  log_index INTEGER PRIMARY KEY,
  digest BLOB NOT NULL,
  version TEXT NOT NULL,
  files TEXT NOT NULL
) STRICT;
