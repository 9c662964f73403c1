//! Sets of instants, as sorted disjoint half-open spans of time.
//!
//! Reads are planned with them: what is read from where is cut so that every instant has one place. Pure arithmetic;
//! sets are small, and every operation walks them once.

/// Instants from `.0` up to, not including, `.1`.
pub(crate) type Span = (i64, i64);

/// A set of instants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans(Vec<Span>);

impl Spans {
    /// One span; nothing where it is empty.
    pub(crate) fn one(from: i64, to: i64) -> Self {
        Self(if from < to {
            vec![(from, to)]
        } else {
            Vec::new()
        })
    }

    /// The union of some spans, in whatever order.
    pub(crate) fn of(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().filter(|span| span.0 < span.1).collect();
        spans.sort_unstable();
        let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match joined.last_mut() {
                Some(last) if span.0 <= last.1 => last.1 = last.1.max(span.1),
                _ => joined.push(span),
            }
        }
        Self(joined)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The spans, by time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.iter().copied()
    }

    /// The first instant and the end.
    pub(crate) fn extent(&self) -> Option<Span> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }

    /// Whether an instant is in the set.
    pub(crate) fn contains(&self, time: i64) -> bool {
        let next = self.0.partition_point(|span| span.1 <= time);
        self.0.get(next).is_some_and(|span| span.0 <= time)
    }

    /// Whether any instant of a span is in the set.
    pub(crate) fn touches(&self, from: i64, to: i64) -> bool {
        let next = self.0.partition_point(|span| span.1 <= from);
        from < to && self.0.get(next).is_some_and(|span| span.0 < to)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        Self::of(self.iter().chain(other.iter()))
    }

    /// What is in both.
    pub(crate) fn intersect(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(one), Some(two)) = (left.peek(), right.peek()) {
            let (from, to) = (one.0.max(two.0), one.1.min(two.1));
            if from < to {
                both.push((from, to));
            }
            if one.1 <= two.1 {
                left.next();
            } else {
                right.next();
            }
        }
        Self(both)
    }

    /// What is in this set and not in the other.
    pub(crate) fn without(&self, other: &Self) -> Self {
        self.intersect(&other.complement())
    }

    /// The whole multiples of `grain_us` that lie in the set entirely, from `origin` on counted.
    pub(crate) fn whole(&self, origin: i64, grain_us: i64) -> Self {
        let grain = i128::from(grain_us.max(1));
        let origin = i128::from(origin);
        let inner = self.iter().map(|(from, to)| {
            let from = (i128::from(from) - origin + grain - 1).div_euclid(grain) * grain + origin;
            let to = (i128::from(to) - origin).div_euclid(grain) * grain + origin;
            (clamp(from), clamp(to))
        });
        Self(inner.filter(|span| span.0 < span.1).collect())
    }

    fn complement(&self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        let mut from = i64::MIN;
        for span in &self.0 {
            if from < span.0 {
                rest.push((from, span.0));
            }
            from = span.1;
        }
        if from < i64::MAX {
            rest.push((from, i64::MAX));
        }
        Self(rest)
    }
}

fn clamp(time: i128) -> i64 {
    i64::try_from(time).unwrap_or(if time < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Spans;

    fn spans() -> impl Strategy<Value = Spans> {
        prop::collection::vec((0i64..60, 0i64..12), 0..8).prop_map(|spans| {
            Spans::of(
                spans
                    .into_iter()
                    .map(|(from, length)| (from, from + length)),
            )
        })
    }

    proptest! {
        #[test]
        fn they_are_sets(one in spans(), two in spans(), grain in 1i64..9, origin in 0i64..9) {
            let whole = one.whole(origin, grain);
            for time in -5..80 {
                let (left, right) = (one.contains(time), two.contains(time));
                prop_assert_eq!(one.union(&two).contains(time), left || right);
                prop_assert_eq!(one.intersect(&two).contains(time), left && right);
                prop_assert_eq!(one.without(&two).contains(time), left && !right);
                prop_assert_eq!(one.touches(time, time + 1), left);
                prop_assert!(!one.touches(time, time));
                let start = (time - origin).div_euclid(grain) * grain + origin;
                prop_assert_eq!(whole.contains(time), (start..start + grain).all(|time| one.contains(time)));
            }
            for set in [&one, &one.union(&two), &one.intersect(&two), &one.without(&two), &whole] {
                let all: Vec<_> = set.iter().collect();
                prop_assert!(all.iter().all(|span| span.0 < span.1));
                prop_assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            }
        }
    }
}
