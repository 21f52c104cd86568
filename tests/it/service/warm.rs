//! What is asked of a plan is answered by a process that stays, as the command line answers it.

use serde_json::{Value, json};

use super::server::Served;
use crate::cli::training::{CLUSTER, config};
use crate::random_problem::Random;

const PLACED: &[(&str, &str)] = &[("algorithm", "m-topo")];
const RUN: &[(&str, &str)] = &[
    ("global_batch", "16"),
    ("sequence_length", "2048"),
    ("pin", "data=2"),
    ("pin", "pipeline=4"),
];

/// A request of fields, and the words of the same.
fn asked(fields: &[(&str, &str)]) -> (Value, Vec<String>) {
    let (mut request, mut words) = (json!({}), Vec::new());
    for (name, value) in fields {
        words.extend([format!("--{}", name.replace('_', "-")), (*value).to_owned()]);
        match *name {
            "pin" | "scale" => match request[*name].as_array_mut() {
                Some(list) => list.push((*value).into()),
                None => request[*name] = json!([value]),
            },
            name => request[name] = value.parse::<u64>().map_or((*value).into(), Value::from),
        }
    }
    (request, words)
}

/// A service with the plan of these fields, whose files lie in its folder too.
fn planned(fields: &[(&str, &str)]) -> (Served, String) {
    let served = Served::new(&[]);
    std::fs::write(served.path("config.json"), config().to_string()).unwrap();
    std::fs::write(served.path("cluster.yaml"), CLUSTER).unwrap();
    served.stored("config.json", &config());
    assert_eq!(served.post("/v1/clusters?name=cluster.yaml", CLUSTER).status, 201);
    let mut request = asked(fields).0;
    request["model"] = "config.json".into();
    request["cluster"] = "cluster.yaml".into();
    request["deterministic"] = true.into();
    let plan = served.post("/v1/plans?wait=60", &request.to_string()).json();
    assert_eq!(plan["state"], "done", "{plan}");
    let id = plan["id"].as_str().unwrap().to_owned();
    let file = served.get(&format!("/v1/plans/{id}/plan")).body;
    std::fs::write(served.path("plan.json"), file).unwrap();
    (served, id)
}

/// The command line's answer to the same.
fn told(served: &Served, verb: &str, words: &[String]) -> String {
    let on = [verb, "plan.json", "--model", "config.json", "--cluster", "cluster.yaml", "--json"];
    let words: Vec<&str> = on.into_iter().chain(words.iter().map(String::as_str)).collect();
    served.program(&words)
}

#[track_caller]
fn same(answer: &super::server::Answer, expected: &str, what: &str) {
    let document: Value =
        serde_json::from_str(expected).unwrap_or_else(|e| panic!("{e}: {expected}"));
    match document.get("error") {
        None => assert_eq!((answer.status, &*answer.body), (200, expected), "{what}"),
        Some(error) => {
            assert_eq!(answer.status, 422, "{what}: {answer:?}");
            let refused = answer.json();
            assert_eq!(refused["code"], error["code"], "{what}: {refused}");
            assert_eq!(refused["title"], error["message"], "{what}");
        }
    }
}

/// Changes of a cluster and a batch, of which some are refused.
fn change(random: &mut Random) -> Vec<(&'static str, String)> {
    let names = ["memory", "links", "nvlink3", "ib_hdr_200", "no-such-way"];
    let mut fields = Vec::new();
    for _ in 0..random.within(0, 3) {
        let name = names[random.within(0, 4) as usize];
        let factor = random.within(0, 3000) as f64 / 1000.0;
        fields.push(("scale", format!("{name}={factor}")));
    }
    if random.chance(20) {
        fields.push(("micro_batches", random.within(1, 64).to_string()));
    }
    fields
}

fn asked_often(fields: &[(&str, &str)], seed: u64, explained: &[(&str, &str)]) {
    let (served, id) = planned(fields);
    let mut random = Random::new(seed);
    let mut n_refused = 0;
    for n in 0..30 {
        if n % 7 == 6 {
            // Whoever stays is ended; another takes its place.
            let stay = served.planners();
            assert_eq!(stay.len(), 1, "one process stays: {stay:?}");
            served.kill_planners();
        }
        if random.chance(30) {
            let (name, value) = explained[random.within(0, explained.len() as u64 - 1) as usize];
            let (query, words) = match name {
                "" => (String::new(), Vec::new()),
                _ => (format!("?{name}={value}"), vec![format!("--{name}"), value.to_owned()]),
            };
            let answer = served.get(&format!("/v1/plans/{id}/explain{query}"));
            same(&answer, &told(&served, "explain", &words), &format!("explain {words:?}"));
            continue;
        }
        let change = change(&mut random);
        let change: Vec<(&str, &str)> =
            change.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (mut request, mut words) = asked(&change);
        if !change.is_empty() {
            words.push("--allow-mismatch".to_owned());
        }
        request["plan"] = id.clone().into();
        let answer = served.post("/v1/simulate", &request.to_string());
        n_refused += usize::from(answer.status != 200);
        same(&answer, &told(&served, "simulate", &words), &format!("simulate {words:?}"));
    }
    assert!((1..25).contains(&n_refused), "{n_refused} of 30 are refused");
    for body in ["", "[]", "{\"plan\":7}", "{\"plan\":\"plan_none\"}", "{\"plan\":{}}"] {
        let refused = served.post("/v1/simulate", body).status;
        assert!((400..500).contains(&refused), "{body}: {refused}");
    }
    assert!(served.planners().len() <= 1, "{:?}", served.planners());
}

#[test]
fn files_may_be_called_like_those_of_the_service() {
    let served = Served::new(&[]);
    served.stored("plan.json", &config());
    let another = format!("{CLUSTER}# another\n");
    for (name, text) in [("the-plan.json", CLUSTER), ("plan.json", &another)] {
        assert_eq!(served.post(&format!("/v1/clusters?name={name}"), text).status, 201);
    }
    let ids = [PLACED, RUN].map(|fields| {
        let mut request = asked(fields).0;
        request["model"] = "plan.json".into();
        request["cluster"] = "the-plan.json".into();
        let plan = served.post("/v1/plans?wait=60", &request.to_string()).json();
        assert_eq!(plan["state"], "done", "{plan}");
        plan["id"].as_str().unwrap().to_owned()
    });
    for id in &ids {
        assert_eq!(served.get(&format!("/v1/plans/{id}/explain")).status, 200);
        let replayed = served.post("/v1/simulate", &json!({ "plan": id }).to_string());
        assert_eq!(replayed.status, 200, "{replayed:?}");
    }
    let compared =
        served.post("/v1/compare", &json!({ "plan": ids[0], "with": ids[0] }).to_string());
    assert_eq!(compared.status, 200, "{compared:?}");
    let on = json!({ "plan": ids[1], "cluster": "plan.json" });
    let refused = served.post("/v1/simulate", &on.to_string());
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (422, &json!("same-name")),
        "{refused:?}"
    );
}

#[test]
fn a_placement_is_replayed_as_by_the_command_line() {
    let subjects = [
        ("", ""),
        ("longest", "7"),
        ("device", "node0.gpu0"),
        ("op", "embedding"),
        ("op", "no-such-op"),
    ];
    asked_often(PLACED, 1, &subjects);
}

#[test]
fn a_training_run_is_replayed_as_by_the_command_line() {
    asked_often(
        RUN,
        2,
        &[("", ""), ("device", "node0.gpu0"), ("device", "nowhere"), ("longest", "7")],
    );
}
