//! Keys for people who are on the way in, and for proof that is fresh.
//!
//! What is left to do before somebody is in is a type, as levels are: a handler that takes [`Arriving`] cannot do what needs
//! a [`SignedIn`], and one that takes [`Fresh`] is not reached with old proof. Made by [`Access`](super::super::Access) alone.

use std::ops::Deref;

use super::{Actor, Level, OperatorSession, Session, SignedIn, Step};
use crate::trail::Who;

/// A key whose holder is known.
pub trait Held {
    /// Who holds it.
    fn signed_in(&self) -> &SignedIn;
}

impl Held for SignedIn {
    fn signed_in(&self) -> &SignedIn {
        self
    }
}

impl<L: Level> Held for Session<L> {
    fn signed_in(&self) -> &SignedIn {
        &self.who
    }
}

impl Held for OperatorSession {
    fn signed_in(&self) -> &SignedIn {
        &self.0
    }
}

impl Held for Arrived {
    fn signed_in(&self) -> &SignedIn {
        &self.0
    }
}

/// A handler's key for the way in: a person who knows a password or held a link, whatever second factor is still to be
/// shown or set up. It lends no [`SignedIn`]: nothing that needs one can be done with it.
#[derive(Clone, Debug)]
pub struct Arriving(pub(in crate::access) SignedIn);

impl Arriving {
    /// What is left to do.
    pub fn step(&self) -> Step {
        self.0.step()
    }

    /// Who it claims to be.
    pub fn actor(&self) -> Actor {
        self.0.actor()
    }

    /// The same, as the trail says it.
    pub fn who(&self) -> Who {
        self.0.who()
    }

    /// Whether it is a person without a password so far.
    pub fn must_set_password(&self) -> bool {
        self.0.must_set_password()
    }

    /// The key of somebody who is in; None while a step is left.
    pub fn finished(&self) -> Option<&SignedIn> {
        (self.step() == Step::Done).then_some(&self.0)
    }
}

/// A handler's key for one's own password and factors: a person who has shown every factor that they have, though one may
/// still have to be set up.
#[derive(Clone, Debug)]
pub struct Arrived(pub(in crate::access) SignedIn);

/// A key whose holder proved within the last ten minutes who they are. A program's key proves it with each request.
#[derive(Debug)]
pub struct Fresh<K>(K);

impl<K> Fresh<K> {
    pub(in crate::access) fn new(key: K) -> Self {
        Self(key)
    }
}

impl<K> Deref for Fresh<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.0
    }
}
