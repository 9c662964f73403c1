-- What changed of a device's measurements other than by arrival. The range is half open.
-- cause 1: corrected (stamped anew), 2: deleted, 3: readable (a channel table or a deployment came).
-- Rows are never removed: the ids are half of a revision, and must not be given twice.
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    project bigint NOT NULL,
    device bytea NOT NULL,
    from_us bigint NOT NULL,
    to_us bigint NOT NULL,
    cause bigint NOT NULL,
    changed_us bigint NOT NULL
);
CREATE INDEX change_project ON change (project, id);

-- A batch is late where it begins before the newest time that its device had when it became durable.
ALTER TABLE batch ADD COLUMN late boolean NOT NULL DEFAULT false;

-- How far the evidence of a device is gone: hot rows removed so far have ids up to batch and times before until_us.
-- Changes and what was known at a time cannot be told from before it.
CREATE TABLE evidence_gone (
    project bigint NOT NULL,
    device bytea NOT NULL,
    until_us bigint NOT NULL,
    batch bigint NOT NULL,
    PRIMARY KEY (project, device)
);
