-- Service accounts with their credentials and short-lived tokens, codes by which a command line is let in, scopes of
-- API keys, and what compatibility needs: a switch per project and the ids that things had elsewhere.

-- NULL: everything that the role allows.
ALTER TABLE api_key ADD COLUMN scopes text;

CREATE TABLE service_account (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL UNIQUE,
    name_sealed bytea NOT NULL,
    scopes text NOT NULL,
    all_locations boolean NOT NULL,
    enabled boolean NOT NULL,
    created_by bytea,
    created_us bigint NOT NULL,
    used_us bigint,
    PRIMARY KEY (project, id)
);

CREATE TABLE service_account_location (
    project bytea NOT NULL,
    account bytea NOT NULL,
    location bytea NOT NULL,
    PRIMARY KEY (project, account, location)
);

-- A secret has a hash; a public key has its bytes, and kind is its algorithm.
CREATE TABLE service_credential (
    project bytea NOT NULL,
    account bytea NOT NULL,
    id bytea NOT NULL,
    kind text NOT NULL,
    hash bytea UNIQUE,
    public_key bytea,
    hint text NOT NULL,
    created_us bigint NOT NULL,
    expires_us bigint NOT NULL,
    used_us bigint,
    revoked_us bigint,
    PRIMARY KEY (project, account, id)
);

-- Assertions that were used, until they would have expired.
CREATE TABLE service_assertion (
    hash bytea PRIMARY KEY,
    expires_us bigint NOT NULL
);

CREATE TABLE access_token (
    hash bytea PRIMARY KEY,
    project bytea NOT NULL,
    account bytea NOT NULL,
    credential bytea NOT NULL,
    audience text NOT NULL,
    scopes text NOT NULL,
    created_us bigint NOT NULL,
    expires_us bigint NOT NULL
);

CREATE INDEX access_token_account ON access_token (project, account);

CREATE TABLE device_code (
    hash bytea PRIMARY KEY,
    user_hash bytea NOT NULL UNIQUE,
    asks_sealed bytea NOT NULL,
    created_us bigint NOT NULL,
    expires_us bigint NOT NULL,
    interval_s bigint NOT NULL,
    polled_us bigint,
    person bytea,
    denied boolean NOT NULL
);

CREATE TABLE compatibility (
    project bytea PRIMARY KEY REFERENCES project (id),
    consibio_v2 boolean NOT NULL,
    changed_us bigint NOT NULL
);

CREATE TABLE legacy_id (
    project bytea NOT NULL,
    object bytea NOT NULL,
    kind text NOT NULL,
    legacy text NOT NULL,
    PRIMARY KEY (project, object)
);

CREATE UNIQUE INDEX legacy_id_legacy ON legacy_id (project, kind, legacy);
