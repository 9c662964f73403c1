-- Batch rows are found by the day on which they begin, then by stream. What arrives together begins on few days, so that
-- a commit writes a handful of index pages, however many devices and years there are; an index led by the stream has
-- another page for each device. Held rows, whose times are not to be believed, stand under day -1.

-- The days (UTC, from 1970-01-01) that a stream has rows of. A row may outlive its last batch; none is ever missing.
CREATE TABLE stream_day (
    project bigint NOT NULL,
    stream bigint NOT NULL,
    day bigint NOT NULL,
    PRIMARY KEY (project, stream, day)
);
INSERT INTO stream_day (project, stream, day)
SELECT DISTINCT project, stream, CASE WHEN held THEN -1 ELSE from_us / 86400000000 END FROM batch;

DROP INDEX batch_time;
DROP INDEX batch_record;
-- Covers what a stream's ledger and extent are derived from, so that its first touch reads no row.
CREATE INDEX batch_day ON batch (project, (CASE WHEN held THEN -1 ELSE from_us / 86400000000 END), stream,
    from_us, span_us, first, count, branch, held);

-- The batch rows of a stream, day by day: bounds on day are looked up, bounds on the columns of batch_day within each day.
-- The sum keeps the engine from looking for a range of days over all streams. batch.hash: the first eight bytes of the
-- batch's hash, all 32 in rows from before this step.
CREATE VIEW hot AS
SELECT batch.id, stream_day.project, stream_day.stream, stream_day.day, batch.first, batch.count, batch.branch, batch.hash,
    batch.prev, batch.from_us, batch.span_us, batch.received_us, batch.revision, batch.held, batch.late, batch.stamp,
    batch.key_id, batch.counter, batch.payload
FROM stream_day CROSS JOIN batch
WHERE batch.project = stream_day.project AND batch.stream = stream_day.stream
    AND (CASE WHEN batch.held THEN -1 ELSE batch.from_us / 86400000000 END) = stream_day.day + 0;
