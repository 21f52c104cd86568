//! Processes that wait for the next question, with a shell in the place of the program.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::problem::Problem;
use crate::work::child::{Answer, Ended, Limits, Running};
use crate::work::folder::Folder;
use crate::work::warm::{Pool, Question};

/// Answers with its id; dies, ends or stays silent where the question says so.
const SHELL: &str = r#"while read -r line; do
    case $line in *die*) kill -9 $$;; *silent*) exec sleep 60;; *end*) exit 0;; esac
    printf '{"event":"answer","exit_code":0,"text":"%s"}\n' $$
done"#;

type Told = Result<Result<Answer, Ended>, Problem>;

struct Shell {
    pool: Arc<Pool>,
    place: TempDir,
    time: Duration,
}

impl Shell {
    fn new(most: u64, idle: Duration) -> Self {
        let (place, time) = (TempDir::new().unwrap(), Duration::from_secs(60));
        Self { pool: Arc::new(Pool::new(most, idle)), place, time }
    }

    fn question(what: &str) -> (Question, oneshot::Receiver<Told>) {
        let (tell, answer) = oneshot::channel();
        (Question { request: json!({ "what": what }), tell, hold: Box::new(()) }, answer)
    }

    /// Asks a process that waits: its answer, `None` where there is none.
    fn waiting(&self, files: &str, what: &str) -> Option<Told> {
        let (question, answer) = Self::question(what);
        let unasked = self.pool.ask(files, question);
        unasked.is_none().then(|| answer.blocking_recv().unwrap())
    }

    fn new_one(&self, files: &str, what: &str, stays: bool) -> Told {
        let (question, answer) = Self::question(what);
        let (pool, place) = (Arc::clone(&self.pool), self.place.path().to_owned());
        let (name, time) = ((files.to_owned(), stays), self.time);
        std::thread::spawn(move || {
            pool.serve(name, question, || {
                let folder = Folder::new(&place)?;
                let program = ["/bin/sh", "-c", SHELL].map(Into::into);
                let limits = Limits { memory: 1 << 30, time };
                let process = Running::start(&program, (folder.path(), limits), true).unwrap();
                Ok((folder, process))
            });
        });
        answer.blocking_recv().unwrap()
    }

    /// Whether all folders are gone, after a while.
    fn is_empty(&self) -> bool {
        (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            self.place.path().read_dir().unwrap().next().is_none()
        })
    }
}

const LONG: Duration = Duration::from_secs(600);

fn pid(answer: Told) -> String {
    answer.unwrap().map_err(|ended| ended.answer).unwrap().text
}

#[test]
fn the_same_files_are_answered_by_the_same_process() {
    let shell = Shell::new(u64::MAX, LONG);
    assert!(shell.waiting("a", "").is_none());
    let first = pid(shell.new_one("a", "", true));
    for _ in 0..3 {
        assert_eq!(shell.waiting("a", "").map(pid).as_ref(), Some(&first));
    }
    assert!(shell.waiting("b", "").is_none());
    assert_ne!(pid(shell.new_one("b", "", true)), first);
    assert_eq!(pid(shell.waiting("a", "").unwrap()), first);
    pid(shell.new_one("c", "", false));
    assert!(shell.waiting("c", "").is_none(), "it was not to stay");
}

#[test]
fn one_that_dies_leaves_its_place() {
    let shell = Shell::new(u64::MAX, LONG);
    for what in ["die", "end"] {
        let first = pid(shell.new_one("a", "", true));
        let ended = shell.waiting("a", what).unwrap().unwrap().unwrap_err();
        assert_eq!((ended.answer.unwrap_err().0, ended.is_cut), ("crashed", false));
        assert!(shell.waiting("a", "").is_none());
        assert_ne!(pid(shell.new_one("a", "", true)), first);
        shell.waiting("a", "end").unwrap().unwrap().unwrap_err();
    }
    let ended = shell.new_one("a", "die", true).unwrap().unwrap_err();
    assert_eq!(ended.answer.unwrap_err().0, "crashed");
    assert!(shell.waiting("a", "").is_none());
    assert!(shell.is_empty());
}

#[test]
fn one_that_takes_too_long_is_cut_off() {
    let shell = Shell { time: Duration::from_millis(300), ..Shell::new(u64::MAX, LONG) };
    pid(shell.new_one("a", "", true));
    let ended = shell.waiting("a", "silent").unwrap().unwrap().unwrap_err();
    assert_eq!((ended.answer.unwrap_err().0, ended.is_cut), ("time-limit", true));
    assert!(shell.waiting("a", "").is_none());
    assert!(shell.is_empty());
}

#[test]
fn those_that_hold_too_much_or_wait_for_long_are_ended() {
    let shell = Shell::new(1, LONG);
    pid(shell.new_one("a", "", true));
    assert!(shell.is_empty(), "a process holds more than a byte");
    assert!(shell.waiting("a", "").is_none());
    let shell = Shell::new(u64::MAX, Duration::ZERO);
    pid(shell.new_one("a", "", true));
    assert!(shell.is_empty(), "it waits for nothing");
    let shell = Shell::new(u64::MAX, LONG);
    let all: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    all.iter().for_each(|files| drop(pid(shell.new_one(files, "", true))));
    let there = all.iter().filter(|files| shell.waiting(files, "").is_some());
    assert_eq!(there.collect::<Vec<_>>(), all[12..].iter().collect::<Vec<_>>());
    drop(shell.pool);
}
