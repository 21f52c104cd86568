//! Messages between two processes over a TCP socket of the loopback interface.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ir::diagnostic::{Blame, Diagnostic};

use crate::options::Peer;
use crate::statistic::median;

/// Name of the link in the profile.
pub(super) const LINK: &str = "loopback";

/// An answer that takes longer never comes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often a process that is starting is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Empty messages that are timed to know how long an answer travels.
const ECHOES: usize = 51;
/// Bytes that the receiver takes at a time.
const BUFFER: usize = 1 << 18;

/// One end of a connection; the other reads each message and answers it with a byte.
pub(super) struct Loopback {
    stream: TcpStream,
    message: Vec<u8>,
    answer_s: f64,
    /// Lives as long as the connection.
    _other: Other,
}

/// Who holds the other end.
enum Other {
    Thread,
    Process(Child),
}

impl Drop for Other {
    fn drop(&mut self) {
        if let Self::Process(child) = self {
            // It may have ended by itself; nothing is left to do either way.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Loopback {
    /// Connects, and times the way back.
    pub(super) fn new(bytes: u64, peer: &Peer) -> Result<Self, Diagnostic> {
        let (stream, other) = connect(peer).map_err(failed)?;
        let mut end = Self { stream, message: message(0), answer_s: 0.0, _other: other };
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

fn connect(peer: &Peer) -> io::Result<(TcpStream, Other)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (stream, other) = match peer {
        Peer::Thread => {
            // Ends when this side hangs up, or at the timeout.
            thread::Builder::new().spawn(move || peer_of(address))?;
            (accept(&listener, || Ok(()))?, Other::Thread)
        }
        Peer::Process { program, arguments } => {
            let mut command = Command::new(program);
            command.args(arguments).arg(address.port().to_string());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut other = Other::Process(command.spawn()?);
            let stream = accept(&listener, || ended(&mut other))?;
            (stream, other)
        }
    };
    prepare(&stream)?;
    Ok((stream, other))
}

/// Waits for the other end, as long as `check` has nothing against it.
fn accept(
    listener: &TcpListener,
    mut check: impl FnMut() -> io::Result<()>,
) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(_) if start.elapsed() > TIMEOUT => return Err(ErrorKind::TimedOut.into()),
            Err(_) => check()?,
        }
        thread::sleep(LOOK);
    }
}

fn ended(other: &mut Other) -> io::Result<()> {
    let Other::Process(child) = other else { return Ok(()) };
    match child.try_wait()? {
        Some(_) => Err(io::Error::other("the process at the other end stopped")),
        None => Ok(()),
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))
}

/// The other end: answers until the connection is closed or silent for too long.
pub(super) fn peer_of(address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    prepare(&stream)?;
    answer(stream)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut length = [0; 8];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
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

pub(super) fn failed(error: io::Error) -> Diagnostic {
    Diagnostic::error(Blame::Input, "loopback", format!("the loopback interface failed: {error}"))
        .hint("allow this process to open TCP sockets on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_length_are_answered() {
        for bytes in [0, 1, 300_000] {
            let mut end = Loopback::new(bytes, &Peer::Thread).unwrap();
            end.send().unwrap();
            end.send().unwrap();
            assert!(end.answer_s() > 0.0);
        }
    }
    #[test]
    fn a_process_that_does_not_connect_is_an_error() {
        let arguments = vec!["--version".to_owned()];
        for program in ["cargo", "/nonexistent/program"] {
            let peer = Peer::Process { program: program.into(), arguments: arguments.clone() };
            assert_eq!(Loopback::new(1, &peer).err().unwrap().code, "loopback");
        }
    }
}
