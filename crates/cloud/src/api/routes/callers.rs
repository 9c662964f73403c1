//! The rows about who calls: the way in, members, invitations, API keys, operators, service accounts, and the trail.
//!
//! Owns no more than these rows: handlers are in the files beside this one, the rest of the table in `routes.rs`.

use super::{
    DELETE, GET, PATCH, POST, PUT, compatibility, factors, invitations, members, oauth, operators,
    people, service_accounts, sessions, trail,
};
use crate::api::door::{Row, door};

/// The caller's own way in: password, second factors, sessions.
pub(super) fn on_the_way_in() -> Vec<Row> {
    vec![
        door(
            POST,
            v1!("/auth/second-factor"),
            factors::second_factor,
            "Show my second factor",
        ),
        door(
            POST,
            v1!("/auth/second-factor/challenge"),
            factors::challenge,
            "A challenge for showing a passkey of mine",
        )
        .reading(),
        door(
            POST,
            v1!("/auth/prove"),
            factors::prove,
            "Prove once more who I am",
        ),
        door(
            GET,
            v1!("/auth/factors"),
            factors::list,
            "My second factors",
        ),
        door(
            POST,
            v1!("/auth/totp"),
            factors::begin_totp,
            "Begin an authenticator app",
        )
        .secret(),
        door(
            POST,
            v1!("/auth/totp/confirm"),
            factors::confirm_totp,
            "Confirm an authenticator app",
        ),
        door(
            DELETE,
            v1!("/auth/totp"),
            factors::remove_totp,
            "Remove my authenticator app",
        ),
        door(
            POST,
            v1!("/auth/passkeys/challenge"),
            factors::begin_passkey,
            "A challenge for making a passkey",
        )
        .reading(),
        door(
            POST,
            v1!("/auth/passkeys"),
            factors::add_passkey,
            "Keep a passkey that was made",
        )
        .secret(),
        door(
            PATCH,
            v1!("/auth/passkeys/{passkey}"),
            factors::rename_passkey,
            "Give a passkey of mine another name",
        ),
        door(
            DELETE,
            v1!("/auth/passkeys/{passkey}"),
            factors::remove_passkey,
            "Remove a passkey of mine",
        ),
        door(
            POST,
            v1!("/auth/recovery-codes"),
            factors::recovery_codes,
            "Make my recovery codes anew",
        )
        .secret(),
        door(
            POST,
            v1!("/auth/recovery-codes/kept"),
            factors::codes_kept,
            "Note that my recovery codes are printed",
        ),
        door(GET, v1!("/auth/sessions"), sessions::list, "My sessions"),
        door(
            DELETE,
            v1!("/auth/sessions/{session}"),
            sessions::end,
            "End a session of mine",
        ),
        door(
            POST,
            v1!("/auth/sessions/end-others"),
            sessions::end_others,
            "End every session of mine but this one",
        ),
        door(
            POST,
            v1!("/auth/invitation/join"),
            invitations::join,
            "Accept an invitation as who I am",
        ),
    ]
}

/// Who may do what, and who did what.
pub(super) fn people() -> Vec<Row> {
    vec![
        door(GET, project!("/members"), members::list, "Members"),
        door(
            GET,
            project!("/invitations"),
            invitations::list,
            "Invitations",
        ),
        door(
            POST,
            project!("/invitations"),
            invitations::create,
            "Invite somebody",
        )
        .secret(),
        door(
            POST,
            project!("/invitations/{invitation}/resend"),
            invitations::resend,
            "Send an invitation again",
        ),
        door(
            DELETE,
            project!("/invitations/{invitation}"),
            invitations::revoke,
            "Revoke an invitation",
        ),
        door(GET, project!("/keys"), people::keys, "API keys"),
        door(
            POST,
            project!("/keys"),
            people::create_key,
            "Make an API key",
        )
        .secret(),
        door(
            DELETE,
            project!("/keys/{key}"),
            people::revoke_key,
            "Revoke an API key",
        ),
        door(
            PATCH,
            project!("/members/{person}"),
            members::change,
            "Change what a member may do",
        ),
        door(
            GET,
            project!("/members/{person}/hanging"),
            members::hanging,
            "What hangs on a member",
        ),
        door(
            POST,
            project!("/members/{person}/remove"),
            members::remove,
            "Remove a member",
        ),
        door(
            GET,
            project!("/access"),
            members::access_at,
            "Who could do what at a time",
        ),
        door(GET, project!("/trail"), trail::project, "Who did what"),
        door(
            GET,
            project!("/trail/export"),
            trail::export,
            "Who did what, as a file",
        ),
        door(
            GET,
            v1!("/instance/trail"),
            trail::instance,
            "Who did what about the instance",
        ),
        door(
            GET,
            v1!("/instance/people"),
            operators::people,
            "Everybody with an account",
        ),
        door(
            PATCH,
            v1!("/instance/people/{person}"),
            operators::change,
            "Let a person in, or keep them out",
        ),
        door(
            POST,
            v1!("/instance/break-glass"),
            operators::break_glass,
            "Let myself into a project in an emergency",
        ),
    ]
}

/// Service accounts, and what lets other programs in.
pub(super) fn services() -> Vec<Row> {
    vec![
        door(
            POST,
            v1!("/auth/device"),
            oauth::device,
            "Which program asks by a code",
        ),
        door(
            POST,
            v1!("/auth/device/answer"),
            oauth::answer_device,
            "Let a program act as me, or refuse it",
        ),
        door(
            GET,
            project!("/service-accounts"),
            service_accounts::list,
            "Service accounts",
        ),
        door(
            POST,
            project!("/service-accounts"),
            service_accounts::create,
            "Make a service account",
        ),
        door(
            GET,
            project!("/service-accounts/{account}"),
            service_accounts::one,
            "A service account",
        ),
        door(
            PATCH,
            project!("/service-accounts/{account}"),
            service_accounts::change,
            "Change or disable a service account",
        ),
        door(
            POST,
            project!("/service-accounts/{account}/credentials"),
            service_accounts::add_credential,
            "Give a service account a secret or a public key",
        )
        .secret(),
        door(
            DELETE,
            project!("/service-accounts/{account}/credentials/{credential}"),
            service_accounts::revoke_credential,
            "Revoke a credential of a service account",
        ),
        door(
            GET,
            project!("/compatibility"),
            compatibility::one,
            "Which other APIs are let in",
        ),
        door(
            PUT,
            project!("/compatibility"),
            compatibility::set,
            "Let another API in, or not",
        ),
        door(
            GET,
            project!("/legacy-ids"),
            compatibility::ids,
            "Ids that things had elsewhere",
        ),
        door(
            PATCH,
            project!("/legacy-ids"),
            compatibility::set_ids,
            "Give things the ids that they had elsewhere",
        ),
    ]
}
