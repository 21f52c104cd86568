//! What numbers of a cluster file are believed, why, and what is probably meant by others: the one
//! table for this kind of file.

use documents::cluster::{ClusterDocument, KindDocument};
use ir::diagnostic::Diagnostic;

/// Of one key.
struct Range {
    /// Of the refusal.
    code: &'static str,
    least: f64,
    most: f64,
    /// Why nothing else is believed.
    want: &'static str,
    /// What hardware has; else a warning.
    usual: [f64; 2],
    /// Units that people write by mistake, the likeliest first, as powers of ten.
    slips: &'static [(i32, &'static str)],
}

const RATE_SLIPS: &[(i32, &str)] = &[(9, "GB/s"), (6, "MB/s")];
const PEAK_SLIPS: &[(i32, &str)] = &[(12, "TFLOP/s"), (9, "GFLOP/s")];
const SIZE_SLIPS: &[(i32, &str)] = &[(9, "GB"), (6, "MB")];

/// From the slowest modem network to a thousand times NVLink 5; usual from home uplinks of 8 Mb/s on.
const LINK: Range = Range {
    code: "link-rate",
    least: 1e5,
    most: 1e15,
    want: "in bytes per second, from 1e5 (a slow modem line) to 1e15",
    usual: [1e6, 4e12],
    slips: RATE_SLIPS,
};
/// Memory of the 1980s to a hundred times HBM4.
const MEMORY_RATE: Range = Range {
    code: "kind-rate",
    least: 1e6,
    most: 1e16,
    want: "in bytes per second, from 1e6 (slower than any memory) to 1e16",
    usual: [5e9, 1e14],
    slips: RATE_SLIPS,
};
/// A calculator to a hundred thousand current devices.
const PEAK: Range = Range {
    code: "kind-rate",
    least: 1e6,
    most: 1e20,
    want: "in operations per second, from 1e6 (slower than any processor) to 1e20",
    usual: [1e10, 1e17],
    slips: PEAK_SLIPS,
};
/// Of wide types: ten times the fastest current devices.
const WIDE_PEAK: Range = Range { usual: [1e10, 1e15], ..PEAK };
/// So that the sum over the most devices of a cluster is no overflow.
const SIZE: Range = Range {
    code: "size-invalid",
    least: 0.0,
    most: 1e14,
    want: "in whole bytes, at most 1e14 (a thousand times the largest device)",
    usual: [1e8, 2e12],
    slips: SIZE_SLIPS,
};
const HOST_SIZE: Range = Range { want: "in whole bytes, at most 1e14", usual: [1e9, 1e14], ..SIZE };
/// Kept free, or held by the driver: nothing at all is usual too.
const PART: Range = Range { usual: [1e6, 2e12], ..SIZE };
const LATENCY: Range = Range {
    code: "link-latency",
    least: 0.0,
    most: 60.0,
    want: "in seconds, between 0 and 60 (nothing waits a minute to start)",
    usual: [1e-9, 0.1],
    slips: &[(-6, "microseconds"), (-3, "milliseconds")],
};
const SHARE: Range = Range {
    code: "size-invalid",
    least: 0.0,
    most: 0.999_999,
    want: "at least 0 and below 1",
    usual: [0.0, 0.5],
    slips: &[(-2, "percent")],
};
const COUNT: Range = Range {
    code: "count-invalid",
    least: 1.0,
    most: 1e6,
    want: "between 1 and 1000000",
    usual: [1.0, 1e6],
    slips: &[],
};

/// A chip of a telephone to a hundred current devices.
const POWER: Range = Range {
    code: "kind-power",
    least: 1.0,
    most: 1e5,
    want: "in watts, from 1 to 1e5",
    usual: [5.0, 5e3],
    slips: &[(3, "kilowatts"), (-3, "milliwatts")],
};

/// What draws nothing at rest to the greatest of [`POWER`].
const IDLE: Range =
    Range { least: 0.0, want: "in watts, from 0 to 1e5", usual: [0.0, 500.0], ..POWER };

/// Nothing for one's own cards to a rented rack.
const PRICE: Range = Range {
    code: "kind-price",
    least: 0.0,
    most: 1e6,
    want: "of one device and hour, from 0 to 1e6",
    usual: [0.0, 1e3],
    slips: &[],
};

/// The range of a key.
fn range(key: &str) -> &'static Range {
    match key {
        "bytes_per_s" => &LINK,
        "memory_bytes_per_s" => &MEMORY_RATE,
        "memory_bytes" => &SIZE,
        "host_memory_bytes" => &HOST_SIZE,
        "context_bytes" | "reserve_bytes" => &PART,
        "latency_s" => &LATENCY,
        "reserve_fraction" => &SHARE,
        "power_w" | "products_w" | "memory_w" | "transfers_w" => &POWER,
        "idle_w" => &IDLE,
        "price_per_hour" => &PRICE,
        "multiprocessors" | "cpu_cores" => &COUNT,
        "peak_fp64_flops" | "peak_fp32_flops" => &WIDE_PEAK,
        _ => &PEAK,
    }
}

/// A number that can be believed.
///
/// # Errors
/// `link-rate`, `link-latency`, `kind-rate`, `size-invalid`, `count-invalid`, with the likely unit.
pub(super) fn checked(key: &'static str, owner: &str, value: f64) -> Result<f64, Diagnostic> {
    let range = range(key);
    if value.is_finite() && (range.least..=range.most).contains(&value) {
        return Ok(value);
    }
    let found = number(value);
    let message =
        format!("`{key}` of `{owner}` is {found}, out of range; it must be {}", range.want);
    let refused = Diagnostic::input(range.code, message).fact("value", value);
    Err(match slip(key, range, value) {
        Some(hint) => refused.hint(hint),
        None => refused.hint(format!("correct `{key}`")),
    })
}

/// A size in whole bytes.
///
/// # Errors
/// `size-invalid`.
pub(super) fn whole(key: &'static str, owner: &str, value: f64) -> Result<u64, Diagnostic> {
    let value = checked(key, owner, value)?;
    if value.fract() == 0.0 {
        return Ok(value as u64);
    }
    let message = format!("`{key}` of `{owner}` is {value}; it must be {}", SIZE.want);
    Err(Diagnostic::input(SIZE.code, message).hint("write whole bytes, or a unit such as `1.5GiB`"))
}

/// What was probably meant: the first unit in which the number is a usual one.
fn slip(key: &str, range: &Range, value: f64) -> Option<String> {
    let usual =
        |power: &i32| (range.usual[0]..=range.usual[1]).contains(&(value * 10_f64.powi(*power)));
    let (power, unit) = range.slips.iter().find(|(power, _)| usual(power))?;
    // `15e12` rather than `15000e9`.
    let (mut mantissa, mut exponent) = (value, *power);
    while mantissa >= 1e4 && mantissa % 1e3 == 0.0 {
        (mantissa, exponent) = (mantissa / 1e3, exponent + 3);
    }
    Some(format!("if {} {unit} is meant, write `{key}: {mantissa}e{exponent}`", number(value)))
}

/// A number as people write it: with an exponent where it has many digits.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-4..1e15).contains(&size) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// Numbers that can be believed, but that hardware does not have, with the likely unit.
pub(super) fn unlikely(document: &ClusterDocument) -> Vec<Diagnostic> {
    /// Most numbers that are named.
    const SHOWN: usize = 8;
    let mut found = Vec::new();
    let mut n_more = 0;
    each(document, |key, owner, value| {
        let range = range(key);
        if value == 0.0 || (range.usual[0]..=range.usual[1]).contains(&value) {
            return;
        }
        if found.len() == SHOWN {
            n_more += 1;
            return;
        }
        let message = format!("`{key}` of `{owner}` is {}, which no hardware has", number(value));
        let warning = Diagnostic::warning("unlikely-number", message).fact("value", value);
        found.push(match slip(key, range, value) {
            Some(hint) => warning.hint(hint),
            None => warning.hint(format!("look at `{key}` again")),
        });
    });
    if n_more > 0 {
        let message = format!("{n_more} more numbers of the cluster file are as unlikely");
        found.push(Diagnostic::warning("unlikely-number", message));
    }
    found
}

/// Each number with its key and what it belongs to; counts have only a range.
fn each(document: &ClusterDocument, mut take: impl FnMut(&'static str, &str, f64)) {
    let mut given = |key, owner: &str, value: Option<f64>| {
        if let Some(value) = value {
            take(key, owner, value);
        }
    };
    for kind in &document.kinds {
        for (key, value) in of_kind(kind) {
            given(key, &kind.name, value);
        }
    }
    for link in &document.link_kinds {
        given("bytes_per_s", &link.name, Some(link.bytes_per_s));
        given("latency_s", &link.name, link.latency_s);
    }
    if let Some(network) = &document.network {
        given("bytes_per_s", "network", network.bytes_per_s);
        given("latency_s", "network", network.latency_s);
    }
    for link in &document.links {
        let ends = link.between.as_ref().map(|[a, b]| (a, b));
        let ends = ends.or(link.from.as_ref().zip(link.to.as_ref()));
        let owner = ends.map_or_else(String::new, |(a, b)| format!("{a}-{b}"));
        given("bytes_per_s", &owner, link.bytes_per_s);
        given("latency_s", &owner, link.latency_s);
    }
    let mut margins = |owner: &str, context, reserve, fraction| {
        given("context_bytes", owner, context);
        given("reserve_bytes", owner, reserve);
        given("reserve_fraction", owner, fraction);
    };
    let bytes = |size: Option<documents::quantity::Size>| size.map(f64::from);
    let (context, reserve) = (bytes(document.context_bytes), bytes(document.reserve_bytes));
    margins("cluster", context, reserve, document.reserve_fraction);
    for host in &document.nodes {
        let owner = host.name.as_deref().unwrap_or("node");
        let (context, reserve) = (bytes(host.context_bytes), bytes(host.reserve_bytes));
        margins(owner, context, reserve, host.reserve_fraction);
    }
    for device in &document.devices {
        let (context, reserve) = (bytes(device.context_bytes), bytes(device.reserve_bytes));
        margins(&device.id, context, reserve, device.reserve_fraction);
    }
    for entry in &document.running {
        given("power_w", &entry.kind, entry.power_w);
        given("idle_w", &entry.kind, entry.idle_w);
        given("products_w", &entry.kind, entry.products_w);
        given("memory_w", &entry.kind, entry.memory_w);
        given("transfers_w", &entry.kind, entry.transfers_w);
        given("price_per_hour", &entry.kind, entry.price_per_hour);
    }
    for host in &document.nodes {
        let owner = host.name.as_deref().unwrap_or("node");
        given("memory_bytes", owner, bytes(host.memory_bytes));
        given("host_memory_bytes", owner, bytes(host.host_memory_bytes));
    }
    for device in &document.devices {
        given("memory_bytes", &device.id, bytes(device.memory_bytes));
    }
}

/// Numbers of a kind by their keys.
fn of_kind(kind: &KindDocument) -> [(&'static str, Option<f64>); 9] {
    [
        ("memory_bytes", kind.memory_bytes.map(f64::from)),
        ("memory_bytes_per_s", kind.memory_bytes_per_s),
        ("peak_fp64_flops", kind.peak_fp64_flops),
        ("peak_fp32_flops", kind.peak_fp32_flops),
        ("peak_fp16_flops", kind.peak_fp16_flops),
        ("peak_bf16_flops", kind.peak_bf16_flops),
        ("peak_fp8_flops", kind.peak_fp8_flops),
        ("peak_fp4_flops", kind.peak_fp4_flops),
        ("power_w", kind.power_w),
    ]
}
