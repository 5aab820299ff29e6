-- What is looked at of the server itself.

-- name: settings(names)
-- Some settings, as they are for our role.
SELECT name, setting FROM pg_settings WHERE name = ANY(:names::text[]);

-- name: channel()^
-- Whether this connection stays on the machine, and whether it is encrypted.
SELECT
  coalesce(inet_server_addr() <<= ANY (ARRAY['127.0.0.0/8', '::1']::inet[]), true),
  coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false);

-- name: clock()$
-- The server's time, in milliseconds since 1970-01-01 UTC.
SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
