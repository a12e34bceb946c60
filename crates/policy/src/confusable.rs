//! Names that people, and models, take for one another: Unicode Technical Standard #39, section 4.
//!
//! Two names look alike if their skeletons are the same: `read` with a Cyrillic `е`, `files` and `fi1es`, and a name
//! with an invisible character in it. Which of two keeps its name is for those who ask.

use unicode_security::confusable_detection::skeleton as characters;

/// What a name looks like: the same text for all names that look the same. For comparing, not for showing.
#[must_use]
pub fn skeleton(name: &str) -> String {
    characters(name).collect()
}

/// The first two of these names that are different and look alike, the earlier of them first.
#[must_use]
pub fn first_pair<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut seen = std::collections::HashMap::new();
    for name in names {
        let before = *seen.entry(skeleton(name)).or_insert(name);
        if before != name {
            return Some((before, name));
        }
    }
    None
}

#[cfg(test)]
mod tests;
