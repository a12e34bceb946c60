//! Tokens are judged through the one door, [`crate::Auth::authenticate`], by a gate whose clock stands still.

mod bound;
mod fetched;
mod introspected;
mod vectors;
mod world;
