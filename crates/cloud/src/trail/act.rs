//! The acts that the trail knows: a closed list of stable words.
//!
//! A word that was ever written is never given another meaning and never removed; new ones come at the end of their group.

use std::fmt;
use std::str::FromStr;

macro_rules! acts {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal;)+) => {
        /// What was done, or tried.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Act {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Act {
            /// Every act.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its word, as stored and shown.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

acts! {
    /// A session began, or a sign-in was refused.
    SessionStart = "session.start";
    /// Somebody signed out.
    SessionEnd = "session.end";
    /// A session was ended for its holder.
    SessionRevoke = "session.revoke";
    /// Somebody proved again who they are.
    SessionConfirm = "session.confirm";
    /// A program began to ask for a person's session by a code.
    CodeAsk = "code.ask";
    /// A person looked at which program asks by a code.
    CodeLook = "code.look";
    /// A person let a program in by a code, or refused it.
    CodeAnswer = "code.answer";
    /// An account was made.
    PersonCreate = "person.create";
    /// Name, e-mail, operatorship or admission of a person changed.
    PersonChange = "person.change";
    /// An account was erased.
    PersonErase = "person.erase";
    /// Somebody was invited.
    InvitationCreate = "invitation.create";
    /// An invitation was withdrawn.
    InvitationRevoke = "invitation.revoke";
    /// An invitation was accepted.
    InvitationAccept = "invitation.accept";
    /// An invitation was sent again, with another link.
    InvitationSend = "invitation.send";
    /// A one-time sign-in link was made.
    LinkCreate = "link.create";
    /// A password was set.
    PasswordSet = "password.set";
    /// A second factor was added.
    FactorAdd = "factor.add";
    /// A second factor was removed.
    FactorRemove = "factor.remove";
    /// All second factors of a person were removed.
    FactorReset = "factor.reset";
    /// An authenticator app was begun; it counts for nothing yet.
    FactorBegin = "factor.begin";
    /// A second factor got another name.
    FactorChange = "factor.change";
    /// Recovery codes were made.
    RecoveryCreate = "recovery.create";
    /// A recovery code was used.
    RecoveryUse = "recovery.use";
    /// It was said that recovery codes are printed.
    RecoveryKeep = "recovery.keep";
    /// An API key was made.
    KeyCreate = "key.create";
    /// An API key was revoked.
    KeyRevoke = "key.revoke";
    /// An API key was handed to another member.
    KeyHandOver = "key.hand-over";
    /// A service account was made.
    ServiceCreate = "service.create";
    /// A service account was changed.
    ServiceChange = "service.change";
    /// A service account was ended.
    ServiceRevoke = "service.revoke";
    /// A service account was handed to another member.
    ServiceHandOver = "service.hand-over";
    /// A token was given out.
    TokenIssue = "token.issue";
    /// A token was ended.
    TokenRevoke = "token.revoke";
    /// The instance's settings changed.
    InstanceChange = "instance.change";
    /// A project was made.
    ProjectCreate = "project.create";
    /// A project was changed.
    ProjectChange = "project.change";
    /// A project was erased.
    ProjectErase = "project.erase";
    /// Somebody became a member.
    MemberAdd = "member.add";
    /// A member's role, locations or end changed.
    MemberChange = "member.change";
    /// Somebody is no member any more.
    MemberRemove = "member.remove";
    /// An operator gave themself a membership in an emergency.
    MemberBreakGlass = "member.break-glass";
    /// A location was made.
    LocationCreate = "location.create";
    /// A location was changed.
    LocationChange = "location.change";
    /// A location was removed.
    LocationRemove = "location.remove";
    /// A claim was made.
    ClaimCreate = "claim.create";
    /// A claim was withdrawn.
    ClaimRevoke = "claim.revoke";
    /// A device enrolled.
    DeviceEnrol = "device.enrol";
    /// A device got its next certificate.
    DeviceRenew = "device.renew";
    /// A device was changed, disabled or enabled.
    DeviceChange = "device.change";
    /// A device was moved to another project.
    DeviceMove = "device.move";
    /// An element was made.
    ElementCreate = "element.create";
    /// An element was changed.
    ElementChange = "element.change";
    /// A channel was let feed an element.
    DeploymentCreate = "deployment.create";
    /// A deployment was ended or changed.
    DeploymentChange = "deployment.change";
    /// A person gave records other times.
    ClockStamp = "clock.stamp";
    /// A person believed times as they were sent.
    ClockRelease = "clock.release";
    /// A proposal about a clock was confirmed.
    ClockConfirm = "clock.confirm";
    /// A proposal about a clock was dismissed.
    ClockDismiss = "clock.dismiss";
    /// How long measurements are kept was changed.
    RetentionChange = "retention.change";
    /// A legal hold was set.
    HoldSet = "hold.set";
    /// A legal hold was released.
    HoldRelease = "hold.release";
    /// Measurements were deleted as the project says.
    DataDelete = "data.delete";
    /// Measurements were read as a file.
    DataExport = "data.export";
    /// The trail was read as a file.
    TrailExport = "trail.export";
    /// A backup was made, or failed.
    BackupMake = "backup.make";
    /// The instance was restored from a backup.
    BackupRestore = "backup.restore";
    /// The door for people and services refused.
    DoorRefuse = "door.refuse";
    /// The door for devices refused.
    DeviceRefuse = "device.refuse";
    /// Something was changed by a route that says nothing more.
    ApiChange = "api.change";
    /// More happened than the trail had room for; the count says how much.
    TrailGap = "trail.gap";
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text names no act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an act of the trail")]
pub struct UnknownAct;

impl FromStr for Act {
    type Err = UnknownAct;

    fn from_str(text: &str) -> Result<Self, UnknownAct> {
        Self::ALL
            .iter()
            .copied()
            .find(|act| act.word() == text)
            .ok_or(UnknownAct)
    }
}
