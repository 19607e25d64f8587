-- The rows that are there become the first commit. Nobody can write them meanwhile: the triggers were just made.
SELECT set_config('datastream.message', 'adopted', true);
INSERT INTO datastream.log (revision, key, type, time, message, value)
SELECT datastream.turn(), held.key, {type}, coalesce({time}, clock_timestamp()), 'adopted', {value}
FROM {table} AS held WHERE held.value IS NOT NULL AND octet_length(held.key) <= 2000;
