//! Reader of the table of mixture-of-experts layers.

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::measured::{ExpertLoad, MoeRow};

use super::{Fields, read_table};

/// Reads the table: columns `gpu`, `tokens`, `hidden`, `expert_ffn`, `topk`, `experts`, `moe_tp`,
/// `moe_ep`, `distribution` (`balanced` or `power_law_EXPONENT`) and `time_*`.
///
/// # Errors
/// Those of the table, see [`read_table`].
pub fn read(path: &Path) -> Result<Vec<MoeRow>, Diagnostic> {
    read_table(path, |fields| row(fields).map(Some))
}

pub(super) fn row(fields: &Fields) -> Result<MoeRow, Diagnostic> {
    Ok(MoeRow {
        gpu: fields.device()?,
        tokens: fields.count("tokens")?,
        hidden: fields.count("hidden")?,
        expert_ffn: fields.count("expert_ffn")?,
        topk: fields.count("topk")?,
        experts: fields.count("experts")?,
        moe_tp: fields.count("moe_tp")?,
        moe_ep: fields.count("moe_ep")?,
        load: load(fields)?,
        time_s: fields.seconds("time")?,
    })
}

fn load(fields: &Fields) -> Result<ExpertLoad, Diagnostic> {
    let text = fields.text("distribution")?;
    if text == "balanced" {
        return Ok(ExpertLoad::Balanced);
    }
    match text.strip_prefix("power_law_").map(str::parse::<f64>) {
        Some(Ok(exponent)) if exponent.is_finite() && exponent > 0.0 => {
            Ok(ExpertLoad::PowerLaw(exponent))
        }
        _ => Err(fields.bad("distribution", "`balanced` or `power_law_EXPONENT`")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_table;
    use super::*;

    const HEADER: &str =
        "gpu,tokens,hidden,expert_ffn,topk,experts,moe_tp,moe_ep,distribution,time_us";

    fn parse(distribution: &str) -> Result<Vec<MoeRow>, Diagnostic> {
        let text = format!("{HEADER}\na,1,2,3,4,5,6,7,{distribution},8\n");
        parse_table(text.as_bytes(), "moe.csv", |fields| row(fields).map(Some))
    }

    #[test]
    fn loads_by_hand() {
        assert_eq!(parse("balanced").unwrap()[0].load, ExpertLoad::Balanced);
        assert_eq!(parse("power_law_1.2").unwrap()[0].load, ExpertLoad::PowerLaw(1.2));
        for bad in ["power_law_", "power_law_-1", "power_law_NaN", "uniform", ""] {
            assert_eq!(parse(bad).unwrap_err().code, "bad-cell", "{bad}");
        }
    }
}
