//! The gate from end to end, with upstreams and clients that are not ours, and with some that misbehave.
