//! Which IP addresses lie on the public internet.
//!
//! The tables follow the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its updates) and
//! read them strictly: of IPv6 only the allocated global unicast space `2000::/3` is open at all. Where an IPv6
//! address carries an IPv4 address, the inner one is judged too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why `ip` is not to be connected to, or `None` for a globally reachable unicast address.
///
/// The reason is a short noun for logs and messages: `"loopback"`, `"private"`, `"link-local"`.
pub fn refusal(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => refusal_v4(ip),
        IpAddr::V6(ip) => refusal_v6(ip),
    }
}

fn refusal_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [0, ..] => Some("this network"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [100, 64..=127, ..] => Some("carrier-grade NAT"),
        [127, ..] => Some("loopback"),
        [169, 254, ..] => Some("link-local"),
        [192, 0, 0, _] => Some("IETF protocol assignment"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("documentation"),
        [192, 88, 99, _] => Some("6to4 relay"),
        [198, 18..=19, ..] => Some("benchmarking"),
        // Azure's host service: a public address by number, the machine's own hypervisor by route.
        [168, 63, 129, 16] => Some("cloud metadata"),
        [224..=239, ..] => Some("multicast"),
        [255, 255, 255, 255] => Some("broadcast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn refusal_v6(ip: Ipv6Addr) -> Option<&'static str> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // IPv4-mapped: the kernel dials the IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, high, low] => refusal_v4(v4(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] => refusal_v4(v4(high, low)).or(Some("IPv4-compatible")),
        // RFC 2765: IPv4-translated.
        [0, 0, 0, 0, 0xffff, 0, high, low] => refusal_v4(v4(high, low)).or(Some("IPv4-translated")),
        // RFC 6052: on a network with only IPv6 this is how every IPv4 host is reached.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => refusal_v4(v4(high, low)),
        // RFC 8215: translation inside somebody's own network.
        [0x64, 0xff9b, 1, ..] => Some("local-use NAT64"),
        [0x100, 0, 0, 0, ..] => Some("discard-only"),
        [0x100, 0, 0, 1, ..] => Some("dummy prefix"),
        // RFC 4380: the server's address, and the client's with every bit inverted.
        [0x2001, 0, server_high, server_low, _, _, high, low] => refusal_v4(v4(server_high, server_low))
            .or_else(|| refusal_v4(v4(!high, !low)))
            .or(Some("Teredo")),
        [0x2001, 2, 0, ..] => Some("benchmarking"),
        [0x2001, 0x10..=0x1f, ..] => Some("ORCHID"),
        [0x2001, 0..=0x1ff, ..] => Some("IETF protocol assignment"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("documentation"),
        [0x2002, high, low, ..] => refusal_v4(v4(high, low)).or(Some("6to4")),
        // RFC 5214: ISATAP carries an IPv4 address in the interface identifier of any prefix.
        [0x2000..=0x3fff, _, _, _, 0 | 0x200, 0x5efe, high, low] => {
            refusal_v4(v4(high, low)).or(Some("ISATAP"))
        }
        [0x2000..=0x3fff, ..] => None,
        [0x5f00, ..] => Some("segment routing"),
        [0xfc00..=0xfdff, ..] => Some("unique local"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => Some("not allocated"),
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}
