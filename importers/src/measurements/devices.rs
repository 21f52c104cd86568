//! Data sheets of the GPUs that the tables of measurements name.

use ir::diagnostic::Diagnostic;
use ir::measured::GpuFacts;

use super::{Fields, parse_table};

/// The table of devices, which is compiled in.
const TABLE: &str = include_str!("../../data/devices.csv");

/// The facts of the GPU that a table of measurements calls `gpu`, such as `h100_sxm`.
///
/// That is the device of this name, else, of those whose name starts with it, the one with the
/// most memory bandwidth and then memory. `None` where no device does, or where its data sheet
/// lacks a figure that matters.
///
/// # Errors
/// Those of the table of devices, see [`super::read_table`].
pub fn facts(gpu: &str) -> Result<Option<GpuFacts>, Diagnostic> {
    let mut best: Option<(bool, f64, f64, GpuFacts)> = None;
    let rows = parse_table(TABLE.as_bytes(), "devices.csv", |fields| {
        let name = fields.name("device")?;
        if !name.starts_with(gpu) {
            return Ok(None);
        }
        let memory = fields.positive("memory_bytes")?;
        Ok(row(fields)?.map(|facts| (name == gpu, facts.memory_bandwidth, memory, facts)))
    })?;
    for row in rows {
        if best.is_none_or(|best| (row.0, row.1, row.2) > (best.0, best.1, best.2)) {
            best = Some(row);
        }
    }
    Ok(best.map(|(_, _, _, facts)| facts))
}

fn row(fields: &Fields) -> Result<Option<GpuFacts>, Diagnostic> {
    let peak = match fields.positive_or_blank("peak_bf16_flops")? {
        Some(peak) => Some(peak),
        None => fields.positive_or_blank("peak_fp16_flops")?,
    };
    let n_multiprocessors = fields.count("sm_count")?;
    Ok(peak.zip(u32::try_from(n_multiprocessors).ok()).map(|(peak, n_multiprocessors)| GpuFacts {
        memory_bandwidth: fields.positive("memory_bytes_per_s").unwrap_or_default(),
        peak,
        n_multiprocessors,
        last_level_cache: fields.positive_or_blank("last_level_cache_bytes").unwrap_or_default(),
        clock: fields.positive_or_blank("boost_clock_hz").unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_names_find_their_data_sheets() {
        let a100 = facts("a100_sxm").unwrap().unwrap();
        assert_eq!((a100.memory_bandwidth, a100.n_multiprocessors), (2.039e12, 108));
        assert_eq!(facts("gb200").unwrap().unwrap().peak, 2.5e15);
        assert_eq!(facts("b200_sxm").unwrap().unwrap().clock, None);
        let rtx = facts("rtx_pro_6000_server").unwrap().unwrap();
        assert_eq!(rtx.last_level_cache, Some(134_217_728.0));
        assert_eq!(facts("no_such_gpu").unwrap(), None);
    }
}
