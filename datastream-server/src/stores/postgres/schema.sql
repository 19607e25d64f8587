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
  place tid := substring(current_setting('datastream.place', true) FROM '^\([0-9]{1,9},[0-9]{1,4}\)$');
  mine bigint;
  drawn bytea := substring(uuid_send(gen_random_uuid()) FROM 9);
  patience text := current_setting('lock_timeout');
BEGIN
  -- The settings end with the transaction, and with the savepoint that is rolled back. Anybody may set them: the row is
  -- what counts. It is looked at where it lies: a search for it counts, where transactions are serializable, as one for
  -- the revisions beside it, and would make those fail who take these.
  SELECT revision INTO mine FROM datastream.token WHERE ctid = place AND transaction = pg_current_xact_id();
  IF FOUND THEN
    RETURN mine;
  END IF;
  -- What others have set for locks of their own must not end their commit here. Ours gives way (commit.rs).
  IF coalesce(current_setting('datastream.gives_way', true), '') = '' THEN
    PERFORM set_config('lock_timeout', '0', true);
  END IF;
  LOCK TABLE datastream.turn IN EXCLUSIVE MODE;
  PERFORM set_config('lock_timeout', patience, true);
  IF current_setting('transaction_isolation') = 'read committed' THEN
    INSERT INTO datastream.token (revision, token, transaction, time)
    SELECT max(revision) + 1, drawn, pg_current_xact_id(), clock_timestamp() FROM datastream.token
    RETURNING revision, ctid INTO mine, place;
  ELSE
    -- It does not see what was committed since it began. The sequence does, and the primary key is the judge. What the
    -- sequence has last is free if its transaction was rolled back, so no number is left out.
    SELECT last_value INTO mine FROM datastream.head;
    LOOP
      BEGIN
        INSERT INTO datastream.token (revision, token, transaction, time)
        VALUES (mine, drawn, pg_current_xact_id(), clock_timestamp()) RETURNING ctid INTO place;
        EXIT;
      EXCEPTION WHEN unique_violation THEN
        mine := mine + 1;
      END;
    END LOOP;
  END IF;
  PERFORM setval('datastream.head', mine), set_config('datastream.revision', mine::text, true),
    set_config('datastream.place', place::text, true);
  -- A transaction that has notified cannot be prepared for two-phase commit.
  IF current_setting('max_prepared_transactions') = '0' THEN
    PERFORM pg_notify('datastream', '');
  END IF;
  RETURN mine;
END $$;

-- The keys of which the table does not hold what the log says: rows that were written past the triggers. A function and
-- not a view, which would keep the table from being dropped or altered.
CREATE OR REPLACE FUNCTION datastream.difference() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(held.key, logged.key)
  FROM (
    SELECT held.key::text COLLATE "C" AS key, {value} AS value, {type} AS type FROM {table} AS held
    WHERE held.value IS NOT NULL AND octet_length(held.key) <= 2000
  ) AS held
  FULL JOIN (
    SELECT * FROM (SELECT DISTINCT ON (key) key, value, type FROM datastream.log ORDER BY key, revision DESC) AS latest
    WHERE value IS NOT NULL
  ) AS logged ON held.key = logged.key
  WHERE (held.value, held.type) IS DISTINCT FROM (logged.value, logged.type)
$$;

-- The keys that this transaction has touched, until it is committed; NULL stands for all of them. Value and type are those
-- of a serializable one. Whoever sees a row may delete it: its transaction has ended. Not logged, since nothing of it
-- outlives a crash.
--
-- The rows of the user's table are not followed late themselves: a table with such triggers cannot be altered or truncated
-- by a transaction that has written it.
CREATE UNLOGGED TABLE IF NOT EXISTS datastream.pending (
  key text, value bytea, type text, is_compared boolean NOT NULL DEFAULT false
);

-- Notes the keys of rows. A key that no index would hold is left out, so that its writer does not fail. Of the row only
-- the key is named here, or the rest in a statement that is planned anew: columns may be of another type by now than in
-- the plan that a session keeps.
CREATE OR REPLACE FUNCTION datastream.note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held datastream.pending;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    INSERT INTO datastream.pending (key) VALUES (NULL);
    RETURN NULL;
  END IF;
  IF (TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND NEW.key IS DISTINCT FROM OLD.key) AND octet_length(OLD.key) <= 2000 THEN
    INSERT INTO datastream.pending (key) VALUES (OLD.key);
  END IF;
  IF TG_OP <> 'DELETE' AND octet_length(NEW.key) <= 2000 THEN
    IF current_setting('transaction_isolation') = 'serializable' THEN
      EXECUTE $read$
        SELECT NULL, {value}, {type} FROM (SELECT ($1).*) AS held WHERE held.value IS NOT NULL
      $read$ INTO held USING NEW;
    END IF;
    INSERT INTO datastream.pending (key, value, type) VALUES (NEW.key, held.value, held.type);
  END IF;
  RETURN NULL;
END $$;

-- Brings the log to what the table holds, when this transaction ends. Returns how many keys differ.
CREATE OR REPLACE FUNCTION datastream.compare() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  differing bigint;
BEGIN
  INSERT INTO datastream.pending (key, is_compared) SELECT key, true FROM datastream.difference() AS key;
  GET DIAGNOSTICS differing = ROW_COUNT;
  RETURN differing;
END $$;

-- Logs what a key holds when its transaction is about to be committed, if the log has something else.
CREATE OR REPLACE FUNCTION datastream.follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
  now_held record;
  logged record;
BEGIN
  -- Who has written a key has it until the end; others may change one that was only compared, and have their turn first.
  IF NEW.is_compared THEN
    PERFORM datastream.turn();
  END IF;
  BEGIN
    IF NEW.key IS NULL THEN
      PERFORM datastream.compare();
      RETURN NULL;
    ELSIF current_setting('transaction_isolation') = 'serializable' AND NOT NEW.is_compared THEN
      -- A search for the row would count as a read of the rows beside it, and make those fail who write these.
      SELECT NEW.value AS value, NEW.type AS type INTO now_held;
    ELSE
      SELECT {value} AS value, {type} AS type INTO now_held FROM {table} AS held
      WHERE held.key = NEW.key AND held.value IS NOT NULL;
    END IF;
  EXCEPTION WHEN undefined_table OR undefined_column OR undefined_function OR datatype_mismatch THEN
    -- The table is another since this transaction has written it: no reason to keep its commit from being made.
    RETURN NULL;
  END;
  -- What others have logged since is not seen by who sees an earlier moment.
  IF current_setting('transaction_isolation') = 'read committed' THEN
    SELECT log.value, log.type INTO logged FROM datastream.log AS log WHERE log.key = NEW.key
    ORDER BY log.revision DESC LIMIT 1;
    IF (now_held.value, now_held.type) IS NOT DISTINCT FROM (logged.value, logged.type) THEN
      RETURN NULL;
    END IF;
  END IF;
  INSERT INTO datastream.log (revision, key, type, time, author, message, request_id, value)
  VALUES (datastream.turn(), NEW.key, now_held.type, clock_timestamp(),
    left(nullif(current_setting('datastream.author', true), ''), 1024),
    left(nullif(current_setting('datastream.message', true), ''), 1024),
    left(nullif(current_setting('datastream.request', true), ''), 1024), now_held.value)
  ON CONFLICT (revision, key) DO UPDATE SET value = excluded.value, type = excluded.type, time = excluded.time;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION datastream.turn(), datastream.difference(), datastream.compare(), datastream.note(),
  datastream.follow() FROM PUBLIC;
