//! How a container ended, and what it said last: for logs and for who waits for a deploy.

use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::container::{ContainerId, Docker};

/// As a shell tells it: a signal is 128 and its number.
pub(super) fn describe(code: i64, words: &str) -> String {
    let how = match code - 128 {
        signal @ 1..=64 => format!("signal {signal}"),
        _ => format!("exit code {code}"),
    };
    if words.is_empty() {
        how
    } else {
        format!("{how}: {words}")
    }
}

/// How many of a container's last lines are shown, and how much of them.
const LAST_LINES: &str = "5";
const LAST_BYTES: usize = 1024;

/// The end of a container's log: one line of printable text.
pub(super) async fn last_words(docker: &Docker, id: &ContainerId) -> String {
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .tail(LAST_LINES)
        .build();
    let mut lines = Vec::new();
    let read = timeout(Duration::from_secs(2), async {
        let mut log = std::pin::pin!(docker.client().logs(id.as_str(), Some(options)));
        while let Some(Ok(part)) = log.next().await {
            lines.extend_from_slice(&part.into_bytes());
            let surplus = lines.len().saturating_sub(LAST_BYTES);
            lines.drain(..surplus);
        }
    });
    // What was read so far is worth as much.
    let _ = read.await;
    printable(&lines)
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line_that_nothing_obeys() {
        assert_eq!(
            printable(b"one\r\n\n\x1b[31mtwo\x07\n  three "),
            "one | [31mtwo | three"
        );
        assert_eq!(describe(137, ""), "signal 9");
        assert_eq!(describe(71, "no"), "exit code 71: no");
    }
}
