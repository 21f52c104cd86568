//! Reader of the table of attention calls.

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::measured::{AttentionPhase, AttentionRow};

use super::{Fields, read_table};

/// Reads the table: columns `gpu`, `phase` (`prefill` or `decode`), `batch`, `seq_len`, `heads`,
/// `kv_heads`, `head_dim`, `step` and `time_*`.
///
/// # Errors
/// Those of the table, see [`read_table`].
pub fn read(path: &Path) -> Result<Vec<AttentionRow>, Diagnostic> {
    read_table(path, |fields| row(fields).map(Some))
}

pub(super) fn row(fields: &Fields) -> Result<AttentionRow, Diagnostic> {
    let phase = match fields.text("phase")? {
        "prefill" => AttentionPhase::Prefill,
        "decode" => AttentionPhase::Decode,
        _ => return Err(fields.bad("phase", "`prefill` or `decode`")),
    };
    Ok(AttentionRow {
        gpu: fields.device()?,
        phase,
        batch: fields.count("batch")?,
        seq_len: fields.count("seq_len")?,
        heads: fields.count("heads")?,
        kv_heads: fields.count("kv_heads")?,
        head_dim: fields.count("head_dim")?,
        step: fields.count_or_zero("step")?,
        time_s: fields.seconds("time")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse_table;
    use super::*;

    const HEADER: &str = "gpu,phase,batch,seq_len,heads,kv_heads,head_dim,step,time_us";

    fn parse(line: &str) -> Result<Vec<AttentionRow>, Diagnostic> {
        let text = format!("{HEADER}\n{line}\n");
        parse_table(text.as_bytes(), "attention.csv", |fields| row(fields).map(Some))
    }

    #[test]
    fn phases_by_hand() {
        let rows = parse("a,decode,2,1,8,4,128,63,9").unwrap();
        assert_eq!(rows[0].phase, AttentionPhase::Decode);
        assert_eq!((rows[0].step, rows[0].seq_len, rows[0].time_s), (63, 1, 9.0 * 1e-6));
        assert_eq!(parse("a,both,2,1,8,4,128,63,9").unwrap_err().code, "bad-cell");
        assert_eq!(parse("a,decode,2,1,8,0,128,63,9").unwrap_err().code, "bad-cell");
    }
}
