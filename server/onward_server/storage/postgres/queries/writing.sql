-- What happens inside the writing transaction. Rows come in as arrays of their table's
-- own type.

-- name: size()$
-- The size of the newest checkpoint.
SELECT max(size) FROM checkpoints;

-- name: load(replica, referral_ids, digests, token_ids, contents, hotlines, numbers, intakes_of, bookkeepers, codes)^
-- All that a group commit must know, in one answer. Statements are without their JWS.
SELECT
  EXISTS (SELECT 1 FROM replicas WHERE replica = :replica) AS joined,
  (SELECT checkpoints FROM checkpoints ORDER BY size DESC LIMIT 1) AS head,
  ARRAY(
    SELECT referrals FROM referrals WHERE referral_id = ANY(:referral_ids::text[])
  ) AS referrals,
  ARRAY(
    SELECT deliveries FROM deliveries WHERE referral_id = ANY(:referral_ids::text[])
  ) AS deliveries,
  ARRAY(
    SELECT ROW(log_index, digest, kind, referral_id, subject, logged_ms, places)
    FROM statements WHERE digest = ANY(:digests::bytea[])
  ) AS statements,
  ARRAY(SELECT tokens FROM tokens WHERE token_id = ANY(:token_ids::text[])) AS tokens,
  ARRAY(
    SELECT ROW(digest, referral_id) FROM contents
    WHERE digest = ANY(:contents::bytea[]) AND uploader = ''
  ) AS contents,
  ARRAY(
    SELECT intakes
    FROM (
      SELECT * FROM unnest(:hotlines::text[], :numbers::bigint[])
      UNION
      SELECT publisher, unnest(referrals.intakes) FROM referrals
      WHERE referral_id = ANY(:intakes_of::text[])
    ) AS wanted (hotline, number)
    JOIN intakes USING (hotline, number)
  ) AS intakes,
  ARRAY(
    SELECT intakes
    FROM (SELECT DISTINCT unnest(:bookkeepers::text[]) AS hotline) AS wanted
    JOIN intakes ON intakes.hotline = wanted.hotline AND number = (
      SELECT max(number) FROM intakes WHERE hotline = wanted.hotline
    )
  ) AS last_intakes,
  ARRAY(
    SELECT ROW(wanted.hotline, wanted.code, last.number)
    FROM unnest(:bookkeepers::text[], :codes::text[]) AS wanted (hotline, code)
    CROSS JOIN LATERAL (
      SELECT max(number_in_jurisdiction) AS number FROM intakes
      WHERE hotline = wanted.hotline AND jurisdiction = wanted.code
    ) AS last
    WHERE last.number IS NOT NULL
  ) AS last_in_jurisdictions;

-- name: write(statements, referrals, deliveries, intakes, policies, members, tokens, tiles, feed, checkpoints, news)!
-- Writes a batch. Statements, policies and checkpoints are added, and an index, a size
-- or a digest that exists already is an error; of the others those with the same key are
-- replaced. An accepted referral names the content that no other one does. `news`, if it
-- is not empty, is for the other processes once this is committed.
WITH new_statements AS (
  INSERT INTO statements SELECT * FROM unnest(:statements::statements[])
),
new_checkpoints AS (
  INSERT INTO checkpoints SELECT * FROM unnest(:checkpoints::checkpoints[])
),
new_policies AS (
  INSERT INTO policies SELECT * FROM unnest(:policies::policies[])
),
new_tiles AS (
  INSERT INTO tiles SELECT * FROM unnest(:tiles::tiles[])
  ON CONFLICT (level, tile_index) DO UPDATE SET data = excluded.data
),
new_referrals AS (
  INSERT INTO referrals SELECT * FROM unnest(:referrals::referrals[])
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
    intakes = excluded.intakes
  RETURNING referral_id, log_index
),
new_deliveries AS (
  INSERT INTO deliveries (
    referral_id, recipient, state, state_ms, urgency, order_index, waiting,
    lease_holder, lease_until_ms, attempt, deliver_by_ms, acknowledge_within_ms,
    outcome_within_ms, received_ms, told, alarm_ms, log_index
  )
  SELECT referral_id, recipient, state, state_ms, urgency, order_index, waiting,
    lease_holder, lease_until_ms, attempt, deliver_by_ms, acknowledge_within_ms,
    outcome_within_ms, received_ms, told, alarm_ms,
    coalesce(
      (SELECT log_index FROM new_referrals WHERE referral_id = delivery.referral_id),
      (SELECT log_index FROM referrals WHERE referral_id = delivery.referral_id)
    )
  FROM unnest(:deliveries::deliveries[]) AS delivery
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
    alarm_ms = excluded.alarm_ms
),
new_intakes AS (
  INSERT INTO intakes SELECT * FROM unnest(:intakes::intakes[])
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
    alarm_ms = excluded.alarm_ms
),
new_members AS (
  INSERT INTO members SELECT * FROM unnest(:members::members[])
  ON CONFLICT (name) DO UPDATE SET
    entry = excluded.entry,
    log_index = excluded.log_index
),
new_tokens AS (
  INSERT INTO tokens SELECT * FROM unnest(:tokens::tokens[])
  ON CONFLICT (token_id) DO UPDATE SET
    member = excluded.member,
    expire_ms = excluded.expire_ms,
    request_digest = excluded.request_digest,
    certificate_chain = excluded.certificate_chain,
    log_index = excluded.log_index,
    revoked = excluded.revoked
),
new_feed AS (
  INSERT INTO feed SELECT * FROM unnest(:feed::feed[])
  ON CONFLICT DO NOTHING
),
named_contents AS (
  UPDATE contents SET referral_id = naming.referral_id, uploaded_ms = NULL
  FROM (
    SELECT DISTINCT ON (content_digest) content_digest, referral_id
    FROM unnest(:referrals::referrals[])
    WHERE NOT rejected
    ORDER BY content_digest, log_index
  ) AS naming
  WHERE contents.digest = naming.content_digest
    AND contents.uploader = '' AND contents.referral_id = ''
)
SELECT pg_notify('onward', :news::text) WHERE :news::text <> '';

-- name: put_cosignatures(rows)!
-- Keeps cosignatures, unless an earlier one by the same key is kept.
INSERT INTO cosignatures
SELECT DISTINCT ON (size, witness) * FROM unnest(:rows::cosignatures[])
ORDER BY size, witness, time_ms
ON CONFLICT (size, witness) DO UPDATE SET
  line = excluded.line,
  time_ms = excluded.time_ms
WHERE excluded.time_ms < cosignatures.time_ms;

-- name: put_timestamps(rows)!
-- Keeps tokens, unless an earlier one of the same authority is kept.
INSERT INTO timestamps
SELECT DISTINCT ON (size, authority) * FROM unnest(:rows::timestamps[])
ORDER BY size, authority, time_ms
ON CONFLICT (authority, size) DO UPDATE SET
  token = excluded.token,
  time_ms = excluded.time_ms
WHERE excluded.time_ms < timestamps.time_ms;

-- name: put_contents(digests, uploader, uploaded_ms, secrets)
-- Adds contents and their secrets, without their bytes, but those that are or ever were
-- stored; returns those that it added. Ids follow those of all contents that ever were.
WITH wanted AS (
  SELECT * FROM unnest(:digests::bytea[], :secrets::bytea[])
    WITH ORDINALITY AS wanted (digest, secret, place)
),
added AS (
  INSERT INTO contents (content_id, digest, uploader, uploaded_ms)
  SELECT
    place + coalesce((SELECT max(content_id) FROM content_secrets), 0),
    digest, :uploader::text, :uploaded_ms::bigint
  FROM wanted
  ON CONFLICT (digest, uploader) DO NOTHING
  RETURNING content_id, digest
)
INSERT INTO content_secrets (content_id, secret)
SELECT added.content_id, wanted.secret FROM added JOIN wanted USING (digest)
RETURNING content_id, secret;

-- name: put_content_chunks(rows)!
-- Adds encrypted pieces, and replaces those with the same position.
INSERT INTO content_chunks SELECT * FROM unnest(:rows::content_chunks[])
ON CONFLICT (content_id, position) DO UPDATE SET data = excluded.data;

-- name: drop_contents(digests)!
-- Deletes uploads of content, complete or not, that no referral names.
DELETE FROM contents WHERE referral_id = '' AND digest = ANY(:digests::bytea[]);

-- name: erase_contents(digests)!
-- Deletes the pieces of content, and erases the secrets, each of them once: see schema.sql.
WITH erased AS (
  SELECT content_id FROM contents WHERE digest = ANY(:digests::bytea[])
),
deleted AS (
  DELETE FROM content_chunks WHERE content_id IN (SELECT content_id FROM erased)
)
UPDATE content_secrets SET secret = decode(repeat('00', 32), 'hex')
WHERE content_id IN (SELECT content_id FROM erased)
  AND secret <> decode(repeat('00', 32), 'hex');

-- name: vacuum_secrets()!
-- Cleans up the secrets as they were before they were erased.
VACUUM (TRUNCATE FALSE, SKIP_LOCKED) content_secrets;

-- name: upload(digest, uploader)^
-- Id and secret of an unfinished upload.
SELECT content_id, secret
FROM contents JOIN content_secrets USING (content_id)
WHERE digest = :digest AND uploader = :uploader;

-- name: complete_upload(digest, uploader, uploaded_ms)!
-- Makes an upload the content, unless that is stored already; then that is young again,
-- if no referral names it yet.
WITH refreshed AS (
  UPDATE contents SET uploaded_ms = :uploaded_ms
  WHERE digest = :digest AND uploader = '' AND uploaded_ms IS NOT NULL
)
UPDATE contents SET uploader = '', uploaded_ms = :uploaded_ms
WHERE digest = :digest AND uploader = :uploader AND uploader <> '' AND NOT EXISTS (
  SELECT 1 FROM contents AS stored WHERE stored.digest = :digest AND stored.uploader = ''
);

-- name: drop_upload(digest, uploader)!
-- Deletes one unfinished upload.
DELETE FROM contents
WHERE digest = :digest AND uploader = :uploader AND uploader <> '';

-- name: drop_uploads(before_ms)$
-- Deletes uploads and contents that no referral names, older than this; returns how many.
WITH dropped AS (
  DELETE FROM contents WHERE uploaded_ms IS NOT NULL AND uploaded_ms < :before_ms
  RETURNING content_id
)
SELECT count(*) FROM dropped;

-- name: claim(recipient, holder, limit, now_ms, until_ms)
-- Leases waiting deliveries of one recipient that no stream has a lease on at this time:
-- the most urgent first, then the oldest. Those never leased and those whose lease
-- lapsed come from an index each, so that nobody steps over what others hold.
WITH chosen AS MATERIALIZED (
  (
    SELECT referral_id, recipient, urgency, order_index FROM deliveries
    WHERE recipient = :recipient AND waiting AND lease_holder = ''
    ORDER BY urgency, order_index
    LIMIT :limit
  )
  UNION ALL
  (
    SELECT referral_id, recipient, urgency, order_index FROM deliveries
    WHERE recipient = :recipient AND waiting AND lease_holder <> ''
      AND lease_until_ms <= :now_ms
  )
  ORDER BY urgency, order_index
  LIMIT :limit
),
leased AS (
  UPDATE deliveries SET
    lease_holder = :holder,
    lease_until_ms = :until_ms,
    attempt = attempt + 1
  FROM chosen
  WHERE deliveries.referral_id = chosen.referral_id
    AND deliveries.recipient = chosen.recipient
  RETURNING deliveries.*
)
SELECT * FROM leased ORDER BY urgency, order_index;

-- name: release(holder)!
-- Ends all leases of one stream.
UPDATE deliveries SET lease_holder = '', lease_until_ms = 0
WHERE lease_holder = :holder AND lease_holder <> '';
