-- Measurements, hot: device batches as received, one row each.
-- Projects and streams have narrow numbers here, because every row and index entry repeats them;
-- the ids themselves stand once, and inside every payload's authenticated data.

CREATE TABLE project (
    id INTEGER PRIMARY KEY,
    project bytea NOT NULL UNIQUE
);

-- Wrapped by the project's key; a row is durable before the first payload under it.
CREATE TABLE data_key (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    wrapped bytea NOT NULL,
    created_us bigint NOT NULL
);
CREATE INDEX data_key_project ON data_key (project, id);

-- A run of record numbers: device and epoch. kind 1: numbered by the device.
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    device bytea NOT NULL,
    epoch bigint NOT NULL,
    first_seen_us bigint NOT NULL,
    kind bigint NOT NULL
);
CREATE UNIQUE INDEX stream_epoch ON stream (project, device, epoch);

-- Appended by id and never changed. prev is NULL where it equals the hash of the batch that ends right
-- before and was stored already: the usual case, and 32 bytes less a row. The last time is from_us + span_us.
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    stream bigint NOT NULL,
    first bigint NOT NULL,
    count bigint NOT NULL,
    branch bigint NOT NULL,
    hash bytea NOT NULL,
    prev bytea,
    from_us bigint NOT NULL,
    span_us bigint NOT NULL,
    received_us bigint NOT NULL,
    revision bigint NOT NULL,
    held boolean NOT NULL,
    key_id bigint NOT NULL,
    counter bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE UNIQUE INDEX batch_record ON batch (project, stream, first, branch);
-- Covers what a stream's ledger is derived from, so that its first touch reads no row.
CREATE INDEX batch_time ON batch (project, stream, held, from_us, span_us, first, count, branch);
CREATE INDEX batch_unlinked ON batch (project, stream, first) WHERE prev IS NOT NULL;

-- Two different tables for one revision: both stay, the first one (branch 0) is read.
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    stream bigint NOT NULL,
    revision bigint NOT NULL,
    branch bigint NOT NULL,
    hash bytea NOT NULL,
    received_us bigint NOT NULL,
    key_id bigint NOT NULL,
    counter bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE UNIQUE INDEX channels_revision ON channels (project, stream, revision, branch);

CREATE TABLE seal (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    stream bigint NOT NULL,
    last bigint NOT NULL,
    hash bytea NOT NULL,
    time_us bigint NOT NULL,
    received_us bigint NOT NULL,
    key_id bigint NOT NULL,
    counter bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE UNIQUE INDEX seal_record ON seal (project, stream, last, hash);

-- number counts up per device without gaps: what made room for newer ones is newest + 1 - rows.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    device bytea NOT NULL,
    number bigint NOT NULL,
    reason text NOT NULL,
    received_us bigint NOT NULL,
    size_bytes bigint NOT NULL,
    key_id bigint NOT NULL,
    counter bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE UNIQUE INDEX quarantine_number ON quarantine (project, device, number);
