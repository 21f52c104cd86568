//! Reader of the table of streams that run together.

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::measured::OverlapRow;

use super::{Fields, read_table};

/// Bytes of a megabyte: the source doesn't say which of two it means, and the model only compares.
const MEGABYTE: f64 = 1e6;

/// Reads the table: columns `gpu`, `gpus`, `group_intra`, `group_inter`, `kind` (letters of `CGHD`),
/// `gemm_m`, `gemm_n`, `gemm_k`, `collective_mb`, `host_to_gpu_mb`, `gpu_to_host_mb` and
/// `latency_*`.
///
/// # Errors
/// Those of the table, see [`read_table`]; `bad-cell` too where `kind` names no stream, another
/// letter, a letter twice, or a stream without work.
pub fn read(path: &Path) -> Result<Vec<OverlapRow>, Diagnostic> {
    read_table(path, |fields| row(fields).map(Some))
}

pub(super) fn row(fields: &Fields) -> Result<OverlapRow, Diagnostic> {
    let work = work(fields)?;
    Ok(OverlapRow {
        gpu: fields.device()?,
        gpus: fields.count("gpus")?,
        ranks_per_node: fields.count("group_intra")?,
        nodes: fields.count("group_inter")?,
        work,
        time_s: fields.seconds("latency")?,
    })
}

fn work(fields: &Fields) -> Result<[Option<u64>; 4], Diagnostic> {
    let wrong = || fields.bad("kind", "one or more of the letters `CGHD`, each once");
    let mut work = [None; 4];
    let kind = fields.text("kind")?;
    if kind.is_empty() {
        return Err(wrong());
    }
    for letter in kind.chars() {
        let (index, amount) = match letter {
            'C' => (0, multiply_adds(fields)?),
            'G' => (1, megabytes(fields, "collective_mb")?),
            'H' => (2, megabytes(fields, "host_to_gpu_mb")?),
            'D' => (3, megabytes(fields, "gpu_to_host_mb")?),
            _ => return Err(wrong()),
        };
        match work.get_mut(index) {
            Some(entry @ None) => *entry = Some(amount),
            _ => return Err(wrong()),
        }
    }
    Ok(work)
}

fn multiply_adds(fields: &Fields) -> Result<u64, Diagnostic> {
    let [m, n, k] = [fields.count("gemm_m")?, fields.count("gemm_n")?, fields.count("gemm_k")?];
    m.checked_mul(n)
        .and_then(|mn| mn.checked_mul(k))
        .ok_or_else(|| fields.bad("gemm_m", "small enough for 64 bits of multiply-adds"))
}

fn megabytes(fields: &Fields, column: &str) -> Result<u64, Diagnostic> {
    // A float cast saturates.
    Ok((fields.positive(column)? * MEGABYTE).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::parse_table;
    use super::*;

    const HEADER: &str = "gpu,gpus,group_intra,group_inter,kind,gemm_m,gemm_n,gemm_k,\
                          collective_mb,host_to_gpu_mb,gpu_to_host_mb,latency_ms";

    fn parse(line: &str) -> Result<Vec<OverlapRow>, Diagnostic> {
        let text = format!("{HEADER}\n{line}\n");
        parse_table(text.as_bytes(), "overlap.csv", |fields| row(fields).map(Some))
    }

    #[test]
    fn a_row_by_hand() {
        let rows = parse("a,16,8,2,CGD,2,3,5,0.5,0.0,7,4").unwrap();
        assert_eq!(rows[0].work, [Some(30), Some(500_000), None, Some(7_000_000)]);
        assert_eq!((rows[0].gpus, rows[0].ranks_per_node, rows[0].nodes), (16, 8, 2));
        assert_eq!(rows[0].time_s, 4.0 * 1e-3);
    }

    #[test]
    fn broken_cells_are_refused() {
        for line in [
            "a,8,8,1,,0,3,5,1,1,1,4",
            "a,8,8,1,X,0,3,5,1,1,1,4",
            "a,8,8,1,GG,0,3,5,1,1,1,4",
            "a,8,8,1,C,0,3,5,1,1,1,4",
            "a,8,8,1,H,0,3,5,1,0,1,4",
            "a,8,8,1,H,0,3,5,1,inf,1,4",
            "a,8,8,1,H,0,3,5,1,1,1,0",
            "a,8,8,1,C,18446744073709551615,3,5,1,1,1,4",
        ] {
            assert_eq!(parse(line).unwrap_err().code, "bad-cell", "{line}");
        }
    }
}
