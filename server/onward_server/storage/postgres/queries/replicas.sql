-- What processes on one database share their work by: advisory locks of two numbers, of
-- which the first one says what for.
--
-- 1330534212  the turn to write; held until the transaction ends
-- 1330534213  a process's *place*: the second number is its own, and its name; held as
--             long as its connection lives, so the server itself knows who is gone
-- 1330534214  the lead in a chore: the second number is a digest of its name

-- name: begin#
-- Begins a transaction, and waits for the turn to write.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT pg_advisory_xact_lock(1330534212, 0);

-- name: begin_confirming#
-- Begins a transaction that changes nothing, for what its end says.
BEGIN;

-- name: commit#
-- Commits. Who has written nothing would not wait for the standby, and yet may have read
-- what is not there yet: so where there is one, something goes into the server's log.
SELECT pg_logical_emit_message(true, 'onward', '')
WHERE pg_current_xact_id_if_assigned() IS NULL
  AND current_setting('synchronous_standby_names') <> '';
COMMIT;

-- name: take_place(number)$
-- Takes a place, unless somebody has it.
SELECT pg_try_advisory_lock(1330534213, :number);

-- name: lead(number)$
-- Takes the lead in a chore, unless somebody has it.
SELECT pg_try_advisory_lock(1330534214, :number);

-- name: living()$
-- The names of all who have a place.
SELECT array_agg(objid::text) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = 1330534213
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: facts(living, replica, again)
-- What all others who have a place, or all who are listed, joined with.
SELECT facts FROM replicas
WHERE (replica = ANY(:living::text[]) OR :again::boolean) AND replica <> :replica;

-- name: join(replica, facts, living, again)!
-- Joins; one that is new forgets whoever has no place any more.
WITH forgotten AS (
  DELETE FROM replicas WHERE replica <> ALL(:living::text[]) AND NOT :again::boolean
)
INSERT INTO replicas (replica, facts, joined_ms)
VALUES (:replica, :facts::jsonb, extract(epoch FROM clock_timestamp()) * 1000)
ON CONFLICT (replica) DO UPDATE SET
  facts = excluded.facts,
  joined_ms = excluded.joined_ms;

-- name: release_lost(living)$
-- Ends all leases of the streams of processes that have no place; returns how many.
WITH released AS (
  UPDATE deliveries SET lease_holder = '', lease_until_ms = 0
  WHERE lease_holder <> ''
    AND split_part(lease_holder, '/', 1) <> ALL(:living::text[])
  RETURNING 1
)
SELECT count(*) FROM released;

-- name: take_turn()!
-- Waits for the turn to write, in a transaction that has begun.
SELECT pg_advisory_xact_lock(1330534212, 0);

-- name: tables()^
-- Whether there is our own table of the version, whether there is any table, and whether
-- another schema of the database has an exchange: locks are the database's, so two of
-- them would take each other's leads.
SELECT to_regclass('schema_version') IS NOT NULL AS ours, EXISTS (
  SELECT 1 FROM pg_class
  WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v')
) AS any_table, EXISTS (
  SELECT 1 FROM pg_class AS version JOIN pg_class AS head USING (relnamespace)
  WHERE version.relname = 'schema_version' AND head.relname = 'checkpoints'
    AND version.oid IS DISTINCT FROM to_regclass('schema_version')
) AS elsewhere;

-- name: version()$
-- Which schema the database has.
SELECT version FROM schema_version;

-- name: is_moving()$
-- Whether an exchange is being moved into the database.
SELECT to_regclass('moving') IS NOT NULL;

-- name: forget_replicas()!
-- Forgets who has joined: nobody runs.
DELETE FROM replicas;

-- name: set_version(version)!
-- Says which schema it has now.
WITH old AS (DELETE FROM schema_version)
INSERT INTO schema_version (version) VALUES (:version);
