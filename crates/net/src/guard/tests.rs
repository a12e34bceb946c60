//! The address guard, value by value.

use std::net::IpAddr;

use url::Url;

use super::Reach;

#[track_caller]
fn check(address: &str, expect: Result<(), &str>) {
    let address: IpAddr = address.parse().expect("an address");
    assert_eq!(Reach::Public.check(address), expect, "{address}");
    assert_eq!(Reach::Operator.check(address), Ok(()), "{address}");
}

#[test]
fn public_addresses_are_open() {
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2a00:1450:4001::1",
        "3ffe::1",
    ] {
        check(address, Ok(()));
    }
}

#[test]
fn special_v4_addresses_are_closed_from_first_to_last() {
    for (first, last, kind) in [
        ("0.0.0.0", "0.255.255.255", "unspecified"),
        ("10.0.0.0", "10.255.255.255", "private"),
        ("100.64.0.0", "100.127.255.255", "carrier-grade NAT"),
        ("127.0.0.0", "127.255.255.255", "loopback"),
        ("168.63.129.16", "168.63.129.16", "a cloud's host agent"),
        ("169.254.0.0", "169.254.255.255", "link-local"),
        ("169.254.169.254", "169.254.170.2", "link-local"),
        ("172.16.0.0", "172.31.255.255", "private"),
        ("192.0.0.0", "192.0.0.255", "reserved"),
        ("192.0.2.0", "192.0.2.255", "documentation"),
        ("192.88.99.0", "192.88.99.255", "6to4 relay"),
        ("192.168.0.0", "192.168.255.255", "private"),
        ("198.18.0.0", "198.19.255.255", "benchmarking"),
        ("198.51.100.0", "198.51.100.255", "documentation"),
        ("203.0.113.0", "203.0.113.255", "documentation"),
        ("224.0.0.0", "239.255.255.255", "multicast"),
        ("240.0.0.0", "255.255.255.255", "reserved"),
    ] {
        check(first, Err(kind));
        check(last, Err(kind));
    }
}

#[test]
fn special_v6_addresses_are_closed() {
    for (address, kind) in [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "v4-compatible"),
        ("::127.0.0.1", "v4-compatible"),
        ("::8.8.8.8", "v4-compatible"),
        ("::ffff:127.0.0.1", "v4-mapped"),
        ("::ffff:8.8.8.8", "v4-mapped"),
        ("64:ff9b::7f00:1", "NAT64"),
        ("64:ff9b::808:808", "NAT64"),
        ("64:ff9b:1::a00:1", "NAT64"),
        ("100::1", "not global"),
        ("2001::1", "Teredo"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ("2001:2::1", "reserved for protocols"),
        ("2001:10::1", "reserved for protocols"),
        ("2001:1ff:ffff::", "reserved for protocols"),
        ("2001:db8::1", "documentation"),
        ("2001:db8:ffff:ffff::", "documentation"),
        ("2002::1", "6to4"),
        ("2002:7f00:1::", "6to4"),
        ("3fff::1", "documentation"),
        ("3fff:fff::", "documentation"),
        ("4000::1", "not global"),
        ("5f00::1", "not global"),
        ("fc00::1", "unique local"),
        ("fd00:ec2::254", "unique local"),
        ("fe80::1", "link-local"),
        ("fec0::1", "not global"),
        ("ff02::1", "multicast"),
    ] {
        check(address, Err(kind));
    }
}

#[test]
fn odd_spellings_of_loopback_are_loopback() {
    for (url, kind) in [
        ("http://2130706433/", "loopback"),
        ("http://0x7f.1/", "loopback"),
        ("http://0x7f000001/", "loopback"),
        ("http://0177.0.0.1/", "loopback"),
        ("http://127.1/", "loopback"),
        ("http://127.0.0.1./", "loopback"),
        ("http://１２７.0.0.1/", "loopback"),
        ("http://0/", "unspecified"),
        ("http://[::ffff:127.0.0.1]/", "v4-mapped"),
        ("http://[::ffff:7f00:1]/", "v4-mapped"),
        ("http://[0:0:0:0:0:0:0:1]/", "loopback"),
    ] {
        let url = Url::parse(url).expect("a URL");
        let address: IpAddr = match url.host().expect("a host") {
            url::Host::Ipv4(v4) => v4.into(),
            url::Host::Ipv6(v6) => v6.into(),
            url::Host::Domain(name) => panic!("{url}: `{name}` was read as a name"),
        };
        assert_eq!(Reach::Public.check(address), Err(kind), "{url}");
    }
}
