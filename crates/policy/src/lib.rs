//! Who may do what, how often, and with which arguments.
//!
//! Pure: no I/O, and time is an argument (or a [`Clock`] that somebody else built). Names, principals,
//! rules, limit arithmetic, argument schemas and redaction; where to keep counters and what to tell a
//! client is `gateway`. Start at [`Rules::decide`].

mod clock;
pub mod config;
mod name;
mod principal;

pub use clock::{Clock, Instant};
pub use name::{NameError, PrincipalId, RoleName, UpstreamId};
pub use principal::{Credential, Principal};
