//! The figures: counts over rows, each with the goal it is held to.

use std::error::Error;

use bmm_spec::{Item, Rule, Verdict, scan_codes, scan_tools};
use serde::Serialize;
use serde_json::{Value, json};

use crate::data::Data;
use crate::forms::FORMS;

/// What a figure must reach, in percent of its rows.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// Found at least so often.
    AtLeast(f64),
    /// Found at most so often.
    AtMost(f64),
    /// Published, held only to what was published before.
    MoreIsBetter,
    /// Published, held only to what was published before.
    LessIsBetter,
}

/// How many rows were found.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) goal: Goal,
    /// Whether each row was found.
    pub(crate) rows: Vec<bool>,
}

impl Figure {
    fn new(name: impl Into<String>, goal: Goal, rows: impl IntoIterator<Item = bool>) -> Self {
        Self {
            name: name.into(),
            goal,
            rows: rows.into_iter().collect(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.rows.iter().filter(|found| **found).count()
    }

    /// The rows that speak against the scanner.
    pub(crate) fn against(&self) -> Vec<usize> {
        let good = matches!(self.goal, Goal::AtLeast(_) | Goal::MoreIsBetter);
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, found)| **found != good)
            .map(|(index, _)| index)
            .collect()
    }
}

/// Poisoned and benign tools.
pub(crate) fn of_texts(data: &Data) -> Result<Vec<Figure>, Box<dyn Error>> {
    let poisoned = judged(&data.poisoned)?;
    let benign = judged(&data.benign)?;
    let community = judged(&data.community)?;
    let harmless = || benign.iter().chain(&community);
    // Rules are tuned on the even blocks of twenty rows; the odd ones show whether they generalise.
    let unseen = || {
        poisoned
            .iter()
            .enumerate()
            .filter(|(row, _)| row / 20 % 2 == 1)
            .map(|(_, item)| item)
    };
    let warned = |item: &Item| item.verdict >= Verdict::Warn;
    let blocked = |item: &Item| item.verdict >= Verdict::Block;
    // Of what is flagged, how much is poisoned.
    let precision = |flagged: fn(&Item) -> bool| {
        let right = poisoned.iter().filter(|item| flagged(item)).map(|_| true);
        let wrong = harmless().filter(|item| flagged(item)).map(|_| false);
        right.chain(wrong).collect::<Vec<_>>()
    };
    Ok(vec![
        Figure::new(
            "poisoned tools, flagged",
            Goal::AtLeast(93.0),
            poisoned.iter().map(warned),
        ),
        Figure::new(
            "poisoned tools, blocked",
            Goal::AtLeast(87.0),
            poisoned.iter().map(blocked),
        ),
        Figure::new(
            "poisoned tools of untuned rows, flagged",
            Goal::MoreIsBetter,
            unseen().map(warned),
        ),
        Figure::new(
            "poisoned tools of untuned rows, blocked",
            Goal::MoreIsBetter,
            unseen().map(blocked),
        ),
        Figure::new("benign tools, flagged", Goal::AtMost(1.2), harmless().map(warned)),
        Figure::new(
            "benign tools, blocked",
            Goal::AtMost(0.35),
            harmless().map(blocked),
        ),
        Figure::new(
            "benign tools with schemas, flagged",
            Goal::LessIsBetter,
            benign.iter().map(warned),
        ),
        Figure::new(
            "benign tools with schemas, blocked",
            Goal::LessIsBetter,
            benign.iter().map(blocked),
        ),
        Figure::new(
            "flagged tools that are poisoned",
            Goal::MoreIsBetter,
            precision(warned),
        ),
        Figure::new(
            "blocked tools that are poisoned",
            Goal::MoreIsBetter,
            precision(blocked),
        ),
    ])
}

/// The poisoned descriptions again, each hidden in six ways, and what the rules for hiding make of benign tools.
pub(crate) fn of_hidden_channels(data: &Data) -> Result<Vec<Figure>, Box<dyn Error>> {
    const HIDING: [Rule; 3] = [Rule::HiddenUnicode, Rule::ConfusableName, Rule::EncodedPayload];
    let mut figures = Vec::new();
    for (form, hide) in FORMS {
        let hidden = |tool: &Value| {
            let description = tool
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default();
            json!({ "name": "add", "description": hide(description), "inputSchema": { "type": "object" } })
        };
        let hidden: Vec<Value> = data.poisoned.iter().map(hidden).collect();
        let found = judged(&hidden)?
            .into_iter()
            .map(|item| item.verdict >= Verdict::Warn);
        figures.push(Figure::new(
            format!("poisoned, in {form}, flagged"),
            Goal::AtLeast(100.0),
            found,
        ));
    }
    let hit = |item: Item| item.findings.iter().any(|finding| HIDING.contains(&finding.rule));
    figures.push(Figure::new(
        "benign tools with schemas, hit by a rule for hiding",
        Goal::AtMost(0.0),
        judged(&data.benign)?.into_iter().map(hit),
    ));
    Ok(figures)
}

/// Disguised payloads, code that evaluates strings, attempts to escape a sandbox.
pub(crate) fn of_code(data: &Data) -> Vec<Figure> {
    let found = |pieces: Vec<&str>| {
        let named: Vec<(&str, &str)> = pieces.into_iter().map(|code| ("piece", code)).collect();
        scan_codes(&named)
            .items
            .into_iter()
            .map(|item| item.verdict >= Verdict::Warn)
    };
    let snippets = |escape: bool| {
        let of = data.snippets.iter().filter(move |(_, label)| *label == escape);
        of.map(|(code, _)| code.as_str()).collect()
    };
    let all =
        |codes: &'_ [String]| -> Vec<bool> { found(codes.iter().map(String::as_str).collect()).collect() };
    vec![
        Figure::new(
            "disguised payloads, flagged",
            Goal::AtLeast(100.0),
            all(&data.disguised),
        ),
        Figure::new(
            "ESLint's cases of evaluated strings, flagged",
            Goal::AtLeast(100.0),
            all(&data.evaluating),
        ),
        Figure::new(
            "vm2 snippets that escape, flagged",
            Goal::AtLeast(95.0),
            found(snippets(true)),
        ),
        Figure::new(
            "vm2 snippets that do not, flagged",
            Goal::LessIsBetter,
            found(snippets(false)),
        ),
    ]
}

fn judged(tools: &[Value]) -> Result<Vec<Item>, Box<dyn Error>> {
    let listing = serde_json::to_vec(&json!({ "tools": tools }))?;
    Ok(scan_tools(&listing)?.items)
}
