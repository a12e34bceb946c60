//! Which known name did somebody mean? For the "did you mean" in messages.

/// Longest name that is compared; longer ones nobody mistypes.
const NAME_CHARS_MAX: usize = 64;

/// The name in `known` that looks most like `name`, if one looks like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(name);
    if plain.is_empty() || plain.len() > NAME_CHARS_MAX {
        return None;
    }
    known
        .into_iter()
        .filter_map(|known| Some((score(&plain, known)?, known)))
        .min_by_key(|(score, _)| *score)
        .map(|(_, known)| known)
}

/// Small is near; `None` is another name altogether.
fn score(name: &[char], known: &str) -> Option<usize> {
    let known = plain(known);
    if known.is_empty() || known.len() > NAME_CHARS_MAX {
        return None;
    }
    let distance = distance(name, &known);
    let (short, long) = if name.len() < known.len() {
        (name, &known[..])
    } else {
        (&known[..], name)
    };
    // `file_path` for `path`: far by letters, near by sense.
    let inside = short.len() >= 3 && long.windows(short.len()).any(|window| window == short);
    (distance <= known.len().div_ceil(3) || inside).then_some(distance)
}

/// Case and separators are what people get wrong without meaning another name.
fn plain(name: &str) -> Vec<char> {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' ' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Levenshtein's distance, two rows at a time.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, left) in a.iter().enumerate() {
        let mut diagonal = above[0];
        above[0] = row + 1;
        for (column, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = above[column + 1];
            above[column + 1] = replaced.min(diagonal + 1).min(above[column] + 1);
        }
    }
    above[b.len()]
}

#[cfg(test)]
mod tests;
