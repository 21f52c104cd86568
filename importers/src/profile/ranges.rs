//! What numbers of a profile are believed: the one table for this kind of file.
//!
//! The limits lie far outside of what was ever measured, and close enough that no sum of times
//! overflows: a kernel of 1e18 operations at the least efficiency and the least peak still ends.

use ir::diagnostic::Diagnostic;

/// Longest start-up cost that is believed, in seconds: nothing waits a minute to start.
const MAX_START: f64 = 60.0;

/// Least and greatest value of a key.
fn range(key: &str) -> (f64, f64) {
    match key {
        // From the slowest processor to a hundred thousand current devices.
        "peak_flops_per_s" => (1e6, 1e20),
        // From a modem line to a hundred times the fastest memory.
        "bytes_per_s" | "memory_bytes_per_s" => (1e5, 1e16),
        "launch_s" | "latency_s" | "start_up_s" | "split_k_s" => (0.0, MAX_START),
        // A millionth of the peak is no kernel; caches carry a little more than the memory.
        "compute_efficiency" => (1e-6, 1.0),
        "memory_efficiency" => (1e-6, 1.2),
        "p_norm" => (1.0, 1e3),
        "k0" => (0.0, 1e6),
        "small_tile_penalty" => (0.0, 1e3),
        // From a clock tick to a day.
        "time_s" => (1e-12, 1e5),
        "cache_bytes" => (1.0, 1e13),
        "clock_hz" => (1e6, 1e12),
        "s_per_root_byte" => (0.0, 1.0),
        // A thousand times as slow as computed was never seen.
        "factor" => (1e-3, 1e3),
        // Extents of an operand, or operations.
        "points" => (0.0, 1e18),
        // Largest size in bytes, and largest count of ranks, tokens or samples.
        "bytes" => (1.0, 1e15),
        "hidden" | "tensor" | "micro_batch" | "ranks" | "ranks_per_node" | "gpus" | "nodes"
        | "multiprocessors" => (1.0, 16_777_216.0),
        // Errors as shares, and how samples scatter.
        "median_error" | "worst_error" | "dispersion" => (0.0, 1e9),
        "r_squared" => (-1e9, 1.0),
        // Constants of stacks: factors, shares and seconds. Each has a range of its own where it is
        // used.
        _ => (1e-9, 1e6),
    }
}

/// A number that can be believed.
///
/// # Errors
/// `profile-value`.
pub(super) fn checked(key: &str, owner: &str, value: f64) -> Result<f64, Diagnostic> {
    let (least, most) = range(key);
    within(key, owner, value, least, most)
}

/// A number between two limits that the form of a kernel sets itself.
///
/// # Errors
/// `profile-value`.
pub(super) fn within(
    key: &str,
    owner: &str,
    value: f64,
    least: f64,
    most: f64,
) -> Result<f64, Diagnostic> {
    if value.is_finite() && (least..=most).contains(&value) {
        return Ok(value);
    }
    let limits = match (least, most) {
        (least, most) if most < 1e6 && (least == 0.0 || least >= 1e-3) => {
            format!("between {least} and {most}")
        }
        (least, most) => format!("between {least:e} and {most:e}"),
    };
    Err(refused(key, owner, value, &limits))
}

/// A refused number.
pub(super) fn refused(key: &str, owner: &str, value: f64, want: &str) -> Diagnostic {
    let message = format!("`{key}` of `{owner}` is {value:e}; it must be {want}");
    Diagnostic::input("profile-value", message)
        .fact("key", key)
        .hint("times are in seconds, sizes in bytes, rates per second; write the profile anew with `meshwright calibrate`")
}
