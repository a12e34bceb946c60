//! The gate from end to end, with upstreams and clients that are not ours, and with some that misbehave.
//!
//! What one request gets is a file under `cases/`; here is what takes several at once, time, or force.

mod acts;
mod admin;
mod asking;
mod browser;
mod canaries;
mod carriers;
mod connections;
mod consent;
mod credentials;
mod crossing;
mod faults;
mod flow;
mod hostile;
mod interop;
mod issuers;
mod killed;
mod lifecycle;
mod limits;
mod long;
mod loops;
mod matrix;
mod oauth;
mod pages;
mod peers;
mod pins;
mod program;
mod properties;
mod real;
mod revocation;
mod routes;
mod schemas;
mod servers;
mod slices;
mod streams;
mod subscriptions;
mod tasks;
mod tls;
mod transports;
mod wires;
