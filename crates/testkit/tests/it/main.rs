//! The gate from end to end, with upstreams and clients that are not ours, and with some that misbehave.
//!
//! What one request gets is a file under `cases/`; here is what takes several at once, time, or force.

mod asking;
mod carriers;
mod faults;
mod flow;
mod hostile;
mod interop;
mod lifecycle;
mod long;
mod peers;
mod properties;
mod real;
mod streams;
mod subscriptions;
mod tasks;
mod transports;
mod wires;
