-- What this store adds to a user's database, beside the triggers on the user's table (triggers.sql). All of it is plain
-- SQL, so that any program that writes the table keeps the log while it does. The words in braces are filled in for the
-- table (install.rs).

-- schema_version and oldest (the oldest version of this program that may use the schema), identity, compacted_to, the
-- table that is served, a digest of these definitions, and whether the samples were seeded.
CREATE TABLE IF NOT EXISTS datastream.meta (name text PRIMARY KEY, value text NOT NULL);

-- The positions that are remembered: one for each transaction that changed something. "transaction" is its number.
CREATE TABLE IF NOT EXISTS datastream.token (
  revision bigint PRIMARY KEY,
  token bytea NOT NULL,
  transaction xid8 NOT NULL,
  time timestamptz NOT NULL
);

-- One row for each key that a transaction changed; value NULL is a tombstone.
CREATE TABLE IF NOT EXISTS datastream.log (
  revision bigint,
  key text COLLATE "C",
  type text,
  time timestamptz NOT NULL,
  author text,
  message text,
  request_id text,
  value bytea,
  PRIMARY KEY (revision, key)
);
CREATE INDEX IF NOT EXISTS log_key ON datastream.log (key, revision);

-- The commits that were made under a name, so that one which comes again is not made again.
CREATE TABLE IF NOT EXISTS datastream.request (
  id text PRIMARY KEY,
  digest bigint NOT NULL,
  revision bigint NOT NULL,
  time timestamptz NOT NULL,
  number bigint GENERATED ALWAYS AS IDENTITY UNIQUE
);

-- Always empty. Whose lock it is that holds it gives out the next revision.
CREATE TABLE IF NOT EXISTS datastream.turn ();

-- The newest revision that was given out, if its transaction was committed.
CREATE SEQUENCE IF NOT EXISTS datastream.head;

-- The revision of this transaction, and with it the turn, until the transaction ends. It is asked for when a transaction
-- is about to be committed: nobody else can be given one until that is done, so revisions are in the order of commits.
--
-- Not a counter in a row: a transaction that is repeatable read would fail where others have counted since it began. A
-- table's lock has no such memory, and is not held up by who only reads.
CREATE OR REPLACE FUNCTION datastream.turn() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  setting text := current_setting('datastream.revision', true);
  mine bigint := CASE WHEN setting ~ '^[0-9]{1,18}$' THEN setting::bigint END;
  drawn bytea := substring(uuid_send(gen_random_uuid()) FROM 9);
BEGIN
  -- The setting ends with the transaction, and with the savepoint that is rolled back. Anybody may set it: the row is
  -- what counts.
  IF mine IS NOT NULL AND EXISTS (
    SELECT FROM datastream.token WHERE revision = mine AND transaction = pg_current_xact_id()
  ) THEN
    RETURN mine;
  END IF;
  LOCK TABLE datastream.turn IN EXCLUSIVE MODE;
  IF current_setting('transaction_isolation') = 'read committed' THEN
    INSERT INTO datastream.token (revision, token, transaction, time)
    SELECT max(revision) + 1, drawn, pg_current_xact_id(), clock_timestamp() FROM datastream.token
    RETURNING revision INTO mine;
  ELSE
    -- It does not see what was committed since it began. The sequence does, and the primary key is the judge. What the
    -- sequence has last is free if its transaction was rolled back, so no number is left out.
    SELECT last_value INTO mine FROM datastream.head;
    LOOP
      BEGIN
        INSERT INTO datastream.token (revision, token, transaction, time)
        VALUES (mine, drawn, pg_current_xact_id(), clock_timestamp());
        EXIT;
      EXCEPTION WHEN unique_violation THEN
        mine := mine + 1;
      END;
    END LOOP;
  END IF;
  PERFORM setval('datastream.head', mine), set_config('datastream.revision', mine::text, true);
  -- A transaction that has notified cannot be prepared for two-phase commit.
  IF current_setting('max_prepared_transactions') = '0' THEN
    PERFORM pg_notify('datastream', '');
  END IF;
  RETURN mine;
END $$;

-- Where the table is not what the log says: rows that were written past the triggers. A function and not a view, which
-- would keep the table from being dropped or altered.
CREATE OR REPLACE FUNCTION datastream.difference() RETURNS TABLE (key text, value bytea, type text, updated_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(held.key, logged.key), held.value, held.type, held.updated_at
  FROM (
    SELECT held.key::text COLLATE "C" AS key, {held.value} AS value, {held.value_type} AS type,
      {held.updated_at} AS updated_at
    FROM {table} AS held
    WHERE held.value IS NOT NULL AND held.key IS NOT NULL AND octet_length(held.key) <= 2000
  ) AS held
  FULL JOIN (
    SELECT * FROM (
      SELECT DISTINCT ON (log.key) log.key, log.value, log.type FROM datastream.log AS log
      ORDER BY log.key, log.revision DESC
    ) AS latest WHERE latest.value IS NOT NULL
  ) AS logged ON held.key = logged.key
  WHERE (held.value, held.type) IS DISTINCT FROM (logged.value, logged.type)
$$;

-- Brings the log to what the table holds. Returns how many keys differed. The table is looked at before the turn is
-- taken, since it may be large; what differs then is looked for once more.
CREATE OR REPLACE FUNCTION datastream.compare() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  mine bigint;
  changed bigint := 0;
BEGIN
  IF EXISTS (SELECT FROM datastream.difference()) THEN
    mine := datastream.turn();
    INSERT INTO datastream.log (revision, key, type, time, author, message, value)
    SELECT mine, key, CASE WHEN value IS NOT NULL THEN type END, coalesce(updated_at, clock_timestamp()),
      nullif(current_setting('datastream.author', true), ''), nullif(current_setting('datastream.message', true), ''),
      value
    FROM datastream.difference()
    ON CONFLICT (revision, key) DO UPDATE SET value = excluded.value, type = excluded.type, time = excluded.time;
    GET DIAGNOSTICS changed = ROW_COUNT;
  END IF;
  RETURN changed;
END $$;

-- What this transaction has changed, in that order, until it is committed; key NULL stands for a truncation. Whoever sees
-- a row may delete it: its transaction has ended. Not logged, since nothing of it outlives a crash.
--
-- The rows of the user's table are not followed late themselves, since a table with such triggers cannot be altered or
-- truncated by a transaction that has written it.
CREATE UNLOGGED TABLE IF NOT EXISTS datastream.pending (key text, value bytea, type text);

-- Notes the rows of the table. A key that was renamed is a tombstone and a value. A key that no index would hold is left
-- out, so that its writer does not fail.
CREATE OR REPLACE FUNCTION datastream.note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    INSERT INTO datastream.pending DEFAULT VALUES;
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' AND NEW.key IS NOT DISTINCT FROM OLD.key THEN
    IF (NEW.value, NEW.value_type) IS NOT DISTINCT FROM (OLD.value, OLD.value_type) THEN
      RETURN NULL;
    END IF;
  ELSIF TG_OP <> 'INSERT' AND OLD.value IS NOT NULL AND octet_length(OLD.key) <= 2000 THEN
    INSERT INTO datastream.pending (key) VALUES (OLD.key);
  END IF;
  IF TG_OP <> 'DELETE' AND octet_length(NEW.key) <= 2000 AND (NEW.value IS NOT NULL OR TG_OP = 'UPDATE') THEN
    INSERT INTO datastream.pending (key, value, type)
    VALUES (NEW.key, {NEW.value}, CASE WHEN NEW.value IS NOT NULL THEN {NEW.value_type} END);
  END IF;
  RETURN NULL;
END $$;

-- Moves a note into the log, when the transaction is about to be committed; the last one of a key stands.
CREATE OR REPLACE FUNCTION datastream.follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.key IS NULL THEN
    PERFORM datastream.compare();
    RETURN NULL;
  END IF;
  INSERT INTO datastream.log (revision, key, type, time, author, message, request_id, value)
  VALUES (datastream.turn(), NEW.key, NEW.type, clock_timestamp(),
    left(nullif(current_setting('datastream.author', true), ''), 1024),
    left(nullif(current_setting('datastream.message', true), ''), 1024),
    left(nullif(current_setting('datastream.request', true), ''), 1024), NEW.value)
  ON CONFLICT (revision, key) DO UPDATE SET value = excluded.value, type = excluded.type, time = excluded.time;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION datastream.turn(), datastream.difference(), datastream.compare(), datastream.note(),
  datastream.follow() FROM PUBLIC;
