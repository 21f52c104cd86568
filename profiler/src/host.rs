//! The processor that runs meshwright: products of the embedded library, memory, loopback.

mod loopback;
mod memory;
mod product;

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::Instant;

use ir::diagnostic::{Blame, Diagnostic};
use ir::tensor::DType;

use self::loopback::Loopback;
use self::memory::Memory;
use self::product::Product;
use crate::backend::{Backend, State};
use crate::driver::Driver;
use crate::grid::{self, Extents};
use crate::measurement::Task;
use crate::options::Peer;

/// What the profile says measured it.
pub(crate) const SOURCE: &str = "host: matrixmultiply products in fp32, memory and TCP loopback";
/// Name of the device kind, where the user gives none.
pub(crate) const KIND: &str = "host";
/// Seconds that one timed batch lasts at least.
pub(crate) const BATCH_S: f64 = 2e-3;

/// Extents of the random products: from one block of a small model to a layer of a larger one.
const EXTENTS: Extents = Extents { least: 32, most: 1536, step: 8 };

/// The host: always there. The core count is what the operating system lets this process use.
pub(crate) fn probe() -> Backend {
    let cores = match std::thread::available_parallelism() {
        Ok(n) => format!("{n} cores of {}", std::env::consts::ARCH),
        Err(_) => format!("an unknown number of cores of {}", std::env::consts::ARCH),
    };
    Backend { name: "host", state: State::Present { devices: vec![cores] } }
}

/// The random products.
pub(crate) fn products(count: usize, seed: u64) -> Vec<Task> {
    grid::products(count, DType::F32, EXTENTS, seed)
}

/// Memory from 64 KiB to 256 MiB, loopback from 1 KiB to 64 MiB.
pub(crate) fn others() -> Vec<Task> {
    let streams = memory::FAMILIES.iter().flat_map(|family| {
        grid::sizes(64 << 10, 7).map(|bytes| Task::Stream { family: (*family).into(), bytes })
    });
    let transfers =
        grid::sizes(1 << 10, 9).map(|bytes| Task::Transfer { link: loopback::LINK.into(), bytes });
    streams.chain(transfers).collect()
}

/// Starts a thread for each core. With fewer, another machine than this one would be measured.
fn check_threads() -> Result<(), Diagnostic> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        // Threads that are there already are an error without a cause.
        let error = rayon::ThreadPoolBuilder::new().build_global().err()?;
        error.source().map(ToString::to_string)
    });
    refused.as_ref().map_or(Ok(()), |reason| {
        let message = "the system does not start a thread for each core";
        Err(Diagnostic::error(Blame::Internal, "no-thread", message)
            .fact("reason", reason.clone())
            .hint("raise the limit of processes, such as with `ulimit -u`"))
    })
}

/// Runs tasks on the processor with one thread per core.
pub(crate) struct Host {
    prepared: Prepared,
    peer: Peer,
}

impl Host {
    /// A host whose loopback link ends at `peer`.
    pub(crate) fn new(peer: Peer) -> Self {
        Self { prepared: Prepared::Nothing, peer }
    }
}

/// The far end of a loopback link whose near end listens on `port`.
///
/// # Errors
/// `loopback` where the connection fails.
pub(crate) fn answer(port: u16) -> Result<(), Diagnostic> {
    loopback::peer_of((Ipv4Addr::LOCALHOST, port).into()).map_err(loopback::failed)
}

#[derive(Default)]
enum Prepared {
    #[default]
    Nothing,
    Product(Product),
    Memory(Memory),
    Loopback(Loopback),
}

impl Driver for Host {
    fn prepare(&mut self, task: &Task) -> Result<(), Diagnostic> {
        // What came before is dropped first, so that both never fill the memory together.
        self.prepared = Prepared::Nothing;
        check_threads()?;
        self.prepared = match task {
            Task::Product { m, k, n, .. } => Prepared::Product(Product::new(*m, *k, *n)),
            Task::Stream { family, bytes } => Prepared::Memory(Memory::new(family, *bytes)?),
            Task::Transfer { bytes, .. } => Prepared::Loopback(Loopback::new(*bytes, &self.peer)?),
        };
        Ok(())
    }

    fn run(&mut self, runs: u32) -> Result<f64, Diagnostic> {
        let start = Instant::now();
        match &mut self.prepared {
            Prepared::Nothing => {
                return Err(Diagnostic::error(
                    Blame::Internal,
                    "internal",
                    "a task was run before it was prepared",
                ));
            }
            // Inside the pool, where sharing out takes least.
            Prepared::Product(product) => rayon::scope(|_| (0..runs).for_each(|_| product.run())),
            Prepared::Memory(memory) => (0..runs).for_each(|_| memory.run()),
            Prepared::Loopback(loopback) => {
                for _ in 0..runs {
                    loopback.send()?;
                }
                // The answer travels back, too.
                let answers = f64::from(runs) * loopback.answer_s();
                return Ok((start.elapsed().as_secs_f64() - answers).max(1e-9));
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }
}
