-- Second factors, sessions that can be listed, invitations, and mail that waits to be sent.

-- A session's id for its owner: the first half of the keyed hash that finds it.
ALTER TABLE session ADD COLUMN id bytea;
UPDATE session SET id = substr(hash, 1, 16);
CREATE UNIQUE INDEX session_id ON session (id);
CREATE INDEX session_person ON session (person);
-- When its holder last proved who they are, whether by a second factor too, and from where it began.
ALTER TABLE session ADD COLUMN proved_us bigint NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN factor boolean NOT NULL DEFAULT false;
ALTER TABLE session ADD COLUMN origin_sealed bytea;

-- A password of fewer than 15 characters needs a second factor beside it.
ALTER TABLE person ADD COLUMN password_short boolean NOT NULL DEFAULT false;
-- When its owner said that the recovery codes are printed.
ALTER TABLE person ADD COLUMN codes_kept_us bigint;

CREATE INDEX membership_person ON membership (person);

CREATE TABLE totp (
    person bytea PRIMARY KEY REFERENCES person (id),
    secret_sealed bytea NOT NULL,
    made_us bigint NOT NULL,
    confirmed_us bigint,
    last_step bigint NOT NULL
);

CREATE TABLE passkey (
    person bytea NOT NULL REFERENCES person (id),
    id bytea NOT NULL,
    credential_hash bytea NOT NULL UNIQUE,
    credential bytea NOT NULL,
    public_key bytea NOT NULL,
    counter bigint NOT NULL,
    name_sealed bytea NOT NULL,
    made_us bigint NOT NULL,
    used_us bigint,
    PRIMARY KEY (person, id)
);

CREATE TABLE recovery_code (
    person bytea NOT NULL REFERENCES person (id),
    hash bytea NOT NULL,
    used_us bigint,
    PRIMARY KEY (person, hash)
);

CREATE TABLE invitation (
    project bytea NOT NULL REFERENCES project (id),
    id bytea NOT NULL,
    hash bytea NOT NULL UNIQUE,
    email_hash bytea NOT NULL,
    email_sealed bytea NOT NULL,
    project_name_sealed bytea NOT NULL,
    role text NOT NULL,
    all_locations boolean NOT NULL,
    until_us bigint,
    invited_by bytea,
    made_us bigint NOT NULL,
    expires_us bigint NOT NULL,
    accepted_us bigint,
    accepted_by bytea,
    revoked_us bigint,
    PRIMARY KEY (project, id)
);

CREATE TABLE invitation_location (
    project bytea NOT NULL,
    invitation bytea NOT NULL,
    location bytea NOT NULL,
    PRIMARY KEY (project, invitation, location)
);

CREATE TABLE mail (
    id bytea PRIMARY KEY,
    letter_sealed bytea NOT NULL,
    made_us bigint NOT NULL,
    attempts bigint NOT NULL,
    next_us bigint NOT NULL
);
CREATE INDEX mail_next ON mail (next_us);
