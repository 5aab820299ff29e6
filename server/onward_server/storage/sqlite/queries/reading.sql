-- Nearly every query here returns one value: its rows as JSON, with commas between, or
-- NULL for no row (why: views.sql). Lists come in as JSON arrays, digests as in
-- writing.sql.

-- name: head()$
-- The newest checkpoint.
SELECT row FROM checkpoint_rows WHERE size = (SELECT max(size) FROM checkpoints);

-- name: standing()$
-- [the newest checkpoint, the newest entries that changed the directory and the policy].
SELECT json_array(
  json((
    SELECT row FROM checkpoint_rows WHERE size = (SELECT max(size) FROM checkpoints)
  )),
  (SELECT max(log_index) FROM members),
  (SELECT max(log_index) FROM policies)
);

-- name: checkpoint(size)$
-- The checkpoint of exactly this size.
SELECT row FROM checkpoint_rows WHERE size = :size;

-- name: checkpoints_covering(indexes)$
-- For each index the first checkpoint that is larger: [index, checkpoint].
SELECT group_concat('[' || wanted.value || ',' || row || ']')
FROM json_each(:indexes) AS wanted
JOIN checkpoint_rows ON size = (
  SELECT min(size) FROM checkpoints WHERE size > wanted.value
);

-- name: cosignatures(sizes)$
-- The cosignatures on checkpoints of these sizes, by size and witness.
SELECT group_concat(row)
FROM (
  SELECT row FROM json_each(:sizes) AS wanted
  JOIN cosignature_rows ON size = wanted.value
  ORDER BY size, witness
);

-- name: cosigned_from(first, witnesses, least, limit)$
-- Sizes, from one on and in order, that at least so many of these witnesses cosigned.
SELECT group_concat(size)
FROM (
  SELECT size FROM cosignatures
  WHERE size >= :first AND witness IN (SELECT value FROM json_each(:witnesses))
  GROUP BY size
  HAVING count(*) >= :least
  ORDER BY size
  LIMIT :limit
);

-- name: cosigned_up_to(last, witnesses, least, limit)$
-- The same up to a size, the largest first.
SELECT group_concat(size)
FROM (
  SELECT size FROM cosignatures
  WHERE size <= :last AND witness IN (SELECT value FROM json_each(:witnesses))
  GROUP BY size
  HAVING count(*) >= :least
  ORDER BY size DESC
  LIMIT :limit
);

-- name: first_timestamps(first)$
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
SELECT group_concat(row)
FROM authorities
JOIN timestamp_rows ON authority = authorities.name AND size = (
  SELECT min(size) FROM timestamps
  WHERE authority = authorities.name AND size >= :first
);

-- name: last_timestamp(authority)$
-- The token of an authority on the largest checkpoint.
SELECT row FROM timestamp_rows
WHERE authority = :authority AND size = (
  SELECT max(size) FROM timestamps WHERE authority = :authority
);

-- name: vouched(first, limit)$
-- Sizes, from one on and in order, that anybody has cosigned or stamped: with the
-- checkpoint, and how many have.
WITH sizes (size) AS (
  SELECT * FROM (
    SELECT DISTINCT size FROM cosignatures
    WHERE size >= :first ORDER BY size LIMIT :limit
  )
  UNION
  SELECT * FROM (
    SELECT DISTINCT size FROM timestamps
    WHERE size >= :first ORDER BY size LIMIT :limit
  )
  ORDER BY 1
  LIMIT :limit
)
SELECT group_concat(row)
FROM (
  SELECT json_array(
    size, note, signed_ms,
    (SELECT count(*) FROM cosignatures AS own WHERE own.size = sizes.size),
    (SELECT count(*) FROM timestamps AS own WHERE own.size = sizes.size)
  ) AS row
  FROM sizes JOIN checkpoints USING (size)
  ORDER BY size
);

-- name: timestamps(sizes)$
-- The tokens on checkpoints of these sizes, by size and authority.
SELECT group_concat(row)
FROM (
  SELECT row FROM json_each(:sizes) AS wanted
  JOIN timestamp_rows ON size = wanted.value
  ORDER BY size, authority
);

-- name: tiles(coordinates)$
-- Tiles by [level, index].
SELECT group_concat(row)
FROM json_each(:coordinates) AS wanted
JOIN tile_rows
  ON level = wanted.value ->> 0 AND tile_index = wanted.value ->> 1;

-- name: statements(indexes)$
-- Entries by log index, in any order.
SELECT group_concat(row)
FROM json_each(:indexes) AS wanted
JOIN statement_rows ON log_index = wanted.value;

-- name: find_statement(digest)$
-- The entry with this digest.
SELECT row FROM statement_rows WHERE digest = :digest;

-- name: statement_keys(rows, data)$
-- Entries with these digests, without their JWS.
SELECT group_concat(
  json_array(
    log_index, hex(digest), '', kind, referral_id, subject, logged_ms, json(places)
  )
)
FROM json_each(:rows) AS wanted
JOIN statements ON digest = substr(:data, wanted.value ->> 0, wanted.value ->> 1);

-- name: digests(first, past)$
-- The digests of a range of entries in hexadecimal, one after the other.
SELECT group_concat(hex(digest), '')
FROM (
  SELECT digest FROM statements
  WHERE log_index >= :first AND log_index < :past
  ORDER BY log_index
);

-- name: chain(referral_id)$
-- All statements about one referral, in the log's order.
SELECT group_concat(row)
FROM (
  SELECT row FROM statement_rows
  WHERE referral_id = :referral_id AND referral_id <> ''
  ORDER BY log_index
);

-- name: history(kind, subject)$
-- All statements of one kind about one subject, in the log's order.
SELECT group_concat(row)
FROM (
  SELECT row FROM statement_rows
  WHERE kind = :kind AND subject = :subject
  ORDER BY log_index
);

-- name: referrals(referral_ids)$
-- Referrals by id, in any order.
SELECT group_concat(row)
FROM json_each(:referral_ids) AS wanted
JOIN referral_rows ON referral_id = wanted.value;

-- name: children(referral_id)$
-- Ids of the referrals into which this one was transferred, in the log's order.
SELECT group_concat(json_quote(referral_id))
FROM (
  SELECT referral_id FROM referrals
  WHERE parent_id = :referral_id AND parent_id <> ''
  ORDER BY log_index
);

-- name: published(publisher, before, limit)$
-- Accepted referrals of a publisher, newest first, before a log index.
SELECT group_concat(row)
FROM (
  SELECT row FROM referral_rows
  WHERE publisher = :publisher AND NOT rejected AND log_index < :before
  ORDER BY log_index DESC
  LIMIT :limit
);

-- name: received(recipient, before, limit)$
-- Accepted referrals to a recipient, newest first, before a log index.
SELECT group_concat(row)
FROM (
  SELECT row FROM deliveries
  JOIN referral_rows ON referral_rows.log_index = deliveries.log_index
  WHERE recipient = :recipient AND deliveries.log_index < :before AND NOT rejected
  ORDER BY deliveries.log_index DESC
  LIMIT :limit
);

-- name: in_jurisdictions(codes, after, limit)$
-- Referrals with places of these codes, oldest first, after a log index. From each code
-- the first ones are taken, and the first ones of these.
SELECT group_concat(row)
FROM (
  SELECT row FROM referral_rows
  WHERE log_index IN (
    SELECT place.log_index
    FROM json_each(:codes) AS wanted
    JOIN places AS place ON place.code = wanted.value AND place.log_index IN (
      SELECT log_index FROM places
      WHERE code = wanted.value AND log_index > :after
      ORDER BY log_index
      LIMIT :limit
    )
  )
  ORDER BY log_index
  LIMIT :limit
);

-- name: deliveries(referral_ids)$
-- The deliveries of these referrals, in any order.
SELECT group_concat(row)
FROM json_each(:referral_ids) AS wanted
JOIN delivery_rows ON referral_id = wanted.value;

-- name: claimable(recipient, now_ms, limit)$
-- Waiting deliveries of one recipient that no stream has a lease on at this time: the
-- most urgent first, then the oldest. Those never leased and those whose lease lapsed
-- come from an index each, so that nobody steps over what others hold.
SELECT group_concat(row)
FROM (
  SELECT row, urgency, order_index FROM (
    SELECT row, urgency, order_index FROM delivery_rows
    WHERE recipient = :recipient AND waiting AND lease_holder = ''
    ORDER BY urgency, order_index
    LIMIT :limit
  )
  UNION ALL
  SELECT row, urgency, order_index FROM delivery_rows
  WHERE recipient = :recipient AND waiting AND lease_holder <> ''
    AND lease_until_ms <= :now_ms
  ORDER BY urgency, order_index
  LIMIT :limit
);

-- name: waits(recipient, now_ms)$
-- Whether claimable() would find something.
SELECT EXISTS (
  SELECT 1 FROM deliveries
  WHERE recipient = :recipient AND waiting AND lease_holder = ''
) OR EXISTS (
  SELECT 1 FROM deliveries
  WHERE recipient = :recipient AND waiting AND lease_holder <> ''
    AND lease_until_ms <= :now_ms
);

-- name: retractions_pending(recipient)$
-- Ids of referrals whose retraction this recipient has not answered, oldest first.
SELECT group_concat(json_quote(referral_id))
FROM (
  SELECT referral_id FROM deliveries
  WHERE recipient = :recipient AND state = 11
  ORDER BY order_index
);

-- name: state_counts()$
-- [state, how many deliveries are in it].
SELECT group_concat(json_array(state, deliveries))
FROM delivery_counts
WHERE deliveries > 0;

-- name: oldest_waiting()$
-- [urgency, when the oldest waiting delivery of it was accepted]. Steps from urgency to
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
SELECT group_concat(json_array(classes.urgency, referrals.accepted_ms))
FROM classes
JOIN referrals ON referrals.log_index = (
  SELECT oldest.log_index FROM deliveries AS oldest
  WHERE oldest.waiting AND oldest.urgency = classes.urgency
  ORDER BY oldest.order_index
  LIMIT 1
);

-- name: intakes(numbers)$
-- Intakes by [hotline, number], in any order.
SELECT group_concat(row)
FROM json_each(:numbers) AS wanted
JOIN intake_rows ON hotline = wanted.value ->> 0 AND number = wanted.value ->> 1;

-- name: last_intakes(hotlines)$
-- Of each hotline the intake with the largest number.
SELECT group_concat(row)
FROM json_each(:hotlines) AS wanted
JOIN intake_rows ON hotline = wanted.value AND number = (
  SELECT max(number) FROM intakes WHERE hotline = wanted.value
);

-- name: last_in_jurisdictions(books)$
-- Of each [hotline, code]: [hotline, code, the largest number there].
SELECT group_concat(json_array(wanted.value ->> 0, wanted.value ->> 1, last))
FROM (
  SELECT value, (
    SELECT max(number_in_jurisdiction) FROM intakes
    WHERE hotline = value ->> 0 AND jurisdiction = value ->> 1
  ) AS last
  FROM json_each(:books)
) AS wanted
WHERE last IS NOT NULL;

-- name: intakes_after(hotline, after, limit)$
-- A hotline's intakes in order, after a number.
SELECT group_concat(row)
FROM (
  SELECT row FROM intake_rows
  WHERE hotline = :hotline AND number > :after
  ORDER BY number
  LIMIT :limit
);

-- name: intakes_in_state(hotline, state, after, limit)$
-- The same, only those in one state.
SELECT group_concat(row)
FROM (
  SELECT row FROM intake_rows
  WHERE hotline = :hotline AND state = :state AND number > :after
  ORDER BY number
  LIMIT :limit
);

-- name: intake_statements(subject)$
-- All statements about one intake, in the log's order: of all kinds that there are.
SELECT group_concat(row)
FROM (
  SELECT row FROM statement_rows
  WHERE subject = :subject AND kind IN (
    'intake', 'withholding', 'rejection', 'hold', 'link', 'warning', 'breach'
  )
  ORDER BY log_index
);

-- name: due(now_ms, limit)$
-- The keys of deliveries, and those of intakes, whose alarm is due, the longest due
-- first.
SELECT json_array(
  json((
    SELECT json_group_array(json_array(referral_id, recipient))
    FROM (
      SELECT referral_id, recipient FROM deliveries
      WHERE alarm_ms > 0 AND alarm_ms <= :now_ms
      ORDER BY alarm_ms
      LIMIT :limit
    )
  )),
  json((
    SELECT json_group_array(json_array(hotline, number))
    FROM (
      SELECT hotline, number FROM intakes
      WHERE alarm_ms > 0 AND alarm_ms <= :now_ms
      ORDER BY alarm_ms
      LIMIT :limit
    )
  ))
);

-- name: next_alarm()$
-- When the first alarm of all is.
SELECT min(alarm_ms)
FROM (
  SELECT min(alarm_ms) AS alarm_ms FROM deliveries WHERE alarm_ms > 0
  UNION ALL
  SELECT min(alarm_ms) FROM intakes WHERE alarm_ms > 0
);

-- name: feed(member, topic, after, limit)$
-- Log indexes that the member is to hear of, in order, after one.
SELECT group_concat(log_index)
FROM (
  SELECT log_index FROM feed
  WHERE member = :member AND topic = :topic AND log_index > :after
  ORDER BY log_index
  LIMIT :limit
);

-- name: feed_before(member, topic, before, limit)$
-- The same, the newest first, before one.
SELECT group_concat(log_index)
FROM (
  SELECT log_index FROM feed
  WHERE member = :member AND topic = :topic AND log_index < :before
  ORDER BY log_index DESC
  LIMIT :limit
);

-- name: expired(now_ms, limit)$
-- Ids of accepted referrals whose content is due for erasure, the longest due first.
SELECT group_concat(json_quote(referral_id))
FROM (
  SELECT referral_id FROM referrals
  WHERE NOT rejected AND NOT erased AND expire_ms <= :now_ms
  ORDER BY expire_ms
  LIMIT :limit
);

-- name: retracted_parents(limit)$
-- Ids of referrals that were retracted and have a child that does not say so yet.
SELECT group_concat(json_quote(referral_id))
FROM (
  SELECT parent.referral_id FROM referrals AS parent INDEXED BY referrals_retracted
  WHERE parent.retracted AND EXISTS (
    SELECT 1 FROM referrals AS child
    WHERE child.parent_id = parent.referral_id AND child.parent_id <> ''
      AND NOT child.rejected AND NOT (child.erased AND child.retracted)
  )
  LIMIT :limit
);

-- name: contents(rows, data)$
-- Of these digests, those of complete content, also when it is erased by now: [digest,
-- the referral that names it].
SELECT group_concat(json_array(hex(digest), referral_id))
FROM json_each(:rows) AS wanted
JOIN contents
  ON digest = substr(:data, wanted.value ->> 0, wanted.value ->> 1) AND uploader = '';

-- name: upload(digest, uploader)^
-- Id and secret of an unfinished upload.
SELECT contents.content_id, content_secrets.secret
FROM contents
JOIN content_secrets ON content_secrets.content_id = contents.content_id
WHERE contents.digest = :digest AND contents.uploader = :uploader;

-- name: content(digest)
-- The secret, and the encrypted pieces, of complete content, in order: the one query
-- that returns several rows.
SELECT content_secrets.secret, content_chunks.data
FROM contents
JOIN content_secrets ON content_secrets.content_id = contents.content_id
JOIN content_chunks ON content_chunks.content_id = contents.content_id
WHERE contents.digest = :digest AND contents.uploader = ''
ORDER BY content_chunks.position;

-- name: members()$
-- All present directory entries, by name.
SELECT group_concat(row) FROM (SELECT row FROM member_rows ORDER BY name);

-- name: tokens(token_ids)$
-- Enrolment tokens by id, in any order.
SELECT group_concat(row)
FROM json_each(:token_ids) AS wanted
JOIN token_rows ON token_id = wanted.value;

-- name: member_tokens(member)$
-- Enrolment tokens of one member.
SELECT group_concat(row)
FROM (SELECT row FROM token_rows WHERE member = :member ORDER BY token_id);

-- name: policies()$
-- All policy sets, oldest first, without their files.
SELECT group_concat(row)
FROM (
  SELECT json_array(log_index, hex(digest), version, '') AS row FROM policies
  ORDER BY log_index
);

-- name: policy(digest)$
-- The policy set with this digest that was put in force last; of all, if it is empty.
SELECT row FROM policy_rows WHERE log_index = (
  SELECT max(log_index) FROM policies WHERE digest = :digest OR :digest = x''
);
