-- Measurements, cold: points of one device by column, and their roll-ups. Both are made from batch rows by a worker and
-- can be made again from them as long as these are kept.

-- Points of one device in one window of time: kind 1 an hour, 2 a day, 3 a week from Monday, 4 four weeks from
-- 1970-01-05 on, all UTC and nested. Windows of one device never overlap. built is the highest batch id that is inside;
-- a window without a chunk has nothing inside. The payload is sealed under from_us, built and kind.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    device bytea NOT NULL,
    kind bigint NOT NULL,
    from_us bigint NOT NULL,
    to_us bigint NOT NULL,
    built bigint NOT NULL,
    points bigint NOT NULL,
    key_id bigint NOT NULL,
    counter bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE UNIQUE INDEX chunk_window ON chunk (project, device, from_us);

-- Buckets of one device at one level: 1 of 10 minutes, 2 of an hour, 3 of a day. One row holds 4,032 buckets from
-- 1970-01-05 on. A level is made only where its buckets hold enough points; the payload says for which times it is. It is
-- sealed under from_us, built and level.
CREATE TABLE rollup (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    device bytea NOT NULL,
    level bigint NOT NULL,
    from_us bigint NOT NULL,
    to_us bigint NOT NULL,
    built bigint NOT NULL,
    key_id bigint NOT NULL,
    counter bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE UNIQUE INDEX rollup_row ON rollup (project, device, level, from_us);

-- The horizon of a device: times before it are read from chunks and marks, times from it on from batch rows.
CREATE TABLE cold (
    project bigint NOT NULL,
    device bytea NOT NULL,
    until_us bigint NOT NULL,
    PRIMARY KEY (project, device)
);

-- What makes cold times stale, in from_us up to, not including, to_us; written in the transaction of its cause. With a
-- batch: that row is late. Without: everything of the device in that range changed. cause: 1 late, 2 channel table,
-- 3 stamp, 4 deleted. An id is never given twice: a worker deletes by id what it read before.
CREATE TABLE dirty (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project bigint NOT NULL,
    device bytea NOT NULL,
    from_us bigint NOT NULL,
    to_us bigint NOT NULL,
    cause bigint NOT NULL,
    batch bigint,
    marked_us bigint NOT NULL
);
CREATE INDEX dirty_device ON dirty (project, device, from_us);

-- Who works on a device's tiers, and until when. It only saves work: two at once change nothing in the result.
CREATE TABLE lease (
    project bigint NOT NULL,
    device bytea NOT NULL,
    holder bytea NOT NULL,
    until_us bigint NOT NULL,
    PRIMARY KEY (project, device)
);
