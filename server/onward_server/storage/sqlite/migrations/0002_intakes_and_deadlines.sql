-- Intakes, deadlines, policy sets, and whose auditors may see what.

ALTER TABLE referrals ADD COLUMN places TEXT NOT NULL DEFAULT '[]';
ALTER TABLE statements ADD COLUMN places TEXT NOT NULL DEFAULT '[]';

-- A referral is seen from its own jurisdiction, and from those of the referrals that it
-- was transferred from, nearest first; and so is all that was said about it.
UPDATE referrals SET places = (
  WITH RECURSIVE lineage (step, code, parent_id) AS (
    SELECT 0, referrals.jurisdiction, referrals.parent_id
    UNION ALL
    SELECT step + 1, parent.jurisdiction, parent.parent_id
    FROM lineage
    JOIN referrals AS parent ON parent.referral_id = lineage.parent_id
  )
  SELECT json_group_array(code)
  FROM (SELECT code FROM lineage GROUP BY code ORDER BY min(step))
);

UPDATE statements SET places = (
  SELECT referrals.places FROM referrals
  WHERE referrals.referral_id = statements.referral_id
)
WHERE referral_id IN (SELECT referral_id FROM referrals);

-- Looks of auditors are seen by those of the whole log only.
UPDATE statements SET places = '["*"]' WHERE kind = 'audit_access';

DROP TRIGGER referrals_placed;

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

DELETE FROM places;

INSERT INTO places (code, log_index)
SELECT value, log_index FROM referrals, json_each(referrals.places)
UNION
SELECT substr(value, 1, instr(value, '-') - 1), log_index
FROM referrals, json_each(referrals.places)
WHERE instr(value, '-') > 0
UNION
SELECT '*', log_index FROM referrals;

ALTER TABLE deliveries ADD COLUMN deliver_by_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN acknowledge_within_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN outcome_within_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN received_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN alarm_ms INTEGER NOT NULL DEFAULT 0;

CREATE INDEX deliveries_due ON deliveries (alarm_ms) WHERE alarm_ms > 0;

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
  reached INTEGER NOT NULL,
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

-- Not renamed, since SQLite checks all views at that, also those of tables to come.
CREATE TABLE feed_without_topics AS SELECT member, log_index FROM feed;

DROP TABLE feed;

CREATE TABLE feed (
  member TEXT NOT NULL,
  topic INTEGER NOT NULL,
  log_index INTEGER NOT NULL,
  PRIMARY KEY (member, topic, log_index)
) STRICT, WITHOUT ROWID;

-- 0 is the topic of custody, which all was before.
INSERT INTO feed (member, topic, log_index)
SELECT member, 0, log_index FROM feed_without_topics;

DROP TABLE feed_without_topics;

CREATE TABLE policies (
  log_index INTEGER PRIMARY KEY,
  digest BLOB NOT NULL,
  version TEXT NOT NULL,
  files TEXT NOT NULL
) STRICT;
