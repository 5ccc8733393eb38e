//! The host's first words to a container, with the container's side played by a hostile one.

#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bmm_cage::contained::close_cage;
use bmm_cage::door::MAX_REASON_BYTES;
use bmm_cage::{Cage, CageError, CageReport, Control, Profile};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<Trial> {
            vec![$(trial(concat!(module_path!(), "::", stringify!($test)), $test)),*]
        }
    };
}

trials!(
    a_closed_cage_is_reported_and_nothing_more_is_read,
    a_container_that_says_nothing_is_given_up,
    a_container_that_says_one_byte_at_a_time_is_given_up,
    an_announcement_that_claims_too_much_is_not_read,
    an_announcement_that_is_none_is_refused,
    a_refusal_is_one_short_line,
);

fn trial<F, T>(name: &str, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
        Ok(())
    })
}

/// What the host makes of a container that says `said`, and says no more.
async fn hear(said: &[u8]) -> (Result<(OwnedFd, CageReport), CageError>, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(said).await.unwrap();
    let channel = OwnedFd::from(ours.into_std().unwrap());
    let heard = close_cage(channel, &Cage::new(Profile::Runner), Duration::from_millis(300)).await;
    (heard, theirs)
}

fn message(json: &str) -> Vec<u8> {
    let mut message = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    message.extend_from_slice(json.as_bytes());
    message
}

async fn a_closed_cage_is_reported_and_nothing_more_is_read() {
    let json = r#"{"pid":null,"report":{"held":["seccomp"],"missing":[{"control":"scopes","reason":"old\u0007kernel"}]},"refused":null}"#;
    let mut said = message(json);
    said.extend_from_slice(b"next");
    let (heard, mut theirs) = hear(&said).await;
    let (channel, report) = heard.unwrap();
    assert!(report.holds(Control::Seccomp));
    assert_eq!(report.missing.first().unwrap().reason, "old kernel");
    let mut rest = [0; 4];
    let stream = std::os::unix::net::UnixStream::from(channel);
    stream.set_nonblocking(true).unwrap();
    UnixStream::from_std(stream)
        .unwrap()
        .read_exact(&mut rest)
        .await
        .unwrap();
    assert_eq!(&rest, b"next");
    // The container was told its cage and nothing else.
    let length = theirs.read_u32().await.unwrap();
    let mut order = vec![0; length as usize];
    theirs.read_exact(&mut order).await.unwrap();
    assert!(
        String::from_utf8(order)
            .unwrap()
            .contains("\"profile\":\"runner\"")
    );
    assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
}

async fn a_container_that_says_nothing_is_given_up() {
    let (heard, _theirs) = hear(b"").await;
    assert!(matches!(heard, Err(CageError::NotUp(_))), "{heard:?}");
}

async fn a_container_that_says_one_byte_at_a_time_is_given_up() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let drip = tokio::spawn(async move {
        let _ = theirs.write_u32(16 * 1024).await;
        while theirs.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let begun = Instant::now();
    let channel = OwnedFd::from(ours.into_std().unwrap());
    let heard = close_cage(channel, &Cage::new(Profile::Runner), Duration::from_millis(300)).await;
    assert!(matches!(heard, Err(CageError::NotUp(_))), "{heard:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    drip.await.unwrap();
}

async fn an_announcement_that_claims_too_much_is_not_read() {
    let (heard, _theirs) = hear(&u32::MAX.to_be_bytes()).await;
    let Err(CageError::NotUp(error)) = heard else {
        unreachable!("{heard:?}")
    };
    assert!(error.to_string().contains("too large"), "{error}");
}

async fn an_announcement_that_is_none_is_refused() {
    for said in [message("{}"), message("\u{0}"), message("")] {
        let (heard, _theirs) = hear(&said).await;
        assert!(matches!(heard, Err(CageError::NotUp(_))), "{heard:?}");
    }
}

async fn a_refusal_is_one_short_line() {
    let reason = format!("no\\n\\u001b[2J{}", "x".repeat(12 * 1024));
    let said = message(&format!(
        r#"{{"pid":null,"report":{{"held":[],"missing":[]}},"refused":"{reason}"}}"#
    ));
    let (heard, _theirs) = hear(&said).await;
    let Err(CageError::Refused(reason)) = heard else {
        unreachable!("{heard:?}")
    };
    assert!(reason.starts_with("no  [2Jxxx") && reason.len() <= MAX_REASON_BYTES);
}
