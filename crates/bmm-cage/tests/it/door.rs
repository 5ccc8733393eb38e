//! The door, with each side played by a hostile one in turn.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::Future;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use bmm_cage::door::egress::{EgressDoor, pair};
use bmm_cage::door::{DoorError, Guest, Host, MAX_CONFIG_BYTES, MAX_REASON_BYTES, Order, Reply};
use libtest_mimic::Trial;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<Trial> {
            vec![$(trial(concat!(module_path!(), "::", stringify!($test)), $test)),*]
        }
    };
}

trials!(
    a_hand_over_brings_configuration_and_both_descriptors,
    descriptors_that_arrive_are_close_on_exec,
    a_guest_that_cannot_start_says_why_in_one_line,
    drain_and_the_end_of_the_host_are_told_apart,
    an_order_that_is_not_waited_for_is_not_lost,
    an_answer_that_claims_too_much_is_not_read,
    an_answer_that_is_cut_off_is_a_closed_door,
    an_answer_of_another_kind_is_refused,
    an_answer_may_not_take_forever,
    descriptors_from_a_guest_never_arrive,
    a_guest_that_speaks_out_of_turn_is_told_from_one_that_ends,
    a_guest_that_does_not_read_does_not_hold_the_host_forever,
    a_hand_over_without_descriptors_is_refused,
    a_hand_over_with_too_many_descriptors_is_refused_and_they_are_closed,
    a_hand_over_that_claims_too_much_is_not_read,
    a_configuration_that_is_too_large_is_not_sent,
    streams_go_through_the_egress_door_both_ways,
    an_egress_request_that_nobody_waits_for_is_not_mistaken_for_the_next,
    an_egress_request_may_be_declined,
    an_egress_message_that_is_no_request_is_refused,
    descriptors_in_egress_requests_never_arrive,
    a_guest_that_floods_with_requests_is_held_by_its_own_queue,
    the_end_of_either_side_of_the_egress_door_is_seen,
);

fn trial<F, T>(name: &str, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), test()).await })
            .map_err(|_| "took longer than a minute".into())
    })
}

fn channel() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

fn listener(dir: &tempfile::TempDir) -> UnixListener {
    UnixListener::bind(dir.path().join("s")).unwrap()
}

/// A message as a hostile side may write it.
fn frame(kind: u8, claimed: u32, payload: &[u8]) -> Vec<u8> {
    [&[kind], claimed.to_be_bytes().as_slice(), payload].concat()
}

fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
}

/// Reads to the end: only once every copy of `fd`'s other end is closed.
fn ends(other_end: OwnedFd) -> bool {
    let mut stream = std::os::unix::net::UnixStream::from(other_end);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.read(&mut [0]).is_ok_and(|read| read == 0)
}

async fn a_hand_over_brings_configuration_and_both_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let listener = listener(&dir);
    let (ours, theirs) = channel();
    let (_requests, egress) = pair().unwrap();
    let config: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let sent = config.clone();
    let guest = tokio::spawn(async move {
        let mut guest = Guest::new(theirs).unwrap();
        let handover = guest.receive().await.unwrap();
        guest.ready().await.unwrap();
        handover
    });
    let mut host = Host::new(ours).unwrap();
    host.hand_over(&sent, &listener, &egress).await.unwrap();
    assert_eq!(host.reply(Duration::from_secs(10)).await.unwrap(), Reply::Ready);
    let handover = guest.await.unwrap();
    assert!(handover.config == config);
    let taken = UnixListener::from(handover.listener);
    assert_eq!(
        taken.local_addr().unwrap().as_pathname(),
        Some(dir.path().join("s").as_path())
    );
    drop(listener);
    std::os::unix::net::UnixStream::connect(dir.path().join("s")).unwrap();
    taken.set_nonblocking(false).unwrap();
    taken.accept().unwrap();
}

async fn descriptors_that_arrive_are_close_on_exec() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = channel();
    let (_requests, egress) = pair().unwrap();
    Host::new(ours)
        .unwrap()
        .hand_over(b"", &listener(&dir), &egress)
        .await
        .unwrap();
    let handover = Guest::new(theirs).unwrap().receive().await.unwrap();
    for fd in [&handover.listener, &handover.egress] {
        assert!(
            rustix::io::fcntl_getfd(fd)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
}

async fn a_guest_that_cannot_start_says_why_in_one_line() {
    let (ours, theirs) = channel();
    let (mut host, mut guest) = (Host::new(ours).unwrap(), Guest::new(theirs).unwrap());
    guest.failed("first\nsecond\u{1b}[31m").await.unwrap();
    let reply = host.reply(Duration::from_secs(5)).await.unwrap();
    assert_eq!(reply, Reply::Failed("first second [31m".to_owned()));

    let (ours, theirs) = channel();
    let (mut host, mut guest) = (Host::new(ours).unwrap(), Guest::new(theirs).unwrap());
    guest.failed(&"ü".repeat(MAX_REASON_BYTES)).await.unwrap();
    let Reply::Failed(reason) = host.reply(Duration::from_secs(5)).await.unwrap() else {
        panic!("failed")
    };
    assert!(reason.len() <= MAX_REASON_BYTES && reason.ends_with('ü'));
}

async fn drain_and_the_end_of_the_host_are_told_apart() {
    let (ours, theirs) = channel();
    let (mut host, mut guest) = (Host::new(ours).unwrap(), Guest::new(theirs).unwrap());
    host.drain().await.unwrap();
    assert_eq!(guest.order().await, Order::Drain);
    drop(host);
    assert_eq!(guest.order().await, Order::HostGone);
    assert_eq!(guest.order().await, Order::HostGone);
}

async fn an_order_that_is_not_waited_for_is_not_lost() {
    let (ours, theirs) = channel();
    let mut guest = Guest::new(theirs).unwrap();
    for byte in frame(2, 0, &[]) {
        // Each time the wait is given up in the middle of the message.
        assert!(
            tokio::time::timeout(Duration::from_millis(5), guest.order())
                .await
                .is_err()
        );
        send(&ours, &[byte], &[]);
    }
    assert_eq!(guest.order().await, Order::Drain);
}

async fn an_answer_that_claims_too_much_is_not_read() {
    for claimed in [MAX_REASON_BYTES as u32 + 1, u32::MAX] {
        let (ours, theirs) = channel();
        send(&theirs, &frame(0x12, claimed, b"x"), &[]);
        let error = Host::new(ours)
            .unwrap()
            .reply(Duration::from_secs(5))
            .await
            .unwrap_err();
        assert!(matches!(error, DoorError::TooLarge { bytes, .. } if bytes == claimed as usize));
    }
}

async fn an_answer_that_is_cut_off_is_a_closed_door() {
    for said in [
        &[][..],
        &[0x11],
        &frame(0x11, 0, &[])[..4],
        &frame(0x12, 10, b"short"),
    ] {
        let (ours, theirs) = channel();
        if !said.is_empty() {
            send(&theirs, said, &[]);
        }
        drop(theirs);
        let error = Host::new(ours)
            .unwrap()
            .reply(Duration::from_secs(5))
            .await
            .unwrap_err();
        assert!(matches!(error, DoorError::Closed), "{said:?}: {error}");
    }
}

async fn an_answer_of_another_kind_is_refused() {
    for said in [
        frame(1, 0, &[]),
        frame(2, 0, &[]),
        frame(0, 0, &[]),
        frame(0xff, 3, b"abc"),
        frame(0x11, 1, b"x"),
    ] {
        let (ours, theirs) = channel();
        send(&theirs, &said, &[]);
        let error = Host::new(ours)
            .unwrap()
            .reply(Duration::from_secs(5))
            .await
            .unwrap_err();
        assert!(matches!(error, DoorError::Unexpected { .. }), "{said:?}");
    }
}

async fn an_answer_may_not_take_forever() {
    let (ours, theirs) = channel();
    send(&theirs, &frame(0x12, 100, b"and then nothing"), &[]);
    let error = Host::new(ours)
        .unwrap()
        .reply(Duration::from_millis(30))
        .await
        .unwrap_err();
    assert!(matches!(error, DoorError::Timeout));
}

/// A descriptor from a guest may be a file whose close hangs, or simply the last one the host could open.
async fn descriptors_from_a_guest_never_arrive() {
    let (ours, theirs) = channel();
    let (sent, other_end) = channel();
    send(
        &theirs,
        &frame(0x11, 0, &[]),
        &[sent.as_fd(), sent.as_fd(), sent.as_fd()],
    );
    drop(sent);
    assert_eq!(
        Host::new(ours)
            .unwrap()
            .reply(Duration::from_secs(5))
            .await
            .unwrap(),
        Reply::Ready
    );
    assert!(ends(other_end), "no copy is left open");
}

async fn a_guest_that_speaks_out_of_turn_is_told_from_one_that_ends() {
    let (ours, theirs) = channel();
    let mut host = Host::new(ours).unwrap();
    send(&theirs, &frame(0x11, 0, &[]), &[]);
    assert!(matches!(
        host.closed().await,
        Err(DoorError::Unexpected { kind: 0x11 })
    ));
    send(&theirs, &frame(0x12, 9, &[]), &[]);
    assert!(matches!(host.closed().await, Err(DoorError::TooLarge { .. })));

    let (ours, theirs) = channel();
    drop(theirs);
    assert!(Host::new(ours).unwrap().closed().await.is_ok());
}

async fn a_guest_that_does_not_read_does_not_hold_the_host_forever() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, _theirs) = channel();
    let (_requests, egress) = pair().unwrap();
    let config = vec![0; MAX_CONFIG_BYTES];
    let mut host = Host::new(ours).unwrap();
    let hand_over = host.hand_over(&config, listener(&dir), &egress);
    // The host's own limit is longer; what counts is that it can be given up at any time.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), hand_over)
            .await
            .is_err()
    );
}

async fn a_hand_over_without_descriptors_is_refused() {
    let (ours, theirs) = channel();
    send(&ours, &frame(1, 2, b"{}"), &[]);
    let error = Guest::new(theirs).unwrap().receive().await.unwrap_err();
    assert!(matches!(error, DoorError::Descriptors { expected: 2, got: 0 }));
}

async fn a_hand_over_with_too_many_descriptors_is_refused_and_they_are_closed() {
    for count in [1, 3, 5, 16] {
        let (ours, theirs) = channel();
        let (sent, other_end) = channel();
        send(&ours, &frame(1, 2, b"{}"), &vec![sent.as_fd(); count]);
        drop((sent, ours));
        let mut guest = Guest::new(theirs).unwrap();
        assert!(guest.receive().await.is_err(), "{count} descriptors");
        drop(guest);
        assert!(ends(other_end), "{count} descriptors");
    }
}

async fn a_hand_over_that_claims_too_much_is_not_read() {
    let (ours, theirs) = channel();
    send(&ours, &frame(1, u32::MAX, b"{}"), &[]);
    let error = Guest::new(theirs).unwrap().receive().await.unwrap_err();
    assert!(matches!(
        error,
        DoorError::TooLarge {
            max: MAX_CONFIG_BYTES,
            ..
        }
    ));
}

async fn a_configuration_that_is_too_large_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = channel();
    let (_requests, egress) = pair().unwrap();
    let error = Host::new(ours)
        .unwrap()
        .hand_over(&vec![0; MAX_CONFIG_BYTES + 1], listener(&dir), &egress)
        .await
        .unwrap_err();
    assert!(matches!(error, DoorError::TooLarge { .. }));
    assert!(ends(theirs), "not a byte was sent");
}

async fn streams_go_through_the_egress_door_both_ways() {
    let (mut requests, guest) = pair().unwrap();
    let door = EgressDoor::new(guest).unwrap();
    let host = tokio::spawn(async move {
        for _ in 0..20 {
            let mut stream = requests.accept().await.unwrap().unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.unwrap();
            });
        }
    });
    let calls: Vec<_> = (0..20_u8)
        .map(|number| {
            let door = door.clone();
            tokio::spawn(async move {
                let mut stream = door.connect().await.unwrap();
                stream.write_all(&vec![number; 300_000]).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).await.unwrap();
                back == vec![number; 300_000]
            })
        })
        .collect();
    host.await.unwrap();
    for call in calls {
        // More than the socket holds is written before anything is read, so this also shows that both ways flow.
        assert!(call.await.unwrap());
    }
}

async fn an_egress_request_that_nobody_waits_for_is_not_mistaken_for_the_next() {
    let (mut requests, guest) = pair().unwrap();
    let door = EgressDoor::new(guest).unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(5), door.connect())
            .await
            .is_err(),
        "given up"
    );
    let mut stale = requests.accept().await.unwrap().unwrap();
    let next = tokio::spawn(async move { door.connect().await.unwrap() });
    let mut fresh = requests.accept().await.unwrap().unwrap();
    let mut stream = next.await.unwrap();
    fresh.write_all(b"fresh").await.unwrap();
    let mut word = [0; 5];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"fresh");
    assert_eq!(stale.read(&mut word).await.unwrap(), 0, "the other one is closed");
}

async fn an_egress_request_may_be_declined() {
    let (mut requests, guest) = pair().unwrap();
    let door = EgressDoor::new(guest).unwrap();
    let call = tokio::spawn({
        let door = door.clone();
        async move { door.connect().await }
    });
    assert!(requests.decline().await.unwrap());
    assert!(matches!(call.await.unwrap(), Err(DoorError::Busy)));
    let call = tokio::spawn(async move { door.connect().await });
    assert!(requests.accept().await.unwrap().is_some());
    assert!(call.await.unwrap().is_ok());
}

async fn an_egress_message_that_is_no_request_is_refused() {
    for said in [&b"x"[..], b"oo", &[b'o'; 4000]] {
        let (mut requests, guest) = pair().unwrap();
        send(&guest, said, &[]);
        assert!(
            matches!(requests.accept().await, Err(DoorError::Unexpected { .. })),
            "{} bytes",
            said.len()
        );
    }
}

async fn descriptors_in_egress_requests_never_arrive() {
    let (mut requests, guest) = pair().unwrap();
    let (sent, other_end) = channel();
    send(&guest, b"o", &[sent.as_fd(); 16]);
    drop(sent);
    assert!(requests.accept().await.unwrap().is_some());
    assert!(ends(other_end), "no copy is left open");
}

/// Answers that are not fetched stay few, so a guest cannot use up the descriptors that may be in flight.
async fn a_guest_that_floods_with_requests_is_held_by_its_own_queue() {
    let (mut requests, guest) = pair().unwrap();
    let mut answered = 0;
    loop {
        let asked = rustix::net::send(&guest, b"o", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        match tokio::time::timeout(Duration::from_millis(50), requests.accept()).await {
            Ok(stream) => assert!(stream.unwrap().is_some()),
            Err(_) => break,
        }
        asked.unwrap();
        answered += 1;
        assert!(answered < 64, "no limit");
    }
    // It goes on where it stopped once the guest fetches its answers.
    let door = EgressDoor::new(guest.try_clone().unwrap()).unwrap();
    let serving = tokio::spawn(async move { while let Ok(Some(_)) = requests.accept().await {} });
    door.connect().await.unwrap();
    drop((door, guest));
    serving.await.unwrap();
}

async fn the_end_of_either_side_of_the_egress_door_is_seen() {
    let (mut requests, guest) = pair().unwrap();
    drop(guest);
    assert!(requests.accept().await.unwrap().is_none());
    assert!(!requests.decline().await.unwrap());

    let (requests, guest) = pair().unwrap();
    let door = EgressDoor::new(guest).unwrap();
    drop(requests);
    assert!(matches!(door.connect().await, Err(DoorError::Closed)));
}
