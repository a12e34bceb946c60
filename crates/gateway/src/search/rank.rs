//! BM25: which of some tools fit a question best.
//!
//! How rare a word is, is counted among the tools that are ranked and no others: whoever searches learns nothing of what
//! it may not see, not even by the order of what it may.

use super::words::{Words, asked};

/// Words of a question beyond this say nothing new.
const ASKED_MAX: usize = 32;
/// How soon a word that comes again stops to matter.
const SATURATION: f32 = 1.2;
/// How much a long definition is held against a tool.
const LENGTH: f32 = 0.75;

/// Tools that have some word of `question`, best first; ties stay in the order in which they came.
pub(super) fn rank<'a, T>(question: &str, tools: impl Iterator<Item = (T, &'a Words)>) -> Vec<T> {
    let terms = asked(question, ASKED_MAX);
    let (mut count, mut length) = (0.0_f32, 0.0_f32);
    let mut having = vec![0.0_f32; terms.len()];
    let mut found: Vec<(T, &Words)> = Vec::new();
    for (tool, words) in tools {
        count += 1.0;
        length += words.length();
        let mut fits = false;
        for (term, having) in terms.iter().zip(&mut having) {
            if words.weight(*term) > 0.0 {
                *having += 1.0;
                fits = true;
            }
        }
        if fits {
            found.push((tool, words));
        }
    }
    let usual = (length / count).max(1.0);
    let rarity: Vec<f32> = having
        .iter()
        .map(|having| (1.0 + (count - having + 0.5) / (having + 0.5)).ln())
        .collect();
    let score = |words: &Words| -> f32 {
        let norm = SATURATION * (1.0 - LENGTH + LENGTH * words.length() / usual);
        let each = terms.iter().zip(&rarity).map(|(term, rarity)| {
            let weight = words.weight(*term);
            rarity * weight * (SATURATION + 1.0) / (weight + norm)
        });
        each.sum()
    };
    let mut scored: Vec<(f32, T)> = found
        .into_iter()
        .map(|(tool, words)| (score(words), tool))
        .collect();
    scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    scored.into_iter().map(|(_, tool)| tool).collect()
}

#[cfg(test)]
mod tests;
