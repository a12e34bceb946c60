//! Proxies: whose word is believed on where a request comes from. How it is read is `http::forwarded`'s.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use policy::config::Complaints;

use super::check::all;
use super::raw::{RawForwardedHeader, RawHttp};

/// Larger networks than these are nobody's proxies: one in 256 of all IPv4 addresses, and all unique local IPv6 ones.
const PREFIX_MIN_V4: u8 = 8;
const PREFIX_MIN_V6: u8 = 7;
/// How many addresses and networks can be named; each is looked at for each request.
const TRUSTED_MAX: usize = 256;
/// The first bits of an IPv4 address that is written as an IPv6 one.
const MAPPED_BITS: u8 = 96;

/// Whose word is believed on where a request comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Where they are themselves. IPv4 networks are written as such, never mapped.
    pub trusted: Vec<IpNet>,
    /// Where they say it.
    pub header: ForwardedHeader,
}

/// The one header that is believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, each hop's after those before it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Proxies {
    /// Whether there is a proxy at this address, which is none that is mapped.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }
}

pub(super) fn proxies(raw: &RawHttp, complaints: &mut Complaints) -> Option<Proxies> {
    let trusted = complaints.at("trusted_proxies", |complaints| {
        if raw.trusted_proxies.len() > TRUSTED_MAX {
            complaints.add(
                format!("these are {}", raw.trusted_proxies.len()),
                format!("name at most {TRUSTED_MAX}; networks stand for many addresses"),
            );
            return None;
        }
        all(&raw.trusted_proxies, complaints, |text, complaints| {
            network(text, complaints)
        })
    });
    Some(Proxies {
        trusted: trusted?,
        header: match raw.forwarded_header {
            RawForwardedHeader::XForwardedFor => ForwardedHeader::XForwardedFor,
            RawForwardedHeader::Forwarded => ForwardedHeader::Forwarded,
        },
    })
}

/// An address, or a network with no bit set behind its prefix.
fn network(text: &str, complaints: &mut Complaints) -> Option<IpNet> {
    let parsed = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse().ok(),
    };
    let Some(network) = parsed.map(unmapped) else {
        complaints.add(
            format!("`{text}` is neither an address nor a network"),
            "write for example \"10.1.2.3\" or \"10.1.2.0/28\"; names are not looked up",
        );
        return None;
    };
    let prefix_min = match network {
        IpNet::V4(_) => PREFIX_MIN_V4,
        IpNet::V6(_) => PREFIX_MIN_V6,
    };
    if network.prefix_len() < prefix_min {
        complaints.add(
            format!("`{text}` is far more than proxies: whoever is in it could come from any address it likes"),
            format!("name the addresses of your proxies, or networks from /{prefix_min} up"),
        );
        return None;
    }
    if network.trunc() != network {
        complaints.add(
            format!("`{text}` has bits behind its prefix"),
            format!("write \"{}\", or \"{}\"", network.trunc(), network.addr()),
        );
        return None;
    }
    Some(network)
}

/// An IPv4 network as such, though it may be written as IPv6.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let v4 = v6.addr().to_ipv4_mapped();
    let prefix = v6.prefix_len().checked_sub(MAPPED_BITS);
    match v4.zip(prefix).map(|(v4, prefix)| Ipv4Net::new(v4, prefix)) {
        Some(Ok(v4)) => IpNet::V4(v4),
        _ => network,
    }
}
