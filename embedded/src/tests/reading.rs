//! Reads before the sync: they see nothing of what is not durable.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Held, put};
use crate::{Batch, Database, Scan};

#[test]
fn when_a_reader_looks_between_the_write_and_the_sync() {
    let held = Held::new();
    let mut before = Batch::new();
    for key in ["changed", "removed", "untouched"] {
        before.put(key, "old");
    }
    held.database.commit(before).wait().unwrap();
    let seen_before = held.all();

    held.gate().shut();
    let mut change = Batch::new();
    change.put("added", "new");
    change.put("changed", "new");
    change.delete("removed");
    let answer = held.database.commit(change);
    held.gate().writer_waits();

    assert_eq!(held.all(), seen_before);
    assert_eq!(held.database.count(&Scan::all()).unwrap(), 3);
    assert_eq!(held.database.get(b"added").unwrap(), None);
    assert_eq!(held.database.get(b"changed").unwrap().unwrap(), "old");
    assert_eq!(held.database.get(b"removed").unwrap().unwrap(), "old");
    assert_eq!(held.database.in_flight(), 1);

    held.gate().open();
    answer.wait().unwrap();
    let keys: Vec<_> = held.all().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["added", "changed", "untouched"]);
    assert_eq!(held.database.get(b"changed").unwrap().unwrap(), "new");
}

#[test]
fn when_a_long_value_is_replaced_and_a_reader_looks_before_the_sync() {
    let held = Held::new();
    let (old, new) = (Bytes::from(vec![1; 100_000]), Bytes::from(vec![2; 50_000]));
    held.database.commit(put("long", old.clone())).wait().unwrap();

    held.gate().shut();
    let answer = held.database.commit(put("long", new.clone()));
    held.gate().writer_waits();
    assert_eq!(held.database.get(b"long").unwrap().unwrap(), old);
    assert_eq!(held.all(), [("long".into(), old)]);

    held.gate().open();
    answer.wait().unwrap();
    assert_eq!(held.database.get(b"long").unwrap().unwrap(), new);
}

#[test]
fn when_scans_of_all_kinds_run_before_the_sync() {
    let held = Held::new();
    let mut model = BTreeMap::new();
    let mut draw = draws(7);
    for round in 0..40_u64 {
        let mut batch = Batch::new();
        let mut changed = model.clone();
        for _ in 0..1 + draw() % 12 {
            let key = format!("{:02}", draw() % 40);
            if draw().is_multiple_of(3) {
                changed.remove(&key);
                batch.delete(key);
            } else {
                changed.insert(key.clone(), round);
                batch.put(key, round.to_string());
            }
        }
        held.gate().shut();
        let answer = held.database.commit(batch);
        if changed != model {
            held.gate().writer_waits();
        }
        for _ in 0..10 {
            compare_scan(&held.database, &model, &mut draw);
        }
        held.gate().open();
        answer.wait().unwrap();
        model = changed;
        compare_scan(&held.database, &model, &mut draw);
    }
}

fn compare_scan(database: &Database, model: &BTreeMap<String, u64>, draw: &mut impl FnMut() -> u64) {
    let [prefix, from, after, to] = [(); 4].map(|()| format!("{:02}", draw() % 40));
    let prefix = &prefix[..usize::try_from(draw() % 3).unwrap()];
    let limit = usize::try_from(draw() % 20).unwrap();
    let mut scan = Scan::prefix(prefix.as_bytes()).limit(limit);
    let [with_from, with_after, with_to] = [(); 3].map(|()| draw().is_multiple_of(2));
    scan = if with_from {
        scan.starting_at(from.as_bytes())
    } else {
        scan
    };
    scan = if with_after {
        scan.after(after.as_bytes())
    } else {
        scan
    };
    scan = if with_to { scan.up_to(to.as_bytes()) } else { scan };
    let expected: Vec<(Bytes, Bytes)> = model
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .filter(|(key, _)| !with_from || **key >= from)
        .filter(|(key, _)| !with_after || **key > after)
        .filter(|(key, _)| !with_to || **key < to)
        .map(|(key, round)| (key.clone().into(), round.to_string().into()))
        .take(limit)
        .collect();
    assert_eq!(database.scan(&scan).unwrap(), expected, "{scan:?}");
    assert_eq!(database.count(&scan).unwrap(), expected.len(), "{scan:?}");
}

/// Numbers that look random and depend on the seed alone (xorshift64).
fn draws(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
