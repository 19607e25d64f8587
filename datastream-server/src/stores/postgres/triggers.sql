-- The triggers on the user's table. They fire whatever session_replication_role says, as in a replay of other logs.
-- Rows are followed when their transaction is about to be committed, and not before: who was given the turn earlier
-- would keep it while waiting for the rows of others, who wait for the turn.
DROP TRIGGER IF EXISTS datastream_follow ON {table};
CREATE CONSTRAINT TRIGGER datastream_follow AFTER INSERT OR UPDATE OR DELETE ON {table}
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION datastream.follow();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER datastream_follow;

DROP TRIGGER IF EXISTS datastream_truncate ON {table};
CREATE TRIGGER datastream_truncate AFTER TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION datastream.note_truncation();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER datastream_truncate;

DROP TRIGGER IF EXISTS datastream_truncated ON datastream.truncated;
CREATE CONSTRAINT TRIGGER datastream_truncated AFTER INSERT ON datastream.truncated
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION datastream.follow_truncation();
ALTER TABLE datastream.truncated ENABLE ALWAYS TRIGGER datastream_truncated;
