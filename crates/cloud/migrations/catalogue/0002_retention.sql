-- How long a project's measurements are kept, and what must not be deleted. An empty element stands for the whole
-- project. Days of NULL are for ever.

CREATE TABLE retention (
    project bytea NOT NULL REFERENCES project (id),
    element bytea NOT NULL,
    hot_days bigint,
    cold_days bigint,
    rollup_days bigint,
    changed_by text NOT NULL,
    changed_us bigint NOT NULL,
    PRIMARY KEY (project, element)
);

-- Holds are never removed: a released one tells who released it and why.
CREATE TABLE legal_hold (
    project bytea NOT NULL REFERENCES project (id),
    element bytea NOT NULL,
    set_us bigint NOT NULL,
    set_by text NOT NULL,
    reason_sealed bytea NOT NULL,
    released_us bigint,
    released_by text,
    released_reason_sealed bytea,
    PRIMARY KEY (project, element, set_us)
);

CREATE UNIQUE INDEX legal_hold_open ON legal_hold (project, element) WHERE released_us IS NULL;
