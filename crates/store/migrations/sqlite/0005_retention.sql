-- What retention removed, as far as it must be known for ever.

-- Record numbers whose batch rows were removed: they stay durable in the ledger, and redelivery is recognised. One row is a
-- run of consecutive batches of one branch. prints holds the first 8 bytes of each batch's hash, in the order of the
-- records; hash is the last one's, which the next batch of the chain names. gaps counts batches of the run whose
-- predecessor was not there. to_us is the run's latest time.
CREATE TABLE kept_numbers (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    stream bigint NOT NULL,
    branch bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    batches bigint NOT NULL,
    records bigint NOT NULL,
    gaps bigint NOT NULL,
    to_us bigint NOT NULL,
    hash bytea NOT NULL,
    prints bytea NOT NULL
);
CREATE UNIQUE INDEX kept_numbers_run ON kept_numbers (project, stream, branch, first);

-- Who deleted what, when and how much of it; written in the transaction that deletes. tier: hot, cold, rollups.
-- items counts batches, chunks or roll-up rows, records the records or points in them.
CREATE TABLE deletion (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    device bytea NOT NULL,
    tier text NOT NULL,
    from_us bigint NOT NULL,
    to_us bigint NOT NULL,
    items bigint NOT NULL,
    records bigint NOT NULL,
    bytes bigint NOT NULL,
    cause text NOT NULL,
    actor text NOT NULL,
    deleted_us bigint NOT NULL
);
CREATE INDEX deletion_project ON deletion (project, id);
