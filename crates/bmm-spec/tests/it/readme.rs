//! The README says of every rule what the catalogue says.

use bmm_spec::Rule;

const README: &str = include_str!("../../README.md");

#[test]
fn every_rule_of_the_scanner_stands_in_the_readme_as_it_is() {
    let rows: Vec<Vec<&str>> = README
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .map(|row| row.split(" | ").take(3).collect())
        .collect();
    for rule in Rule::ALL.iter().filter(|rule| !rule.id().starts_with("SPEC-")) {
        let severity = format!("{:?}", rule.severity()).to_lowercase();
        let row = vec![rule.id(), rule.name(), severity.as_str()];
        assert!(rows.contains(&row), "{row:?}");
    }
}
