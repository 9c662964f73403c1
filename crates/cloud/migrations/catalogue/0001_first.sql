-- The catalogue: people, projects, devices, settings. Portable types only. Columns ending in
-- _sealed are encrypted under the project's key (people: the instance's); _hash columns are keyed hashes for look-up.

CREATE TABLE setting (
    name text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE person (
    id bytea PRIMARY KEY,
    email_hash bytea NOT NULL UNIQUE,
    email_sealed bytea NOT NULL,
    name_sealed bytea NOT NULL,
    password text,
    operator boolean NOT NULL,
    enabled boolean NOT NULL,
    created_us bigint NOT NULL
);

CREATE TABLE sign_in_link (
    hash bytea PRIMARY KEY,
    person bytea NOT NULL REFERENCES person (id),
    expires_us bigint NOT NULL,
    used_us bigint
);

CREATE TABLE session (
    hash bytea PRIMARY KEY,
    person bytea NOT NULL REFERENCES person (id),
    cause text NOT NULL,
    created_us bigint NOT NULL,
    seen_us bigint NOT NULL,
    expires_us bigint NOT NULL
);

CREATE TABLE project (
    id bytea PRIMARY KEY,
    name_sealed bytea NOT NULL,
    zone text NOT NULL,
    created_us bigint NOT NULL
);

CREATE TABLE membership (
    project bytea NOT NULL REFERENCES project (id),
    person bytea NOT NULL REFERENCES person (id),
    role text NOT NULL,
    all_locations boolean NOT NULL,
    until_us bigint,
    granted_by bytea,
    granted_us bigint NOT NULL,
    PRIMARY KEY (project, person)
);

CREATE TABLE membership_location (
    project bytea NOT NULL,
    person bytea NOT NULL,
    location bytea NOT NULL,
    PRIMARY KEY (project, person, location)
);

CREATE TABLE api_key (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL,
    hash bytea NOT NULL UNIQUE,
    prefix text NOT NULL,
    name_sealed bytea NOT NULL,
    role text NOT NULL,
    all_locations boolean NOT NULL,
    created_by bytea,
    created_us bigint NOT NULL,
    expires_us bigint,
    used_us bigint,
    revoked_us bigint,
    PRIMARY KEY (project, id)
);

CREATE TABLE api_key_location (
    project bytea NOT NULL,
    key bytea NOT NULL,
    location bytea NOT NULL,
    PRIMARY KEY (project, key, location)
);

CREATE TABLE location (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL,
    name_sealed bytea NOT NULL,
    place_sealed bytea,
    created_us bigint NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE TABLE authority (
    id bytea PRIMARY KEY,
    purpose text NOT NULL,
    certificate bytea NOT NULL,
    key_sealed bytea NOT NULL,
    parent bytea,
    not_after_us bigint NOT NULL,
    created_us bigint NOT NULL
);

CREATE TABLE device (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL UNIQUE,
    state text NOT NULL,
    simulated boolean NOT NULL,
    name_sealed bytea NOT NULL,
    location bytea,
    created_us bigint NOT NULL,
    changed_us bigint NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX device_changed ON device (changed_us);

CREATE TABLE certificate (
    fingerprint bytea PRIMARY KEY,
    serial bytea NOT NULL,
    device bytea NOT NULL REFERENCES device (id),
    spki_hash bytea NOT NULL UNIQUE,
    der bytea NOT NULL,
    not_before_us bigint NOT NULL,
    not_after_us bigint NOT NULL,
    issued_us bigint NOT NULL,
    cause text NOT NULL
);

CREATE INDEX certificate_device ON certificate (device);

CREATE TABLE claim (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL,
    code_hash bytea NOT NULL UNIQUE,
    name_sealed bytea NOT NULL,
    simulated boolean NOT NULL,
    location bytea,
    created_us bigint NOT NULL,
    expires_us bigint NOT NULL,
    used_us bigint,
    device bytea,
    PRIMARY KEY (project, id)
);

CREATE TABLE element (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL,
    name_sealed bytea NOT NULL,
    unit text NOT NULL,
    digits bigint NOT NULL,
    kind text NOT NULL,
    value_kind text NOT NULL,
    colour text,
    location bytea,
    created_us bigint NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE TABLE deployment (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL,
    element bytea NOT NULL,
    device bytea NOT NULL,
    channel_hash bytea NOT NULL,
    channel_sealed bytea NOT NULL,
    interval_us bigint NOT NULL,
    from_us bigint NOT NULL,
    to_us bigint,
    PRIMARY KEY (project, id)
);

CREATE UNIQUE INDEX deployment_open ON deployment (project, element) WHERE to_us IS NULL;

CREATE INDEX deployment_element ON deployment (project, element, from_us);

CREATE INDEX deployment_channel ON deployment (project, device, channel_hash, from_us);

CREATE TABLE device_status (
    project bytea NOT NULL,
    device bytea NOT NULL,
    seen_us bigint,
    connected boolean NOT NULL,
    record_us bigint,
    report_every_us bigint,
    detail_sealed bytea,
    PRIMARY KEY (project, device)
);

CREATE TABLE device_log (
    id INTEGER PRIMARY KEY,
    project bytea NOT NULL,
    device bytea NOT NULL,
    at_us bigint NOT NULL,
    level bigint NOT NULL,
    source text NOT NULL,
    code text NOT NULL,
    text_sealed bytea NOT NULL
);

CREATE INDEX device_log_device ON device_log (project, device, id);
