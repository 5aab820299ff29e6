-- What auditors ask, who look at all of a time or of a place: these queries read from
-- one end to the other, and nothing that is in a hurry waits for them.
--
-- `codes` are the auditor's jurisdictions. A code covers itself and what is within it:
-- `US` covers `US-OH`, but not `USX-A`. So a place is compared with a hyphen at its end,
-- and `*` needs no rule of its own.

-- name: figures(codes)$
-- [size of the log, [hotline, urgency, state, intakes], [recipient, urgency, state,
-- deliveries]], without tests. One query, so all of it is of one state.
WITH scope (pattern) AS MATERIALIZED (
  SELECT value || '-*' FROM json_each(:codes)
)
SELECT json_array(
  (SELECT max(size) FROM checkpoints),
  json((
    SELECT json_group_array(json_array(hotline, urgency, state, intakes))
    FROM (
      SELECT hotline, urgency, state, count(*) AS intakes FROM intakes
      WHERE NOT test
        AND EXISTS (SELECT 1 FROM scope WHERE jurisdiction || '-' GLOB pattern)
      GROUP BY hotline, urgency, state
    )
  )),
  json((
    SELECT json_group_array(json_array(recipient, urgency, state, deliveries))
    FROM (
      SELECT recipient, deliveries.urgency, state, count(*) AS deliveries
      FROM deliveries
      JOIN referrals ON referrals.log_index = deliveries.log_index
      WHERE NOT test AND deliveries.log_index IN (
        SELECT log_index FROM places
        WHERE code IN (SELECT value FROM json_each(:codes))
      )
      GROUP BY recipient, deliveries.urgency, state
    )
  ))
);

-- name: export(codes, first, past, limit)$
-- Entries of a range that these jurisdictions may see, in order.
WITH scope (pattern) AS MATERIALIZED (
  SELECT value || '-*' FROM json_each(:codes)
)
SELECT group_concat(row)
FROM (
  SELECT row FROM statement_rows
  WHERE log_index >= :first AND log_index < :past AND (
    places = '[]' OR EXISTS (
      SELECT 1 FROM json_each(places) AS place
      JOIN scope ON place.value || '-' GLOB pattern
    )
  )
  ORDER BY log_index
  LIMIT :limit
);

-- name: export_digests(codes, first, past)$
-- The digests of all of them in hexadecimal, one after the other.
WITH scope (pattern) AS MATERIALIZED (
  SELECT value || '-*' FROM json_each(:codes)
)
SELECT group_concat(hex(digest), '')
FROM (
  SELECT digest FROM statements
  WHERE log_index >= :first AND log_index < :past AND (
    places = '[]' OR EXISTS (
      SELECT 1 FROM json_each(places) AS place
      JOIN scope ON place.value || '-' GLOB pattern
    )
  )
  ORDER BY log_index
);

-- name: export_parties(codes)$
-- Hotlines, watchers and recipients of what these jurisdictions may see, by name.
WITH scope (pattern) AS MATERIALIZED (
  SELECT value || '-*' FROM json_each(:codes)
),
seen (log_index) AS MATERIALIZED (
  SELECT log_index FROM places WHERE code IN (SELECT value FROM json_each(:codes))
)
SELECT group_concat(json_quote(name))
FROM (
  SELECT hotline AS name FROM intakes
  WHERE EXISTS (SELECT 1 FROM scope WHERE jurisdiction || '-' GLOB pattern)
  UNION
  SELECT value FROM referrals, json_each(watchers)
  WHERE log_index IN (SELECT log_index FROM seen)
  UNION
  SELECT recipient FROM deliveries WHERE log_index IN (SELECT log_index FROM seen)
  ORDER BY name
);
