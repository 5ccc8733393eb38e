//! Ways to make a check see one destination and a connection another (CWE-918).

use bmm_net::{HostPattern, normalize_host};

/// inet_aton(3) and the WHATWG URL parser read all of these as 127.0.0.1 or 169.254.169.254.
#[test]
fn an_address_in_disguise_is_no_host() {
    for disguised in [
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.0.0.1.",
        "１２７.０.０.１",
        "127。0。0。1",
        "127．0．0．1",
        "⑯⑨。②⑤④。⑯⑨。②⑤④",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:7f00:1]",
        "::ffff:127.0.0.1",
        "[::]",
        "0",
    ] {
        assert!(normalize_host(disguised).is_err(), "{disguised}");
        assert!(disguised.parse::<HostPattern>().is_err(), "{disguised}");
    }
}

/// The text before `@`, or after `#` and `\`, is not the host for everybody (CVE-2018-3774 is of this kind).
#[test]
fn what_two_parsers_read_differently_is_no_host() {
    for ambiguous in [
        "api.example.com@evil.example",
        "evil.example#api.example.com",
        "evil.example\\.example.com",
        "evil.example%00.example.com",
        "evil.example\0.example.com",
        "evil.example/.example.com",
        "evil.example?.example.com",
        "evil.example:80#.example.com",
        "evil.example;.example.com",
        "evil.example\t.example.com",
        "evil.example\r\nHost: x.example.com",
        "api.example.com,evil.example",
    ] {
        assert!(normalize_host(ambiguous).is_err(), "{ambiguous:?}");
        let pattern: HostPattern = "*.example.com".parse().unwrap();
        assert!(!pattern.matches(ambiguous, 443), "{ambiguous:?}");
    }
}

/// Registering a name under a public suffix is open to anybody.
#[test]
fn a_wildcard_never_covers_other_peoples_domains() {
    for suffix in [
        "com",
        "co.uk",
        "github.io",
        "pages.dev",
        "workers.dev",
        "s3.amazonaws.com",
        "herokuapp.com",
        "xn--p1ai",
    ] {
        assert!(format!("*.{suffix}").parse::<HostPattern>().is_err(), "{suffix}");
    }
}

/// A suffix is compared by labels, not by letters.
#[test]
fn a_longer_name_with_the_same_end_is_another_host() {
    let pattern: HostPattern = "*.example.com".parse().unwrap();
    for other in [
        "evilexample.com",
        "example.com",
        "a-example.com",
        "example.com.evil.example",
        "a.example.co",
    ] {
        assert!(!pattern.matches(other, 443), "{other}");
    }
}
