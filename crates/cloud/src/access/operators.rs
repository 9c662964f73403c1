//! What operators do about people: list them, let them in or keep them out, and, in an emergency, let themselves into a
//! project for a day at most.

use fieldkeep_protocol::{PersonId, ProjectId, Timestamp};
use serde_json::json;

use super::grant::{Locations, OperatorGrant};
use super::members::{Membership, told, write};
use super::people::Person;
use super::roles::Role;
use super::{Access, AccessError};
use crate::db::{SqlError, Transaction};
use crate::trail::Act;

const HOUR_US: i64 = 3_600 * 1_000_000;
/// An emergency lasts a day at most.
const LONGEST_H: u32 = 24;
/// The most characters of a reason.
const REASON_LONGEST: usize = 500;

/// A reason as it is kept.
pub(super) fn sound_reason(text: &str) -> Result<&str, AccessError> {
    let text = text.trim();
    let sound = !text.is_empty()
        && text.chars().count() <= REASON_LONGEST
        && !text.chars().any(char::is_control);
    sound.then_some(text).ok_or(AccessError::NoReason)
}

impl Access {
    /// Everybody who has an account, by e-mail.
    pub async fn people(&self, _by: &OperatorGrant<'_>) -> Result<Vec<Person>, AccessError> {
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, email_sealed, name_sealed, operator, enabled FROM person ORDER BY id",
                &[],
            )
            .await?;
        let mut people = Vec::with_capacity(rows.len());
        for row in &rows {
            people.push(self.person_from(row, 0)?);
        }
        people.sort_by(|a, b| a.email.cmp(&b.email));
        Ok(people)
    }

    /// Lets a person in, or keeps them out: their sessions end at once.
    ///
    /// # Errors
    /// [`AccessError::Last`] for the last operator who can come in.
    pub async fn set_enabled(
        &self,
        by: &OperatorGrant<'_>,
        person: PersonId,
        enabled: bool,
        reason: Option<&str>,
    ) -> Result<(), AccessError> {
        let reason = reason.map(sound_reason).transpose()?;
        let now = self.0.clock.now();
        let mut transaction = self.0.db.begin().await?;
        let known = transaction
            .fetch_optional(
                "SELECT enabled FROM person WHERE id = $1",
                &[person.as_bytes().into()],
            )
            .await?
            .ok_or(AccessError::PersonUnknown)?;
        let was = known.bool(0)?;
        transaction
            .execute(
                "UPDATE person SET enabled = $2 WHERE id = $1",
                &[person.as_bytes().into(), enabled.into()],
            )
            .await?;
        if !enabled {
            let left = transaction
                .fetch_optional(
                    "SELECT 1 FROM person WHERE operator AND enabled LIMIT 1",
                    &[],
                )
                .await?;
            left.ok_or(AccessError::Last(
                "the instance needs an operator who can come in: make another one first",
            ))?;
            transaction
                .execute(
                    "DELETE FROM session WHERE person = $1",
                    &[person.as_bytes().into()],
                )
                .await?;
        }
        let by_person = by.actor().person();
        remember_person(&mut transaction, person, by_person, now).await?;
        let entry = by
            .entry(Act::PersonChange)
            .on(person)
            .old(json!({ "enabled": was }))
            .new_value(json!({ "enabled": enabled }))
            .reason(reason);
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, by = %by.actor(), enabled, "person let in or kept out");
        Ok(())
    }

    /// Lets the operator into a project as its administrator, for some hours and for a reason. Written into the project's
    /// trail and the instance's, and shown to the project's administrators for as long as it lasts.
    ///
    /// # Errors
    /// [`AccessError::AlreadyMember`] for who is one anyway, [`AccessError::PastDate`] for less than an hour or more than
    /// 24, [`AccessError::ProjectUnknown`].
    pub async fn break_glass(
        &self,
        by: &OperatorGrant<'_>,
        project: ProjectId,
        hours: u32,
        reason: &str,
    ) -> Result<Timestamp, AccessError> {
        let person = by.actor().person().ok_or(AccessError::NotAPerson)?;
        let reason = sound_reason(reason)?;
        if !(1..=LONGEST_H).contains(&hours) {
            return Err(AccessError::TooLong);
        }
        let now = self.0.clock.now();
        let until =
            Timestamp::from_micros(now.as_micros().saturating_add(i64::from(hours) * HOUR_US));
        let mut transaction = self.0.db.begin().await?;
        transaction
            .fetch_optional(
                "SELECT 1 FROM project WHERE id = $1",
                &[project.as_bytes().into()],
            )
            .await?
            .ok_or(AccessError::ProjectUnknown)?;
        let old = self.member_in(&mut transaction, project, person).await?;
        let lasting = old.is_some_and(|(old, emergency)| {
            !emergency && old.until.is_none_or(|until| until > now)
        });
        if lasting {
            return Err(AccessError::AlreadyMember);
        }
        let membership = Membership {
            project,
            role: Role::Administrator,
            locations: Locations::All,
            until: Some(until),
        };
        write(
            &mut transaction,
            person,
            &membership,
            Some(person),
            now,
            true,
        )
        .await?;
        let entry = by
            .entry(Act::MemberBreakGlass)
            .on(project)
            .new_value(told(&membership))
            .reason(Some(reason));
        self.trail()
            .write(
                &mut transaction,
                entry.clone().in_project(project).on(person),
            )
            .await?;
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::warn!(project.id = %project, by = %by.actor(), "an operator let themself into a project");
        Ok(until)
    }
}

/// Writes into their history what a person is from now on.
pub(super) async fn remember_person(
    transaction: &mut Transaction,
    person: PersonId,
    by: Option<PersonId>,
    now: Timestamp,
) -> Result<(), SqlError> {
    let last = transaction
        .fetch_optional(
            "SELECT id FROM person_change WHERE person = $1 ORDER BY id DESC LIMIT 1",
            &[person.as_bytes().into()],
        )
        .await?;
    let number = last.map_or(Ok(0), |row| row.i64(0))?.saturating_add(1);
    transaction
        .execute(
            "INSERT INTO person_change (person, id, at_us, enabled, operator, by_person)
             SELECT id, $2, $3, enabled, operator, $4 FROM person WHERE id = $1",
            &[
                person.as_bytes().into(),
                number.into(),
                now.as_micros().into(),
                by.as_ref().map(PersonId::as_bytes).into(),
            ],
        )
        .await?;
    Ok(())
}
