//! What holds for whatever is said: bytes pass as they are, and every request has one outcome.
//!
//! Random, but the same each time: the seed is fixed, and the number of runs such that they take seconds. The wire
//! formats alone have their properties in `wire::fuzz`.

mod interleaving;
mod passing;

use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

/// Runs of a property; the same ones each time.
pub(crate) fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 0,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(20_260_728),
        ..Config::default()
    })
}
