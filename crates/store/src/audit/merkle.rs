//! The tree over the audit log: the Merkle tree of Certificate Transparency (RFC 9162, section 2.1), so that one record
//! can be proved to stand in a log without the others.
//!
//! Nothing here reads or writes: what is kept of the tree is `append`'s business.

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};

use super::HASH_LEN;

/// SHA-256.
pub type Hash = [u8; 32];

/// Says that a hash is over a record, and not over two hashes.
pub(super) const LEAF: u8 = 0;
/// Says that a hash is over two hashes.
const NODE: u8 = 1;

/// The hash of a record's bytes.
#[must_use]
pub fn leaf(record: &[u8]) -> Hash {
    sha256(&[&[LEAF], record])
}

/// The hash over two neighbours.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    over_two(NODE, left, right)
}

/// The hash over two others, with what it is for in front of them.
pub(super) fn over_two(what: u8, left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [what; 1 + 2 * HASH_LEN];
    let (_what, hashes) = bytes.split_at_mut(1);
    hashes[..HASH_LEN].copy_from_slice(left);
    hashes[HASH_LEN..].copy_from_slice(right);
    hash_of(&digest(&SHA256, &bytes))
}

/// SHA-256 over several texts, one after the other.
#[must_use]
pub(crate) fn sha256(texts: &[&[u8]]) -> Hash {
    // In one go it takes no memory.
    if let [text] = texts {
        return hash_of(&digest(&SHA256, text));
    }
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(text);
    }
    hash_of(&context.finish())
}

fn hash_of(digest: &Digest) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// What has to be kept of a tree to add to it: the roots of its perfect subtrees, the largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

/// A perfect subtree of more than one leaf that was just filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// It has 2^level leaves.
    pub level: u32,
    /// Which of its level it is, from the left.
    pub index: u64,
    /// Its root.
    pub hash: Hash,
}

impl Frontier {
    /// As it was kept; `None` if so many roots do not belong to a tree of that size.
    #[must_use]
    pub fn restore(size: u64, roots: Vec<Hash>) -> Option<Self> {
        let fits = usize::try_from(size.count_ones()).is_ok_and(|count| count == roots.len());
        fits.then_some(Self { size, roots })
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its perfect subtrees, the largest first.
    #[must_use]
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// Adds a leaf, and tells of each subtree that it fills.
    pub fn push(&mut self, leaf: Hash, mut filled: impl FnMut(Filled)) {
        let (mut hash, position) = (leaf, self.size);
        for level in 1..=position.trailing_ones() {
            // There is one for each trailing one: `restore` counted them.
            let Some(left) = self.roots.pop() else { break };
            hash = node(&left, &hash);
            filled(Filled {
                level,
                index: position >> level,
                hash,
            });
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root of the whole. That of no leaves is the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let roots = self.roots.iter().rev().copied();
        roots
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| sha256(&[]))
    }
}

/// The perfect subtrees that a tree of `size` leaves is made of, the largest first: (level, place in its level).
pub fn perfect(size: u64) -> impl Iterator<Item = (u32, u64)> {
    let levels = (0..u64::BITS).rev();
    levels
        .filter(move |level| size >> level & 1 == 1)
        .map(move |level| (level, (size >> level) - 1))
}

/// The hashes that lead from leaf `position` up to the root of the first `size` leaves (RFC 9162, section 2.1.3.1).
/// `subtree` yields the root of the perfect subtree of 2^level leaves, the index-th from the left.
///
/// # Errors
/// Those of `subtree`. A position that is not below `size` has no path, which is an empty one.
pub fn path<E>(
    position: u64,
    size: u64,
    subtree: &mut impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    if position >= size {
        return Ok(path);
    }
    while end - start > 1 {
        let middle = start + half(end - start);
        if position < middle {
            path.push(root_of(middle, end, subtree)?);
            end = middle;
        } else {
            path.push(root_of(start, middle, subtree)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The root over the leaves from `start` up to `end`, where `start` is as in [`path`].
fn root_of<E>(
    start: u64,
    end: u64,
    subtree: &mut impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let count = end - start;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return subtree(level, start >> level);
    }
    let middle = start + half(count);
    let left = root_of(start, middle, subtree)?;
    let right = root_of(middle, end, subtree)?;
    Ok(node(&left, &right))
}

/// The largest power of two below `count`, which is at least two.
fn half(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// The root that a path leads to from a leaf (RFC 9162, section 2.1.3.2); `None` if the path is not one of that place.
#[must_use]
pub fn root_by(leaf: Hash, position: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if position >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (position, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            // Levels at which it has no sibling are passed over.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests;
