//! Exact sets of record numbers, as sorted disjoint half-open ranges.
//!
//! A device delivers nearly in order, so a set is a few ranges long and adding at the end costs nothing.

/// A set of record numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// Sorted, disjoint and not touching: `(first, one past the last)`.
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// Adds `count` numbers from `first` on; numbers that are in it already stay.
    pub(crate) fn insert(&mut self, first: u64, count: u64) {
        let end = first.saturating_add(count);
        if first == end {
            return;
        }
        // Ranges before `left` end before `first`; ranges from `right` on begin after `end`.
        let left = self.ranges.partition_point(|range| range.1 < first);
        let right = self.ranges.partition_point(|range| range.0 <= end);
        let merged = self
            .ranges
            .get(left..right)
            .unwrap_or_default()
            .iter()
            .fold((first, end), |merged, range| {
                (merged.0.min(range.0), merged.1.max(range.1))
            });
        self.ranges.splice(left..right, [merged]);
    }

    /// Whether any of `count` numbers from `first` on is in the set.
    pub(crate) fn intersects(&self, first: u64, count: u64) -> bool {
        let end = first.saturating_add(count);
        let position = self.ranges.partition_point(|range| range.1 <= first);
        self.ranges
            .get(position)
            .is_some_and(|range| range.0 < end && first < end)
    }

    /// Whether `number` is in the set.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.intersects(number, 1)
    }

    /// The numbers of `from..to` that are not in the set, lowest first, at most `most` ranges of `(first, last)`.
    pub(crate) fn holes(&self, from: u64, to: u64, most: usize) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut next = from;
        let start = self.ranges.partition_point(|range| range.1 <= from);
        for range in self.ranges.iter().skip(start) {
            if next >= to || range.0 >= to || holes.len() >= most {
                break;
            }
            if next < range.0 {
                holes.push((next, range.0 - 1));
            }
            next = range.1;
        }
        if next < to && holes.len() < most {
            holes.push((next, to - 1));
        }
        holes
    }

    /// The ranges, as `(first, last)`.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|range| (range.0, range.1 - 1))
    }

    /// One past the highest number.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::RangeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(
            inserts in prop::collection::vec((0u64..120, 0u64..12), 0..40),
            from in 0u64..140, length in 0u64..60,
        ) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (first, count) in inserts {
                let overlap = (first..first + count).any(|number| model.contains(&number));
                prop_assert_eq!(set.intersects(first, count), overlap);
                set.insert(first, count);
                model.extend(first..first + count);
            }
            let listed: BTreeSet<u64> = set.ranges().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&listed, &model);
            prop_assert!(set.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert_eq!(set.end(), model.last().map_or(0, |last| last + 1));
            let holes: BTreeSet<u64> = set.holes(from, from + length, usize::MAX)
                .into_iter().flat_map(|(first, last)| first..=last).collect();
            let expected: BTreeSet<u64> = (from..from + length).filter(|n| !model.contains(n)).collect();
            prop_assert_eq!(holes, expected);
        }
    }

    #[test]
    fn holes_are_bounded_lowest_first() {
        let mut set = RangeSet::default();
        for number in [1, 3, 5, 7] {
            set.insert(number, 1);
        }
        assert_eq!(set.holes(0, 9, 2), [(0, 0), (2, 2)]);
        assert!(set.contains(3) && !set.contains(4));
    }
}
