-- Makes of a file that is served the one that the first schema would have left: its way into the log.
DROP VIEW datastream_capture;
DROP TRIGGER datastream_insert;
DROP TRIGGER datastream_update;
DROP TRIGGER datastream_rename;
DROP TRIGGER datastream_delete;
CREATE TRIGGER datastream_token_draw AFTER INSERT ON datastream_log
BEGIN
  INSERT INTO datastream_token (revision, token, time)
  VALUES (NEW.revision, randomblob(8), strftime('%Y-%m-%d %H:%M:%f', 'now'));
END;
CREATE VIEW datastream_capture (key, value, value_type, time) AS
SELECT NULL, NULL, NULL, NULL WHERE 0;
CREATE TRIGGER datastream_capture_typed INSTEAD OF INSERT ON datastream_capture
WHEN typeof(NEW.key) = 'text'
BEGIN
  INSERT INTO datastream_change (key, value, type, time) VALUES (
    NEW.key,
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
CREATE VIEW datastream_change (key, value, type, time) AS
SELECT NULL, NULL, NULL, NULL WHERE 0;
CREATE TRIGGER datastream_change_insert INSTEAD OF INSERT ON datastream_change
WHEN NEW.value IS NOT (SELECT value FROM datastream_log WHERE key = NEW.key ORDER BY revision DESC LIMIT 1)
  OR NEW.type IS NOT (SELECT type FROM datastream_log WHERE key = NEW.key ORDER BY revision DESC LIMIT 1)
BEGIN
  INSERT INTO datastream_log (key, value, type, time) VALUES (NEW.key, NEW.value, NEW.type, NEW.time);
END;
CREATE TRIGGER datastream_insert AFTER INSERT ON data
BEGIN
  INSERT INTO datastream_capture (key, value, value_type) VALUES (NEW.key,
    (SELECT value FROM data WHERE key = NEW.key), (SELECT value_type FROM data WHERE key = NEW.key));
END;
CREATE TRIGGER datastream_update AFTER UPDATE OF key, value, value_type ON data
BEGIN
  INSERT INTO datastream_capture (key, value, value_type) VALUES (CASE WHEN OLD.key IS NOT NEW.key THEN OLD.key END,
    (SELECT value FROM data WHERE key = CASE WHEN OLD.key IS NOT NEW.key THEN OLD.key END), (SELECT value_type FROM data WHERE key = CASE WHEN OLD.key IS NOT NEW.key THEN OLD.key END));
  INSERT INTO datastream_capture (key, value, value_type) VALUES (NEW.key,
    (SELECT value FROM data WHERE key = NEW.key), (SELECT value_type FROM data WHERE key = NEW.key));
END;
CREATE TRIGGER datastream_delete AFTER DELETE ON data
BEGIN
  INSERT INTO datastream_capture (key, value, value_type) VALUES (OLD.key,
    (SELECT value FROM data WHERE key = OLD.key), (SELECT value_type FROM data WHERE key = OLD.key));
END;
UPDATE datastream_meta SET value = 1 WHERE name = 'schema_version';
