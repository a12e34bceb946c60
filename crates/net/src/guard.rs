//! Which addresses a request may go to.
//!
//! Pure: an address goes in, a verdict comes out. Odd spellings of an address (`0x7f.1`, `2130706433`) are
//! the `url` crate's to read before we see them; resolving names is `connect`, which checks every address a
//! name has. Start at [`Reach::check`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

#[cfg(test)]
mod tests;

/// Who chose the URL, and so how far it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// An operator wrote it in the config: any address.
    Operator,
    /// It came from outside, from a model or a web page: only addresses that the whole internet can reach.
    Public,
    /// It names this machine: its loopback addresses and no others.
    Loopback,
}

impl Reach {
    /// Says whether a connection to `address` is allowed.
    ///
    /// # Errors
    /// What kind of address it is, when it is not allowed.
    pub fn check(self, address: IpAddr) -> Result<(), &'static str> {
        match (self, address) {
            (Self::Operator, _) => Ok(()),
            (Self::Public, IpAddr::V4(v4)) => public_v4(v4),
            (Self::Public, IpAddr::V6(v6)) => public_v6(v6),
            (Self::Loopback, address) if address.is_loopback() => Ok(()),
            (Self::Loopback, _) => Err("not loopback"),
        }
    }
}

/// Everything in the IANA registry of special IPv4 addresses that is not reachable from everywhere, and the
/// public-looking addresses at which a cloud answers its own machines.
const CLOSED_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "carrier-grade NAT"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([168, 63, 129, 16], 32), "a cloud's host agent"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "reserved"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "6to4 relay"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// The one block from which IPv6 addresses reachable from everywhere are given out. Loopback, mapped,
/// compatible, NAT64, unique local, link-local and multicast addresses all lie outside it.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

/// What inside [`GLOBAL_V6`] is closed all the same.
const CLOSED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0x2001, 0], 32), "Teredo"),
    (v6([0x2001, 0], 23), "reserved for protocols"),
    (v6([0x2001, 0x0db8], 32), "documentation"),
    (v6([0x2002, 0], 16), "6to4"),
    (v6([0x3fff, 0], 20), "documentation"),
];

/// What outside [`GLOBAL_V6`] has a name to tell; the rest is "not global".
const NAMED_V6: &[(Ipv6Net, &str)] = &[
    (
        Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128),
        "unspecified",
    ),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (
        Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
        "v4-mapped",
    ),
    (
        Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96),
        "v4-compatible",
    ),
    (v6([0x0064, 0xff9b], 32), "NAT64"),
    (v6([0xfc00, 0], 7), "unique local"),
    (v6([0xfe80, 0], 10), "link-local"),
    (v6([0xff00, 0], 8), "multicast"),
];

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(head: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], 0, 0, 0, 0, 0, 0), prefix)
}

fn public_v4(address: Ipv4Addr) -> Result<(), &'static str> {
    match CLOSED_V4.iter().find(|(net, _)| net.contains(&address)) {
        Some((_, kind)) => Err(kind),
        None => Ok(()),
    }
}

fn public_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    let (table, otherwise) = match GLOBAL_V6.contains(&address) {
        true => (CLOSED_V6, Ok(())),
        false => (NAMED_V6, Err("not global")),
    };
    match table.iter().find(|(net, _)| net.contains(&address)) {
        Some((_, kind)) => Err(kind),
        None => otherwise,
    }
}
