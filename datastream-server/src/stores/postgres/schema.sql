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
-- Asked for before: the command itself would lock the log although the index is there.
DO $$ BEGIN
  IF to_regclass('datastream.log_key') IS NULL THEN
    CREATE INDEX log_key ON datastream.log (key, revision);
  END IF;
END $$;

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

-- Whether each statement of this transaction sees what others have committed by then, and none an earlier moment.
CREATE OR REPLACE FUNCTION datastream.sees_latest() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')
$$;

-- The revision of this transaction, and with it the turn, until the transaction ends. It is asked for when a transaction
-- is about to be committed: nobody else can be given one until that is done, so revisions are in the order of commits.
--
-- Not a counter in a row: a transaction that is repeatable read would fail where others have counted since it began. A
-- table's lock has no such memory, and is not held up by who only reads.
CREATE OR REPLACE FUNCTION datastream.turn() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  place tid := substring(current_setting('datastream.place', true) FROM '^[(][0-9]{1,9},[0-9]{1,4}[)]$');
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
  IF datastream.sees_latest() THEN
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
-- of one that does not see the latest. Whoever sees a row may delete it: its transaction has ended. Not logged, since
-- nothing of it outlives a crash.
--
-- The rows of the user's table are not followed late themselves: a table with such triggers cannot be altered or truncated
-- by a transaction that has written it.
CREATE UNLOGGED TABLE IF NOT EXISTS datastream.pending (
  key text, value bytea, type text, is_compared boolean NOT NULL DEFAULT false
);

-- Notes the keys of rows; of a transaction that does not see the latest the rest, too. A key that no index would hold is
-- left out, so that its writer does not fail. Nor does one whose row is not what it was when a session made its plans:
-- then all is compared.
CREATE OR REPLACE FUNCTION datastream.note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was text;
  becomes text;
  its_value bytea;
  its_type text;
BEGIN
  BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
      was := OLD.key;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
      becomes := NEW.key;
      IF NOT datastream.sees_latest() THEN
        EXECUTE $read$
          SELECT {value}, {type} FROM (SELECT ($1).*) AS held WHERE held.value IS NOT NULL
        $read$ INTO its_value, its_type USING NEW;
      END IF;
    END IF;
  EXCEPTION WHEN syntax_error_or_access_rule_violation THEN
    INSERT INTO datastream.pending (key) VALUES (NULL);
    RETURN NULL;
  END;
  IF TG_OP = 'TRUNCATE' THEN
    INSERT INTO datastream.pending (key) VALUES (NULL);
  END IF;
  IF was IS DISTINCT FROM becomes AND octet_length(was) <= 2000 THEN
    INSERT INTO datastream.pending (key) VALUES (was);
  END IF;
  IF octet_length(becomes) <= 2000 THEN
    INSERT INTO datastream.pending (key, value, type) VALUES (becomes, its_value, its_type);
  END IF;
  IF pg_trigger_depth() > 1 THEN
    -- A trigger of the user's has written this, in a statement that is noted after it: what was noted is not the end.
    PERFORM set_config('datastream.is_nested', 'yes', true);
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

-- What the table holds of a key; nothing, if that is not known any more.
CREATE OR REPLACE FUNCTION datastream.look_up(wanted text, OUT value bytea, OUT type text, OUT is_known boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  -- Of two rows that are seen the one that was made last.
  SELECT {value}, {type} INTO value, type FROM {table} AS held WHERE held.key = wanted AND held.value IS NOT NULL
  ORDER BY age(held.xmin) LIMIT 1;
  is_known := true;
EXCEPTION WHEN syntax_error_or_access_rule_violation THEN
  -- It is another since it was written: no reason to keep the commit from being made.
  is_known := false;
END $$;

-- Whether the log has something else of a key. What others have logged since is not seen by who sees an earlier moment.
CREATE OR REPLACE FUNCTION datastream.differs(wanted text, its_value bytea, its_type text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
  logged record;
BEGIN
  IF NOT datastream.sees_latest() THEN
    RETURN true;
  END IF;
  SELECT log.value, log.type INTO logged FROM datastream.log AS log WHERE log.key = wanted
  ORDER BY log.revision DESC LIMIT 1;
  RETURN (its_value, its_type) IS DISTINCT FROM (logged.value, logged.type);
END $$;

-- Logs what a key holds when its transaction is about to be committed, if the log has something else.
CREATE OR REPLACE FUNCTION datastream.follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_held record;
BEGIN
  -- In a copy of the schema alone there is no history, until a server begins one.
  IF NOT EXISTS (SELECT FROM datastream.meta) THEN
    RETURN NULL;
  END IF;
  IF NEW.key IS NULL THEN
    BEGIN
      PERFORM datastream.compare();
    EXCEPTION WHEN syntax_error_or_access_rule_violation THEN
      NULL;
    END;
    RETURN NULL;
  END IF;
  IF NOT datastream.sees_latest() AND NOT NEW.is_compared
    AND coalesce(current_setting('datastream.is_nested', true), '') = '' THEN
    -- Who sees an earlier moment sees a row there that others have deleted since, beside the one that it made in its
    -- place. And where it is serializable, a search would count as a read of the rows beside it, and make those fail who
    -- write these.
    SELECT NEW.value AS value, NEW.type AS type, true AS is_known INTO now_held;
  ELSE
    SELECT * INTO now_held FROM datastream.look_up(NEW.key);
  END IF;
  IF NOT now_held.is_known OR NOT datastream.differs(NEW.key, now_held.value, now_held.type) THEN
    RETURN NULL;
  END IF;
  IF NEW.is_compared THEN
    -- Who has written a key has it until the end; others may have changed one that was only compared, before their turn.
    PERFORM datastream.turn();
    SELECT * INTO now_held FROM datastream.look_up(NEW.key);
  END IF;
  INSERT INTO datastream.log (revision, key, type, time, author, message, request_id, value)
  VALUES (datastream.turn(), NEW.key, now_held.type, clock_timestamp(),
    left(nullif(current_setting('datastream.author', true), ''), 1024),
    left(nullif(current_setting('datastream.message', true), ''), 1024),
    left(nullif(current_setting('datastream.request', true), ''), 1024), now_held.value)
  ON CONFLICT (revision, key) DO UPDATE SET value = excluded.value, type = excluded.type, time = excluded.time;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION datastream.sees_latest(), datastream.turn(), datastream.difference(), datastream.compare(),
  datastream.note(), datastream.look_up(text), datastream.differs(text, bytea, text), datastream.follow() FROM PUBLIC;
