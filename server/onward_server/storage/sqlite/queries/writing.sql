-- Every query here takes all its rows at once (why: views.sql). Those that insert are
-- written for one row, with its values in the order of the fields of the dataclass;
-- `rows.insert` repeats what stands behind VALUES. In the others `rows` is a JSON array of
-- arrays. JSON has no bytes, so all bytes are joined in `data`, and a row has two numbers
-- in their place: offset, counted from 1, and length.

-- name: size()$
-- The size of the newest checkpoint.
SELECT max(size) FROM checkpoints;

-- name: put_statements()!
-- Appends entries to the log. An index or digest that exists already is an error.
INSERT INTO statements (
  log_index, digest, jws, kind, referral_id, subject, logged_ms, places
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_checkpoint()!
-- Adds the new head.
INSERT INTO checkpoints (size, root, note, signed_ms)
VALUES (?, ?, ?, ?);

-- name: put_cosignatures()!
-- Keeps cosignatures, unless an earlier one by the same key is kept.
INSERT INTO cosignatures (size, witness, line, time_ms)
VALUES (?, ?, ?, ?)
ON CONFLICT (size, witness) DO UPDATE SET
  line = excluded.line,
  time_ms = excluded.time_ms
WHERE excluded.time_ms < time_ms;

-- name: put_timestamps()!
-- Keeps tokens, unless an earlier one of the same authority is kept.
INSERT INTO timestamps (size, authority, token, time_ms)
VALUES (?, ?, ?, ?)
ON CONFLICT (authority, size) DO UPDATE SET
  token = excluded.token,
  time_ms = excluded.time_ms
WHERE excluded.time_ms < time_ms;

-- name: put_tiles()!
-- Adds tiles, and replaces those that grew.
INSERT INTO tiles (level, tile_index, data)
VALUES (?, ?, ?)
ON CONFLICT (level, tile_index) DO UPDATE SET data = excluded.data;

-- name: put_referrals()!
-- Adds referrals, or replaces what is known of them; id and log index never change.
INSERT INTO referrals (
  referral_id, digest, log_index, answer_index, rejected, publisher, watchers,
  parent_id, urgency, jurisdiction, accepted_ms, expire_ms, content_digest,
  content_size, erased, retracted, test, traceparent, places, intakes
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (referral_id) DO UPDATE SET
  digest = excluded.digest,
  answer_index = excluded.answer_index,
  rejected = excluded.rejected,
  publisher = excluded.publisher,
  watchers = excluded.watchers,
  parent_id = excluded.parent_id,
  urgency = excluded.urgency,
  jurisdiction = excluded.jurisdiction,
  accepted_ms = excluded.accepted_ms,
  expire_ms = excluded.expire_ms,
  content_digest = excluded.content_digest,
  content_size = excluded.content_size,
  erased = excluded.erased,
  retracted = excluded.retracted,
  test = excluded.test,
  traceparent = excluded.traceparent,
  places = excluded.places,
  intakes = excluded.intakes;

-- name: put_deliveries()!
-- Adds deliveries of referrals that exist, or replaces what is known of them. Behind the
-- values of a row comes the referral's id once more.
INSERT INTO deliveries (
  referral_id, recipient, state, state_ms, urgency, order_index, waiting,
  lease_holder, lease_until_ms, attempt, deliver_by_ms, acknowledge_within_ms,
  outcome_within_ms, received_ms, told, alarm_ms, log_index
)
VALUES (
  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
  (SELECT log_index FROM referrals WHERE referral_id = ?)
)
ON CONFLICT (referral_id, recipient) DO UPDATE SET
  state = excluded.state,
  state_ms = excluded.state_ms,
  urgency = excluded.urgency,
  order_index = excluded.order_index,
  waiting = excluded.waiting,
  lease_holder = excluded.lease_holder,
  lease_until_ms = excluded.lease_until_ms,
  attempt = excluded.attempt,
  deliver_by_ms = excluded.deliver_by_ms,
  acknowledge_within_ms = excluded.acknowledge_within_ms,
  outcome_within_ms = excluded.outcome_within_ms,
  received_ms = excluded.received_ms,
  told = excluded.told,
  alarm_ms = excluded.alarm_ms;

-- name: put_intakes()!
-- Adds intakes, or replaces what is known of them.
INSERT INTO intakes (
  hotline, number, jurisdiction, number_in_jurisdiction, log_index, digest, urgency,
  age_group, test, received_ms, state, reached, warn_ms, due_ms, told, alarm_ms
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hotline, number) DO UPDATE SET
  jurisdiction = excluded.jurisdiction,
  number_in_jurisdiction = excluded.number_in_jurisdiction,
  log_index = excluded.log_index,
  digest = excluded.digest,
  urgency = excluded.urgency,
  age_group = excluded.age_group,
  test = excluded.test,
  received_ms = excluded.received_ms,
  state = excluded.state,
  reached = excluded.reached,
  warn_ms = excluded.warn_ms,
  due_ms = excluded.due_ms,
  told = excluded.told,
  alarm_ms = excluded.alarm_ms;

-- name: put_feed()!
-- Lets members hear of entries.
INSERT INTO feed (member, topic, log_index)
VALUES (?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: put_members()!
-- Adds directory entries, or replaces them.
INSERT INTO members (name, entry, log_index)
VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
  entry = excluded.entry,
  log_index = excluded.log_index;

-- name: put_tokens()!
-- Adds enrolment tokens, or replaces what is known of them.
INSERT INTO tokens (
  token_id, member, expire_ms, request_digest, certificate_chain, log_index, revoked
)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (token_id) DO UPDATE SET
  member = excluded.member,
  expire_ms = excluded.expire_ms,
  request_digest = excluded.request_digest,
  certificate_chain = excluded.certificate_chain,
  log_index = excluded.log_index,
  revoked = excluded.revoked;

-- name: put_policies()!
-- Adds policy sets that were put in force.
INSERT INTO policies (log_index, digest, version, files)
VALUES (?, ?, ?, ?);

-- name: last_content_id()$
-- The largest id that any content ever had.
SELECT max(content_id) FROM content_secrets;

-- name: put_contents()!
-- Adds contents, without their bytes: id, digest, uploader, time of upload, referral.
INSERT INTO contents (content_id, digest, uploader, uploaded_ms, referral_id)
VALUES (?, ?, ?, ?, ?);

-- name: put_content_secrets()!
-- Adds the secrets of contents, in the order of the ids: id, secret.
INSERT INTO content_secrets (content_id, secret)
VALUES (?, ?);

-- name: put_content_chunks()!
-- Adds encrypted pieces, and replaces those with the same position: id, position, piece.
INSERT INTO content_chunks (content_id, position, data)
VALUES (?, ?, ?)
ON CONFLICT (content_id, position) DO UPDATE SET data = excluded.data;

-- name: name_contents(rows, data)!
-- Keeps which referral names complete content, unless one does: [digest, referral].
UPDATE contents SET referral_id = value ->> 2, uploaded_ms = NULL
FROM json_each(:rows)
WHERE digest = substr(:data, value ->> 0, value ->> 1)
  AND uploader = '' AND referral_id = '';

-- name: drop_contents(rows, data)!
-- Deletes uploads of content, complete or not, that no referral names: [digest].
DELETE FROM contents WHERE referral_id = '' AND digest IN (
  SELECT substr(:data, value ->> 0, value ->> 1) FROM json_each(:rows)
);

-- name: erase_contents(rows, data)!
-- Erases the secrets of content: [digest].
UPDATE content_secrets SET secret = zeroblob(32) WHERE content_id IN (
  SELECT content_id FROM json_each(:rows)
  JOIN contents ON digest = substr(:data, value ->> 0, value ->> 1)
);

-- name: delete_content_chunks(rows, data)!
-- Deletes the pieces of content: [digest].
DELETE FROM content_chunks WHERE content_id IN (
  SELECT content_id FROM json_each(:rows)
  JOIN contents ON digest = substr(:data, value ->> 0, value ->> 1)
);

-- name: refresh_content(digest, uploaded_ms)!
-- Content that no referral names yet is young again, since somebody uploaded it again.
UPDATE contents SET uploaded_ms = :uploaded_ms
WHERE digest = :digest AND uploader = '' AND uploaded_ms IS NOT NULL;

-- name: complete_upload(digest, uploader, uploaded_ms)!
-- Makes an upload the content, unless that is stored already.
UPDATE contents SET uploader = '', uploaded_ms = :uploaded_ms
WHERE digest = :digest AND uploader = :uploader AND NOT EXISTS (
  SELECT 1 FROM contents AS stored WHERE stored.digest = :digest AND stored.uploader = ''
);

-- name: drop_upload(digest, uploader)!
-- Deletes one unfinished upload.
DELETE FROM contents
WHERE digest = :digest AND uploader = :uploader AND uploader <> '';

-- name: drop_uploads(before_ms)!
-- Deletes uploads and contents that no referral names, older than this.
DELETE FROM contents WHERE uploaded_ms IS NOT NULL AND uploaded_ms < :before_ms;

-- name: lease(recipient, referral_ids, holder, until_ms)!
-- Leases deliveries of one recipient to one stream.
UPDATE deliveries SET
  lease_holder = :holder,
  lease_until_ms = :until_ms,
  attempt = attempt + 1
WHERE recipient = :recipient
  AND referral_id IN (SELECT value FROM json_each(:referral_ids));

-- name: release(holder)!
-- Ends all leases of one stream.
UPDATE deliveries SET lease_holder = '', lease_until_ms = 0
WHERE lease_holder = :holder AND lease_holder <> '';

-- name: release_lost(replica)!
-- Ends all leases of the streams of other processes, of which none can run.
UPDATE deliveries SET lease_holder = '', lease_until_ms = 0
WHERE lease_holder <> '' AND lease_holder NOT GLOB :replica || '/*';
