//! What two servers list, parted by a NUL: both are judged, compared, and accepted as they are.
#![no_main]

use bmm_spec::{Items, Rule, Sarif, Suppression, Suppressions, Verdict};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (pinned, now) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for listing in [pinned, now] {
        let _ = bmm_spec::SpecEdit::parse(listing);
        let _ = Suppressions::parse(listing);
        if let Ok(items) = bmm_spec::scan_tools(listing) {
            judged(listing, items);
        }
    }
    if let (Some(pinned), Some(now)) = (tools(pinned), tools(now)) {
        let equal = bmm_spec::manifest_digest(&pinned) == bmm_spec::manifest_digest(&now);
        assert_eq!(bmm_spec::manifest_drift(&pinned, &now).is_empty(), equal);
    }
});

fn tools(listing: &[u8]) -> Option<Vec<Value>> {
    match serde_json::from_slice(listing).ok()? {
        Value::Array(tools) => Some(tools),
        _ => None,
    }
}

/// Every finding has a place, and an item of which every finding is accepted passes.
fn judged(listing: &[u8], mut items: Items) {
    let file: Option<Value> = serde_json::from_slice(listing).ok();
    let mut accepted = Suppressions::default();
    for finding in items.items.iter().flat_map(|item| &item.findings) {
        let span = finding.span.clone().expect("it came from a file");
        assert!(listing.get(span).is_some(), "{finding:?}");
        if let Some(file) = &file {
            assert!(file.pointer(&finding.pointer).is_some(), "{finding:?}");
        }
        accepted.suppressions.push(Suppression {
            rule: finding.rule,
            pointer: finding.pointer.clone(),
            reason: "fuzzed".to_owned(),
            sha256: finding.sha256.clone(),
        });
    }
    let log = Sarif::new().with_items("listing.json", Some(listing), &items).into_value();
    assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(accepted.suppressions.len()));
    let whole = |items: &Items| items.items.iter().all(|item| item.findings.len() < 500);
    // What cannot be read is no text that anybody could accept.
    let read = items.items.iter().flat_map(|item| &item.findings).all(|finding| finding.rule != Rule::NotJson && finding.rule != Rule::DuplicateKey);
    if whole(&items) && read {
        assert_eq!(items.suppress(&accepted), []);
        assert_eq!(items.verdict, Verdict::Pass);
    }
}
