-- How each row is read: as one JSON array, in the order of the fields of its dataclass,
-- bytes in hexadecimal. These are temporary views, made on every connection, and so no
-- part of the stored schema.
--
-- Why JSON: Python gives up its lock at every row that SQLite returns, and while the
-- event loop is busy it gets it back only milliseconds later. A query that returns all
-- its rows as one value waits once. For the same reason writing queries take all rows
-- of a table at once.

CREATE TEMP VIEW statement_rows AS
SELECT log_index, digest, kind, referral_id, subject, places,
  json_array(
    log_index, hex(digest), jws, kind, referral_id, subject, logged_ms, json(places)
  ) AS row
FROM statements;

CREATE TEMP VIEW checkpoint_rows AS
SELECT size, json_array(size, hex(root), note, signed_ms) AS row
FROM checkpoints;

CREATE TEMP VIEW cosignature_rows AS
SELECT size, witness, json_array(size, witness, line, time_ms) AS row
FROM cosignatures;

CREATE TEMP VIEW timestamp_rows AS
SELECT size, authority, json_array(size, authority, hex(token), time_ms) AS row
FROM timestamps;

CREATE TEMP VIEW tile_rows AS
SELECT level, tile_index, json_array(level, tile_index, hex(data)) AS row
FROM tiles;

CREATE TEMP VIEW referral_rows AS
SELECT log_index, referral_id, rejected, publisher,
  json_array(
    referral_id, hex(digest), log_index, answer_index, rejected, publisher,
    json(watchers), parent_id, urgency, jurisdiction, accepted_ms, expire_ms,
    hex(content_digest), content_size, erased, retracted, test, traceparent,
    json(places), json(intakes)
  ) AS row
FROM referrals;

CREATE TEMP VIEW delivery_rows AS
SELECT referral_id, recipient, urgency, order_index, waiting, lease_holder,
  lease_until_ms,
  json_array(
    referral_id, recipient, state, state_ms, urgency, order_index, waiting,
    lease_holder, lease_until_ms, attempt, deliver_by_ms, acknowledge_within_ms,
    outcome_within_ms, received_ms, told, alarm_ms
  ) AS row
FROM deliveries;

CREATE TEMP VIEW intake_rows AS
SELECT hotline, number, state,
  json_array(
    hotline, number, jurisdiction, number_in_jurisdiction, log_index, hex(digest),
    urgency, age_group, test, received_ms, state, json(reached), warn_ms, due_ms, told,
    alarm_ms
  ) AS row
FROM intakes;

CREATE TEMP VIEW policy_rows AS
SELECT log_index, json_array(log_index, hex(digest), version, files) AS row
FROM policies;

CREATE TEMP VIEW member_rows AS
SELECT name, json_array(name, hex(entry), log_index) AS row
FROM members;

CREATE TEMP VIEW token_rows AS
SELECT token_id, member,
  json_array(
    token_id, member, expire_ms, hex(request_digest), certificate_chain, log_index,
    revoked
  ) AS row
FROM tokens;
