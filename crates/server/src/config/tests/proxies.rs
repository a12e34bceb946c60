//! `http.trusted_proxies`: whose word is believed, and whose cannot be.

use super::super::ForwardedHeader;
use super::*;

#[test]
fn proxies_are_addresses_and_networks() {
    let config = r#"
[http]
trusted_proxies = ["10.0.0.0/8", "fd00::/8", "127.0.0.1", "2001:db8::1", "::ffff:192.0.2.0/120"]
forwarded_header = "forwarded"
"#;
    let place = place(&[("portcullis.toml", config)], &[]);
    let proxies = place.load().unwrap().http.proxies;
    assert_eq!(proxies.header, ForwardedHeader::Forwarded);
    for (address, expect) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("fd12::1", true),
        ("fc00::1", false),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("::1", false),
        ("2001:db8::1", true),
        ("2001:db8::2", false),
        ("192.0.2.9", true),
        ("192.0.3.9", false),
    ] {
        assert_eq!(proxies.trust(address.parse().unwrap()), expect, "{address}");
    }
}

#[test]
fn nobody_is_believed_unless_the_config_says_so() {
    let proxies = place(&[], &[]).load().unwrap().http.proxies;
    assert_eq!(proxies, Proxies::default());
}

#[test]
fn what_is_no_proxy_is_told() {
    check(
        "[http]
trusted_proxies = [\"0.0.0.0/0\", \"::/0\", \"128.0.0.0/1\", \"::ffff:0:0/96\", \"2000::/3\", \"10.1.2.3/8\", \"proxy.local\", \"10.0.0.0/33\", \"127.0.0.1:80\"]
forwarded_header = \"x-real-ip\"",
        "2: http.trusted_proxies.0: `0.0.0.0/0` is far more than proxies: whoever is in it could come from any address it likes; name the addresses of your proxies, or networks from /8 up
2: http.trusted_proxies.1: `::/0` is far more than proxies: whoever is in it could come from any address it likes; name the addresses of your proxies, or networks from /7 up
2: http.trusted_proxies.2: `128.0.0.0/1` is far more than proxies: whoever is in it could come from any address it likes; name the addresses of your proxies, or networks from /8 up
2: http.trusted_proxies.3: `::ffff:0:0/96` is far more than proxies: whoever is in it could come from any address it likes; name the addresses of your proxies, or networks from /8 up
2: http.trusted_proxies.4: `2000::/3` is far more than proxies: whoever is in it could come from any address it likes; name the addresses of your proxies, or networks from /7 up
2: http.trusted_proxies.5: `10.1.2.3/8` has bits behind its prefix; write \"10.0.0.0/8\", or \"10.1.2.3\"
2: http.trusted_proxies.6: `proxy.local` is neither an address nor a network; write for example \"10.1.2.3\" or \"10.1.2.0/28\"; names are not looked up
2: http.trusted_proxies.7: `10.0.0.0/33` is neither an address nor a network; write for example \"10.1.2.3\" or \"10.1.2.0/28\"; names are not looked up
2: http.trusted_proxies.8: `127.0.0.1:80` is neither an address nor a network; write for example \"10.1.2.3\" or \"10.1.2.0/28\"; names are not looked up
3: http.forwarded_header: `x-real-ip` is not possible here; write \"x-forwarded-for\" or \"forwarded\"",
    );
    let many = vec!["\"10.0.0.1\""; 257].join(", ");
    check(
        &format!("[http]\ntrusted_proxies = [{many}]"),
        "2: http.trusted_proxies: these are 257; name at most 256; networks stand for many addresses",
    );
}
