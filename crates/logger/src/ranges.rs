//! Owns sets of record numbers as sorted, disjoint, inclusive ranges.
//! Promises that neighbours are merged, so that a journal without holes is one range.

use std::collections::BTreeMap;

/// A set of record numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First number to last number, both inside.
    map: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds `first..=last`.
    pub fn insert(&mut self, mut first: u64, mut last: u64) {
        if let Some((&start, &end)) = self.map.range(..=first).next_back()
            && end >= first.saturating_sub(1)
        {
            first = start;
            last = last.max(end);
        }
        while let Some((&start, &end)) = self.map.range(first..=last.saturating_add(1)).next() {
            self.map.remove(&start);
            last = last.max(end);
        }
        self.map.insert(first, last);
    }

    /// Takes `first..=last` out.
    pub fn remove(&mut self, first: u64, last: u64) {
        if let Some((&start, &end)) = self.map.range(..first).next_back()
            && end >= first
        {
            self.map.insert(start, first - 1);
            if end > last {
                self.map.insert(last + 1, end);
            }
        }
        while let Some((&start, &end)) = self.map.range(first..=last).next() {
            self.map.remove(&start);
            if end > last {
                self.map.insert(last + 1, end);
            }
        }
    }

    /// Whether all of `first..=last` is inside.
    pub fn contains(&self, first: u64, last: u64) -> bool {
        self.map
            .range(..=first)
            .next_back()
            .is_some_and(|(_, &end)| end >= last)
    }

    /// Whether any of `first..=last` is inside.
    pub fn touches(&self, first: u64, last: u64) -> bool {
        self.map
            .range(..=last)
            .next_back()
            .is_some_and(|(_, &end)| end >= first)
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.map.iter().map(|(&first, &last)| (first, last))
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 0..40)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (add, first, more) in steps {
                let last = first + more;
                if add {
                    ranges.insert(first, last);
                    set.extend(first..=last);
                } else {
                    ranges.remove(first, last);
                    set.retain(|n| !(first..=last).contains(n));
                }
            }
            let listed: Vec<u64> = ranges.iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(&listed, &set.iter().copied().collect::<Vec<_>>());
            for first in 0..55u64 {
                for last in first..(first + 4) {
                    prop_assert_eq!(ranges.contains(first, last), (first..=last).all(|n| set.contains(&n)));
                    prop_assert_eq!(ranges.touches(first, last), (first..=last).any(|n| set.contains(&n)));
                }
            }
            let neighbours: Vec<_> = ranges.iter().collect();
            prop_assert!(neighbours.windows(2).all(|w| w[0].1 + 1 < w[1].0));
        }
    }
}
