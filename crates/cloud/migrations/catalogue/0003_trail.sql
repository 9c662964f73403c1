-- Who did what, and what everybody was when. Rows are written once: nothing here is updated or deleted.

-- An empty project stands for the instance. Numbers are counted per project, without gaps. object and who are ids as
-- text, or words; detail_sealed holds names, values, addresses and reasons, bound to all other columns of its row.
CREATE TABLE trail (
    project bytea NOT NULL,
    id bigint NOT NULL,
    at_us bigint NOT NULL,
    who_kind text NOT NULL,
    who text NOT NULL,
    act text NOT NULL,
    object_kind text NOT NULL,
    object text NOT NULL,
    location bytea,
    result text NOT NULL,
    code text NOT NULL,
    count bigint NOT NULL,
    detail_sealed bytea NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX trail_who ON trail (project, who, id);

CREATE INDEX trail_object ON trail (project, object, id);

-- A membership that an operator gave themself in an emergency.
ALTER TABLE membership ADD COLUMN emergency boolean NOT NULL DEFAULT false;

-- Every membership there ever was: what a person became (role), or that they are no member any more (no role).
CREATE TABLE membership_change (
    project bytea NOT NULL REFERENCES project (id),
    id bigint NOT NULL,
    person bytea NOT NULL,
    at_us bigint NOT NULL,
    role text,
    all_locations boolean NOT NULL,
    until_us bigint,
    emergency boolean NOT NULL,
    by_person bytea,
    PRIMARY KEY (project, id)
);

CREATE INDEX membership_change_person ON membership_change (project, person, id);

CREATE TABLE membership_change_location (
    project bytea NOT NULL,
    id bigint NOT NULL,
    location bytea NOT NULL,
    PRIMARY KEY (project, id, location)
);

-- What there is already begins the history.
INSERT INTO membership_change
    (project, id, person, at_us, role, all_locations, until_us, emergency, by_person)
SELECT project, row_number() OVER (PARTITION BY project ORDER BY granted_us, person), person, granted_us, role,
       all_locations, until_us, false, granted_by
FROM membership;

INSERT INTO membership_change_location (project, id, location)
SELECT c.project, c.id, l.location FROM membership_change c
JOIN membership_location l ON l.project = c.project AND l.person = c.person;

-- When a person was let in or kept out, or became an operator or none. Before the first row they were enabled.
CREATE TABLE person_change (
    person bytea NOT NULL REFERENCES person (id),
    id bigint NOT NULL,
    at_us bigint NOT NULL,
    enabled boolean NOT NULL,
    operator boolean NOT NULL,
    by_person bytea,
    PRIMARY KEY (person, id)
);

-- Who made a claim; NULL for the program, for keys, and for claims from before.
ALTER TABLE claim ADD COLUMN created_by bytea;
