//! Project data over the store: append, scan, latest, live tail, changes, tables for export, completeness.
//!
//! Owns the way from an element to its stored channels, through deployments, and back from arrivals to elements. Every
//! function takes a device's session or a grant and the project from it, so that no caller can reach into another
//! project; elements beyond a grant's locations are not found. Promises that what `append` returned is durable.
//! Decodes nothing and keeps nothing: the store does.

mod changes;
mod clocks;
mod cold;
mod expiry;
mod live;
mod scale;
mod table;
mod width;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fieldkeep_protocol::{DeviceId, ElementId, Epoch, ProjectId, Timestamp};
use fieldkeep_store::{
    AppendError, Bucket, Buckets, ChannelsReceipt, ClockError, Completeness, Cursor, EpochLedger,
    Gap, Origin, Outline, Page, Point, QuarantineState, Quarantined, Receipt, Source, Store,
    StoreError, TimeRange, Totals,
};
use futures_util::Stream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::access::{Access, Denied, Grant, Read, Session};
use crate::clock::Clock;
use crate::pki::{DeviceSession, Pki, PkiError};
use crate::projects::{Projects, ProjectsError, Scaling};

pub use changes::{ElementChange, ElementChanges};
pub use live::Fresh;
pub use table::{Block, Table};

/// Where a page of points ended.
pub type Position = Cursor;

/// Why measurements cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The element does not exist in the part of the project that the grant reaches.
    #[error("there is no such element")]
    NoElement,
    /// The device does not exist in the part of the project that the grant reaches.
    #[error("there is no such device")]
    NoDevice,
    /// The session would no longer be given out: what was being read ends here.
    #[error("the session ended")]
    Ended(#[source] Denied),
    /// Times of records cannot be changed as asked.
    #[error("the times of records cannot be changed")]
    Clock(#[from] ClockError),
    /// The store failed.
    #[error("the measurement store failed")]
    Store(#[from] StoreError),
    /// Deployments cannot be read.
    #[error("deployments cannot be read")]
    Projects(#[source] ProjectsError),
    /// Devices cannot be read.
    #[error("devices cannot be read")]
    Pki(#[from] PkiError),
}

/// An element over a range, drawn with at most so many values.
#[derive(Debug)]
pub enum Drawn {
    /// There are few enough points to show them all.
    Points {
        /// In the order of time.
        points: Vec<Point>,
        /// Stretches without a value.
        gaps: Vec<Gap>,
    },
    /// Buckets of one width; empty ones are left out.
    Buckets {
        /// Their width.
        width_us: i64,
        /// In the order of time.
        buckets: Vec<Bucket>,
        /// Stretches without a value.
        gaps: Vec<Gap>,
    },
}

/// Measurements of projects. Cheap to clone.
#[derive(Clone)]
pub struct Series {
    store: Store,
    projects: Projects,
    pki: Pki,
    access: Access,
    clock: Clock,
    due: Arc<Notify>,
    cores: usize,
}

/// Elements that are worth a task of their own.
const GROUP: usize = 64;

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Series")
    }
}

/// For devices: the project and the device come from their certificate.
impl Series {
    /// Measurements over an open store.
    #[must_use]
    pub fn new(store: Store, projects: Projects, pki: Pki, access: Access, clock: Clock) -> Self {
        Self {
            store,
            projects,
            pki,
            access,
            clock,
            due: Arc::new(Notify::new()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Files a batch. Durable when this returns.
    ///
    /// # Errors
    /// [`AppendError`] says whether the device keeps it and comes back, or the bytes are beyond help.
    pub async fn append(
        &self,
        device: &DeviceSession,
        bytes: &[u8],
    ) -> Result<Receipt, AppendError> {
        self.store
            .append(origin(device), bytes, self.clock.now())
            .await
    }

    /// Files a channel table. Durable when this returns; binding its channels to elements is `projects`'.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn append_channels(
        &self,
        device: &DeviceSession,
        bytes: &[u8],
    ) -> Result<ChannelsReceipt, AppendError> {
        self.store
            .append_channels(origin(device), bytes, self.clock.now())
            .await
    }

    /// Files a seal whose signature the caller has verified. Durable when this returns.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn append_seal(
        &self,
        device: &DeviceSession,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        self.store
            .append_seal(origin(device), bytes, self.clock.now())
            .await
    }

    /// Keeps bytes that cannot be read, bounded per device.
    pub async fn quarantine(
        &self,
        device: &DeviceSession,
        reason: &'static str,
        bytes: &[u8],
    ) -> Result<(), SeriesError> {
        self.store
            .quarantine(origin(device), reason, bytes, self.clock.now())
            .await?;
        Ok(())
    }

    /// Whether so much of the device's project waits for the disk that it should not be asked for more.
    pub fn is_crowded(&self, device: &DeviceSession) -> bool {
        self.store.is_crowded(device.project())
    }

    /// Record numbers of an epoch in `[from, to)` that are not durable, lowest first.
    pub async fn holes(
        &self,
        device: &DeviceSession,
        epoch: Epoch,
        from: u64,
        to: u64,
    ) -> Result<Vec<(u64, u64)>, SeriesError> {
        Ok(self.store.holes(origin(device), epoch, from, to).await?)
    }

    /// One past the highest durable record number of an epoch; 0 if there is none.
    pub async fn next_record(
        &self,
        device: &DeviceSession,
        epoch: Epoch,
    ) -> Result<u64, SeriesError> {
        Ok(self.store.next_record(origin(device), epoch).await?)
    }

    /// Fails while the store does not answer.
    pub async fn ready(&self) -> Result<(), SeriesError> {
        self.store.newest().await?;
        Ok(())
    }
}

/// For people and services.
impl Series {
    /// At most `limit` raw points of an element, after a position.
    pub async fn scan(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
        range: TimeRange,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, SeriesError> {
        let sources = self.sources(grant, element).await?;
        let mut page = self.page(grant, &sources, range, after, limit).await?;
        self.scale_points(grant, element, &mut page.points).await?;
        Ok(Page {
            gaps: self.past(page.gaps),
            ..page
        })
    }

    /// The same as it was known at a time, as far as the evidence is kept; what feeds the element, and what explains its
    /// gaps, is as of now. A page may hold fewer points and yet not be the last.
    pub async fn scan_known(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
        range: TimeRange,
        known_at: Timestamp,
        place: (Option<Position>, usize),
    ) -> Result<Page, SeriesError> {
        let sources = self.sources(grant, element).await?;
        let mut page = self
            .store
            .scan_known(grant.project(), &sources, range, known_at, place)
            .await?;
        self.scale_points(grant, element, &mut page.points).await?;
        Ok(Page {
            gaps: self.past(page.gaps),
            ..page
        })
    }

    /// Elements over a range in at most `wanted` buckets each, however few points there are.
    pub async fn buckets(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
        range: TimeRange,
        wanted: usize,
    ) -> Result<Vec<Buckets>, SeriesError> {
        let of = self.scaled_sources(grant, elements).await?;
        let (_, outlines) = self
            .outlines(grant.project(), &of, range, wanted, 0)
            .await?;
        Ok(outlines
            .into_iter()
            .map(|outline| outline.buckets)
            .collect())
    }

    /// How complete an element is in a range, up to now.
    pub async fn completeness(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
        range: TimeRange,
    ) -> Result<Completeness, SeriesError> {
        let sources = self.sources(grant, element).await?;
        let found = self
            .store
            .completeness(grant.project(), &sources, self.up_to_now(range))
            .await?;
        Ok(found)
    }

    /// How complete the records of a device are in a range, up to now.
    pub async fn device_completeness(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
        range: TimeRange,
    ) -> Result<Completeness, SeriesError> {
        let origin = self.reached(grant, device).await?;
        let found = self
            .store
            .device_completeness(origin, self.up_to_now(range))
            .await?;
        Ok(found)
    }

    /// Elements over a range with at most `wanted` values each: the points themselves where there are no more, else
    /// buckets that lose no excursion. What they have in common is read once. `show` gets them group by group, in their
    /// order; the groups of many elements are worked on at the same time.
    pub async fn draw<T: Send + 'static>(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
        range: TimeRange,
        wanted: usize,
        show: fn(&[ElementId], Vec<Drawn>) -> T,
    ) -> Result<Vec<T>, SeriesError> {
        let of = self.scaled_sources(grant, elements).await?;
        let project = grant.project();
        let groups = (elements.len() / GROUP).clamp(1, self.cores);
        let each = elements.len().div_ceil(groups).max(1);
        let mut tasks = JoinSet::new();
        let mut shown = BTreeMap::new();
        for (place, (elements, of)) in elements.chunks(each).zip(of.chunks(each)).enumerate() {
            let (series, of, elements) = (self.clone(), of.to_vec(), elements.to_vec());
            let group = async move {
                let drawn = series.drawn(project, &of, range, wanted).await?;
                Ok::<_, SeriesError>(show(&elements, drawn))
            };
            if groups == 1 {
                shown.insert(place, Box::pin(group).await?);
            } else {
                tasks.spawn(async move { (place, group.await) });
            }
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((place, group)) => shown.insert(place, group?),
                // Only a panic ends one early, and it is this one's.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
        }
        Ok(shown.into_values().collect())
    }

    /// What feeds some elements and how their values are read, in their order.
    async fn scaled_sources(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
    ) -> Result<Vec<(Arc<[Source]>, Scaling)>, SeriesError> {
        let sources = self.sources_of(grant, elements).await?;
        let scalings = self.scalings(grant, elements).await?;
        Ok(sources.into_iter().zip(scalings).collect())
    }

    async fn drawn(
        &self,
        project: ProjectId,
        of: &[(Arc<[Source]>, Scaling)],
        range: TimeRange,
        wanted: usize,
    ) -> Result<Vec<Drawn>, SeriesError> {
        let (width_us, outlines) = self.outlines(project, of, range, wanted, wanted).await?;
        let drawn = outlines.into_iter().map(|outline| match outline.few {
            Some(page) => Drawn::Points {
                points: page.points,
                gaps: self.past(page.gaps),
            },
            None => Drawn::Buckets {
                width_us,
                buckets: outline.buckets.buckets,
                gaps: self.past(outline.buckets.gaps),
            },
        });
        Ok(drawn.collect())
    }

    async fn outlines(
        &self,
        project: ProjectId,
        of: &[(Arc<[Source]>, Scaling)],
        range: TimeRange,
        wanted: usize,
        few: usize,
    ) -> Result<(i64, Vec<Outline>), SeriesError> {
        let sources: Vec<&[Source]> = of.iter().map(|(sources, _)| sources.as_ref()).collect();
        let width_us = width::bucket_width_us(range.from.as_micros(), range.to.as_micros(), wanted);
        let mut outlines = self
            .store
            .outlines(project, &sources, range, width_us, few)
            .await?;
        for (outline, (sources, scaling)) in outlines.iter_mut().zip(of) {
            if scaling.is_plain() {
                continue;
            }
            match &mut outline.few {
                Some(page) => scale::points(scaling, &mut page.points),
                None => {
                    let buckets = &mut outline.buckets.buckets;
                    self.rescale(project, (sources, scaling), (range, width_us), buckets)
                        .await?;
                }
            }
        }
        Ok((width_us, outlines))
    }

    /// The newest point of an element.
    pub async fn latest(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
    ) -> Result<Option<Point>, SeriesError> {
        let newest = self.latest_of(grant, &[element]).await?;
        Ok(newest.into_iter().next().flatten())
    }

    /// The newest points of several elements, in their order.
    pub async fn latest_of(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
    ) -> Result<Vec<Option<Point>>, SeriesError> {
        let mut newest = Vec::with_capacity(elements.len());
        let sources = self.sources_of(grant, elements).await?;
        let scalings = self.scalings(grant, elements).await?;
        for (sources, scaling) in sources.iter().zip(&scalings) {
            let mut point = self.store.latest(grant.project(), sources).await?;
            scale::points(scaling, point.as_mut_slice());
            newest.push(point);
        }
        Ok(newest)
    }

    /// New points of everything that the session may read, from now on or after a sequence number that was seen. Ends
    /// when the session would no longer be given out, within 5 seconds.
    pub fn live(
        &self,
        session: Session<Read>,
        after: Option<i64>,
    ) -> impl Stream<Item = Fresh> + Send + use<> {
        live::stream(self.clone(), session, after)
    }

    /// Which record numbers of a device are durable, by epoch.
    pub async fn ledger(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
    ) -> Result<Vec<EpochLedger>, SeriesError> {
        let origin = self.reached(grant, device).await?;
        Ok(self.store.ledger(origin).await?)
    }

    /// What a device sent that cannot be read, oldest first, and how much of it there was.
    pub async fn quarantined(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
    ) -> Result<(Vec<Quarantined>, QuarantineState), SeriesError> {
        let origin = self.reached(grant, device).await?;
        let messages = self.store.quarantined(origin).await?;
        Ok((messages, self.store.quarantine_state(origin).await?))
    }

    /// How much of a device is stored.
    pub async fn totals(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
    ) -> Result<Totals, SeriesError> {
        let origin = self.reached(grant, device).await?;
        Ok(self.store.totals(origin).await?)
    }

    async fn scale_points(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
        points: &mut [Point],
    ) -> Result<(), SeriesError> {
        for scaling in self.scalings(grant, &[element]).await? {
            scale::points(&scaling, points);
        }
        Ok(())
    }

    /// The store may end a page early; this one ends at the limit or with the range.
    async fn page(
        &self,
        grant: &Grant<'_, Read>,
        sources: &[Source],
        range: TimeRange,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, SeriesError> {
        let mut all = Page {
            next: after,
            ..Page::default()
        };
        loop {
            let left = limit.saturating_sub(all.points.len());
            let page = self
                .store
                .scan(grant.project(), sources, range, all.next, left)
                .await?;
            all.points.extend(page.points);
            join(&mut all.gaps, page.gaps);
            all.next = page.next;
            all.damaged += page.damaged;
            if all.next.is_none() || all.points.len() >= limit {
                return Ok(all);
            }
        }
    }

    fn up_to_now(&self, range: TimeRange) -> TimeRange {
        TimeRange {
            to: range.to.min(self.clock.now()),
            ..range
        }
    }

    /// Nothing is missing that is still to come: gaps end at the present.
    fn past(&self, gaps: Vec<Gap>) -> Vec<Gap> {
        let now = self.clock.now();
        let past = gaps.into_iter().filter(|gap| gap.from < now);
        past.map(|gap| Gap {
            to: gap.to.min(now),
            ..gap
        })
        .collect()
    }

    /// Where the points of several elements are; all of them must be in reach.
    async fn sources_of(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
    ) -> Result<Vec<Arc<[Source]>>, SeriesError> {
        let sources = self.projects.sources_of(grant, elements).await;
        let sources = sources.map_err(SeriesError::Projects)?.into_iter();
        sources
            .map(|sources| sources.ok_or(SeriesError::NoElement))
            .collect()
    }

    async fn sources(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
    ) -> Result<Arc<[Source]>, SeriesError> {
        self.projects
            .sources(grant, element)
            .await
            .map_err(SeriesError::Projects)?
            .ok_or(SeriesError::NoElement)
    }

    async fn reached(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
    ) -> Result<Origin, SeriesError> {
        let found = self.pki.device(grant, device).await?;
        found.ok_or(SeriesError::NoDevice)?;
        Ok(Origin {
            project: grant.project(),
            device,
        })
    }
}

fn origin(device: &DeviceSession) -> Origin {
    Origin {
        project: device.project(),
        device: device.device(),
    }
}

/// Appends the gaps of the next page; one that was cut by the page's end is one again.
fn join(gaps: &mut Vec<Gap>, more: Vec<Gap>) {
    for gap in more {
        match gaps.last_mut() {
            Some(last) if last.to == gap.from && last.reason == gap.reason => last.to = gap.to,
            _ => gaps.push(gap),
        }
    }
}
