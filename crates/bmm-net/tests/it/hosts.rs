//! Host names and allow-list entries against the shared vectors, and in general.

use bmm_net::{HostPattern, normalize_host};
use proptest::prelude::*;
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/hosts.json")).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    value[key]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| item.as_str().unwrap())
}

#[test]
fn hosts_are_normalised_as_the_vectors_say() {
    let vectors = vectors();
    let hosts = vectors["hosts"].as_array().unwrap();
    assert!(hosts.len() > 50);
    for vector in hosts {
        let text = vector["host"].as_str().unwrap();
        let got = match normalize_host(text) {
            Ok(host) => json!({ "host": text, "becomes": host }),
            Err(error) => json!({ "host": text, "refused": error.rule() }),
        };
        assert_eq!(&got, vector);
    }
}

#[test]
fn patterns_cover_what_the_vectors_say_and_nothing_else() {
    let vectors = vectors();
    for vector in vectors["patterns"].as_array().unwrap() {
        let text = vector["pattern"].as_str().unwrap();
        let pattern: HostPattern = match text.parse::<HostPattern>() {
            Ok(pattern) => pattern,
            Err(error) => {
                assert_eq!(Some(error.rule()), vector["refused"].as_str(), "{text}: {error}");
                continue;
            }
        };
        assert_eq!(
            Some(pattern.to_string().as_str()),
            vector["becomes"].as_str(),
            "{text}"
        );
        for (key, expected) in [("covers", true), ("not", false)] {
            for destination in list(vector, key) {
                let (host, port) = destination.rsplit_once(':').unwrap();
                assert_eq!(
                    pattern.matches(host, port.parse().unwrap()),
                    expected,
                    "{text} and {destination}"
                );
            }
        }
    }
}

#[test]
fn a_pattern_is_one_string_in_json() {
    let pattern: HostPattern = serde_json::from_value(json!("*.Example.com:8443")).unwrap();
    assert_eq!(
        serde_json::to_value(&pattern).unwrap(),
        json!("*.example.com:8443")
    );
    let error = serde_json::from_value::<HostPattern>(json!("*.com"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("name your own domain below it"), "{error}");
}

#[test]
fn a_text_of_any_length_is_answered() {
    let label = "a".repeat(63);
    assert!(
        normalize_host(&format!("{label}.{label}.{label}.{}", "a".repeat(61))).is_ok(),
        "253 characters"
    );
    for long in [
        format!("{label}.{label}.{label}.{}", "a".repeat(62)),
        format!("a{label}.example"),
        "a.".repeat(100_000),
        "ü".repeat(5000),
    ] {
        assert_eq!(normalize_host(&long).unwrap_err().rule(), "too_long");
        assert_eq!(long.parse::<HostPattern>().unwrap_err().rule(), "too_long");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn normalising_twice_is_normalising_once(text in "\\PC{0,40}") {
        if let Ok(host) = normalize_host(&text) {
            prop_assert_eq!(normalize_host(&host), Ok(host.clone()));
            prop_assert!(host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-'));
        }
    }

    #[test]
    fn a_pattern_reads_back_what_it_prints(text in "(\\*\\.)?[a-zA-Z0-9ü.-]{1,30}(:[0-9]{1,6})?") {
        if let Ok(pattern) = text.parse::<HostPattern>() {
            let again = pattern.to_string().parse::<HostPattern>();
            prop_assert_eq!(again, Ok(pattern));
        }
    }

    #[test]
    fn an_exact_pattern_covers_its_own_host_alone(host in "[a-z]{1,8}\\.[a-z]{1,8}\\.com", other in "\\PC{0,30}") {
        let pattern: HostPattern = host.parse().unwrap();
        prop_assert!(pattern.matches(&host, 443));
        let same = normalize_host(&other).is_ok_and(|other| other == host);
        prop_assert_eq!(pattern.matches(&other, 443), same);
    }

    #[test]
    fn no_pattern_covers_an_address(ip in any::<std::net::IpAddr>(), port in any::<u16>()) {
        let wildcard: HostPattern = "*.example.com".parse().unwrap();
        prop_assert!(!wildcard.matches(&ip.to_string(), port));
        prop_assert!(normalize_host(&ip.to_string()).is_err());
        prop_assert!(ip.to_string().parse::<HostPattern>().is_err());
    }

    #[test]
    fn any_number_is_an_address_not_a_name(number in any::<u32>()) {
        for text in [format!("{number}"), format!("{number:#x}"), format!("0{number:o}"), format!("a.{number}")] {
            prop_assert!(normalize_host(&text).is_err(), "{}", text);
        }
    }
}
