//! NVIDIA devices, through libraries that are loaded at run time: the same binary runs with and
//! without them.
//!
//! `cudarc` panics where a library is absent, so each is probed before anything of it is called.

mod kernels;
mod nvidia;
mod product;

use std::collections::BTreeMap;

use cudarc::driver::result;
use ir::diagnostic::{Blame, Diagnostic};
use ir::tensor::DType;

use crate::backend::{Backend, State};
use crate::driver::Driver;
use crate::grid::{self, Extents};
use crate::measurement::Task;

/// What the profile says measured it.
pub(crate) const SOURCE: &str = "cuda: cuBLASLt products, NVRTC kernels and copies";
/// Seconds that one timed batch lasts at least.
pub(crate) const BATCH_S: f64 = 2e-3;

/// Extents of the random products; multiples of 8, which tensor cores want.
const EXTENTS: Extents = Extents { least: 16, most: 8192, step: 8 };
/// Types of products. The accumulator is fp32 in each.
const DTYPES: [DType; 3] = [DType::Bf16, DType::F16, DType::F32];
/// Links of every device.
const LINKS: [&str; 2] = ["host-to-device", "device-to-host"];
/// Link to the next device.
const PEER: &str = "peer";

/// Whether there is a second device to copy to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Absent,
    Present,
}

/// A device that is ready to measure.
pub(crate) struct Open {
    pub(crate) driver: Box<dyn Driver>,
    /// The driver's name of the device, as a kind.
    pub(crate) kind: String,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) peer: Peer,
}

/// The devices that the CUDA driver lists.
pub(crate) fn probe() -> Backend {
    let state = match devices() {
        Ok(devices) => State::Present { devices },
        Err(reason) => State::Absent { reason },
    };
    Backend { name: "cuda", state }
}

/// Opens a device.
///
/// # Errors
/// `no-gpu` without a driver or without such a device, `cuda-library` without NVRTC or cuBLASLt,
/// `cuda-failed` for what they report.
pub(crate) fn open(device: usize) -> Result<Open, Diagnostic> {
    let names = devices().map_err(|reason| no_gpu(&reason))?;
    let Some(name) = names.get(device) else {
        return Err(no_gpu(&format!("device {device} is not among the {} listed", names.len())));
    };
    if !is_nvrtc_present() {
        return Err(no_library("NVRTC"));
    }
    if !is_cublaslt_present() {
        return Err(no_library("cuBLASLt"));
    }
    let next = (names.len() > 1).then(|| (device + 1) % names.len());
    let driver = guarded(|| nvidia::Nvidia::open(device, next))?;
    Ok(Open {
        driver: Box::new(Guarded(driver)),
        kind: kind(name),
        notes: BTreeMap::from([("device".to_owned(), name.clone())]),
        peer: if next.is_some() { Peer::Present } else { Peer::Absent },
    })
}

/// Random products of each type, the same shapes for all.
pub(crate) fn products(count: usize, seed: u64) -> Vec<Task> {
    DTYPES.iter().flat_map(|dtype| grid::products(count, *dtype, EXTENTS, seed)).collect()
}

/// Memory from 64 KiB to 1 GiB, copies from 4 KiB to 256 MiB.
pub(crate) fn others(peer: Peer) -> Vec<Task> {
    let streams = kernels::FAMILIES.iter().flat_map(|family| {
        grid::sizes(64 << 10, 8).map(|bytes| Task::Stream { family: (*family).into(), bytes })
    });
    let links = LINKS.into_iter().chain((peer == Peer::Present).then_some(PEER));
    let transfers = links.flat_map(|link| {
        grid::sizes(4 << 10, 9).map(|bytes| Task::Transfer { link: link.into(), bytes })
    });
    streams.chain(transfers).collect()
}

/// A device's name as a kind: lower case, `_` for anything but letters and digits.
fn kind(name: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(word).collect()
}

/// A driver older than the bindings lacks symbols, on which `cudarc` panics: that is an answer,
/// too.
fn guarded<T>(call: impl FnOnce() -> Result<T, Diagnostic>) -> Result<T, Diagnostic> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(Diagnostic::input("cuda-failed", "a CUDA library lacks a function that is needed")
            .hint("update the CUDA driver and toolkit"))
    })
}

struct Guarded(nvidia::Nvidia);

impl Driver for Guarded {
    fn prepare(&mut self, task: &Task) -> Result<(), Diagnostic> {
        guarded(|| self.0.prepare(task))
    }

    fn run(&mut self, runs: u32) -> Result<f64, Diagnostic> {
        guarded(|| self.0.run(runs))
    }
}

fn no_gpu(reason: &str) -> Diagnostic {
    Diagnostic::input("no-gpu", format!("no CUDA device can be measured: {reason}"))
        .hint("run this on a machine with an NVIDIA GPU and its driver")
        .hint("measure the processor instead with the backend `host`")
}

fn no_library(name: &str) -> Diagnostic {
    Diagnostic::input("cuda-library", format!("the {name} library is not on this machine"))
        .hint("install the CUDA toolkit, or put its libraries on the library path")
}

/// What a CUDA library reports.
fn failed(what: &str, error: impl std::fmt::Debug) -> Diagnostic {
    Diagnostic::error(Blame::Input, "cuda-failed", format!("the device could not {what}"))
        .fact("error", format!("{error:?}"))
}

fn devices() -> Result<Vec<String>, String> {
    if !is_driver_present() {
        return Err("the CUDA driver's library is not on this machine".to_owned());
    }
    let reason = |what: &str, error: result::DriverError| format!("{what}: {:?}", error.0);
    result::init().map_err(|e| reason("the CUDA driver does not start", e))?;
    let count = result::device::get_count()
        .map_err(|e| reason("the CUDA driver does not count its devices", e))?;
    if count < 1 {
        return Err("the CUDA driver lists no device".to_owned());
    }
    (0..count)
        .map(|ordinal| {
            let device = result::device::get(ordinal)
                .map_err(|e| reason("the CUDA driver does not open a device", e))?;
            result::device::get_name(device)
                .map_err(|e| reason("the CUDA driver does not name a device", e))
        })
        .collect()
}

#[allow(unsafe_code, reason = "opens the driver's library, whose initialisers we must trust")]
fn is_driver_present() -> bool {
    // SAFETY: loads the system's CUDA driver library and unloads it again; nothing of it is called.
    unsafe { cudarc::driver::sys::is_culib_present() }
}

#[allow(unsafe_code, reason = "opens the compiler's library, whose initialisers we must trust")]
fn is_nvrtc_present() -> bool {
    // SAFETY: loads the library and unloads it again; nothing of it is called.
    unsafe { cudarc::nvrtc::sys::is_culib_present() }
}

#[allow(unsafe_code, reason = "opens the product library, whose initialisers we must trust")]
fn is_cublaslt_present() -> bool {
    // SAFETY: loads the library and unloads it again; nothing of it is called.
    unsafe { cudarc::cublaslt::sys::is_culib_present() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_the_answer_says_so() {
        if let State::Present { devices } = probe().state {
            let Err(error) = open(devices.len()) else { panic!("there is no such device") };
            assert_eq!(error.code, "no-gpu");
            return;
        }
        let Err(error) = open(0) else { panic!("there is no device") };
        assert_eq!((error.code, error.blame.exit_code()), ("no-gpu", 3));
        assert!(!error.hints.is_empty());
    }

    #[test]
    fn the_grid_covers_types_families_and_links() {
        let products = products(8, 1);
        assert_eq!(products.len(), 24);
        assert!(others(Peer::Present).len() > others(Peer::Absent).len());
        let largest = others(Peer::Present).iter().map(|task| task.bytes()).fold(0.0, f64::max);
        assert_eq!(largest, f64::from(1 << 30));
        assert_eq!(kind("NVIDIA H100 80GB HBM3"), "nvidia_h100_80gb_hbm3");
    }
}
