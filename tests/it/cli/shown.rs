//! A plan that is shown: in pages of its own service, and as one file.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::folder::{Folder, diamond};

/// A folder with a plan, and one for what is temporary.
fn planned() -> (Folder, TempDir) {
    let folder = Folder::new(&diamond());
    folder.run("plan model.json --algorithm m-etf -o plan.json").exits(0);
    (folder, TempDir::new().unwrap())
}

fn view(folder: &Folder, temporary: &TempDir, words: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    command.args(["--json", "view"]).args(words).current_dir(folder.path("."));
    command.env("TMPDIR", temporary.path()).stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn is_empty(temporary: &TempDir) -> bool {
    std::fs::read_dir(temporary.path()).unwrap().next().is_none()
}

/// What a service answers to a path.
fn get(service: &str, path: &str) -> String {
    let address = service.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    got.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn a_plan_is_viewed_until_a_signal_and_nothing_stays() {
    let (folder, temporary) = planned();
    folder.write("alone.json", &folder.read("plan.json"));
    folder.forget_inputs("alone.json");
    let before = folder.list();
    for (words, is_judged, signal) in [
        (&["plan.json", "--model", "model.json"] as &[&str], true, "-TERM"),
        (&["plan.json"], true, "-INT"),
        (&["alone.json"], false, "-HUP"),
    ] {
        let mut child = view(&folder, &temporary, words);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut text, mut line) = (String::new(), String::new());
        while !line.starts_with('}') {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "{text}");
            text += &line;
        }
        let answer: Value = serde_json::from_str(&text).unwrap();
        let (service, plan) =
            (answer["service"].as_str().unwrap(), answer["plan"].as_str().unwrap());
        assert_eq!(answer["page"], format!("{service}/#/plans/{plan}"));
        let status: Value =
            serde_json::from_str(&get(service, &format!("/v1/plans/{plan}"))).unwrap();
        assert_eq!(status["opened"]["is_judged"], is_judged, "{status}");
        assert_eq!(status["opened"]["file"], words[0]);
        assert!(!is_empty(&temporary));
        // Who ignores a closed terminal (`nohup`) has children that do.
        let signal = if ignores_hangups() && signal == "-HUP" { "-TERM" } else { signal };
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(is_empty(&temporary), "something stays");
    }
    assert_eq!(folder.list(), before);
}

/// Whether this process ignores SIGHUP, as Linux tells it: the first bit of `SigIgn`.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| mask.trim().ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']))
}

#[test]
fn what_can_not_be_viewed_is_refused_and_nothing_stays() {
    let (folder, temporary) = planned();
    folder.write("broken.json", "{");
    folder.write("other.json", &diamond().to_string().replace("1000", "1001"));
    for (words, code, exit) in [
        (&["broken.json"] as &[&str], "", 3),
        (&["none.json"], "unreadable-file", 3),
        (&["plan.json", "--model", "none.json"], "", 3),
        (&["plan.json", "--listen", "0.0.0.0:0"], "not-for-others", 2),
        (&["plan.json", "--cluster", "c.yaml"], "", 2),
    ] {
        let output = view(&folder, &temporary, words).wait_with_output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {answer}");
        let found = answer["error"]["code"].as_str().unwrap();
        assert!(code.is_empty() || found == code, "{words:?}: {answer}");
        assert!(is_empty(&temporary), "{words:?}: something stays");
    }
}

#[test]
fn a_page_is_one_file_whatever_names_hold() {
    let hostile = "</script><script>alert(1)</script><!--<script>\u{202e}";
    let model = diamond().to_string().replace("\"a\"", &serde_json::to_string(hostile).unwrap());
    let folder = Folder::new(&serde_json::from_str(&model).unwrap());
    let ran = folder.run("plan model.json --algorithm m-etf -o plan.json --html page.html");
    if ran.stderr.contains("error[no-pages]") {
        assert_eq!((ran.code, folder.list()), (2, vec!["model.json".to_owned()]));
        return;
    }
    ran.exits(0);
    let page = folder.read("page.html");
    assert!(page.len() <= web::sheet::MOST, "{} bytes", page.len());
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("alert(1)") && page.contains("default-src 'none'"));
    folder.run("plan model.json --algorithm m-etf --html page.html").exits(2);
    folder.run("plan model.json --algorithm m-etf --html page.html --force").exits(0);
    folder.run("plan model.json --html none/page.html").exits(2);
    folder.run("plan model.json -o both.json --html both.json").exits(2);
}
