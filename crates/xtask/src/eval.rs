//! `cargo xtask eval`: what the scanner finds on the labelled data, held to its goals and to what is published in its README.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::{Workspace, cargo};

/// Folder of the labelled data.
pub(crate) const EVAL_DATA: &str = "BMM_EVAL_DATA";

const README: &str = "crates/bmm-spec/README.md";
const BEGIN: &str = "<!-- figures of `cargo xtask eval --write`: begin -->\n";
const END: &str = "<!-- figures: end -->";

/// Measures, prints, compares; with `write`, publishes instead of comparing with what was published.
pub(crate) fn run(write: bool) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let data = std::env::var_os(EVAL_DATA)
        .with_context(|| format!("name the folder of the labelled data: {EVAL_DATA}=FOLDER"))?;
    let figures = measure(&workspace, &std::path::absolute(PathBuf::from(data))?)?;
    let readme = workspace.root.join(README);
    let text = std::fs::read_to_string(&readme).with_context(|| README.to_owned())?;
    print!("{}", table(&figures));

    let published = if write { Vec::new() } else { published(&text)? };
    let complaints = complaints(&figures, &published, write);
    for complaint in &complaints {
        println!("FELL SHORT: {complaint}");
    }
    if write {
        std::fs::write(&readme, with_table(&text, &table(&figures))?)?;
        println!("wrote {README}");
    }
    let failed = complaints.len();
    println!(
        "test result: {}. {} passed; {failed} failed; 0 ignored",
        if failed == 0 { "ok" } else { "FAILED" },
        figures.len().saturating_sub(failed)
    );
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Runs the example that knows the data.
fn measure(workspace: &Workspace, data: &Path) -> Result<Vec<Figure>> {
    let output = cargo()
        .current_dir(&workspace.root)
        .args(["run", "--quiet", "-p", "bmm-spec", "--example", "eval", "--"])
        .arg(data)
        .stderr(Stdio::inherit())
        .output()
        .context("the example eval of bmm-spec")?;
    if !output.status.success() {
        bail!("the example eval of bmm-spec failed");
    }
    let document: Value = serde_json::from_slice(&output.stdout).context("what the example eval prints")?;
    let figures = document.get("figures").and_then(Value::as_array);
    let figures = figures.context("the example eval prints no figures")?;
    figures
        .iter()
        .map(Figure::read)
        .collect::<Option<_>>()
        .context("a figure of the example eval")
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    /// In percent.
    AtLeast(f64),
    /// In percent.
    AtMost(f64),
    MoreIsBetter,
    LessIsBetter,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(percent) => write!(f, "at least {percent} %"),
            Self::AtMost(percent) => write!(f, "at most {percent} %"),
            Self::MoreIsBetter | Self::LessIsBetter => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Figure {
    name: String,
    count: u32,
    of: u32,
    goal: Goal,
}

impl Figure {
    fn read(value: &Value) -> Option<Self> {
        let number = |key: &str| u32::try_from(value.get(key)?.as_u64()?).ok();
        let goal = value.get("goal")?;
        let percent = |key: &str| goal.get(key).and_then(Value::as_f64);
        Some(Self {
            name: value.get("name")?.as_str()?.to_owned(),
            count: number("count")?,
            of: number("of")?,
            goal: match (goal.as_str(), percent("at_least"), percent("at_most")) {
                (_, Some(percent), _) => Goal::AtLeast(percent),
                (_, _, Some(percent)) => Goal::AtMost(percent),
                (Some("more_is_better"), ..) => Goal::MoreIsBetter,
                (Some("less_is_better"), ..) => Goal::LessIsBetter,
                _ => return None,
            },
        })
    }

    fn percent(&self) -> f64 {
        match self.of {
            0 => 0.0,
            of => f64::from(self.count) * 100.0 / f64::from(of),
        }
    }

    fn misses_its_goal(&self) -> bool {
        match self.goal {
            // A goal that nothing was measured against is not reached.
            Goal::AtLeast(percent) => self.of == 0 || self.percent() < percent,
            Goal::AtMost(percent) => self.of == 0 || self.percent() > percent,
            Goal::MoreIsBetter | Goal::LessIsBetter => false,
        }
    }

    fn fell_below(&self, before: &Published) -> bool {
        let (now, then) = (
            u64::from(self.count) * u64::from(before.of),
            u64::from(before.count) * u64::from(self.of),
        );
        match self.goal {
            Goal::AtLeast(_) | Goal::MoreIsBetter => now < then,
            Goal::AtMost(_) | Goal::LessIsBetter => now > then,
        }
    }
}

/// A row of the README.
#[derive(Debug, PartialEq)]
struct Published {
    name: String,
    count: u32,
    of: u32,
}

/// Every figure that misses its goal or fell behind what is published, and every published one that is not measured any more.
fn complaints(figures: &[Figure], published: &[Published], write: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for figure in figures {
        let (name, count, of) = (&figure.name, figure.count, figure.of);
        if figure.misses_its_goal() {
            complaints.push(format!("{name}: {count} of {of}, asked for {}", figure.goal));
        } else if let Some(before) = published.iter().find(|before| before.name == *name) {
            if figure.fell_below(before) {
                complaints.push(format!(
                    "{name}: {count} of {of}, published {} of {}",
                    before.count, before.of
                ));
            }
        } else if !write {
            complaints.push(format!("{name}: not published; `cargo xtask eval --write` does"));
        }
    }
    let gone = published
        .iter()
        .filter(|before| figures.iter().all(|figure| figure.name != before.name));
    complaints.extend(gone.map(|before| format!("{}: published, and not measured any more", before.name)));
    complaints
}

fn table(figures: &[Figure]) -> String {
    let mut table = String::from("| what | count | of | | goal |\n|---|---|---|---|---|\n");
    for figure in figures {
        let (name, count, of, goal) = (&figure.name, figure.count, figure.of, figure.goal);
        let row = format!("| {name} | {count} | {of} | {:.2} % | {goal} |", figure.percent());
        table.push_str(row.replace("  ", " ").trim_end());
        table.push('\n');
    }
    table
}

fn published(readme: &str) -> Result<Vec<Published>> {
    let (_, table, _) = around(readme)?;
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some(Published {
            name: cells.next()?.to_owned(),
            count: cells.next()?.parse().ok()?,
            of: cells.next()?.parse().ok()?,
        })
    };
    Ok(table.lines().filter_map(row).collect())
}

fn with_table(readme: &str, table: &str) -> Result<String> {
    let (before, _, after) = around(readme)?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

fn around(readme: &str) -> Result<(&str, &str, &str)> {
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (table, after) = rest.split_once(END)?;
        Some((before, table, after))
    });
    parts.with_context(|| {
        format!(
            "{README} has no place for figures between {} and {END}",
            BEGIN.trim_end()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(goal: Goal, count: u32, of: u32) -> Figure {
        Figure {
            name: "things, found".to_owned(),
            count,
            of,
            goal,
        }
    }

    fn said(figure: &Figure, published: &[Published]) -> usize {
        complaints(std::slice::from_ref(figure), published, false).len()
    }

    fn at(count: u32, of: u32) -> Vec<Published> {
        vec![Published {
            name: "things, found".to_owned(),
            count,
            of,
        }]
    }

    #[test]
    fn a_figure_that_falls_or_misses_its_goal_fails() {
        let goal = Goal::AtLeast(90.0);
        assert_eq!(said(&figure(goal, 95, 100), &at(95, 100)), 0);
        assert_eq!(said(&figure(goal, 96, 100), &at(95, 100)), 0);
        assert_eq!(said(&figure(goal, 94, 100), &at(95, 100)), 1);
        assert_eq!(said(&figure(goal, 89, 100), &at(89, 100)), 1);
        assert_eq!(said(&figure(goal, 0, 0), &at(0, 0)), 1);

        let goal = Goal::AtMost(1.0);
        assert_eq!(said(&figure(goal, 5, 1000), &at(5, 1000)), 0);
        assert_eq!(said(&figure(goal, 6, 1000), &at(5, 1000)), 1);
        assert_eq!(said(&figure(goal, 11, 1000), &at(11, 1000)), 1);
    }

    #[test]
    fn a_figure_that_is_not_published_or_not_measured_any_more_fails() {
        assert_eq!(said(&figure(Goal::MoreIsBetter, 1, 2), &[]), 1);
        assert_eq!(complaints(&[], &at(1, 2), false).len(), 1);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let figures = [figure(Goal::AtMost(0.35), 12, 4643)];
        let readme =
            with_table(&format!("before\n{BEGIN}old\n{END}\nafter"), &table(&figures)).expect("a place");
        assert!(readme.starts_with("before\n") && readme.ends_with("\nafter"));
        assert!(
            readme.contains("| things, found | 12 | 4643 | 0.26 % | at most 0.35 % |"),
            "{readme}"
        );
        assert_eq!(published(&readme).expect("a place"), at(12, 4643));
        assert!(published("no place").is_err());
    }
}
