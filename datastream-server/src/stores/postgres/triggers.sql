-- The triggers. They fire whatever session_replication_role says, as in a replay of other logs.
DROP TRIGGER IF EXISTS datastream_note ON {table};
CREATE TRIGGER datastream_note AFTER INSERT OR UPDATE OR DELETE ON {table}
  FOR EACH ROW EXECUTE FUNCTION datastream.note();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER datastream_note;

DROP TRIGGER IF EXISTS datastream_truncate ON {table};
CREATE TRIGGER datastream_truncate AFTER TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION datastream.note();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER datastream_truncate;

-- The turn is taken when all else of a transaction is done, and not before: who was given it earlier would keep it while
-- waiting for the rows of others, who wait for the turn.
DROP TRIGGER IF EXISTS datastream_follow ON datastream.pending;
CREATE CONSTRAINT TRIGGER datastream_follow AFTER INSERT ON datastream.pending
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION datastream.follow();
ALTER TABLE datastream.pending ENABLE ALWAYS TRIGGER datastream_follow;
