//! The open connections of one file: at most so many, handed out one to a caller, the last one used first.
//!
//! Who is done with a connection gives it back. Dropped instead, because a statement failed or its caller went away half
//! way, it is closed, which rolls back what it was at, and its place is free once it is closed.
//! Unlike sqlx's pool this one asks nothing of a connection before and after its use: such a question takes two changes of
//! threads, more than most statements, and a connection to a file does not go away. The last one used is the one whose
//! pages are in memory.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a caller waits for a place before it is told that there is none.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections to one file. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: u32,
    places: Arc<Semaphore>,
    options: Mutex<SqliteConnectOptions>,
    idle: Mutex<Vec<SqliteConnection>>,
    ended: AtomicU64,
}

/// A connection in the hands of one caller.
#[derive(Debug)]
pub(super) struct Lent {
    connection: Option<SqliteConnection>,
    place: Option<OwnedSemaphorePermit>,
    owner: Connections,
}

impl Connections {
    /// Opens the first one.
    pub(super) async fn open(
        most: u32,
        options: &SqliteConnectOptions,
    ) -> Result<Self, sqlx::Error> {
        let first = options.connect().await?;
        Ok(Self(Arc::new(Inner {
            most,
            places: Arc::new(Semaphore::new(most as usize)),
            options: Mutex::new(options.clone()),
            idle: Mutex::new(vec![first]),
            ended: AtomicU64::new(0),
        })))
    }

    /// The connection that was used last, or a new one; waits while all are in use.
    pub(super) async fn acquire(&self) -> Result<Lent, sqlx::Error> {
        let place = self.place().await?;
        let known = self.idle().pop();
        let connection = match known {
            Some(connection) => connection,
            None => {
                let options = self.options();
                options.connect().await?
            }
        };
        Ok(Lent {
            connection: Some(connection),
            place: Some(place),
            owner: self.clone(),
        })
    }

    /// A connection on which nothing has happened yet, in the place of one that is not in use.
    pub(super) async fn acquire_new(&self) -> Result<Lent, sqlx::Error> {
        let place = self.place().await?;
        let known = self.idle().pop();
        if let Some(known) = known {
            close(known).await;
        }
        let options = self.options();
        Ok(Lent {
            connection: Some(options.connect().await?),
            place: Some(place),
            owner: self.clone(),
        })
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let places = &self.0.places;
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(_) => timeout(PATIENCE, Arc::clone(places).acquire_owned())
                .await
                .map_err(|_| sqlx::Error::PoolTimedOut)?
                .map_err(|_| sqlx::Error::PoolClosed),
        }
    }

    /// What the next new connection is opened with.
    pub(super) fn options(&self) -> SqliteConnectOptions {
        let options = self.0.options.lock();
        options.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the next new connections so; those that are open stay as they are.
    pub(super) fn set_options(&self, options: SqliteConnectOptions) {
        let known = self.0.options.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = options;
    }

    /// How many times one was given back or, after a failure, closed.
    pub(super) fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Waits until all are given back, and closes them. Nothing is lent from then on.
    pub(super) async fn close(&self) {
        // Only a second call fails here, and finds nothing left to close.
        let all = self.0.places.acquire_many(self.0.most).await;
        self.0.places.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            close(connection).await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// Gives it back for the next caller: nothing may be open on it.
    pub(super) fn done(mut self) {
        if let Some(connection) = self.connection.take() {
            self.owner.0.ended.fetch_add(1, Ordering::Release);
            self.owner.idle().push(connection);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let (place, owner) = (self.place.take(), self.owner.clone());
        // Without a runtime it is closed by its own thread, a little later.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // What was under way may have taken effect until here.
                close(connection).await;
                owner.0.ended.fetch_add(1, Ordering::Release);
                drop(place);
            });
        }
    }
}

/// Closes one and waits until it is.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a connection to a database did not close in order"
        );
    }
}

impl Deref for Lent {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect(HELD)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect(HELD)
    }
}

/// Only giving it back and dropping it take it out, and both end the value.
const HELD: &str = "a lent connection holds it until it is given back";
