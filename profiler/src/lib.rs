//! What this machine could be profiled with.
//!
//! So far a profiler only *probes*: it says which backends exist here and why the others do not.
//! It measures nothing and claims nothing about speed; every duration in a plan comes from the
//! nominal constants of the cost model or from costs given in a file.

pub mod backend;
mod cuda;
mod host;

use crate::backend::Backend;

/// Every backend that meshwright knows, with its state on this machine. The host always exists;
/// `cuda` only where the driver's library loads and answers.
#[must_use]
pub fn probe() -> Vec<Backend> {
    vec![host::probe(), cuda::probe()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::State;

    #[test]
    fn the_host_always_exists_and_counts_its_cores() {
        let backends = probe();
        assert_eq!(backends[0].name, "host");
        let State::Present { devices } = &backends[0].state else {
            panic!("the host runs this test");
        };
        assert_eq!(devices.len(), 1);
        assert!(devices[0].contains("core"), "{devices:?}");
    }

    #[test]
    fn an_absent_backend_says_why() {
        for backend in probe() {
            match backend.state {
                State::Present { devices } => assert!(!devices.is_empty(), "{}", backend.name),
                State::Absent { reason } => assert!(!reason.is_empty(), "{}", backend.name),
            }
        }
    }
}
