//! Several elements side by side, row by row, for whoever reads a range from its beginning to its end.
//!
//! Owns the merge by time. Holds some thousand points an element, whatever the range, and nothing open between two
//! blocks: each statement goes on after the last point. Asks again whether the session still stands before each block.

use std::collections::VecDeque;
use std::time::Duration;

use std::sync::Arc;

use fieldkeep_protocol::{ElementId, Flag, Timestamp};
use fieldkeep_store::{Point, Source, TimeRange};

use super::{Position, Series, SeriesError, scale};
use crate::access::{Read, Session};
use crate::projects::Scaling;

/// Points of all elements that are read ahead, and the bounds for one.
const AHEAD: usize = 65_536;
const LANE_AHEAD: (usize, usize) = (256, 8_192);
/// An answer whether the session stands is good for a burst.
const CHECK_AFRESH: Duration = Duration::from_secs(1);

/// Some rows: for each time and element a value with its flag, or none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// The times of the rows; more than one row for a time where an element has several points then.
    pub times: Vec<Timestamp>,
    /// For each element as many cells as there are rows.
    pub columns: Vec<Vec<Option<(f64, Flag)>>>,
}

/// A range of some elements that is being read.
pub struct Table {
    series: Series,
    session: Session<Read>,
    range: TimeRange,
    known_at: Option<Timestamp>,
    lanes: Vec<Lane>,
    ahead: usize,
    checked: Option<Duration>,
}

struct Lane {
    sources: Arc<[Source]>,
    scaling: Scaling,
    ready: VecDeque<Point>,
    after: Option<Position>,
    done: bool,
}

impl Series {
    /// The raw points of some elements side by side, as they are now or as they were known at a time.
    pub async fn table(
        &self,
        session: Session<Read>,
        elements: &[ElementId],
        range: TimeRange,
        known_at: Option<Timestamp>,
    ) -> Result<Table, SeriesError> {
        let mut lanes = Vec::with_capacity(elements.len());
        let scalings = self.scalings(&session.grant(), elements).await?;
        for (element, scaling) in elements.iter().zip(scalings) {
            lanes.push(Lane {
                sources: self.sources(&session.grant(), *element).await?,
                scaling,
                ready: VecDeque::new(),
                after: None,
                done: false,
            });
        }
        let ahead = (AHEAD / lanes.len().max(1)).clamp(LANE_AHEAD.0, LANE_AHEAD.1);
        Ok(Table {
            checked: Some(self.clock.elapsed()),
            series: self.clone(),
            session,
            range,
            known_at,
            lanes,
            ahead,
        })
    }
}

impl Table {
    /// The next rows, `rows` of them and what else has the time of the last one; fewer and none at the end.
    ///
    /// # Errors
    /// [`SeriesError::Ended`] where the session would no longer be given out.
    pub async fn block(&mut self, rows: usize) -> Result<Block, SeriesError> {
        self.stands().await?;
        let mut block = Block {
            times: Vec::new(),
            columns: vec![Vec::new(); self.lanes.len()],
        };
        while let Some(time) = self.next_time().await? {
            if block.times.len() >= rows && block.times.last() != Some(&time) {
                break;
            }
            block.times.push(time);
            for (lane, column) in self.lanes.iter_mut().zip(&mut block.columns) {
                let is_now = |point: &mut Point| point.time == time;
                let point = lane.ready.pop_front_if(is_now);
                column.push(point.map(|point| (point.value, point.flag)));
            }
        }
        Ok(block)
    }

    /// The time of the next row; none at the end.
    pub async fn next_time(&mut self) -> Result<Option<Timestamp>, SeriesError> {
        let project = self.session.project();
        for lane in &mut self.lanes {
            while lane.ready.is_empty() && !lane.done {
                let store = &self.series.store;
                let mut page = match self.known_at {
                    None => {
                        store
                            .scan(project, &lane.sources, self.range, lane.after, self.ahead)
                            .await?
                    }
                    Some(time) => {
                        let place = (lane.after, self.ahead);
                        store
                            .scan_known(project, &lane.sources, self.range, time, place)
                            .await?
                    }
                };
                scale::points(&lane.scaling, &mut page.points);
                lane.ready.extend(page.points);
                lane.after = page.next;
                lane.done = page.next.is_none();
            }
        }
        let heads = self.lanes.iter().filter_map(|lane| lane.ready.front());
        Ok(heads.map(|point| point.time).min())
    }

    async fn stands(&mut self) -> Result<(), SeriesError> {
        let now = self.series.clock.elapsed();
        let is_fresh = |at: Duration| now.saturating_sub(at) < CHECK_AFRESH;
        if self.checked.is_some_and(is_fresh) {
            return Ok(());
        }
        self.series
            .access
            .still_valid(&self.session)
            .await
            .map_err(SeriesError::Ended)?;
        self.checked = Some(now);
        Ok(())
    }
}
