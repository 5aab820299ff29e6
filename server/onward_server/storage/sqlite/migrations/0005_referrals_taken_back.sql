-- Which intakes a referral passes on, and how many referrals pass an intake on to whom.

-- Of the referrals that there are it is not known. What they have passed on stays so.
ALTER TABLE referrals ADD COLUMN intakes TEXT NOT NULL DEFAULT '[]';

CREATE TABLE intakes_with_bits AS SELECT * FROM intakes;

DROP TABLE intakes;

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

INSERT INTO intakes (
  hotline, number, jurisdiction, number_in_jurisdiction, log_index, digest, urgency,
  age_group, test, received_ms, state, reached, warn_ms, due_ms, told, alarm_ms
)
SELECT hotline, number, jurisdiction, number_in_jurisdiction, log_index, digest,
  urgency, age_group, test, received_ms, state,
  json_array(reached & 1, reached >> 1 & 1, reached >> 2 & 1),
  warn_ms, due_ms, told, alarm_ms
FROM intakes_with_bits;

DROP TABLE intakes_with_bits;
