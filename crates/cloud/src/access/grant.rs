//! Keys: values that prove what their holder may do, made by this room alone.
//!
//! A handler gets an owned key (`Session`, `SignedIn`, `OperatorSession`, `Nobody`); rooms with project data take the
//! [`Grant`] that it lends. A grant cannot be forged, copied, kept, or used above its level:
//!
//! ```compile_fail
//! use fieldkeep_cloud::access::{Grant, Read};
//! use fieldkeep_protocol::ProjectId;
//! // Private fields: nobody else can write one down.
//! let forged: Grant<'_, Read> = Grant { project: ProjectId::from_bytes([0; 16]) };
//! ```
//! ```compile_fail
//! use fieldkeep_cloud::access::{Grant, Read, Write};
//! fn change(_: &Grant<'_, Write>) {}
//! fn look(grant: &Grant<'_, Read>) {
//!     change(grant); // reading is not writing
//! }
//! ```
//! ```compile_fail
//! use fieldkeep_cloud::access::{Grant, Read, Session};
//! async fn work(_: Grant<'_, Read>) {}
//! fn keep(session: Session<Read>) {
//!     // a grant lives no longer than the session that lends it
//!     tokio::spawn(work(session.grant()));
//! }
//! ```
//! ```compile_fail
//! use fieldkeep_cloud::access::{Grant, Read};
//! fn double(grant: &Grant<'_, Read>) -> Grant<'static, Read> {
//!     grant.clone()
//! }
//! ```
//! What does compile: lower levels from higher ones.
//! ```
//! use fieldkeep_cloud::access::{Grant, Read, Session, Write};
//! fn look(_: &Grant<'_, Read>) {}
//! fn change(session: &Session<Write>) {
//!     look(&session.grant().read());
//! }
//! ```

mod steps;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use fieldkeep_protocol::{KeyId, LocationId, PersonId, ProjectId, ServiceId, Timestamp};

use super::Task;
use super::roles::{Action, Role, Scopes};
use super::tokens::Audience;
use crate::trail::{Act, Entry, Origin, Who, WhoKind};

pub use steps::{Arrived, Arriving, Fresh, Held};

/// A level of a grant: an action, as a type.
pub trait Level: sealed::Sealed + Send + Sync + 'static {
    /// The action that a role must allow.
    const ACTION: Action;
}

/// A level whose holder may also do what `Lower` allows.
pub trait Implies<Lower: Level>: Level {}

macro_rules! levels {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub enum $name {}

        impl sealed::Sealed for $name {}

        impl Implies<$name> for $name {}
    )+};
}

levels! {
    /// May see the project's data.
    Read;
    /// May also see members and what was done.
    Audit;
    /// May change devices, claims, elements, locations.
    Write;
    /// May change the project and its members.
    Admin;
}

impl Level for Read {
    const ACTION: Action = Action::Read;
}

impl Level for Audit {
    const ACTION: Action = Action::Audit;
}

impl Level for Write {
    const ACTION: Action = Action::Write;
}

impl Level for Admin {
    const ACTION: Action = Action::Administer;
}

// Every role that allows one of these also allows the lower one; a test compares this with the role table.
impl Implies<Read> for Audit {}
impl Implies<Read> for Write {}
impl Implies<Read> for Admin {}
impl Implies<Audit> for Admin {}
impl Implies<Write> for Admin {}

mod sealed {
    pub trait Sealed {}
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person with a session.
    Person(PersonId),
    /// An API key of one project.
    ApiKey(ProjectId, KeyId),
    /// A service account of one project.
    ServiceAccount(ProjectId, ServiceId),
    /// The program itself.
    System(Task),
}

impl Actor {
    /// The person, if it is one.
    pub fn person(self) -> Option<PersonId> {
        match self {
            Self::Person(person) => Some(person),
            Self::ApiKey(..) | Self::ServiceAccount(..) | Self::System(_) => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(person) => person.fmt(f),
            Self::ApiKey(_, key) => key.fmt(f),
            Self::ServiceAccount(_, account) => account.fmt(f),
            Self::System(task) => write!(f, "system:{}", task.name()),
        }
    }
}

/// Who acts, under which name, in which request: what the trail writes down of an actor. Whoever gets a key gets it
/// along, so that nobody who changes something can forget to say who it was.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    /// The name at this time: a person's, or the first characters of a key.
    pub(super) name: Arc<str>,
    pub(super) origin: Origin,
}

impl Caller {
    /// The program itself.
    pub(super) fn system(task: Task) -> Self {
        Self {
            actor: Actor::System(task),
            name: "".into(),
            origin: Origin::here(),
        }
    }

    pub(super) fn who(&self) -> Who {
        let name = (!self.name.is_empty()).then_some(&*self.name);
        match self.actor {
            Actor::Person(person) => Who::new(WhoKind::Person, person, name),
            Actor::ApiKey(_, key) => Who::new(WhoKind::Key, key, name),
            Actor::ServiceAccount(_, account) => Who::new(WhoKind::Service, account, name),
            Actor::System(task) => Who::new(WhoKind::System, task.name(), None),
        }
    }

    pub(super) fn entry(&self, project: Option<ProjectId>, act: Act) -> Entry {
        Entry::new(project, self.who(), &self.origin, act)
    }
}

/// The part of a project that a grant reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locations {
    /// The whole project, also what is at no location.
    All,
    /// These locations and nothing else.
    Only(BTreeSet<LocationId>),
}

impl Locations {
    /// Whether something at `location` (None: at no location) is in reach.
    pub fn allow(&self, location: Option<LocationId>) -> bool {
        match self {
            Self::All => true,
            Self::Only(set) => location.is_some_and(|location| set.contains(&location)),
        }
    }

    /// The part of this that `reach` sees: the whole project stays the whole; None where they share no location.
    pub(super) fn seen_from(&self, reach: &Self) -> Option<Self> {
        match (self, reach) {
            (Self::All, _) | (_, Self::All) => Some(self.clone()),
            (Self::Only(mine), Self::Only(theirs)) => {
                let shared: BTreeSet<_> = mine.intersection(theirs).copied().collect();
                (!shared.is_empty()).then_some(Self::Only(shared))
            }
        }
    }

    /// Whether everything in reach of `other` is in reach of this.
    pub fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(mine), Self::Only(theirs)) => theirs.is_subset(mine),
        }
    }
}

/// What an actor is in one project, as found when it asked.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) project: ProjectId,
    /// The highest role that is wholly allowed.
    pub(super) role: Role,
    /// What is allowed: never more than the holder's role, less where a key or token is limited to scopes.
    pub(super) scopes: Scopes,
    pub(super) locations: Locations,
}

impl Standing {
    /// Somebody who may do all that a role allows.
    pub(super) fn of_role(project: ProjectId, role: Role, locations: Locations) -> Self {
        Self::limited(project, Scopes::of_role(role), locations)
    }

    /// Somebody who may do what the scopes allow.
    pub(super) fn limited(project: ProjectId, scopes: Scopes, locations: Locations) -> Self {
        Self {
            project,
            role: scopes.role(),
            scopes,
            locations,
        }
    }
}

/// Proof that an actor may do `L` in one project. Only this room makes one; it lives no longer than the session
/// or task that lends it, and is a snapshot: long streams ask again ([`Access::still_valid`](super::Access::still_valid)).
pub struct Grant<'r, L> {
    caller: &'r Caller,
    standing: &'r Standing,
    _level: PhantomData<fn() -> L>,
}

impl<'r, L: Level> Grant<'r, L> {
    pub(super) fn new(caller: &'r Caller, standing: &'r Standing) -> Self {
        Self {
            caller,
            standing,
            _level: PhantomData,
        }
    }

    /// The project that this grant is for.
    pub fn project(&self) -> ProjectId {
        self.standing.project
    }

    /// The part of the project that it reaches.
    pub fn locations(&self) -> &'r Locations {
        &self.standing.locations
    }

    /// Who holds it.
    pub fn actor(&self) -> Actor {
        self.caller.actor
    }

    /// An entry of the trail about this holder, in this project, in this request.
    pub fn entry(&self, act: Act) -> Entry {
        self.caller.entry(Some(self.project()), act)
    }

    /// The highest role that the holder fills wholly; nothing above it may be handed out with this grant.
    pub fn role(&self) -> Role {
        self.standing.role
    }

    /// What the holder may do; nothing beyond it may be handed out with this grant.
    pub fn scopes(&self) -> Scopes {
        self.standing.scopes
    }

    /// The same grant for a lower level.
    pub fn lower<Lower: Level>(&self) -> Grant<'r, Lower>
    where
        L: Implies<Lower>,
    {
        Grant::new(self.caller, self.standing)
    }

    /// The same grant for reading.
    pub fn read(&self) -> Grant<'r, Read>
    where
        L: Implies<Read>,
    {
        self.lower()
    }
}

impl<L: Level> fmt::Debug for Grant<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Grant({} in {} by {})",
            L::ACTION.name(),
            self.standing.project,
            self.caller.actor
        )
    }
}

/// A handler's key for one project: owns what its grants borrow.
pub struct Session<L> {
    who: SignedIn,
    standing: Standing,
    _level: PhantomData<fn() -> L>,
}

impl<L: Level> Session<L> {
    pub(super) fn new(who: SignedIn, standing: Standing) -> Self {
        Self {
            who,
            standing,
            _level: PhantomData,
        }
    }

    /// Lends the grant.
    pub fn grant(&self) -> Grant<'_, L> {
        Grant::new(&self.who.caller, &self.standing)
    }

    /// Lends a grant for reading.
    pub fn read(&self) -> Grant<'_, Read>
    where
        L: Implies<Read>,
    {
        self.grant().read()
    }

    /// The project that it is for.
    pub fn project(&self) -> ProjectId {
        self.standing.project
    }

    /// Who holds it.
    pub fn signed_in(&self) -> &SignedIn {
        &self.who
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl<L: Level> fmt::Debug for Session<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.grant())
    }
}

/// What is left to do before a person is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Done,
    /// They have a second factor and have not shown it.
    ShowFactor,
    /// They need a second factor and have none.
    SetUpFactor,
}

/// What a credential proved to be.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    Person {
        person: PersonId,
        operator: bool,
        must_set_password: bool,
        session: [u8; 32],
        step: Step,
        proved: Timestamp,
    },
    ApiKey {
        project: ProjectId,
        key: KeyId,
    },
    Service {
        project: ProjectId,
        account: ServiceId,
        token: [u8; 32],
        scopes: Scopes,
        audience: Audience,
    },
}

/// A handler's key for what belongs to the caller alone: someone with a valid credential.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub(super) holder: Holder,
    pub(super) caller: Caller,
}

impl SignedIn {
    pub(super) fn new(holder: Holder, name: &str, origin: &Origin) -> Self {
        let actor = match holder {
            Holder::Person { person, .. } => Actor::Person(person),
            Holder::ApiKey { project, key } => Actor::ApiKey(project, key),
            Holder::Service {
                project, account, ..
            } => Actor::ServiceAccount(project, account),
        };
        let caller = Caller {
            actor,
            name: name.into(),
            origin: origin.clone(),
        };
        Self { holder, caller }
    }

    /// Who it is.
    pub fn actor(&self) -> Actor {
        self.caller.actor
    }

    /// Who it is, as the trail says it.
    pub fn who(&self) -> Who {
        self.caller.who()
    }

    /// The request that the credential came with.
    pub fn origin(&self) -> &Origin {
        &self.caller.origin
    }

    /// An entry of the trail about this caller that belongs to no project, in this request.
    pub fn entry(&self, act: Act) -> Entry {
        self.caller.entry(None, act)
    }

    /// Whether it is an operator of the instance.
    pub fn is_operator(&self) -> bool {
        matches!(self.holder, Holder::Person { operator: true, .. })
    }

    /// What is left to do before they are in.
    pub(super) fn step(&self) -> Step {
        match self.holder {
            Holder::Person { step, .. } => step,
            Holder::ApiKey { .. } | Holder::Service { .. } => Step::Done,
        }
    }

    /// Whether it is a person without a password so far.
    pub fn must_set_password(&self) -> bool {
        matches!(
            self.holder,
            Holder::Person {
                must_set_password: true,
                ..
            }
        )
    }
}

/// A handler's key for the instance itself. It opens no project's data.
#[derive(Debug)]
pub struct OperatorSession(SignedIn);

impl OperatorSession {
    pub(super) fn new(who: SignedIn) -> Self {
        Self(who)
    }

    /// Lends the grant.
    pub fn grant(&self) -> OperatorGrant<'_> {
        OperatorGrant::new(Cow::Borrowed(&self.0.caller))
    }

    /// Who holds it.
    pub fn signed_in(&self) -> &SignedIn {
        &self.0
    }
}

/// Proof that an actor may look after the instance.
#[derive(Debug)]
pub struct OperatorGrant<'r> {
    caller: Cow<'r, Caller>,
}

impl<'r> OperatorGrant<'r> {
    pub(super) fn new(caller: Cow<'r, Caller>) -> Self {
        Self { caller }
    }

    /// Who holds it.
    pub fn actor(&self) -> Actor {
        self.caller.actor
    }

    /// An entry of the trail about this holder and the instance, in this request.
    pub fn entry(&self, act: Act) -> Entry {
        self.caller.entry(None, act)
    }
}

/// A handler's key for those few doors that are open to everyone: sign-in, health, the web app's files.
#[derive(Clone, Debug)]
pub struct Nobody(Origin);

impl Nobody {
    /// Only the front door calls this, for a row that is told to be public.
    pub fn admit(origin: Origin) -> Self {
        Self(origin)
    }

    /// The request.
    pub fn origin(&self) -> &Origin {
        &self.0
    }

    /// An entry of the trail about somebody who is not known, in this request.
    pub fn entry(&self, act: Act) -> Entry {
        Entry::new(None, Who::nobody(), &self.0, act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn implied<High: Implies<Low>, Low: Level>() -> (Action, Action) {
        (High::ACTION, Low::ACTION)
    }

    #[test]
    fn lower_levels_follow_from_the_role_table() {
        for (high, low) in [
            implied::<Audit, Read>(),
            implied::<Write, Read>(),
            implied::<Admin, Read>(),
            implied::<Admin, Audit>(),
            implied::<Admin, Write>(),
        ] {
            for role in Role::ALL {
                assert!(
                    !role.allows(high) || role.allows(low),
                    "{role}: {} without {}",
                    high.name(),
                    low.name()
                );
            }
        }
    }

    #[test]
    fn limited_locations_reach_nothing_else() {
        let [here, there] = [1, 2].map(|byte| LocationId::from_bytes([byte; 16]));
        let only = Locations::Only(BTreeSet::from([here]));
        assert!(only.allow(Some(here)));
        assert!(!only.allow(Some(there)));
        assert!(!only.allow(None));
        assert!(Locations::All.allow(None));
        assert!(Locations::All.cover(&only));
        assert!(!only.cover(&Locations::All));
        assert!(!only.cover(&Locations::Only(BTreeSet::from([here, there]))));
    }
}
