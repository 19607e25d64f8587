-- Takes out what schema.sql and triggers.sql have added. The triggers go with the functions that they call.
DROP FUNCTION IF EXISTS datastream.note(), datastream.follow() CASCADE;
DROP FUNCTION IF EXISTS datastream.compare(), datastream.difference(), datastream.look_up(text),
  datastream.differs(text, bytea, text), datastream.turn(), datastream.sees_latest();
DROP TABLE IF EXISTS datastream.pending, datastream.turn, datastream.request, datastream.log, datastream.token,
  datastream.meta;
DROP SEQUENCE IF EXISTS datastream.head;
