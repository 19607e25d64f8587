-- The tables that this store adds to a database. capture.rs adds what fills them: all of it is plain SQL, so that any
-- program that opens the file, the sqlite3 shell included, keeps the log while it writes the user's table.

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

-- The commits that were made under a name, so that one which comes again is not made again. digest is of the request,
-- revision where its commit ended.
CREATE TABLE IF NOT EXISTS datastream_request (
  id TEXT PRIMARY KEY,
  digest INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  time TEXT NOT NULL
);
