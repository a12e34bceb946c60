//! Whether a URI could have come from a URI template (RFC 6570), to find the upstream that serves it.
//!
//! Only the question is answered, no variables are taken out. Runs in time proportional to template times URI,
//! whatever they hold.

/// A URI template, cut into what it demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Exactly this byte.
    Byte(u8),
    /// `{name}`: any bytes but `/`, at least none.
    Segment,
    /// `{+name}`, `{#name}`, `{/name}`, `{?name}` and the like: any bytes.
    Any,
}

impl Template {
    /// Cuts a template. An unclosed brace is taken as text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((expression, tail)) = after.split_once('}') else {
                break;
            };
            parts.extend(before.bytes().map(Part::Byte));
            parts.push(match expression.as_bytes().first() {
                Some(b'+' | b'#' | b'.' | b'/' | b';' | b'?' | b'&') => Part::Any,
                _ if expression.ends_with('*') => Part::Any,
                _ => Part::Segment,
            });
            rest = tail;
        }
        parts.extend(rest.bytes().map(Part::Byte));
        Self { parts }
    }

    /// Whether `uri` fits.
    #[must_use]
    pub fn matches(&self, uri: &str) -> bool {
        // The set of positions in the template that some reading of the URI so far has reached.
        let mut reached = vec![false; self.parts.len() + 1];
        let mut next = reached.clone();
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        self.skip_empty(&mut reached);
        for byte in uri.bytes() {
            next.fill(false);
            for (at, part) in self.parts.iter().enumerate() {
                if !reached.get(at).copied().unwrap_or_default() {
                    continue;
                }
                let target = match part {
                    Part::Byte(want) if *want == byte => at + 1,
                    Part::Segment if byte != b'/' => at,
                    Part::Any => at,
                    Part::Byte(_) | Part::Segment => continue,
                };
                if let Some(slot) = next.get_mut(target) {
                    *slot = true;
                }
            }
            self.skip_empty(&mut next);
            std::mem::swap(&mut reached, &mut next);
        }
        reached.last().copied().unwrap_or_default()
    }

    /// An expression may stand for nothing: whoever reached it has reached what follows it.
    fn skip_empty(&self, reached: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if reached.get(at).copied().unwrap_or_default()
                && !matches!(part, Part::Byte(_))
                && let Some(slot) = reached.get_mut(at + 1)
            {
                *slot = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
