//! Processes that wait for the next question of the same files, which they have read: each in a folder
//! of its own, bounded in memory, and ended once nobody asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::child::{Answer, Ended, Running};
use super::folder::Folder;
use crate::problem::Problem;

/// How long one waits for the next question.
pub(crate) const IDLE: Duration = Duration::from_secs(300);
/// So many wait at most.
const MOST: usize = 8;

/// What is asked of a process.
pub(crate) struct Question {
    pub(crate) request: Value,
    /// Gets the answer, how the process ended instead, or why there is none.
    pub(crate) tell: oneshot::Sender<Result<Result<Answer, Ended>, Problem>>,
    /// Dropped once the process is done with it, though the client may have left.
    pub(crate) hold: Box<dyn Send>,
}

struct Helper {
    id: u64,
    files: String,
    questions: Sender<Question>,
    bytes: u64,
}

/// Those that answer or wait, the last asked at the end.
pub(crate) struct Pool {
    helpers: Mutex<Vec<Helper>>,
    next: AtomicU64,
    /// Bytes that those that wait may hold together.
    most: u64,
    idle: Duration,
}

impl Pool {
    pub(crate) const fn new(most: u64, idle: Duration) -> Self {
        Self { helpers: Mutex::new(Vec::new()), next: AtomicU64::new(0), most, idle }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Helper>) -> T) -> T {
        act(&mut self.helpers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the process that has read these files; gives the question back where there is none.
    pub(crate) fn ask(&self, files: &str, question: Question) -> Option<Question> {
        let found = self.with(|helpers| {
            let helper = helpers.iter().find(|helper| helper.files == files);
            helper.map(|helper| helper.questions.clone())
        });
        match found {
            None => Some(question),
            Some(questions) => questions.send(question).err().map(|unsent| unsent.0),
        }
    }

    /// Answers a question by a new process, and further ones of the same files where it `stays`.
    /// The thread of whoever calls lives as long as the process, which would end with it.
    pub(crate) fn serve(
        &self,
        (files, stays): (String, bool),
        question: Question,
        start: impl FnOnce() -> Result<(Folder, Running), Problem>,
    ) {
        let (folder, mut process) = match start() {
            Ok(started) => started,
            Err(problem) => return drop(question.tell.send(Err(problem))),
        };
        let (send, questions) = channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut next = Some(question);
        let mut send = Some(send).filter(|_| stays);
        while let Some(Question { request, tell, hold }) = next {
            let answer = process.ask(&request).map_err(crate::content::unwritten);
            let is_there = matches!(answer, Ok(Ok(_)));
            match send.take().filter(|_| is_there) {
                Some(questions) => self.with(|helpers| {
                    helpers.push(Helper { id, files: files.clone(), questions, bytes: 0 });
                }),
                None if is_there => {}
                // Before it is told, so that whoever asks again finds none.
                None => self.remove(id),
            }
            if is_there {
                self.weighed(id, process.bytes());
            }
            let _ = tell.send(answer);
            drop(hold);
            next = if is_there { self.next_of(&questions) } else { None };
        }
        self.remove(id);
        // It ends before its folder goes.
        drop(process);
        drop(folder);
    }

    /// The next question; none where all who could ask are gone, or nobody did for long.
    fn next_of(&self, questions: &Receiver<Question>) -> Option<Question> {
        questions.recv_timeout(self.idle).ok()
    }

    /// No process that has read a file answers of it any more.
    pub(crate) fn forget(&self, digest: &str) {
        self.with(|helpers| helpers.retain(|helper| !helper.files.contains(digest)));
    }

    fn remove(&self, id: u64) {
        self.with(|helpers| helpers.retain(|helper| helper.id != id));
    }

    /// Notes what a process holds; those that were asked longest ago go where all hold too much.
    fn weighed(&self, id: u64, bytes: u64) {
        self.with(|helpers| {
            let Some(at) = helpers.iter().position(|helper| helper.id == id) else { return };
            let helper = helpers.remove(at);
            helpers.push(Helper { bytes, ..helper });
            let mut first = helpers.len().saturating_sub(MOST);
            let total =
                |from: usize| helpers.iter().skip(from).map(|helper| helper.bytes).sum::<u64>();
            while total(first) > self.most {
                first += 1;
            }
            helpers.drain(..first);
        });
    }
}
