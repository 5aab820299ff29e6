-- What auditors ask, who look at all of a time or of a place: these queries read from
-- one end to the other, and nothing that is in a hurry waits for them.
--
-- `codes` are the auditor's jurisdictions. A code covers itself and what is within it:
-- `US` covers `US-OH`, but not `USX-A`. So both are compared with a hyphen at their end.
-- `*` covers everything.

-- name: figures(codes)^
-- The size of the log; [hotline, urgency, state, intakes]; [recipient, urgency, state,
-- deliveries]; without tests. One query, so all of it is of one state.
SELECT
  (SELECT max(size) FROM checkpoints) AS size,
  ARRAY(
    SELECT ROW(hotline, urgency, state, count(*)) FROM intakes
    WHERE NOT test AND EXISTS (
      SELECT 1 FROM unnest(:codes::text[]) AS code
      WHERE code = '*' OR starts_with(jurisdiction || '-', code || '-')
    )
    GROUP BY hotline, urgency, state
  ) AS intakes,
  ARRAY(
    SELECT ROW(recipient, deliveries.urgency, state, count(*))
    FROM deliveries
    JOIN referrals ON referrals.log_index = deliveries.log_index
    WHERE NOT test AND deliveries.log_index IN (
      SELECT log_index FROM places WHERE code = ANY(:codes::text[])
    )
    GROUP BY recipient, deliveries.urgency, state
  ) AS deliveries;

-- name: export(codes, first, past, limit)
-- Entries of a range that these jurisdictions may see, in order.
SELECT * FROM statements
WHERE log_index >= :first AND log_index < :past AND (
  places = '{}' OR EXISTS (
    SELECT 1 FROM unnest(places) AS place, unnest(:codes::text[]) AS code
    WHERE code = '*' OR starts_with(place || '-', code || '-')
  )
)
ORDER BY log_index
LIMIT :limit;

-- name: export_digests(codes, first, past)
-- The digests of all of them.
SELECT digest FROM statements
WHERE log_index >= :first AND log_index < :past AND (
  places = '{}' OR EXISTS (
    SELECT 1 FROM unnest(places) AS place, unnest(:codes::text[]) AS code
    WHERE code = '*' OR starts_with(place || '-', code || '-')
  )
)
ORDER BY log_index;

-- name: export_parties(codes)
-- Hotlines, watchers and recipients of what these jurisdictions may see, by name.
WITH seen AS MATERIALIZED (
  SELECT DISTINCT log_index FROM places WHERE code = ANY(:codes::text[])
)
SELECT hotline COLLATE "C" AS name FROM intakes
WHERE EXISTS (
  SELECT 1 FROM unnest(:codes::text[]) AS code
  WHERE code = '*' OR starts_with(jurisdiction || '-', code || '-')
)
UNION
SELECT unnest(watchers) FROM referrals JOIN seen USING (log_index)
UNION
SELECT recipient FROM deliveries JOIN seen USING (log_index)
ORDER BY name;
