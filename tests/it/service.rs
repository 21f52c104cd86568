//! The planning service over HTTP, as `benches/service/` judges it at length.

mod guarded;
mod many;
mod opened;
mod server;
mod warm;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::many::{at_once, small};
use self::server::Served;

/// An answer without the lines of its member `run`.
fn lasting(text: &str) -> String {
    let (head, rest) = text.split_once("\n  \"run\": {").unwrap_or_else(|| panic!("{text}"));
    head.to_owned() + rest.split_once("\n  }").unwrap().1
}

#[test]
fn answers_are_those_of_the_command_line_but_for_the_run() {
    let served = Served::new(&[]);
    let model = small(0);
    std::fs::write(served.path("model.json"), model.to_string()).unwrap();
    let stored = served.post("/v1/models?name=model.json", &model.to_string());
    assert_eq!(stored.status, 201, "{stored:?}");
    let expected = served.program(&["plan", "model.json", "--deterministic", "--json"]);
    let request = json!({ "model": "model.json", "deterministic": true });
    let status = served.post("/v1/plans?wait=30", &request.to_string());
    assert_eq!((status.status, status.header("cache")), (200, Some("miss")), "{status:?}");
    let place = format!("/v1/plans/{}", status.json()["id"].as_str().unwrap());
    let answer = served.get(&format!("{place}/answer"));
    assert_eq!(lasting(&answer.body), lasting(&expected));
    let mut brief = answer.json();
    let plan = brief["plan"].as_object_mut().unwrap();
    assert!(["placement", "schedule"].iter().all(|name| plan.remove(*name).is_some()));
    assert_eq!(served.get(&format!("{place}/answer?brief=true")).json(), brief);
    let again = served.post("/v1/plans?wait=30", &request.to_string());
    assert_eq!((again.status, again.header("cache")), (200, Some("hit")));
    assert_eq!(again.json()["id"], status.json()["id"]);
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let mut served = Served::new(&["--workers", "2"]);
    served.stored("model.json", &small(0));
    let mut plans = Vec::new();
    for n in 0..40 {
        let request = json!({ "model": "model.json", "seed": n, "algorithm": "m-etf" }).to_string();
        let key = format!("Idempotency-Key: k{n}\r\n");
        let submitted = served.ask("POST", "/v1/plans", &key, request.as_bytes());
        assert_eq!(submitted.status, 202, "{submitted:?}");
        plans.push((key, request, submitted.json()["id"].clone()));
        if n % 4 == 3 {
            std::thread::sleep(Duration::from_millis(n * 7 % 50));
            served.kill();
            served.start();
        }
    }
    let mut n_done = 0;
    for (key, request, id) in &plans {
        let place = format!("/v1/plans/{}", id.as_str().unwrap());
        let status = served.ended(&place);
        assert!(status["attempts"].as_i64().unwrap() <= 3, "{status}");
        match status["state"].as_str().unwrap() {
            "done" => {
                n_done += 1;
                let plan = served.get(&format!("{place}/plan")).json();
                assert!(plan.is_object(), "{plan}");
                assert!(served.get(&format!("{place}/answer")).json()["plan"].is_object());
            }
            "failed" => assert_eq!(status["error"]["code"], "worker-lost", "{status}"),
            other => panic!("{other}"),
        }
        let events = served.get(&format!("{place}/events")).body;
        assert_eq!(events.matches("event: end").count(), 1, "{events}");
        let again = served.ask("POST", "/v1/plans", key, request.as_bytes());
        assert_eq!(again.json()["id"], *id);
    }
    assert!(n_done > 30, "{n_done}");
    let listed = served.get("/v1/plans?limit=500").json();
    let listed = listed["plans"].as_array().unwrap().iter().map(|row| row["id"].to_string());
    let listed: Vec<String> = listed.collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
    assert!(served.planners().is_empty(), "{:?}", served.planners());
}

#[test]
fn a_lock_that_a_killed_server_left_to_a_child_is_waited_for() {
    let mut served = Served::new(&[]);
    served.kill();
    let file = std::fs::File::open(served.path("meshwright.work/lock")).unwrap();
    file.lock().unwrap();
    let child = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(file);
    });
    served.start();
    child.join().unwrap();
    assert_eq!(served.get("/livez").status, 200);
}

#[test]
fn sigterm_turns_readiness_and_queues_what_runs_again() {
    let mut served = Served::new(&["--workers", "1", "--drain", "4s"]);
    served.stored("long.json", &many::long());
    let request = json!({ "model": "long.json", "time_limit": "60s" }).to_string();
    let submitted = served.post("/v1/plans", &request);
    let place = format!("/v1/plans/{}", submitted.json()["id"].as_str().unwrap());
    served.until(&place, |status| status["state"] == "running");
    served.terminate();
    let until = Instant::now() + Duration::from_secs(60);
    while served.get("/readyz").status != 503 {
        assert!(Instant::now() < until, "it is still ready");
    }
    assert_eq!(served.get("/livez").status, 200);
    assert_eq!(served.post("/v1/plans", &request).status, 503);
    assert_eq!(served.wait(), Some(0));
    assert!(served.planners().is_empty(), "{:?}", served.planners());
    served.start();
    let status = served.until(&place, |status| status["state"] == "running");
    assert_eq!(status["attempts"], 1, "{status}");
}

#[test]
fn uploads_are_capped_resumed_and_stored_once() {
    let mut served = Served::new(&["--most-upload", "2MiB"]);
    let long = "Content-Length: 1000000000\r\n";
    let refused =
        served.raw(&format!("POST /v1/models?name=a HTTP/1.1\r\nHost: localhost\r\n{long}\r\n"));
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    let text = small(3).to_string() + &" ".repeat(1 << 20);
    let (first, rest) = text.split_at(700_000);
    let begun =
        served.post("/v1/uploads", &json!({ "name": "u.json", "bytes": text.len() }).to_string());
    let place = begun.header("location").unwrap().to_owned();
    let part = served.ask("PATCH", &place, "Upload-Offset: 0\r\n", first.as_bytes());
    assert_eq!((part.status, part.header("upload-offset")), (204, Some("700000")), "{part:?}");
    served.kill();
    served.start();
    assert_eq!(served.get(&place).json()["offset"], 700_000);
    let wrong = served.ask("PATCH", &place, "Upload-Offset: 5\r\n", rest.as_bytes());
    assert_eq!(wrong.status, 409, "{wrong:?}");
    let ended = served.ask("PATCH", &place, "Upload-Offset: 700000\r\n", rest.as_bytes());
    assert_eq!(ended.status, 201, "{ended:?}");
    let other = small(4).to_string();
    let statuses = at_once(12, || served.post("/v1/models?name=same.json", &other).status);
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 11, "{statuses:?}");
    // The same bytes under two names are found under both.
    assert_eq!(served.post("/v1/models?name=again.json", &text).status, 200);
    for name in ["u.json", "again.json"] {
        let request = json!({ "model": name, "deterministic": true }).to_string();
        assert_eq!(served.post("/v1/plans?wait=30", &request).json()["state"], "done", "{name}");
    }
    // What came as a cluster is looked at when it comes as a model.
    assert_eq!(served.post("/v1/clusters?name=c.onnx", "no model").status, 201);
    assert_eq!(served.post("/v1/models?name=c.onnx", "no model").status, 422);
}

#[test]
fn hostile_files_are_answered_as_by_the_command_line() {
    let Some(folder) = crate::data::folder() else {
        println!("skipped: MESHWRIGHT_DATA is unset");
        return;
    };
    let served = Served::new(&[]);
    let folder = folder.join("models/hostile");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "expected.json" {
            continue;
        }
        let bytes = std::fs::read(folder.join(&name)).unwrap();
        std::fs::write(served.path(&name), &bytes).unwrap();
        let imported: Value =
            serde_json::from_str(&served.program(&["import", &name, "--json"])).unwrap();
        let answer = served.ask("POST", &format!("/v1/models?name={name}"), "", &bytes);
        match imported.get("error") {
            None => assert!([200, 201].contains(&answer.status), "{name}: {answer:?}"),
            // Extents are stated with a plan, so the file is kept with what it lacks.
            Some(error) if error["code"] == "unbound-dimension" => {
                assert!([200, 201].contains(&answer.status), "{name}: {answer:?}");
                let needs = &answer.json()["summary"]["needs"];
                assert_eq!(needs["code"], error["code"], "{name}: {answer:?}");
            }
            Some(error) => {
                assert_eq!(answer.status, 422, "{name}: {answer:?}");
                assert_eq!(answer.json()["code"], error["code"], "{name}");
                assert_eq!(answer.json()["title"], error["message"], "{name}");
            }
        }
    }
    assert_eq!(served.get("/readyz").status, 200);
}

#[test]
fn tokens_are_asked_for_and_never_logged() {
    let served = Served::new(&[]);
    let document = served.get("/openapi.json").json();
    let tokens = ["read", "plan", "other"].map(|name| {
        let scope = if name == "read" { "read" } else { "plan" };
        served.program(&["token", name, "--scope", scope]).trim().to_owned()
    });
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace(['{', '}'], "");
            for header in ["", "Authorization: Bearer x\r\n", "Authorization: Basic x\r\n"] {
                let answer = served.ask(&method.to_uppercase(), &path, header, b"");
                let is_health = path == "/livez" || path == "/readyz";
                assert_eq!(answer.status == 401, !is_health, "{method} {path}: {answer:?}");
            }
        }
    }
    let of = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let stored = |token| {
        served.ask("POST", "/v1/models?name=a.json", &of(token), small(0).to_string().as_bytes())
    };
    assert_eq!(stored(&tokens[0]).status, 403);
    assert_eq!(stored(&tokens[1]).status, 201);
    assert_eq!(served.ask("GET", "/v1/models", &of(&tokens[0]), b"").status, 200);
    let submitted = served.ask("POST", "/v1/plans", &of(&tokens[1]), br#"{"model":"a.json"}"#);
    let place = format!("/v1/plans/{}", submitted.json()["id"].as_str().unwrap());
    for (method, path) in [("POST", "/cancel"), ("DELETE", ""), ("DELETE", "?cancel=1")] {
        let answer = served.ask(method, &format!("{place}{path}"), &of(&tokens[2]), b"");
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
    }
    assert_eq!(served.ask("GET", &place, &of(&tokens[0]), b"").json()["cancel"], false);
    let said = served.said();
    assert!(tokens.iter().all(|token| !said.contains(&token[3..])), "{said}");
}

#[test]
fn requests_that_meet_have_one_winner() {
    let served = Served::new(&["--workers", "1"]);
    served.stored("model.json", &small(0));
    let ids = |header: &str, request: &Value| {
        let request = request.to_string();
        at_once(16, || {
            served.ask("POST", "/v1/plans?wait=30", header, request.as_bytes()).json()["id"]
                .to_string()
        })
    };
    let same = ids("", &json!({ "model": "model.json", "deterministic": true }));
    assert_eq!(same.iter().collect::<BTreeSet<_>>().len(), 1, "{same:?}");
    let key = "Idempotency-Key: k\r\nCache-Control: no-cache\r\n";
    let same = ids(key, &json!({ "model": "model.json", "deterministic": true }));
    assert_eq!(same.iter().collect::<BTreeSet<_>>().len(), 1, "{same:?}");
}

#[test]
fn odd_requests_are_answered_as_documented() {
    let served = Served::new(&[]);
    served.stored("model.json", &small(0));
    let document = served.get("/openapi.json").json();
    let words = ["", "x", "%00", "%ff", "..%2f..%2fetc", "%F0%9F%92%A9", "sha256:0", "model.json"];
    let bodies =
        ["", "{}", "[]", "null", "{\"model\":", "{\"model\":1e400}", "{\"plan\":\"x\"}", "\0"];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (word, body) in words.iter().zip(bodies) {
                let place: Vec<&str> = path
                    .split('/')
                    .map(|part| if part.starts_with('{') && !word.is_empty() { word } else { part })
                    .collect();
                let query = ["?limit=0", "?cursor=x", "?name=a%0ab", "?wait=NaN", "", "?%00=1"];
                let place =
                    place.join("/").replace(['{', '}'], "") + query[body.len() % query.len()];
                let answer = served.ask(&method.to_uppercase(), &place, "", body.as_bytes());
                let status = answer.status.to_string();
                let is_documented = operation["responses"].get(&status).is_some();
                assert!(
                    is_documented && answer.status < 500,
                    "{method} {place} {body}: {answer:?}"
                );
            }
        }
    }
    assert!(!served.said().contains("panicked"), "{}", served.said());
}
