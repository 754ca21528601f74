//! Random units, on the store and on the plainest program that keeps the contract: both must agree.

use futures_util::future::join_all;
use longhaul_core::clock::Timestamp;
use longhaul_core::store::{LoadRequest, StoreErrorKind};

use super::fixture::StoreFixture;
use super::model::{Model, has_expired};
use super::sample::{LEASE, Unit, at, id, key};
use super::steps::{NAMES, Steps, name};
use super::subject::Subject;

const STEPS: u64 = 300;

/// Units one after another. (G1 to G6)
pub async fn when_random_units_follow_one_another_store_and_model_agree(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut model = Model::default();
    let steps = Steps::new(1);
    for step in 0..STEPS {
        let unit = steps.unit(&model, step);
        commit_together(&subject, &mut model, vec![unit]).await;
        look_after(&subject, &mut model, &steps, step).await;
        if step % 8 == 0 {
            compare(&subject, &model, at(step)).await;
        }
    }
    compare(&subject, &model, at(STEPS)).await;
}

/// Several units at a time, begun in order. (G2, G4)
pub async fn when_random_units_are_begun_together_store_and_model_agree(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut model = Model::default();
    let steps = Steps::new(2);
    for step in 0..STEPS / 4 {
        let mut foreseen = model.clone();
        let units = (0..=steps.below(8)).map(|_| {
            let unit = steps.unit(&foreseen, step);
            foreseen.commit(&unit.0);
            unit
        });
        let units = units.collect();
        commit_together(&subject, &mut model, units).await;
        look_after(&subject, &mut model, &steps, step).await;
        compare(&subject, &model, at(step)).await;
    }
}

/// Units, and now and then a restart. (G1 to G6)
pub async fn when_the_endpoint_restarts_among_random_units_store_and_model_agree(fixture: &dyn StoreFixture) {
    let mut subject = Subject::new(fixture).await;
    let mut model = Model::default();
    let steps = Steps::new(3);
    for step in 0..STEPS / 2 {
        let units = vec![steps.unit(&model, step), steps.unit(&model, step)];
        commit_together(&subject, &mut model, units).await;
        look_after(&subject, &mut model, &steps, step).await;
        if step % 30 == 29 {
            subject = subject.restarted(fixture).await;
            model.restart();
            compare(&subject, &model, at(step)).await;
        }
    }
    compare(&subject, &model, at(STEPS)).await;
}

async fn commit_together(subject: &Subject, model: &mut Model, units: Vec<Unit>) {
    let commits = units.iter().map(|unit| subject.store.commit(unit.0.clone()));
    for (unit, result) in units.iter().zip(join_all(commits).await) {
        let before = model.clone();
        match (model.commit(&unit.0), result) {
            (true, Ok(())) => {}
            (false, Err(error)) if error.kind() == StoreErrorKind::Conflict => {}
            (expected, result) => panic!(
                "on {before:?}, {unit:?} must {}, but the store said {result:?}",
                if expected { "be committed" } else { "conflict" }
            ),
        }
    }
}

/// Now and then claims and purges.
async fn look_after(subject: &Subject, model: &mut Model, steps: &Steps, step: u64) {
    if steps.below(3) == 0 {
        let (now, limit) = (at(step + 10), usize::try_from(steps.below(4)).unwrap_or(0));
        let claimed = subject.claim_for(now, LEASE, limit).await;
        assert_eq!(claimed.rows, model.claim(now, now + LEASE, limit));
        // Rows that are left wait for the limit, for a lease to end, or for their time.
        let left = model.clone().claim(now, now + LEASE, usize::MAX);
        assert!(
            left.is_empty() || claimed.next.is_some_and(|next| next <= now),
            "{:?}",
            claimed.next
        );
        let later = model.clone().claim(Timestamp::MAX, Timestamp::MAX, usize::MAX);
        let soonest = later
            .iter()
            .map(|row| row.attention)
            .find(|attention| *attention > now);
        assert!(
            soonest.is_none_or(|soonest| claimed.next.is_some_and(|next| next <= soonest)),
            "{:?}",
            claimed.next
        );
    }
    if steps.below(20) == 0 {
        let (before, now) = (steps.time(step), steps.time(step));
        assert_eq!(subject.purge(before, now, 1_000).await, model.purge(before, now));
    }
}

async fn compare(subject: &Subject, model: &Model, now: Timestamp) {
    for number in 0..NAMES {
        let name = name(number);
        let request = LoadRequest {
            inbox: id(&name),
            records: vec![key(&name)],
            pending: Some(id(&name)),
            now,
        };
        let loaded = subject.load(&request).await;
        assert_eq!(loaded.inbox, model.inbox.get(&id(&name)).map(|(state, _)| *state));
        let record = model
            .records
            .get(&key(&name))
            .filter(|record| !has_expired(record, now));
        assert_eq!(loaded.records, [record.cloned()]);
        assert_eq!(loaded.pending, model.rows.get(&id(&name)).cloned());
    }
    assert_eq!(subject.listed().await, model.listed());
    let records: Vec<_> = model.records.values().cloned().collect();
    assert_eq!(subject.listed_records("order").await, records);
    assert_eq!(subject.sizes().await, model.sizes());
}
