//! The address table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bmm_net::address::refusal;
use proptest::prelude::*;

/// Address and reason; `-` for an address of the public internet. First and last of a range, and its neighbours.
const TABLE: &str = "
0.0.0.0 this network
0.255.255.255 this network
1.0.0.0 -
1.1.1.1 -
8.8.8.8 -
9.255.255.255 -
10.0.0.0 private
10.255.255.255 private
11.0.0.0 -
100.63.255.255 -
100.64.0.0 carrier-grade NAT
100.100.100.200 carrier-grade NAT
100.127.255.255 carrier-grade NAT
100.128.0.0 -
126.255.255.255 -
127.0.0.1 loopback
127.255.255.255 loopback
128.0.0.0 -
168.63.129.15 -
168.63.129.16 cloud metadata
169.253.255.255 -
169.254.0.0 link-local
169.254.169.254 link-local
169.255.0.0 -
172.15.255.255 -
172.16.0.0 private
172.31.255.255 private
172.32.0.0 -
192.0.0.1 IETF protocol assignment
192.0.0.192 IETF protocol assignment
192.0.1.0 -
192.0.2.1 documentation
192.88.98.255 -
192.88.99.1 6to4 relay
192.167.255.255 -
192.168.0.0 private
192.168.255.255 private
192.169.0.0 -
198.17.255.255 -
198.18.0.0 benchmarking
198.19.255.255 benchmarking
198.20.0.0 -
198.51.100.1 documentation
203.0.113.255 documentation
223.255.255.255 -
224.0.0.1 multicast
239.255.255.255 multicast
240.0.0.0 reserved
255.255.255.254 reserved
255.255.255.255 broadcast
:: unspecified
::1 loopback
::2 this network
::127.0.0.1 loopback
::8.8.8.8 IPv4-compatible
::ffff:127.0.0.1 loopback
::ffff:10.1.2.3 private
::ffff:169.254.169.254 link-local
::ffff:0.0.0.0 this network
::ffff:8.8.8.8 -
::ffff:0:127.0.0.1 loopback
::ffff:0:8.8.8.8 IPv4-translated
64:ff9b::127.0.0.1 loopback
64:ff9b::192.168.0.1 private
64:ff9b::169.254.169.254 link-local
64:ff9b::8.8.8.8 -
64:ff9b:0:0:1::8.8.8.8 not allocated
64:ff9b:1::8.8.8.8 local-use NAT64
64:ff9b:1:ffff:ffff:ffff:7f00:1 local-use NAT64
100::1 discard-only
100:0:0:1::1 dummy prefix
100:0:0:2::1 not allocated
200::1 not allocated
400::1 not allocated
1fff:ffff::1 not allocated
2001::1 this network
2001:0:7f00:1::1 loopback
2001:0:808:808:0:0:80ff:fffe loopback
2001:0:808:808:0:0:f7f7:f7f7 Teredo
2001:1::1 IETF protocol assignment
2001:2::1 benchmarking
2001:3::1 IETF protocol assignment
2001:10::1 ORCHID
2001:20::1 IETF protocol assignment
2001:1ff:ffff::1 IETF protocol assignment
2001:200::1 -
2001:4860:4860::8888 -
2001:db7::1 -
2001:db8::1 documentation
2001:db9::1 -
2002:7f00:1::1 loopback
2002:a9fe:a9fe::1 link-local
2002:c0a8:1::1 private
2002:808:808::1 6to4
2003::1 -
2606:4700:4700::1111 -
2606:4700::5efe:7f00:1 loopback
2606:4700::200:5efe:a01:203 private
2606:4700::5efe:808:808 ISATAP
2a00:1450:4001::1 -
3ffe:ffff::1 -
3fff::1 documentation
3fff:fff:ffff::1 documentation
3fff:1000::1 -
4000::1 not allocated
5f00::1 segment routing
8000::1 not allocated
fbff:ffff::1 not allocated
fc00::1 unique local
fd00:ec2::254 unique local
fdff:ffff::1 unique local
fe00::1 not allocated
fe80::1 link-local
febf:ffff::1 link-local
fec0::1 site-local
feff:ffff::1 site-local
ff00::1 multicast
ff02::1 multicast
ffff::1 multicast
";

#[test]
fn every_special_range_is_known_by_its_first_its_last_and_its_neighbours() {
    let rows: Vec<_> = TABLE
        .trim()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert!(rows.len() >= 60);
    for (address, reason) in rows {
        let expected = (reason != "-").then_some(reason);
        assert_eq!(refusal(address.parse().unwrap()), expected, "{address}");
    }
}

fn embeddings(inner: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = inner.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        inner.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),
        Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low),
        Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) })]

    #[test]
    fn no_embedding_opens_a_closed_ipv4_address(bits in any::<u32>()) {
        let inner = Ipv4Addr::from(bits);
        if refusal(IpAddr::V4(inner)).is_some() {
            for outer in embeddings(inner) {
                prop_assert!(refusal(IpAddr::V6(outer)).is_some(), "{} in {}", inner, outer);
            }
        }
    }

    #[test]
    fn what_the_standard_library_calls_local_is_never_open(bits in any::<u32>()) {
        let ip = Ipv4Addr::from(bits);
        if ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast()
            || ip.is_documentation() || ip.is_unspecified()
        {
            prop_assert!(refusal(IpAddr::V4(ip)).is_some(), "{}", ip);
        }
    }

    #[test]
    fn only_allocated_unicast_and_embedded_public_addresses_are_open(bits in any::<u128>()) {
        let ip = Ipv6Addr::from(bits);
        if refusal(IpAddr::V6(ip)).is_none() {
            let allocated = ip.segments()[0] & 0xe000 == 0x2000;
            let embeds = ip.to_ipv4_mapped().is_some() || ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
            prop_assert!(allocated || embeds, "{}", ip);
        }
    }
}
