//! A server of its own in a temporary folder.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A running server; it ends when this is dropped.
pub(super) struct Served {
    folder: TempDir,
    flags: Vec<String>,
    child: Option<Child>,
    address: String,
    /// What it said before it listened.
    first: String,
    log: Arc<Mutex<String>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MESHWRIGHT_")) {
        command.env_remove(name);
    }
    command
}

impl Served {
    pub(super) fn new(flags: &[&str]) -> Self {
        let mut served = Self {
            folder: TempDir::new().unwrap(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            child: None,
            address: String::new(),
            first: String::new(),
            log: Arc::default(),
        };
        served.start();
        served
    }

    pub(super) fn start(&mut self) {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(&self.flags);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = lines.by_ref().map(Result::unwrap).find_map(|line| {
            said.push_str(&line);
            let (_, rest) = line.split_once("listening on http://")?;
            Some(rest.split_once('/')?.0.to_owned())
        });
        self.address = address.unwrap_or_else(|| panic!("it does not listen: {said}"));
        self.first = said;
        self.child = Some(child);
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push_str(&(line + "\n"));
            }
        });
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the command line prints in the server's folder.
    pub(super) fn program(&self, words: &[&str]) -> String {
        let output = program().args(words).current_dir(self.folder.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the server said before it listened.
    pub(super) fn before_listening(&self) -> &str {
        &self.first
    }

    /// What the server said.
    pub(super) fn said(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends a text as it is; what comes until the connection ends or is silent.
    pub(super) fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got);
        String::from_utf8_lossy(&got).into_owned()
    }

    pub(super) fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let text = String::from_utf8_lossy(&got);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", b"")
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, "", body.as_bytes())
    }

    pub(super) fn stored(&self, name: &str, model: &Value) {
        let stored = self.post(&format!("/v1/models?name={name}"), &model.to_string());
        assert_eq!(stored.status, 201, "{stored:?}");
    }

    /// The status of a plan once something holds of it.
    pub(super) fn until(&self, place: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.get(place);
            assert_eq!(status.status, 200, "{status:?}");
            let status = status.json();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn ended(&self, place: &str) -> Value {
        self.until(place, |status| {
            !["queued", "running"].contains(&status["state"].as_str().unwrap())
        })
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(super) fn terminate(&self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }

    /// The exit code.
    pub(super) fn wait(&mut self) -> Option<i32> {
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// Processes that still plan or answer: where they lie in the system, and their folders.
    fn working(&self) -> Vec<(PathBuf, PathBuf)> {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let work = self.folder.path().join("meshwright.work");
        let place = |at: PathBuf| Some((at.clone(), std::fs::read_link(at.join("cwd")).ok()?));
        let places = all.filter_map(|entry| place(entry.path()));
        places.filter(|(_, place)| place.starts_with(&work)).collect()
    }

    /// Folders of processes that still plan or answer.
    pub(super) fn planners(&self) -> Vec<PathBuf> {
        self.working().into_iter().map(|(_, place)| place).collect()
    }

    /// kill -9 of them.
    pub(super) fn kill_planners(&self) {
        for (at, _) in self.working() {
            let pid = at.file_name().unwrap().to_owned();
            assert!(Command::new("kill").arg("-9").arg(pid).status().unwrap().success());
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
