//! Which records of a log, as ranges of numbers: short to write, and quick to compare.

use std::fmt::{self, Write as _};

/// Ranges that are kept of a file; what comes after that is only counted.
pub(super) const RANGES_MAX: usize = 1_000_000;
/// Ranges that are shown to people.
const RANGES_SHOWN: usize = 20;

/// Numbers of records, or their places, in order. As text `12-19,40`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    ranges: Vec<(u64, u64)>,
    count: u64,
}

impl Places {
    /// Adds one that comes after all that are there.
    pub fn push(&mut self, place: u64) {
        self.push_within(place, usize::MAX);
    }

    /// The same; where there are so many ranges, it is counted alone.
    pub(super) fn push_within(&mut self, place: u64, ranges: usize) {
        let is_room = self.ranges.len() < ranges;
        self.count += 1;
        match self.ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(place) => *last = place,
            _ if is_room => self.ranges.push((place, place)),
            _ => {}
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The ranges, the first and the last of each.
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// The texts of at most `ranges` ranges each that say all of it.
    pub fn texts(&self, ranges: usize) -> impl Iterator<Item = String> {
        self.ranges.chunks(ranges.max(1)).map(text)
    }

    /// The first ranges of them, for people.
    #[must_use]
    pub fn shortly(&self) -> String {
        let shown = self.texts(RANGES_SHOWN).next().unwrap_or_default();
        match self.ranges.len().saturating_sub(RANGES_SHOWN) {
            0 => shown,
            more => format!("{shown} and {more} ranges more"),
        }
    }

    /// Those that are in none of some ranges. Of what is only counted nobody knows that it is in one.
    #[must_use]
    pub fn without(&self, mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.sort_unstable();
        let counts = self.ranges.iter().map(|(first, last)| last - first + 1);
        let kept: u64 = counts.sum();
        let mut left = Self::default();
        let mut others = ranges.into_iter().peekable();
        // Up to here, the ranges so far go.
        let mut covered = None::<u64>;
        for &(first, last) in &self.ranges {
            for place in first..=last {
                while let Some((_, end)) = others.next_if(|(begin, _)| *begin <= place) {
                    covered = covered.max(Some(end));
                }
                if covered.is_none_or(|end| end < place) {
                    left.push(place);
                }
            }
        }
        left.count += self.count.saturating_sub(kept);
        left
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.ranges))
    }
}

fn text(ranges: &[(u64, u64)]) -> String {
    let mut text = String::new();
    for (first, last) in ranges {
        let comma = if text.is_empty() { "" } else { "," };
        let written = if first == last {
            write!(text, "{comma}{first}")
        } else {
            write!(text, "{comma}{first}-{last}")
        };
        written.expect("writing to a String cannot fail");
    }
    text
}

/// Reads such a text; `None` if it is none.
pub(super) fn ranges(text: &str) -> Option<Vec<(u64, u64)>> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(places: &[u64]) -> Places {
        let mut made = Places::default();
        places.iter().for_each(|place| made.push(*place));
        made
    }

    #[test]
    fn ranges_are_written_and_read() {
        let places = of(&[0, 1, 2, 7, 9, 10]);
        assert_eq!(
            (places.to_string().as_str(), places.count()),
            ("0-2,7,9-10", 6)
        );
        assert_eq!(ranges("0-2,7,9-10"), Some(places.ranges().to_vec()));
        let parts: Vec<String> = places.texts(2).collect();
        assert_eq!(parts, ["0-2,7", "9-10"]);
        for bad in ["", "a", "1-", "1,,2", "-1"] {
            assert_eq!(ranges(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_covered_is_taken_away() {
        let places = of(&[0, 1, 2, 7, 9, 10]);
        assert_eq!(places.without(vec![(9, 20), (1, 2), (1, 1)]), of(&[0, 7]));
        assert_eq!(places.without(vec![]), places);
        assert_eq!(places.without(vec![(0, u64::MAX)]), Places::default());
    }

    #[test]
    fn what_is_only_counted_is_covered_by_nothing() {
        let mut places = Places::default();
        for place in [1, 3, 5] {
            places.push_within(place, 2);
        }
        let left = places.without(vec![(0, 9)]);
        assert_eq!((left.ranges().len(), left.count()), (0, 1));
    }

    #[test]
    fn people_are_shown_the_first_ranges() {
        assert_eq!(of(&[0, 1, 7]).shortly(), "0-1,7");
        let many: Vec<u64> = (0..23).map(|n| 2 * n).collect();
        let shown = of(&many).shortly();
        assert!(shown.ends_with(",36,38 and 3 ranges more"), "{shown}");
    }
}
