-- Requests that made something under an Idempotency-Key, for a day: a hash of what was asked, and the answer. An empty
-- project stands for the instance. An answer of NULL: the request has not ended, or its answer is not kept.
CREATE TABLE repeat (
    project bytea NOT NULL,
    actor text NOT NULL,
    key_hash bytea NOT NULL,
    asked_hash bytea NOT NULL,
    done boolean NOT NULL,
    answer_sealed bytea,
    created_us bigint NOT NULL,
    PRIMARY KEY (project, actor, key_hash)
);

CREATE INDEX repeat_created ON repeat (created_us);

-- What an element's unit was, and how values of a range are converted when they are read. Never changed or removed: the
-- rows of an element, by number, are its history. Bounds of NULL are open.
CREATE TABLE unit_change (
    project bytea NOT NULL,
    element bytea NOT NULL,
    number bigint NOT NULL,
    rescale boolean NOT NULL,
    unit_before text NOT NULL,
    unit_after text NOT NULL,
    factor_sealed bytea NOT NULL,
    from_us bigint,
    to_us bigint,
    reason_sealed bytea NOT NULL,
    changed_by text NOT NULL,
    changed_us bigint NOT NULL,
    PRIMARY KEY (project, element, number)
);
