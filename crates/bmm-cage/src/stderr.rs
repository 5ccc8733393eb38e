//! What caged children write to stderr, brought to the log: line by line, escaped, and no more than a child's allowance.
//!
//! One thread reads for all children. It always reads, so that no child blocks on a full pipe; what exceeds the allowance
//! is counted and dropped.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// Forwards `messages` to the log until its end.
pub(crate) fn forward(messages: OwnedFd, role: &str, pid: u32) -> io::Result<()> {
    static PUMP: OnceLock<Pump> = OnceLock::new();
    let pump = match PUMP.get() {
        Some(pump) => pump,
        None => {
            let fresh = Pump::start()?;
            PUMP.get_or_init(|| fresh)
        }
    };
    let source = Source {
        pipe: messages,
        lines: Lines::new(Instant::now()),
        role: role.to_owned(),
        pid,
    };
    pump.added
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(source);
    rustix::io::write(&pump.wake, b"+")?;
    Ok(())
}

/// Bytes a child may log at once.
const ALLOWANCE: usize = 64 * 1024;
/// Bytes per second by which the allowance grows back.
const REFILL: u64 = 4 * 1024;
/// Longest line.
const LINE: usize = 4 * 1024;

#[derive(Debug)]
struct Pump {
    added: Arc<Mutex<Vec<Source>>>,
    wake: OwnedFd,
}

impl Pump {
    fn start() -> io::Result<Self> {
        let (woken, wake) = pipe_with(PipeFlags::CLOEXEC)?;
        let added = Arc::new(Mutex::new(Vec::new()));
        let fresh = Arc::clone(&added);
        std::thread::Builder::new()
            .name("cage-stderr".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || pump(&woken, &fresh))?;
        Ok(Self { added, wake })
    }
}

#[derive(Debug)]
struct Source {
    pipe: OwnedFd,
    lines: Lines,
    role: String,
    pid: u32,
}

impl Source {
    /// Reads what there is; `false` at the end.
    fn drain(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = match rustix::io::read(&self.pipe, &mut bytes) {
            Ok(read) => read,
            Err(rustix::io::Errno::INTR) => return true,
            Err(_) => 0,
        };
        let mut lines = self
            .lines
            .push(bytes.get(..read).unwrap_or_default(), Instant::now());
        if read == 0 {
            lines.extend(self.lines.finish());
        }
        for line in lines {
            tracing::info!(target: "bmm_cage::stderr", role = %self.role, pid = self.pid, "{line}");
        }
        read > 0
    }
}

fn pump(woken: &OwnedFd, added: &Mutex<Vec<Source>>) {
    let mut sources: Vec<Source> = Vec::new();
    loop {
        let mut fds = vec![PollFd::new(woken, PollFlags::IN)];
        fds.extend(
            sources
                .iter()
                .map(|source| PollFd::new(&source.pipe, PollFlags::IN)),
        );
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let mut ready = fds
            .iter()
            .map(|fd| !fd.revents().is_empty())
            .collect::<Vec<_>>()
            .into_iter();
        if ready.next() == Some(true) {
            match rustix::io::read(woken, &mut [0; 64]) {
                Ok(1..) => {}
                // The pump that lost the race to be the one.
                _ => return,
            }
        }
        sources.retain_mut(|source| !ready.next().unwrap_or(false) || source.drain());
        sources.append(&mut added.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Cuts bytes into log lines within an allowance.
#[derive(Debug)]
struct Lines {
    partial: Vec<u8>,
    allowance: usize,
    refilled: Instant,
    dropped: usize,
}

impl Lines {
    fn new(now: Instant) -> Self {
        Self {
            partial: Vec::new(),
            allowance: ALLOWANCE,
            refilled: now,
            dropped: 0,
        }
    }

    fn push(&mut self, bytes: &[u8], now: Instant) -> Vec<String> {
        let grown = now.duration_since(self.refilled).as_millis() as u64 * REFILL / 1000;
        if grown > 0 {
            self.allowance = ALLOWANCE.min(self.allowance.saturating_add(grown as usize));
            self.refilled = now;
        }
        let mut lines = Vec::new();
        for byte in bytes {
            if self.allowance == 0 {
                self.dropped += 1;
                continue;
            }
            if self.dropped > 0 {
                lines.push(format!("({} bytes dropped)", std::mem::take(&mut self.dropped)));
            }
            self.allowance -= 1;
            if *byte == b'\n' {
                lines.extend(self.take());
            } else {
                self.partial.push(*byte);
                if self.partial.len() >= LINE {
                    lines.extend(self.take());
                }
            }
        }
        lines
    }

    fn finish(&mut self) -> Option<String> {
        self.take()
    }

    /// The line so far, without anything that a terminal or a log reader would obey.
    fn take(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        let escaped: String = text
            .trim_end()
            .chars()
            .flat_map(|character| {
                let escape = character.is_control() && character != '\t';
                escape
                    .then(|| character.escape_default())
                    .into_iter()
                    .flatten()
                    .chain((!escape).then_some(character))
            })
            .collect();
        (!escaped.is_empty()).then_some(escaped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_are_cut_and_control_characters_escaped() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        assert!(lines.push(b"one", now).is_empty());
        assert_eq!(
            lines.push(b" line\n\x1b[31mtwo\r\nthr", now),
            ["one line", "\\u{1b}[31mtwo"]
        );
        assert_eq!(lines.finish().as_deref(), Some("thr"));
    }

    #[test]
    fn a_child_that_floods_is_cut_off_until_its_allowance_grows_back() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        let flood = [b'x'; 1024];
        let mut logged = 0;
        for _ in 0..10_000 {
            logged += lines.push(&flood, now).iter().map(String::len).sum::<usize>();
        }
        assert!(logged <= ALLOWANCE, "logged {logged} bytes");
        let later = lines.push(b"\nstill here\n", now + Duration::from_secs(1));
        assert!(
            later.iter().any(|line| line.contains("bytes dropped")),
            "{later:?}"
        );
        assert!(later.iter().any(|line| line == "still here"), "{later:?}");
    }
}
