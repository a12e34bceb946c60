//! The built binary as people and scripts use it. One test binary: each more links the server again.

#[cfg(test)]
mod bridge;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod secret;
#[cfg(test)]
mod user;
