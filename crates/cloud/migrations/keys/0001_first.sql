-- Wrapped keys alone, in a file of their own, so that they can be backed up and erased apart from the data.

CREATE TABLE project_key (
    project bytea PRIMARY KEY,
    wrapped bytea NOT NULL,
    created_us bigint NOT NULL
);

CREATE TABLE instance_key (
    name text PRIMARY KEY,
    wrapped bytea NOT NULL,
    created_us bigint NOT NULL
);
