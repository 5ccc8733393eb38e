//! Copies bytes both ways until both sides are done, or nothing has moved for a while.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

/// Returns how many bytes went from `a` to `b` and back. Each direction ends on its own, so that one side can finish
/// speaking and still listen.
pub(crate) async fn copy<A, B>(a: A, b: B, idle: Duration) -> (u64, u64)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let moved = Moved {
        last: Mutex::new(Instant::now()),
        there: Mutex::new(0),
        back: Mutex::new(0),
    };
    let both = async {
        tokio::join!(
            one_way(a_read, b_write, &moved, &moved.there),
            one_way(b_read, a_write, &moved, &moved.back)
        )
    };
    tokio::select! {
        _ = both => {}
        () = moved.silence(idle) => {}
    }
    (get(&moved.there), get(&moved.back))
}

struct Moved {
    last: Mutex<Instant>,
    there: Mutex<u64>,
    back: Mutex<u64>,
}

impl Moved {
    async fn silence(&self, idle: Duration) {
        loop {
            let until = get(&self.last) + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Moved,
    count: &Mutex<u64>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        set(&moved.last, Instant::now());
        set(count, get(count) + read as u64);
    }
}

fn get<T: Copy>(value: &Mutex<T>) -> T {
    *value.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn set<T>(value: &Mutex<T>, to: T) {
    *value.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = to;
}
