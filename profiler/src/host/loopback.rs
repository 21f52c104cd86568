//! Messages between two threads of this process over a TCP socket of the loopback interface.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ir::diagnostic::{Blame, Diagnostic};

use crate::statistic::median;

/// Name of the link in the profile.
pub(super) const LINK: &str = "loopback";

/// An answer that takes longer never comes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Empty messages that are timed to know how long an answer travels.
const ECHOES: usize = 51;
/// Bytes that the receiver takes at a time.
const BUFFER: usize = 1 << 18;

/// One end of a connection; the other reads each message and answers it with a byte.
pub(super) struct Loopback {
    stream: TcpStream,
    message: Vec<u8>,
    answer_s: f64,
}

impl Loopback {
    /// Connects, and times the way back.
    pub(super) fn new(bytes: u64) -> Result<Self, Diagnostic> {
        let mut end =
            Self { stream: connect().map_err(failed)?, message: Vec::new(), answer_s: 0.0 };
        end.message = message(0);
        let mut times = Vec::with_capacity(ECHOES);
        for _ in 0..ECHOES {
            let start = Instant::now();
            end.send()?;
            times.push(start.elapsed().as_secs_f64());
        }
        // An empty message travels as long as its answer.
        end.answer_s = median(times).unwrap_or(0.0) / 2.0;
        end.message = message(bytes);
        Ok(end)
    }

    /// Sends the message and waits for its answer.
    pub(super) fn send(&mut self) -> Result<(), Diagnostic> {
        self.stream.write_all(&self.message).map_err(failed)?;
        self.stream.read_exact(&mut [0]).map_err(failed)
    }

    /// Seconds that an answer travels.
    pub(super) fn answer_s(&self) -> f64 {
        self.answer_s
    }
}

/// The length of the rest, then the rest.
fn message(bytes: u64) -> Vec<u8> {
    let mut message = bytes.to_le_bytes().to_vec();
    message.resize(message.len() + usize::try_from(bytes).unwrap_or(0), 1);
    message
}

fn connect() -> io::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    for end in [&stream, &other] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(TIMEOUT))?;
        end.set_write_timeout(Some(TIMEOUT))?;
    }
    // Ends when the other side hangs up, or at the timeout.
    thread::Builder::new().spawn(move || answer(other))?;
    Ok(stream)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let mut left = u64::from_le_bytes(length);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let Some(room) = buffer.get_mut(..most) else { break };
            match stream.read(room)? {
                0 => return Ok(()),
                n => left -= n as u64,
            }
        }
        stream.write_all(&[1])?;
    }
}

fn failed(error: io::Error) -> Diagnostic {
    Diagnostic::error(Blame::Input, "loopback", format!("the loopback interface failed: {error}"))
        .hint("allow this process to open TCP sockets on 127.0.0.1")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_length_are_answered() {
        for bytes in [0, 1, 300_000] {
            let mut end = Loopback::new(bytes).unwrap();
            end.send().unwrap();
            end.send().unwrap();
            assert!(end.answer_s() > 0.0);
        }
    }
}
