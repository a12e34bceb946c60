//! The tree against the vectors of Certificate Transparency, and against itself.

use std::convert::Infallible;

use super::*;

/// The leaves that Certificate Transparency's implementations are tested with.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
/// The roots after each of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// The root of a perfect subtree, from all leaves.
fn subtree(leaves: &[Hash], level: u32, index: u64) -> Hash {
    if level == 0 {
        return leaves[usize::try_from(index).unwrap()];
    }
    node(
        &subtree(leaves, level - 1, 2 * index),
        &subtree(leaves, level - 1, 2 * index + 1),
    )
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let mut tree = Frontier::default();
    assert_eq!(tree.root(), sha256(&[]));
    for (text, root) in LEAVES.iter().zip(ROOTS) {
        tree.push(leaf(&bytes(text)), |_filled| {});
        assert_eq!(tree.root().to_vec(), bytes(root), "{text}");
    }
}

#[test]
fn a_tree_goes_on_from_what_was_kept_of_it() {
    let mut tree = Frontier::default();
    for count in 0..70_u64 {
        let mut again = Frontier::restore(count, tree.roots().to_vec()).unwrap();
        assert_eq!(perfect(count).count(), tree.roots().len());
        let next = leaf(&count.to_be_bytes());
        tree.push(next, |_filled| {});
        again.push(next, |_filled| {});
        assert_eq!(tree, again);
        assert_eq!(Frontier::restore(count, vec![next; 65]), None);
    }
}

#[test]
fn every_leaf_is_proved_in_every_tree_and_nowhere_else() {
    let leaves: Vec<Hash> = (0..41_u64).map(|n| leaf(&n.to_be_bytes())).collect();
    let mut tree = Frontier::default();
    for (size, next) in (1..).zip(&leaves) {
        tree.push(*next, |_filled| {});
        let root = tree.root();
        for (position, one) in (0..size).zip(&leaves) {
            let mut kept = |level, index| Ok::<_, Infallible>(subtree(&leaves, level, index));
            let Ok(found) = path(position, size, &mut kept);
            assert_eq!(root_by(*one, position, size, &found), Some(root));
            for elsewhere in (0..size + 2).filter(|at| *at != position) {
                assert_ne!(root_by(*one, elsewhere, size, &found), Some(root));
            }
            let mut longer = found.clone();
            longer.push(root);
            assert_eq!(root_by(*one, position, size, &longer), None);
            if let Some((_, shorter)) = found.split_last() {
                assert_ne!(root_by(*one, position, size, shorter), Some(root));
            }
        }
    }
}

#[test]
fn what_is_told_of_filled_subtrees_is_what_a_path_asks_for() {
    let leaves: Vec<Hash> = (0..64_u64).map(|n| leaf(&n.to_be_bytes())).collect();
    let mut tree = Frontier::default();
    let mut told = Vec::new();
    for leaf in &leaves {
        tree.push(*leaf, |filled| told.push(filled));
    }
    assert_eq!(told.len(), 63);
    for Filled { level, index, hash } in told {
        assert_eq!(hash, subtree(&leaves, level, index));
    }
}
