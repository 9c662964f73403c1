-- What is thought of devices' clocks, beside what they sent. A batch's payload never changes; batch.stamp names the
-- stamp by which its times are read, and batch.from_us, span_us and held follow from it. NULL: times as sent.
ALTER TABLE batch ADD COLUMN stamp bigint;

-- A correction of the records first to last of one batch: sent + offset_us + (sent + offset_us - anchor_us) * drift_ppb
-- / 1e9; unstepped: with the steps inside the batch taken out first. The newest stamp of a batch that covers a record
-- counts; none: as sent. Rows never change and are never removed while their batch is there: previous and created_us say
-- what was believed when. act: the first id of what was stamped together; its note says who and why. error_us NULL: unknown.
-- cause: 1 ticks of the same boot, 2 arrival, 3 a person, 4 released as sent, 5 a proposal that a person confirmed.
CREATE TABLE stamp (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project bigint NOT NULL,
    stream bigint NOT NULL,
    batch bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    offset_us bigint NOT NULL,
    anchor_us bigint NOT NULL,
    drift_ppb bigint NOT NULL,
    unstepped boolean NOT NULL,
    error_us bigint,
    cause bigint NOT NULL,
    act bigint NOT NULL,
    previous bigint,
    created_us bigint NOT NULL,
    key_id bigint,
    counter bigint,
    note bytea
);
CREATE INDEX stamp_batch ON stamp (project, batch, id);
CREATE INDEX stamp_act ON stamp (project, stream, act, first);

-- Batches whose clock has to be looked at, written with the batch; removed when their boot has been judged.
CREATE TABLE clock_mark (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project bigint NOT NULL,
    stream bigint NOT NULL,
    batch bigint NOT NULL,
    marked_us bigint NOT NULL
);
CREATE INDEX clock_mark_stream ON clock_mark (project, stream, id);

-- A step of a device's clock that a person may confirm or dismiss: records first to last (open_end: and what follows
-- until the boot ends) would be right with offset_us. wall_us and ticks_us passed from record since to record at.
-- state: 0 open, 1 confirmed, 2 dismissed.
CREATE TABLE proposal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project bigint NOT NULL,
    device bytea NOT NULL,
    stream bigint NOT NULL,
    branch bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    open_end boolean NOT NULL,
    offset_us bigint NOT NULL,
    error_us bigint NOT NULL,
    since bigint NOT NULL,
    at bigint NOT NULL,
    wall_us bigint NOT NULL,
    ticks_us bigint NOT NULL,
    declared boolean NOT NULL,
    made_us bigint NOT NULL,
    state bigint NOT NULL,
    decided_us bigint,
    key_id bigint,
    counter bigint,
    note bytea
);
CREATE INDEX proposal_device ON proposal (project, device, id);
CREATE INDEX proposal_stream ON proposal (project, stream, id);

-- Held batches from before there were stamps.
INSERT INTO clock_mark (project, stream, batch, marked_us)
SELECT project, stream, id, received_us FROM batch WHERE held = true;
