-- What this store adds to a database beside the triggers on the user's table (capture.rs). All of it is plain SQL, so
-- that any program that opens the file, the sqlite3 shell included, keeps the log while it writes the table.

-- schema_version, identity, compacted_to, the name of the table that is served, the journal mode that the file had,
-- the trigger of the original, and whether the samples were seeded.

CREATE TABLE IF NOT EXISTS datastream_meta (name TEXT PRIMARY KEY, value);

-- One row for each change of a key; value NULL is a tombstone, key NULL the genesis. "commit" is the last
-- revision of the commit, NULL where a foreign writer made the change. value stands last, so that reading what
-- is before it never walks the pages of a long value.
CREATE TABLE IF NOT EXISTS datastream_log (
  revision INTEGER PRIMARY KEY AUTOINCREMENT,
  "commit" INTEGER,
  key TEXT,
  type TEXT,
  time TEXT,
  author TEXT,
  message TEXT,
  request_id TEXT,
  value BLOB
);
CREATE INDEX IF NOT EXISTS datastream_log_key ON datastream_log (key, revision);

-- The positions that are remembered. Drawn in the transaction of the change, whoever makes it.
CREATE TABLE IF NOT EXISTS datastream_token (
  revision INTEGER PRIMARY KEY,
  token BLOB NOT NULL,
  time TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS datastream_token_draw AFTER INSERT ON datastream_log
BEGIN
  INSERT INTO datastream_token (revision, token, time)
  VALUES (NEW.revision, randomblob(8), strftime('%Y-%m-%d %H:%M:%f', 'now'));
END;

-- The commits that were made under a name, so that one which comes again is not made again. digest is of the request,
-- revision where its commit ended.
CREATE TABLE IF NOT EXISTS datastream_request (
  id TEXT PRIMARY KEY,
  digest INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  time TEXT NOT NULL
);

-- The one way into the log: what a key holds now, in whatever form a program wrote it. Both views hold nothing. That
-- all of it is VALUES, and the condition a WHEN, spares SQLite a temporary table for each.
CREATE VIEW IF NOT EXISTS datastream_capture (key, value, value_type, time) AS
SELECT NULL, NULL, NULL, NULL WHERE 0;
-- Of an earlier version, which did what the two below do.
DROP TRIGGER IF EXISTS datastream_capture_insert;
CREATE TRIGGER IF NOT EXISTS datastream_capture_typed INSTEAD OF INSERT ON datastream_capture
WHEN typeof(NEW.key) = 'text'
BEGIN
  INSERT INTO datastream_change (key, value, type, time) VALUES (
    NEW.key,
    -- A number with a fraction is written with as many digits as it needs, by every version of SQLite.
    CAST(CASE WHEN typeof(NEW.value) <> 'real' THEN NEW.value
      WHEN CAST(printf('%!.15g', NEW.value) AS REAL) = NEW.value THEN printf('%!.15g', NEW.value)
      ELSE printf('%!.17g', NEW.value) END AS BLOB),
    CASE WHEN NEW.value IS NULL THEN NULL ELSE coalesce(
      nullif(CAST(NEW.value_type AS TEXT), ''),
      CASE typeof(NEW.value)
        WHEN 'integer' THEN 'int' WHEN 'real' THEN 'float' WHEN 'text' THEN 'string' ELSE 'bytes'
      END
    ) END,
    coalesce(strftime('%Y-%m-%d %H:%M:%f', NEW.time), strftime('%Y-%m-%d %H:%M:%f', 'now'))
  );
END;

-- A value in the form of the log. Logged only if it differs from what the log has last.
CREATE VIEW IF NOT EXISTS datastream_change (key, value, type, time) AS
SELECT NULL, NULL, NULL, NULL WHERE 0;
CREATE TRIGGER IF NOT EXISTS datastream_change_insert INSTEAD OF INSERT ON datastream_change
WHEN NEW.value IS NOT (SELECT value FROM datastream_log WHERE key = NEW.key ORDER BY revision DESC LIMIT 1)
  OR NEW.type IS NOT (SELECT type FROM datastream_log WHERE key = NEW.key ORDER BY revision DESC LIMIT 1)
BEGIN
  INSERT INTO datastream_log (key, value, type, time) VALUES (NEW.key, NEW.value, NEW.type, NEW.time);
END;
