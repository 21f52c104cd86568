//! The processor that runs meshwright.

use crate::backend::{Backend, State};

/// The host: always there. The core count is what the operating system lets this process use.
pub(crate) fn probe() -> Backend {
    let cores = match std::thread::available_parallelism() {
        Ok(n) => format!("{n} cores of {}", std::env::consts::ARCH),
        Err(_) => format!("an unknown number of cores of {}", std::env::consts::ARCH),
    };
    Backend { name: "host", state: State::Present { devices: vec![cores] } }
}
