use std::collections::BTreeSet;
use std::thread;

use serde_json::json;

use super::Database;
use crate::queue::{self, ATTEMPTS, End, Hold, News, Plan, Wanted};
use crate::store::Store;
use crate::{durations, untold};

super::laws!(
    first_in_first_out_within_a_priority,
    a_claimed_plan_is_claimed_by_nobody_else,
    an_end_is_recorded_once,
    a_lost_plan_is_queued_again_until_it_was_started_too_often,
    kills_of_its_server_do_not_fail_a_plan,
    what_waits_is_cancelled_at_once_and_what_runs_by_its_worker,
    a_plan_that_is_given_back_was_not_started,
    an_idempotency_key_has_one_plan,
    equal_requests_share_a_plan,
    who_asks_again_more_urgently_is_heard,
    a_search_that_was_cut_off_answers_nobody_else,
    plans_are_numbered_once,
    an_owner_has_no_more_plans_than_allowed,
    what_is_heard_is_kept_in_order,
    of_each_end_is_told_until_it_is_taken,
    waits_and_latencies_are_counted_once,
);

fn wanted(id: &str) -> Wanted {
    Wanted {
        id: id.to_owned(),
        content: id.to_owned(),
        request: json!({ "model": id }),
        files: json!({}),
        owner: "ann".to_owned(),
        priority: 0,
        key: None,
        may_be_old: true,
        most: 1000,
    }
}

fn submit(store: &Store, wanted: Wanted) -> (Plan, bool) {
    store.write_here(move |sql| queue::submit(sql, &wanted)).unwrap()
}

fn claim(store: &Store, worker: &str) -> Option<Plan> {
    let worker = worker.to_owned();
    store.write_here(move |sql| queue::claim(sql, &worker)).unwrap()
}

fn end(state: &'static str) -> End {
    let (id, text) = ("answer".to_owned(), state.as_bytes().to_vec());
    let files = vec![(id, text)];
    End { files, cpu_ms: 10, ..End::bare(state) }
}

fn finish(store: &Store, id: &str, worker: &str, state: &'static str) -> bool {
    let ids = (id.to_owned(), worker.to_owned());
    store.write_here(move |sql| queue::finish(sql, (&ids.0, &ids.1), &end(state))).unwrap()
}

fn note(store: &Store, id: &str, worker: &str, news: News) -> Hold {
    let ids = (id.to_owned(), worker.to_owned());
    store.write_here(move |sql| queue::note(sql, (&ids.0, &ids.1), &news)).unwrap()
}

fn plan(store: &Store, id: &str) -> Plan {
    store.read_here(|sql| queue::plan(sql, id)).unwrap()
}

fn n_ends(store: &Store, id: &str) -> usize {
    let events = store.read_here(|sql| queue::events(sql, id, 0)).unwrap();
    let revisions: Vec<i64> = events.iter().map(|event| event.0).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    events.iter().filter(|event| event.1 == "end").count()
}

/// As if a worker had been silent for longer than it may.
fn expire(store: &Store) -> usize {
    let expired = store.write_here(|sql| {
        sql.run("UPDATE plans SET lease_ms = 0 WHERE state = 'running'", &[])?;
        queue::recover(sql, None)
    });
    expired.unwrap()
}

fn first_in_first_out_within_a_priority(database: &Database) {
    let store = database.store();
    let mut expected: Vec<(i64, usize)> = Vec::new();
    for i in 0..30 {
        let priority = [3, 0, 9][i % 3];
        submit(&store, Wanted { priority, ..wanted(&format!("p{i:02}")) });
        expected.push((9 - priority, i));
    }
    expected.sort_unstable();
    let last = plan(&store, "p28");
    assert_eq!(store.read_here(|sql| queue::position(sql, &last)).unwrap(), Some(29));
    let claimed = std::iter::from_fn(|| claim(&store, "w")).map(|plan| plan.id);
    let expected = expected.into_iter().map(|(_, i)| format!("p{i:02}"));
    assert_eq!(claimed.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

fn a_claimed_plan_is_claimed_by_nobody_else(database: &Database) {
    let stores = database.stores();
    let names: BTreeSet<String> = (0..200).map(|i| format!("p{i}")).collect();
    for name in &names {
        submit(&stores[0], wanted(name));
    }
    let is_left = || {
        let queued = stores[0].read_here(|sql| queue::list(sql, "queued", i64::MAX, 1));
        !queued.unwrap().is_empty()
    };
    let work = |store: &Store, worker: &str| {
        let mut made = Vec::new();
        // A plan that another is about to claim is passed over, so one look is not enough.
        while is_left() {
            let Some(plan) = claim(store, worker) else { continue };
            assert!(finish(store, &plan.id, worker, "done"));
            made.push(plan.id);
        }
        made
    };
    let (work, stores) = (&work, &stores);
    let made: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|i| scope.spawn(move || work(&stores[i % 4], &format!("w{i}")))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.len(), names.len());
    assert_eq!(made.into_iter().collect::<BTreeSet<_>>(), names);
    for name in &names {
        let plan = plan(&stores[0], name);
        assert_eq!((plan.state.as_str(), plan.attempts), ("done", 1));
        assert_eq!(n_ends(&stores[0], name), 1);
    }
}

fn an_end_is_recorded_once(database: &Database) {
    let store = database.store();
    submit(&store, wanted("p"));
    assert!(!finish(&store, "p", "w", "done"), "nobody holds it");
    claim(&store, "w").unwrap();
    assert!(!finish(&store, "p", "another", "failed"));
    assert!(finish(&store, "p", "w", "done"));
    assert!(!finish(&store, "p", "w", "failed"), "it has ended");
    let found = plan(&store, "p");
    assert_eq!((found.state.as_str(), found.exit_code, found.error), ("done", None, None));
    assert_eq!(n_ends(&store, "p"), 1);
    let answer = store.read_here(|sql| queue::artefact(sql, "p", "answer")).unwrap();
    assert_eq!(answer.unwrap(), b"done");
    let used = store.read_here(|sql| crate::access::used_ms(sql, "ann")).unwrap();
    assert_eq!(used, 10);
}

fn a_lost_plan_is_queued_again_until_it_was_started_too_often(database: &Database) {
    let store = database.store();
    submit(&store, wanted("p"));
    for attempt in 1..=ATTEMPTS {
        let worker = format!("w{attempt}");
        assert_eq!(claim(&store, &worker).unwrap().attempts, attempt);
        let recovered = store.write_here(|sql| queue::recover(sql, None)).unwrap();
        assert_eq!(recovered, 0, "its lease holds");
        assert_eq!(expire(&store), 1);
        assert_eq!(note(&store, "p", &worker, News::default()), Hold::Lost);
        assert!(!finish(&store, "p", &worker, "done"));
    }
    let found = plan(&store, "p");
    assert_eq!((found.state.as_str(), found.attempts), ("failed", ATTEMPTS));
    assert_eq!(found.error.unwrap()["code"], "worker-lost");
    assert_eq!((claim(&store, "w").map(|plan| plan.id), expire(&store)), (None, 0));
    assert_eq!(n_ends(&store, "p"), 1);
    // Those of a server that began again are lost whatever their lease.
    submit(&store, wanted("q"));
    claim(&store, "serve-1/0").unwrap();
    assert_eq!(store.write_here(|sql| queue::recover(sql, Some("worker-"))).unwrap(), 0);
    assert_eq!(store.write_here(|sql| queue::recover(sql, Some("serve-"))).unwrap(), 1);
    assert_eq!(plan(&store, "q").state, "queued");
}

fn what_waits_is_cancelled_at_once_and_what_runs_by_its_worker(database: &Database) {
    let store = database.store();
    submit(&store, wanted("runs"));
    submit(&store, wanted("waits"));
    assert_eq!(claim(&store, "w").unwrap().id, "runs");
    for id in ["runs", "waits"] {
        store.write_here(move |sql| queue::cancel(sql, id)).unwrap();
    }
    assert_eq!(plan(&store, "waits").state, "cancelled");
    assert_eq!(plan(&store, "runs").state, "running");
    assert!(claim(&store, "w").is_none());
    assert_eq!(note(&store, "runs", "w", News::default()), Hold::Cancelled);
    assert!(finish(&store, "runs", "w", "cancelled"));
    store.write_here(|sql| queue::cancel(sql, "runs")).unwrap();
    for id in ["runs", "waits"] {
        assert_eq!((plan(&store, id).state.as_str(), n_ends(&store, id)), ("cancelled", 1));
    }
    // One whose worker is lost is not started again.
    submit(&store, wanted("lost"));
    claim(&store, "w").unwrap();
    store.write_here(|sql| queue::cancel(sql, "lost")).unwrap();
    assert_eq!(expire(&store), 1);
    assert_eq!(plan(&store, "lost").state, "cancelled");
}

fn a_plan_that_is_given_back_was_not_started(database: &Database) {
    let store = database.store();
    submit(&store, wanted("p"));
    for _ in 0..2 * ATTEMPTS {
        assert_eq!(claim(&store, "w").unwrap().attempts, 1);
        store.write_here(|sql| queue::give_back(sql, ("p", "another"))).unwrap();
        assert_eq!(plan(&store, "p").state, "running");
        store.write_here(|sql| queue::give_back(sql, ("p", "w"))).unwrap();
    }
    let found = plan(&store, "p");
    assert_eq!((found.state.as_str(), found.attempts), ("queued", 0));
}

fn an_idempotency_key_has_one_plan(database: &Database) {
    let stores = database.stores();
    let keyed = |i: usize, body: &str| Wanted {
        key: Some(("key".to_owned(), body.to_owned())),
        may_be_old: false,
        ..wanted(&format!("p{i}"))
    };
    let ask = |i: usize| submit(&stores[i % 4], keyed(i, "body")).0.id;
    let ids: BTreeSet<String> = thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || ask(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
    let all = stores[0].read_here(|sql| queue::list(sql, "", i64::MAX, 100)).unwrap();
    assert_eq!(all.len(), 1);
    let other = keyed(9, "another body");
    let refused = stores[0].write_here(move |sql| queue::submit(sql, &other)).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.status.as_u16()), ("key-reused", 422));
    // The same key of another owner is another key.
    let of_bob = Wanted { owner: "bob".to_owned(), ..keyed(10, "another body") };
    assert_eq!(submit(&stores[0], of_bob).0.id, "p10");
}

fn equal_requests_share_a_plan(database: &Database) {
    let store = database.store();
    let same = |id: &str| Wanted { content: "same".to_owned(), ..wanted(id) };
    assert!(!submit(&store, same("first")).1);
    let (plan, is_old) = submit(&store, same("second"));
    assert_eq!((plan.id.as_str(), is_old), ("first", true));
    let anew = Wanted { may_be_old: false, ..same("third") };
    assert_eq!(submit(&store, anew).0.id, "third");
    // Of one that failed there is nothing to share.
    while let Some(plan) = claim(&store, "w") {
        finish(&store, &plan.id, "w", "failed");
    }
    assert_eq!(submit(&store, same("fourth")).0.id, "fourth");
}

fn who_asks_again_more_urgently_is_heard(database: &Database) {
    let store = database.store();
    submit(&store, wanted("first"));
    for (id, priority) in [("second", 0), ("again", 5), ("later", 2)] {
        let content = if id == "second" { "second" } else { "shared" }.to_owned();
        submit(&store, Wanted { priority, content, ..wanted(id) });
    }
    let (shared, is_old) = submit(&store, Wanted { priority: 1, ..wanted("first") });
    assert_eq!((shared.id.as_str(), is_old), ("first", true));
    let order: Vec<String> = (0..3).map(|_| claim(&store, "w").unwrap().id).collect();
    assert_eq!(order, ["again", "first", "second"], "what was less urgent changes nothing");
    let (running, _) = submit(&store, Wanted { priority: 9, ..wanted("first") });
    assert_eq!((running.state.as_str(), running.rank), ("running", shared.rank));
}

fn a_search_that_was_cut_off_answers_nobody_else(database: &Database) {
    let store = database.store();
    for (is_cut, id) in [(true, "a"), (false, "b")] {
        let wish = Wanted { content: "same".to_owned(), ..wanted(id) };
        assert_eq!(
            (submit(&store, wish).0.id, claim(&store, "w").is_some()),
            (id.to_owned(), true)
        );
        let ended = End { is_cut, ..end("done") };
        assert!(store.write_here(move |sql| queue::finish(sql, (id, "w"), &ended)).unwrap());
    }
    let (found, is_old) = submit(&store, Wanted { content: "same".to_owned(), ..wanted("c") });
    assert_eq!((found.id.as_str(), is_old), ("b", true));
}

fn plans_are_numbered_once(database: &Database) {
    let stores = database.stores();
    thread::scope(|scope| {
        for i in 0..8 {
            let store = &stores[i % 4];
            scope.spawn(move || {
                (0..20).for_each(|j| drop(submit(store, wanted(&format!("p{i}-{j}")))))
            });
        }
    });
    let all = stores[0].read_here(|sql| queue::list(sql, "queued", i64::MAX, 500)).unwrap();
    let places: Vec<i64> = all.iter().rev().map(|plan| plan.place).collect();
    assert_eq!(places, (1..=160).collect::<Vec<_>>());
}

fn an_owner_has_no_more_plans_than_allowed(database: &Database) {
    let store = database.store();
    let few = |id: &str| Wanted { most: 2, ..wanted(id) };
    submit(&store, few("a"));
    submit(&store, few("b"));
    let third = few("c");
    let refused = store.write_here(move |sql| queue::submit(sql, &third)).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.status.as_u16()), ("too-many-jobs", 429));
    let claimed = claim(&store, "w").unwrap();
    finish(&store, &claimed.id, "w", "done");
    submit(&store, few("c"));
}

fn what_is_heard_is_kept_in_order(database: &Database) {
    let store = database.store();
    submit(&store, wanted("p"));
    claim(&store, "w").unwrap();
    for first in [0, 3] {
        let events = (first..first + 3).map(|i| ("incumbent".to_owned(), json!({ "i": i })));
        let news = News {
            events: events.collect(),
            phase: "searching".to_owned(),
            progress: json!({ "value_ns": first }),
            incumbent: Some(vec![0, first, 255]),
        };
        assert_eq!(note(&store, "p", "w", news), Hold::Held);
    }
    let events = store.read_here(|sql| queue::events(sql, "p", 1)).unwrap();
    let heard: Vec<(i64, String)> = events.into_iter().map(|event| (event.0, event.2)).collect();
    let expected = (0..6).map(|i| (i + 2, json!({ "i": i }).to_string()));
    assert_eq!(heard, expected.collect::<Vec<_>>());
    let found = plan(&store, "p");
    assert_eq!((found.phase.as_str(), found.progress), ("searching", json!({ "value_ns": 3 })));
    let incumbent = store.read_here(|sql| queue::artefact(sql, "p", "incumbent")).unwrap();
    assert_eq!(incumbent.unwrap(), [0, 3, 255], "bytes are no text");
    store.write_here(|sql| queue::cancel(sql, "p")).unwrap();
    finish(&store, "p", "w", "cancelled");
    store.write_here(|sql| queue::delete(sql, "p")).unwrap();
    let gone = store.read_here(|sql| queue::plan(sql, "p")).unwrap_err();
    assert_eq!(gone.status.as_u16(), 404);
    assert!(store.read_here(|sql| queue::events(sql, "p", 0)).unwrap().is_empty());
}

fn of_each_end_is_told_until_it_is_taken(database: &Database) {
    let store = database.store();
    let next = || store.write_here(untold::next).unwrap();
    let end = |id: &'static str| {
        submit(&store, wanted(id));
        store.write_here(|sql| queue::cancel(sql, id)).unwrap();
    };
    end("before");
    assert_eq!(next(), None, "nobody wanted to be told");
    store.write_here(untold::announce).unwrap();
    let away = |store: &Store| {
        let ago = "UPDATE facts SET value = '00000000000000000001' WHERE name = 'webhook'";
        store.write_here(move |sql| Ok(sql.run(ago, &[])?)).unwrap();
    };
    away(&store);
    end("unheard");
    assert_eq!(next(), None, "nobody was there to tell for longer than ends are kept");
    store.write_here(untold::announce).unwrap();
    end("a");
    submit(&store, wanted("b"));
    claim(&store, "w").unwrap();
    assert_eq!(next(), Some(("a".to_owned(), 1)));
    assert_eq!(next(), None, "it is being told of, and `b` goes on");
    assert!(finish(&store, "b", "w", "done"));
    assert_eq!(next(), Some(("b".to_owned(), 1)));
    store.write_here(|sql| untold::told(sql, "b", None)).unwrap();
    store.write_here(|sql| untold::told(sql, "a", Some(-1))).unwrap();
    assert_eq!(next(), Some(("a".to_owned(), 2)), "it was not taken");
    store.write_here(|sql| untold::told(sql, "a", Some(-1))).unwrap();
    store.write_here(|sql| queue::delete(sql, "a")).unwrap();
    assert_eq!(next(), None);
}

/// A server that starts again knows that its own workers are gone: no plan is to blame.
fn kills_of_its_server_do_not_fail_a_plan(database: &Database) {
    let store = database.store();
    submit(&store, wanted("p"));
    for _ in 0..3 * ATTEMPTS {
        assert_eq!(claim(&store, "serve-1-0").unwrap().id, "p");
        let n = store.write_here(|sql| queue::recover(sql, Some("serve-"))).unwrap();
        assert_eq!(n, 1);
    }
    let found = claim(&store, "serve-1-0").unwrap();
    assert_eq!((found.state.as_str(), found.attempts), ("running", 1));
    // One that was lost beside a living server counts.
    let worker = store.write_here(|sql| queue::recover(sql, Some("other-"))).unwrap();
    assert_eq!(worker, 0);
}

/// Seconds and counts of both histograms, in the order of [`durations::ALL`].
fn counted(store: &Store) -> Vec<(String, String)> {
    let text = |name: &'static str| {
        let counted = store.read_here(|sql| durations::counted(sql, name)).unwrap();
        let mut text = String::new();
        counted.write(&mut text, "d");
        let of =
            |line: &str| text.lines().find_map(|row| row.strip_prefix(line)).unwrap().to_owned();
        (of("d_sum "), of("d_count "))
    };
    durations::ALL.into_iter().map(|(name, _)| text(name)).collect()
}

fn waits_and_latencies_are_counted_once(database: &Database) {
    let store = database.store();
    let pair = |sum: &str, n: &str| (sum.to_owned(), n.to_owned());
    let asked_ago = |id: &'static str, ms: i64| {
        submit(&store, wanted(id));
        let ago = "UPDATE plans SET created_ms = created_ms - $1 WHERE id = $2";
        store.write_here(move |sql| Ok(sql.run(ago, &[ms.into(), id.into()])?)).unwrap();
    };
    asked_ago("a", 5_000_000);
    claim(&store, "w").unwrap();
    // Given back and started again, it has waited once.
    store.write_here(|sql| queue::give_back(sql, ("a", "w"))).unwrap();
    thread::sleep(std::time::Duration::from_millis(5));
    claim(&store, "w").unwrap();
    let [(wait, n), latency] = counted(&store).try_into().unwrap();
    assert!(wait.starts_with("500") && n == "1", "{wait} {n}");
    assert_eq!(latency, pair("0", "0"));
    assert!(finish(&store, "a", "w", "done"));
    // One that failed has no answer.
    asked_ago("b", 7_000_000);
    claim(&store, "w").unwrap();
    assert!(finish(&store, "b", "w", "failed"));
    store.write_here(|sql| queue::delete(sql, "a")).unwrap();
    let [(wait, n_waits), (latency, n)] = counted(&store).try_into().unwrap();
    assert!(wait.starts_with("1200") && n_waits == "2", "{wait} {n_waits}");
    assert!(
        latency.starts_with("500") && n == "1",
        "what is forgotten stays counted: {latency} {n}"
    );
}
