//! The socket as operators meet it, and as those do who should not.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails where something goes wrong")]

mod stage;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use longhaul_core::admin::QueueAdmin;
use longhaul_core::clock::{Clock, SystemClock};
use longhaul_core::envelope::Incoming;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    LoadRequest, PendingChange, PendingKind, Persistence, RecordChange, RecordKey, StoreErrorKind, UnitOfWork,
};
use longhaul_core::transport::{Accepted, ReceiverOptions, Transport, TransportErrorKind};
use longhaul_embedded::Database;
use longhaul_socket::{Remote, SocketErrorKind};

use crate::stage::{Stage, address, answer_to, framed, message, row, run, stored};

#[test]
fn when_a_process_listens_the_socket_is_its_user_s_alone_and_goes_with_it() {
    run(async {
        let mut stage = Stage::new().await;
        let found = fs::symlink_metadata(stage.path()).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(stage.listen().unwrap_err().kind(), SocketErrorKind::InUse);
        assert_eq!(stage.remote().await.process(), std::process::id());
        drop(stage.socket.take());
        assert!(!stage.path().exists());
        let gone = Remote::connect(&stage.data()).await.unwrap_err();
        assert_eq!(gone.kind(), SocketErrorKind::Absent);
        stage.socket = Some(stage.listen().unwrap());
        assert_eq!(stage.remote().await.process(), std::process::id());
    });
}

#[test]
fn when_a_killed_process_has_left_a_socket_or_half_of_one_it_is_replaced() {
    run(async {
        let mut stage = Stage::new().await;
        drop(stage.socket.take());
        // A socket that nobody listens on any more.
        drop(UnixListener::bind(stage.path()).unwrap());
        let stale = Remote::connect(&stage.data()).await.unwrap_err();
        assert_eq!(stale.kind(), SocketErrorKind::Absent);
        let half = stage.data().join("longhaul.socket.new");
        fs::create_dir(&half).unwrap();
        drop(UnixListener::bind(half.join("socket")).unwrap());
        stage.socket = Some(stage.listen().unwrap());
        assert!(!half.exists());
        assert_eq!(stage.remote().await.process(), std::process::id());
    });
}

#[test]
fn when_the_process_ends_its_database_is_closed_whoever_is_connected() {
    run(async {
        let mut stage = Stage::new().await;
        stage.fill("error", 3, 10).await;
        let remote = stage.remote().await;
        let mut pass = remote.look_through(&address("error")).await.unwrap();
        assert_eq!(pass.next(2).await.unwrap().len(), 2);
        drop(stage.socket.take());
        let error = pass.next(2).await.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Closed);
        assert!(
            error.to_string().contains("look whether its process still runs"),
            "{error}"
        );
        let Stage {
            folder,
            database,
            broker,
            stores,
            ..
        } = stage;
        drop((broker, stores));
        database.close().unwrap();
        Database::open(folder.path().join("data")).unwrap();
    });
}

#[test]
fn when_queues_are_looked_through_and_written_to_over_the_socket_it_is_as_on_the_broker_itself() {
    run(async {
        let stage = Stage::new().await;
        stage.fill("error", 5, 10).await;
        let odd = Incoming {
            id: Some(vec![0xff, 0]),
            headers: vec![("a".to_owned(), vec![0xfe]), ("a".to_owned(), b"\n".to_vec())],
            body: vec![0x80, 0x81].into(),
            native: None,
        };
        stage
            .broker
            .publish_raw(&address("error"), odd.clone())
            .await
            .unwrap();
        let remote = stage.remote().await;
        assert_eq!(
            remote.queues(10).await.unwrap().unwrap(),
            [address("error"), address("sales")]
        );
        assert_eq!(remote.depth(&address("error")).await.unwrap().ready, 6);
        let missing = remote.depth(&address("nobody")).await.unwrap_err();
        assert_eq!(missing.kind(), TransportErrorKind::Topology);
        let mut pass = remote.look_through(&address("error")).await.unwrap();
        assert_eq!(pass.expected(), 6);
        let other = stage.broker.look_through(&address("error")).await.unwrap_err();
        assert_eq!(other.kind(), TransportErrorKind::InUse);
        let found = pass.next(100).await.unwrap();
        assert_eq!(found.len(), 6);
        let last = &found[5].incoming;
        assert_eq!(
            (&last.id, &last.headers, &last.body),
            (&odd.id, &odd.headers, &odd.body)
        );
        // A copy is sent while the look goes on, and the original taken out.
        let sent = remote
            .dispatch(&[message("m-9", "sales", 3), message("m-8", "nobody", 3)])
            .await;
        assert_eq!(sent[0].as_ref().unwrap(), &Accepted::Queued);
        assert_eq!(
            sent[1].as_ref().unwrap_err().kind(),
            TransportErrorKind::Unroutable
        );
        pass.remove(&[found[0].place, found[5].place]).await.unwrap();
        assert!(pass.next(100).await.unwrap().is_empty());
        pass.close().await.unwrap();
        assert_eq!(stage.broker.depth(&address("error")).await.unwrap().ready, 4);
        assert_eq!(
            stage.broker.browse(&address("sales"), 9).unwrap()[0]
                .incoming
                .body,
            "xxx"
        );
        // A look that is dropped is over with the next one.
        drop(remote.look_through(&address("error")).await.unwrap());
        remote
            .look_through(&address("error"))
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
    });
}

#[test]
fn when_messages_are_large_an_answer_has_fewer_of_them_and_each_comes() {
    run(async {
        let stage = Stage::new().await;
        stage.fill("error", 30, 900_000).await;
        let remote = stage.remote().await;
        let mut pass = remote.look_through(&address("error")).await.unwrap();
        let mut sizes = Vec::new();
        loop {
            let page = pass.next(256).await.unwrap();
            if page.is_empty() {
                break;
            }
            sizes.push(page.len());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 30);
        assert!(sizes.len() > 2, "{sizes:?}");
        let batch: Vec<_> = (0..30)
            .map(|n| message(&format!("c-{n}"), "sales", 900_000))
            .collect();
        let sent = remote.dispatch(&batch).await;
        assert_eq!(sent.into_iter().map(Result::unwrap).count(), 30);
    });
}

#[test]
fn when_records_are_large_a_page_has_fewer_of_them_and_each_comes() {
    const RECORDS: usize = 24;
    run(async {
        let stage = Stage::new().await;
        let own = stage.stores.open(&address("sales")).await.unwrap();
        for number in 0..RECORDS {
            let put = RecordChange::Put {
                key: RecordKey::new("saga/order", format!("{number:02}")),
                expected: None,
                body: vec![b'x'; 1_000_000].into(),
                expires: None,
            };
            let work = UnitOfWork {
                records: vec![put],
                ..UnitOfWork::default()
            };
            own.commit(work).await.unwrap();
        }
        let remote = stage.remote().await;
        let store = remote.stores().open(&address("sales")).await.unwrap();
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = store.admin().records("saga/order", after.as_deref(), 256);
            let page = page.await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() < RECORDS / 2, "{}", page.len());
            after = Some(last.key.id.to_string());
            seen.extend(page.iter().map(|record| record.key.id.to_string()));
        }
        let all: Vec<_> = (0..RECORDS).map(|number| format!("{number:02}")).collect();
        assert_eq!(seen, all);
    });
}

#[test]
fn when_stores_are_looked_at_over_the_socket_they_show_what_is_there() {
    run(async {
        let stage = Stage::new().await;
        let own = stored(&stage).await;
        let remote = stage.remote().await;
        let store = remote.stores().open(&address("sales")).await.unwrap();
        let there = own.admin().records("saga/order", None, 9).await.unwrap();
        let page = async |after| store.admin().records("saga/order", after, 9).await.unwrap();
        assert_eq!(page(None).await, there);
        assert_eq!(page(Some("7")).await, there[1..]);
        let pending = own.admin().pending(None, 9).await.unwrap();
        assert_eq!(store.admin().pending(None, 9).await.unwrap(), pending);
        assert_eq!(
            store.admin().pending(Some(&pending[0]), 9).await.unwrap(),
            pending[1..]
        );
        let request = LoadRequest {
            inbox: MessageId::new("nobody").unwrap(),
            records: ["7", "9"].map(|id| RecordKey::new("saga/order", id)).to_vec(),
            pending: None,
            now: SystemClock.now(),
        };
        let loaded = store.load(&request).await.unwrap().records;
        assert_eq!(loaded, [Some(there[0].clone()), None]);
        // To ask for an endpoint that there is not makes none.
        let nobody = remote.stores().open(&address("nobody")).await.unwrap();
        nobody.admin().records("saga/order", None, 9).await.unwrap_err();
        assert_eq!(stage.broker.queue_lengths().len(), 2);
    });
}

#[test]
fn when_stores_are_changed_over_the_socket_only_timeouts_can_be_and_their_alarms_are_sent() {
    run(async {
        let stage = Stage::new().await;
        let own = stored(&stage).await;
        let store = stage
            .remote()
            .await
            .stores()
            .open(&address("sales"))
            .await
            .unwrap();
        let change_both = async |change, records| {
            let work = UnitOfWork {
                pending: vec![change],
                records,
                ..UnitOfWork::default()
            };
            store.commit(work).await
        };
        let change = async |change| change_both(change, Vec::new()).await;
        let id = |id: &str| MessageId::new(id).unwrap();
        // With a timeout the record that asked for it may change, as long as it is as it was, and no other one.
        let put = |owner: &str, expected| RecordChange::Put {
            key: RecordKey::new("saga/order", owner),
            expected,
            body: vec![0xee; 10].into(),
            expires: None,
        };
        let cancel = || PendingChange::Cancel(id("t-2"));
        for (record, kind) in [
            (put("7", Some(9)), StoreErrorKind::Conflict),
            (put("7", None), StoreErrorKind::Configuration),
            (put("9", Some(1)), StoreErrorKind::Refused),
        ] {
            let refused = change_both(cancel(), vec![record]).await.unwrap_err();
            assert_eq!(refused.kind(), kind, "{refused}");
        }
        change_both(cancel(), vec![put("7", Some(1))]).await.unwrap();
        let record = own.admin().records("saga/order", None, 1).await.unwrap();
        assert_eq!((record[0].version, &record[0].body[..]), (2, &[0xee; 10][..]));
        let due = SystemClock.now();
        for refused in [
            PendingChange::Cancel(id("m-1")),
            PendingChange::Cancel(id("t-2")),
            PendingChange::Sent(id("m-1")),
            PendingChange::Add(Box::new(row("t-9", PendingKind::Timeout, due))),
        ] {
            change(refused).await.unwrap_err();
        }
        // The endpoint does not look at its rows before they are due: the broker gets the alarm.
        let moved = PendingChange::Move {
            id: id("t-1"),
            due,
            attention: due,
        };
        change(moved).await.unwrap();
        let options = ReceiverOptions::default();
        let mut receiver = stage.broker.receiver(&address("sales"), options).await.unwrap();
        let delivery = tokio::time::timeout(Duration::from_secs(30), receiver.receive()).await;
        let (alarm, settlement) = delivery.unwrap().unwrap().into_parts();
        settlement.acknowledge().await.unwrap();
        let rows = own.admin().pending(None, 9).await.unwrap();
        assert_eq!(rows.len(), 2);
        let moved = rows.iter().find(|row| row.id == id("t-1")).unwrap();
        assert_eq!(alarm.id.unwrap(), moved.outgoing().id.as_str().as_bytes());
        assert_eq!((moved.due, moved.token), (Some(due), 1));
    });
}

#[test]
fn when_garbage_is_said_it_is_refused_and_the_others_go_on() {
    run(async {
        let stage = Stage::new().await;
        let path = stage.path();
        let remote = stage.remote().await;
        let hello = framed(r#"{"hello":{"version":2}}"#);
        let greeted = |text: &str| [&hello[..], &framed(text)].concat();
        for (bytes, expected) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "longer than anything"),
            (vec![0xff; 4096], "longer than anything"),
            (framed("not json"), "not what is spoken here"),
            (framed(r#"{"hello":{"version":1}}"#), "version 2"),
            (framed(r#"{"queues":{"limit":1}}"#), "version 2"),
            (greeted(r#"{"commit":{}}"#), "not what is spoken here"),
            (greeted(r#"{"next":{"limit":1}}"#), "was not begun"),
        ] {
            let said = bytes.clone();
            let path = path.clone();
            // A question that is understood does not end the connection, so the rest is garbage.
            let said = [&said[..], &framed("{")].concat();
            let answer = tokio::task::spawn_blocking(move || answer_to(&path, &said))
                .await
                .unwrap();
            assert!(answer.contains(expected), "{expected}: {answer}");
        }
        // A length without the rest, and nothing at all, are ended without an answer that matters.
        for bytes in [vec![0, 0, 1, 0, b'{'], Vec::new()] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(&bytes).unwrap();
            drop(stream);
        }
        assert_eq!(remote.depth(&address("error")).await.unwrap().ready, 0);
    });
}

#[test]
fn when_there_are_more_operators_than_there_is_room_for_the_next_one_is_told_and_comes_in_later() {
    run(async {
        let stage = Stage::new().await;
        let mut inside = Vec::new();
        for _ in 0..8 {
            inside.push(stage.remote().await);
        }
        let refused = Remote::connect(&stage.data()).await.unwrap_err();
        assert_eq!(refused.kind(), SocketErrorKind::Foreign);
        assert!(refused.to_string().contains("8 operators"), "{refused}");
        inside.pop();
        let came = async {
            while Remote::connect(&stage.data()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), came).await.unwrap();
    });
}
