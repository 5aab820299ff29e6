-- What can be asked, in the order of the contract. Lists come in as arrays.

-- name: head()^
-- The newest checkpoint.
SELECT * FROM checkpoints ORDER BY size DESC LIMIT 1;

-- name: standing()^
-- The newest checkpoint, and the newest entries that changed the directory and the
-- policy.
SELECT
  (SELECT checkpoints FROM checkpoints ORDER BY size DESC LIMIT 1) AS head,
  (SELECT max(log_index) FROM members) AS directory_index,
  (SELECT max(log_index) FROM policies) AS policy_index;

-- name: checkpoint(size)^
-- The checkpoint of exactly this size.
SELECT * FROM checkpoints WHERE size = :size;

-- name: checkpoints_covering(indexes)
-- For each index the first checkpoint that is larger.
SELECT wanted.log_index, checkpoint.*
FROM unnest(:indexes::bigint[]) AS wanted (log_index)
CROSS JOIN LATERAL (
  SELECT * FROM checkpoints WHERE size > wanted.log_index ORDER BY size LIMIT 1
) AS checkpoint;

-- name: cosignatures(sizes)
-- The cosignatures on checkpoints of these sizes, by size and witness.
SELECT * FROM cosignatures
WHERE size = ANY(:sizes::bigint[])
ORDER BY size, witness;

-- name: cosigned_from(first, witnesses, least, limit)
-- Sizes, from one on and in order, that at least so many of these witnesses cosigned.
SELECT size FROM cosignatures
WHERE size >= :first AND witness = ANY(:witnesses::text[])
GROUP BY size
HAVING count(*) >= :least
ORDER BY size
LIMIT :limit;

-- name: cosigned_up_to(last, witnesses, least, limit)
-- The same up to a size, the largest first.
SELECT size FROM cosignatures
WHERE size <= :last AND witness = ANY(:witnesses::text[])
GROUP BY size
HAVING count(*) >= :least
ORDER BY size DESC
LIMIT :limit;

-- name: first_timestamps(first)
-- Of each authority its first token at or after a size. Steps from authority to
-- authority along the key.
WITH RECURSIVE authorities (name) AS (
  SELECT min(authority) FROM timestamps
  UNION ALL
  SELECT (
    SELECT min(more.authority) FROM timestamps AS more
    WHERE more.authority > authorities.name
  )
  FROM authorities
  WHERE authorities.name IS NOT NULL
)
SELECT token.*
FROM authorities
CROSS JOIN LATERAL (
  SELECT * FROM timestamps
  WHERE authority = authorities.name AND size >= :first
  ORDER BY size
  LIMIT 1
) AS token
ORDER BY token.authority;

-- name: timestamps(sizes)
-- The tokens on checkpoints of these sizes, by size and authority.
SELECT * FROM timestamps
WHERE size = ANY(:sizes::bigint[])
ORDER BY size, authority;

-- name: vouched(first, limit)
-- Sizes, from one on and in order, that anybody has cosigned or stamped: with the
-- checkpoint, and how many have.
WITH sizes (size) AS (
  (SELECT DISTINCT size FROM cosignatures WHERE size >= :first ORDER BY 1 LIMIT :limit)
  UNION
  (SELECT DISTINCT size FROM timestamps WHERE size >= :first ORDER BY 1 LIMIT :limit)
  ORDER BY 1
  LIMIT :limit
)
SELECT size, note, signed_ms,
  (SELECT count(*) FROM cosignatures AS own WHERE own.size = sizes.size)
    AS cosignatures,
  (SELECT count(*) FROM timestamps AS own WHERE own.size = sizes.size) AS timestamps
FROM sizes JOIN checkpoints USING (size)
ORDER BY size;

-- name: last_timestamp(authority)^
-- The token of an authority on the largest checkpoint.
SELECT * FROM timestamps WHERE authority = :authority ORDER BY size DESC LIMIT 1;

-- name: tiles(levels, indexes)
-- Tiles by level and index.
SELECT tiles.*
FROM unnest(:levels::integer[], :indexes::bigint[]) AS wanted (level, tile_index)
JOIN tiles USING (level, tile_index);

-- name: statements(indexes)
-- Entries by log index, in any order.
SELECT * FROM statements WHERE log_index = ANY(:indexes::bigint[]);

-- name: find_statement(digest)^
-- The entry with this digest.
SELECT * FROM statements WHERE digest = :digest;

-- name: digests(first, past)
-- The digests of a range of entries.
SELECT digest FROM statements
WHERE log_index >= :first AND log_index < :past
ORDER BY log_index;

-- name: chain(referral_id)
-- All statements about one referral, in the log's order.
SELECT * FROM statements
WHERE referral_id = :referral_id AND referral_id <> ''
ORDER BY log_index;

-- name: history(kind, subject)
-- All statements of one kind about one subject, in the log's order.
SELECT * FROM statements
WHERE kind = :kind AND subject = :subject
ORDER BY log_index;

-- name: referral(referral_id)^
-- One referral.
SELECT * FROM referrals WHERE referral_id = :referral_id;

-- name: children(referral_id)
-- Ids of the referrals into which this one was transferred, in the log's order.
SELECT referral_id FROM referrals
WHERE parent_id = :referral_id AND parent_id <> ''
ORDER BY log_index;

-- name: deliveries(referral_ids)
-- The deliveries of these referrals, in any order.
SELECT * FROM deliveries WHERE referral_id = ANY(:referral_ids::text[]);

-- name: published(publisher, before, limit)
-- Accepted referrals of a publisher, newest first, before a log index.
SELECT * FROM referrals
WHERE publisher = :publisher AND NOT rejected AND log_index < :before
ORDER BY log_index DESC
LIMIT :limit;

-- name: received(recipient, before, limit)
-- Accepted referrals to a recipient, newest first, before a log index. OFFSET 0 keeps the
-- condition outside, and so the server from an index for it.
SELECT referral.*
FROM deliveries
CROSS JOIN LATERAL (
  SELECT * FROM referrals WHERE log_index = deliveries.log_index OFFSET 0
) AS referral
WHERE recipient = :recipient AND deliveries.log_index < :before AND NOT rejected
ORDER BY deliveries.log_index DESC
LIMIT :limit;

-- name: in_jurisdictions(codes, after, limit)
-- Referrals with places of these codes, oldest first, after a log index. From each code
-- the first ones are taken, and the first ones of these.
WITH chosen AS MATERIALIZED (
  SELECT DISTINCT place.log_index
  FROM unnest(:codes::text[]) AS wanted (code)
  CROSS JOIN LATERAL (
    SELECT log_index FROM places
    WHERE code = wanted.code AND log_index > :after
    ORDER BY log_index
    LIMIT :limit
  ) AS place
  ORDER BY place.log_index
  LIMIT :limit
)
SELECT referrals.* FROM chosen JOIN referrals USING (log_index) ORDER BY log_index;

-- name: waits(recipient, now_ms)$
-- Whether claim() would find something.
SELECT EXISTS (
  SELECT 1 FROM deliveries
  WHERE recipient = :recipient AND waiting AND lease_holder = ''
) OR EXISTS (
  SELECT 1 FROM deliveries
  WHERE recipient = :recipient AND waiting AND lease_holder <> ''
    AND lease_until_ms <= :now_ms
);

-- name: retractions_pending(recipient)
-- Ids of referrals whose retraction this recipient has not answered, oldest first.
SELECT referral_id FROM deliveries
WHERE recipient = :recipient AND state = 11
ORDER BY order_index;

-- name: feed(member, topic, after, limit)
-- Log indexes that the member is to hear of, in order, after one.
SELECT log_index FROM feed
WHERE member = :member AND topic = :topic AND log_index > :after
ORDER BY log_index
LIMIT :limit;

-- name: feed_before(member, topic, before, limit)
-- The same, the newest first, before one.
SELECT log_index FROM feed
WHERE member = :member AND topic = :topic AND log_index < :before
ORDER BY log_index DESC
LIMIT :limit;

-- name: intake(hotline, number)^
-- One intake.
SELECT * FROM intakes WHERE hotline = :hotline AND number = :number;

-- name: last_intake(hotline)^
-- A hotline's intake with the largest number.
SELECT * FROM intakes WHERE hotline = :hotline ORDER BY number DESC LIMIT 1;

-- name: last_in_jurisdiction(hotline, code)$
-- The largest number in a jurisdiction.
SELECT max(number_in_jurisdiction) FROM intakes
WHERE hotline = :hotline AND jurisdiction = :code;

-- name: intakes_after(hotline, after, limit)
-- A hotline's intakes in order, after a number.
SELECT * FROM intakes
WHERE hotline = :hotline AND number > :after
ORDER BY number
LIMIT :limit;

-- name: intakes_in_state(hotline, state, after, limit)
-- The same, only those in one state.
SELECT * FROM intakes
WHERE hotline = :hotline AND state = :state AND number > :after
ORDER BY number
LIMIT :limit;

-- name: intake_statements(subject)
-- All statements about one intake, in the log's order: of all kinds that there are.
SELECT * FROM statements
WHERE subject = :subject AND kind IN (
  'intake', 'withholding', 'rejection', 'hold', 'link', 'warning', 'breach'
)
ORDER BY log_index;

-- name: due(now_ms, limit)^
-- The keys of deliveries, and those of intakes, whose alarm is due, the longest due
-- first.
SELECT
  ARRAY(
    SELECT ROW(referral_id, recipient) FROM deliveries
    WHERE alarm_ms > 0 AND alarm_ms <= :now_ms
    ORDER BY alarm_ms
    LIMIT :limit
  ) AS deliveries,
  ARRAY(
    SELECT ROW(hotline, number) FROM intakes
    WHERE alarm_ms > 0 AND alarm_ms <= :now_ms
    ORDER BY alarm_ms
    LIMIT :limit
  ) AS intakes;

-- name: next_alarm()$
-- When the first alarm of all is.
SELECT least(
  (SELECT min(alarm_ms) FROM deliveries WHERE alarm_ms > 0),
  (SELECT min(alarm_ms) FROM intakes WHERE alarm_ms > 0)
);

-- name: policies()
-- All policy sets, oldest first, without their files.
SELECT log_index, digest, version, '' AS files FROM policies ORDER BY log_index;

-- name: policy(digest)^
-- The policy set with this digest that was put in force last; of all, if it is empty.
SELECT * FROM policies
WHERE digest = :digest OR length(:digest) = 0
ORDER BY log_index DESC
LIMIT 1;

-- name: content(digest)
-- The secret, and the encrypted pieces, of complete content, in order.
SELECT secret, data
FROM contents
JOIN content_secrets USING (content_id)
JOIN content_chunks USING (content_id)
WHERE digest = :digest AND uploader = ''
ORDER BY position;

-- name: expired(now_ms, limit)
-- Ids of accepted referrals whose content is due for erasure, the longest due first.
SELECT referral_id FROM referrals
WHERE NOT rejected AND NOT erased AND expire_ms <= :now_ms
ORDER BY expire_ms
LIMIT :limit;

-- name: retracted_parents(limit)
-- Ids of referrals that were retracted and have a child that does not say so yet.
SELECT referral_id FROM referrals AS parent
WHERE retracted AND EXISTS (
  SELECT 1 FROM referrals AS child
  WHERE child.parent_id = parent.referral_id AND child.parent_id <> ''
    AND NOT child.rejected AND NOT (child.erased AND child.retracted)
)
LIMIT :limit;

-- name: members()
-- All present directory entries, by name.
SELECT * FROM members ORDER BY name;

-- name: token(token_id)^
-- One enrolment token.
SELECT * FROM tokens WHERE token_id = :token_id;

-- name: member_tokens(member)
-- Enrolment tokens of one member.
SELECT * FROM tokens WHERE member = :member ORDER BY token_id;

-- name: state_counts()
-- How many deliveries are in each state.
SELECT state, deliveries FROM delivery_counts WHERE deliveries > 0;

-- name: oldest_waiting()
-- When the oldest waiting delivery of each urgency was accepted. Steps from urgency to
-- urgency along the index, since counting through a long queue takes long.
WITH RECURSIVE classes (urgency) AS (
  SELECT min(urgency) FROM deliveries WHERE waiting
  UNION ALL
  SELECT (
    SELECT min(more.urgency) FROM deliveries AS more
    WHERE more.waiting AND more.urgency > classes.urgency
  )
  FROM classes
  WHERE classes.urgency IS NOT NULL
)
SELECT classes.urgency, referrals.accepted_ms
FROM classes
CROSS JOIN LATERAL (
  SELECT log_index FROM deliveries
  WHERE waiting AND urgency = classes.urgency
  ORDER BY order_index
  LIMIT 1
) AS oldest
JOIN referrals USING (log_index);
