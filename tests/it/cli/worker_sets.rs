//! Fleets of worker types that a file states, against all fleets there are.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// A generator of whole numbers below a limit.
fn drawn(state: &mut u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }
}

/// Devices of the smallest fleet, by all numbers of workers; none wider than a host.
fn fewest(types: &[(u64, u64, f64)], rate: f64, most: u64) -> Option<u64> {
    let mut best: Option<u64> = None;
    let mut counts = vec![0_u64; types.len()];
    loop {
        let devices: u64 = types.iter().zip(&counts).map(|((_, n, _), count)| n * count).sum();
        if devices <= most && best.is_none_or(|best| devices < best) {
            let served = |role: u64| -> f64 {
                let of = types.iter().zip(&counts).filter(|((of, ..), _)| *of == role);
                of.map(|((.., rate), count)| rate * *count as f64).sum()
            };
            let [prefill, decode, whole] = [0, 1, 2].map(served);
            if prefill.min(decode) + whole >= rate - 1e-9 {
                best = Some(devices);
            }
        }
        let Some(at) = (0..counts.len()).find(|at| (counts[*at] + 1) * types[*at].1 <= most) else {
            return best;
        };
        counts[at] += 1;
        counts[..at].fill(0);
    }
}

#[test]
fn the_best_fleet_of_stated_workers_is_that_of_all() {
    let folder = Folder::new(&diamond());
    let mut state = 7;
    let mut draw = drawn(&mut state);
    for _ in 0..40 {
        let types: Vec<(u64, u64, f64)> = (0..2 + draw(3))
            .map(|_| (draw(3), 1 << draw(3), (1 + draw(900)) as f64 / 100.0))
            .collect();
        let rate = (1 + draw(2_000)) as f64 / 100.0;
        let worker = |(role, devices, rate): &(u64, u64, f64)| {
            let role = ["prefill", "decode", "aggregated"][*role as usize];
            json!({"role": role, "pool": "a", "devices": devices, "requests_per_s": rate})
        };
        let asked = json!({
            "kind": "workers", "requests_per_s": rate,
            "pools": [{"name": "a", "hosts": 2, "devices_per_host": 8}],
            "workers": types.iter().map(worker).collect::<Vec<Value>>()
        });
        folder.write("workers.json", &asked.to_string());
        let ran = folder.run("solve workers.json --json");
        match fewest(&types, rate, 16) {
            Some(least) => {
                let answer = ran.exits(0).json();
                assert_eq!(answer["n_devices"], least, "{asked}");
                assert_eq!(answer["bound"], least as f64, "{asked}");
                assert_eq!(answer["is_proved"], true);
            }
            None => assert_eq!(ran.code, 4, "{asked}"),
        }
    }
}

#[test]
fn members_of_worker_types_are_refused_by_name() {
    let folder = Folder::new(&diamond());
    let sound = json!({
        "kind": "workers", "pools": [{"name": "a", "devices_per_host": 8}], "requests_per_s": 3,
        "workers": [{"role": "aggregated", "pool": "a", "devices": 1, "requests_per_s": 2.0}]
    });
    let with = |path: &str, value: Value| {
        let mut all = sound.clone();
        *all.pointer_mut(path).unwrap() = value;
        all
    };
    let and = |member: &str, value: Value| {
        let mut more = sound.clone();
        more[member] = value;
        more
    };
    for (document, said) in [
        (with("/workers/0/pool", json!("b")), "no pool `b`"),
        (with("/workers/0/role", json!("router")), "router"),
        (with("/workers/0/devices", json!(0)), "devices"),
        (with("/workers/0/requests_per_s", json!(-1.0)), "requests per second"),
        (with("/pools/0/devices_per_host", json!(0)), "devices per host"),
        (with("/requests_per_s", json!(0)), "request rate"),
        (and("colour", json!("red")), "colour"),
        (and("ttft_s", json!(0)), "`ttft_s`: a limit has to be above 0"),
        (and("ttft_s", json!(0.5)), "`workers[0]`: `ttft_s` is limited"),
        (and("tpot_s", json!(0.5)), "`workers[0]`: `tpot_s` is limited"),
    ] {
        folder.write("workers.json", &document.to_string());
        let talk = folder.run("solve workers.json").exits(3).talk();
        assert!(talk.contains("invalid-workers") && talk.contains(said), "{talk}");
    }
    folder.write("workers.json", &sound.to_string());
    folder.run("solve workers.json -o answer.json").exits(0);
    assert_eq!(folder.json("answer.json")["n_devices"], 2);
    assert!(folder.run("solve workers.json --gap 0.1").exits(2).talk().contains("--gap"));
}
