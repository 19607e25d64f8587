-- Takes out what schema.sql and triggers.sql have added. The triggers go with the functions that they call.
DROP VIEW IF EXISTS datastream.difference CASCADE;
DROP FUNCTION IF EXISTS datastream.follow(), datastream.note_truncation(), datastream.follow_truncation() CASCADE;
DROP FUNCTION IF EXISTS datastream.compare(), datastream.note(text, bytea, text), datastream.turn();
DROP TABLE IF EXISTS datastream.truncated, datastream.turn, datastream.request, datastream.log, datastream.token,
  datastream.meta;
DROP SEQUENCE IF EXISTS datastream.head;
