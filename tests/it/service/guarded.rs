//! What pages of other sites, other callers and a damaged database can't do.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::many::small;
use super::server::{Answer, Served};

fn token(served: &Served, name: &str) -> String {
    let token = served.program(&["token", name, "--database", "plans.db"]);
    format!("Authorization: Bearer {}\r\n", token.trim())
}

fn served() -> Served {
    Served::new(&["--database", "plans.db"])
}

fn upload(served: &Served, headers: &str, name: &str, model: &Value) -> Answer {
    let place = format!("/v1/models?name={name}");
    served.ask("POST", &place, headers, model.to_string().as_bytes())
}

/// What a browser sends of its own accord (Fetch Metadata, section 2.1; RFC 6454, section 7).
#[test]
fn pages_of_other_sites_change_nothing_where_no_token_is_needed() {
    let served = served();
    let foreign = [
        "Origin: http://site.example\r\n",
        "Origin: null\r\n",
        "Origin: https://localhost.site.example\r\n",
        "Origin: http://localhost:1\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\nOrigin: http://localhost\r\n",
        "Origin: http://localhost\r\nOrigin: http://site.example\r\n",
        "Content-Type: text/plain\r\nOrigin: http://site.example\r\n",
    ];
    let model = small(0);
    for headers in foreign {
        let refused = upload(&served, headers, "m.json", &model);
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (403, &json!("cross-origin")),
            "{headers}"
        );
        let plan = json!({ "model": model }).to_string();
        assert_eq!(served.ask("POST", "/v1/plans", headers, plan.as_bytes()).status, 403);
        assert_eq!(served.ask("DELETE", "/v1/plans/plan_1", headers, b"").status, 403);
        assert_eq!(served.ask("GET", "/v1/plans", headers, b"").status, 200);
    }
    assert_eq!(served.get("/v1/models").json()["contents"], json!([]));
    // The service's own pages, links to it, and programs that are no browser.
    let allowed = [
        "",
        "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: none\r\n",
    ];
    for (i, headers) in allowed.into_iter().enumerate() {
        let stored = upload(&served, headers, &format!("m{i}.json"), &model);
        assert!([200, 201].contains(&stored.status), "{stored:?}");
    }
    // A browser sends no token of its own accord.
    let token = token(&served, "ann");
    let stored = upload(&served, &(token + "Origin: http://site.example\r\n"), "m.json", &model);
    assert!([200, 201].contains(&stored.status), "{stored:?}");
}

#[test]
fn a_name_means_the_callers_own_file() {
    let served = served();
    let [ann, ben, eve] = ["ann", "ben", "eve"].map(|name| token(&served, name));
    let digest = |headers: &str, n: u64| {
        upload(&served, headers, "gpt.json", &small(n)).json()["digest"].clone()
    };
    let (first, second) = (digest(&ann, 1), digest(&ben, 2));
    let look = |headers: &str| served.ask("GET", "/v1/models/gpt.json", headers, b"");
    assert_eq!(look(&ann).json()["digest"], first);
    assert_eq!(look(&ben).json()["digest"], second);
    // Whose file a third caller means nobody knows; the digests are told.
    let refused = look(&eve);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("ambiguous-name")),
        "{refused:?}"
    );
    let mut digests = [first.as_str().unwrap(), second.as_str().unwrap()];
    digests.sort_unstable();
    assert_eq!(refused.json()["digests"], json!(digests));
    let plan = |headers: &str, model: &Value| {
        let body = json!({ "model": model, "deterministic": true }).to_string();
        served.ask("POST", "/v1/plans?wait=30", headers, body.as_bytes())
    };
    let name = json!("gpt.json");
    assert_eq!(plan(&eve, &name).json()["code"], "ambiguous-name");
    let planned = |headers: &str, model: &Value| {
        let status = plan(headers, model).json();
        let answer = format!("/v1/plans/{}/answer", status["id"].as_str().unwrap());
        served.ask("GET", &answer, headers, b"").json()["plan"]["model"].clone()
    };
    assert_eq!(planned(&ann, &name), planned(&eve, &first));
    assert_eq!(planned(&ben, &name), planned(&eve, &second));
    // The same file under the same name is two callers' own; each deletes theirs.
    assert_eq!(digest(&eve, 1), first);
    let listed = served.ask("GET", "/v1/models?limit=1", &eve, b"").json();
    let next = format!("/v1/models?limit=9&cursor={}", listed["next"].as_str().unwrap());
    let rest = served.ask("GET", &next, &eve, b"").json();
    assert_eq!(rest["contents"].as_array().unwrap().len(), 1, "{listed} {rest}");
    let place = format!("/v1/models/{}", first.as_str().unwrap());
    assert_eq!(served.ask("DELETE", &place, &eve, b"").status, 204);
    assert_eq!(look(&ann).json()["digest"], first);
}

#[test]
fn names_of_tokens_can_be_told_from_others() {
    let served = served();
    for name in ["", " ", "a\nb", "\u{1b}[31mred", " ann", "anonymous", &"n".repeat(101)] {
        assert_eq!(served.program(&["token", name, "--database", "plans.db"]), "", "{name:?}");
    }
    assert!(
        served.program(&["token", "CI of team a", "--database", "plans.db"]).starts_with("mw_")
    );
}

#[test]
fn tokens_are_listed_and_revoked() {
    let served = served();
    let run = |words: &str| {
        let words: Vec<&str> =
            words.split(' ').chain(["--database", "plans.db", "--json"]).collect();
        serde_json::from_str::<Value>(&served.program(&words)).unwrap()
    };
    assert_eq!(run("token --list")["tokens"], json!([]));
    let [ann, ben] = ["ann", "ben"].map(|name| token(&served, name));
    let status = |headers: &str| served.ask("GET", "/v1/plans", headers, b"").status;
    assert_eq!((status(&ann), status(&ben)), (200, 200));
    assert_eq!(upload(&served, &ben, "m.json", &small(0)).status, 201);
    let listed = run("token --list");
    let tokens = listed["tokens"].as_array().unwrap();
    let names: Vec<&Value> = tokens.iter().map(|token| &token["name"]).collect();
    assert_eq!(names, ["ann", "ben"]);
    assert!(tokens[1]["used"]["bytes"].as_i64().unwrap() > 0, "{listed}");
    assert!(!ann.contains(tokens[0]["id"].as_str().unwrap()), "an id is no part of the token");
    assert_eq!(run("token --revoke nobody")["error"]["code"], "unknown-token");
    let id = tokens[0]["id"].as_str().unwrap();
    assert_eq!(run(&format!("token --revoke {id}"))["revoked"], 1);
    assert_eq!((status(&ann), status(&ben)), (401, 200));
    // Without any token everybody would be admin.
    assert_eq!(run("token --revoke ben")["error"]["code"], "last-token");
    assert_eq!((status(&ben), status("")), (200, 401));
    // A name of several tokens means all of them.
    [token(&served, "ann"), token(&served, "ann")]
        .iter()
        .for_each(|headers| assert_eq!(status(headers), 200));
    assert_eq!(run("token --revoke ann")["revoked"], 2);
    let lost = served.program(&["token", "--list", "--database", "typo.db", "--json"]);
    assert!(lost.contains("token-failed") && !served.path("typo.db").exists(), "{lost}");
}

#[test]
fn a_database_is_its_owners_and_backed_up_while_it_is_used() {
    let served = served();
    for n in 0..3 {
        served.stored(&format!("m{n}.json"), &small(n));
        let request = json!({ "model": format!("m{n}.json"), "algorithm": "m-etf" });
        assert_eq!(served.post("/v1/plans?wait=30", &request.to_string()).status, 200);
    }
    for name in ["plans.db", "plans.db-wal"] {
        let mode = std::fs::metadata(served.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    let backup = |words: &[&str]| {
        let words = [&["backup", "copy.db", "--database", "plans.db", "--json"], words].concat();
        serde_json::from_str::<Value>(&served.program(&words)).unwrap()
    };
    assert!(backup(&[])["bytes"].as_u64().unwrap() > 4096);
    assert_eq!(std::fs::metadata(served.path("copy.db")).unwrap().permissions().mode() & 0o077, 0);
    // Nothing is overwritten that was not meant to be.
    assert_eq!(backup(&[])["error"]["code"], "backup-failed");
    assert!(backup(&["--force"])["bytes"].is_u64());
    let copy = served.path("copy.db");
    let restored = Served::new(&["--database", copy.to_str().unwrap()]);
    let listed = |served: &Served| served.get("/v1/plans").json();
    assert_eq!(listed(&restored), listed(&served));
    assert_eq!(listed(&restored)["plans"].as_array().unwrap().len(), 3);
}

#[test]
fn an_emptied_database_is_told_and_one_without_a_table_is_not_ready() {
    let mut served = served();
    assert_eq!(served.get("/readyz").status, 200);
    served.kill();
    for name in ["plans.db", "plans.db-wal", "plans.db-shm"] {
        let _ = std::fs::remove_file(served.path(name));
    }
    std::fs::write(served.path("plans.db"), "").unwrap();
    served.start();
    assert!(served.before_listening().contains("new-database"), "{}", served.before_listening());
}
