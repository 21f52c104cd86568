//! NVIDIA devices, through the driver's library, which is loaded at run time: the same binary runs
//! with and without it.

use cudarc::driver::result;

use crate::backend::{Backend, State};

/// The devices that the CUDA driver lists.
pub(crate) fn probe() -> Backend {
    let state = match devices() {
        Ok(devices) => State::Present { devices },
        Err(reason) => State::Absent { reason },
    };
    Backend { name: "cuda", state }
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
