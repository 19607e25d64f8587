"""Writes a SQLite file as the settings server of the Go original does, and reads it as that one does.

    writer.py FILE

Makes table, trigger and seeds as the original makes them at its start. Then it obeys lines on its standard input, and
answers each with one line:

    write KEY VALUE    an update through its PushUpdate, which is INSERT OR REPLACE
    update KEY VALUE   an UPDATE, as by a person: the trigger stamps the row
    read KEY           the value, the type and the time, as its Sync would give them
"""

import sqlite3
import sys
from datetime import datetime, timezone

SCHEMA = """
CREATE TABLE IF NOT EXISTS data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT,
  updated_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TRIGGER IF NOT EXISTS set_updated_at BEFORE UPDATE ON data FOR EACH ROW BEGIN
  UPDATE data SET updated_at = CURRENT_TIMESTAMP WHERE key = OLD.key;
END;
"""
SEEDS = [("max_connections", b"10", "int"), ("rate_limit", b"1000", "int"), ("debug_enabled", b"false", "bool")]


def replace(connection, key, value, value_type):
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    connection.execute(
        "INSERT OR REPLACE INTO data (key, value, value_type, updated_at) VALUES (?, ?, ?, ?)",
        (key, value, value_type, now),
    )


def read(connection, key):
    row = connection.execute("SELECT value, value_type, updated_at FROM data WHERE key = ?", (key,)).fetchone()
    if row is None:
        return "none"
    value, value_type, time = row
    # Its reader knows these two forms and no other.
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"):
        try:
            datetime.strptime(time, form)
            break
        except ValueError:
            continue
    else:
        return "a time that the original cannot read"
    return (value if isinstance(value, bytes) else str(value).encode()).decode() + " " + value_type


def main(file):
    connection = sqlite3.connect(file, isolation_level=None, timeout=30)
    connection.executescript(SCHEMA)
    for key, value, value_type in SEEDS:
        replace(connection, key, value, value_type)
    print("ready", flush=True)
    for line in sys.stdin:
        verb, key, *value = line.split()
        if verb == "write":
            replace(connection, key, value[0].encode(), "int")
            print("done", flush=True)
        elif verb == "update":
            connection.execute("UPDATE data SET value = ? WHERE key = ?", (value[0].encode(), key))
            print("done", flush=True)
        else:
            print(read(connection, key), flush=True)


main(sys.argv[1])
