//! Reader of tables of measured training steps.

use std::path::Path;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::measured::StepRow;

use super::{Fields, read_table};

/// Reads a table of steps.
///
/// Columns: the model is `model_group` or `model`; `layers`, `hidden`, `heads`, `seq`, `vocab`
/// (`layers`, `heads` and `vocab` may be blank, `vocab` missing); `gpus`, `tp`, `pp`,
/// `micro_batch`, `global_batch`, `recompute` (`full`, `selective` or `attn_only`, `none`); the
/// time is `iter_s` or `iter_s_derived`, or `value` in seconds of rows whose `metric` is
/// `iteration_time_s`. Where they are there: `virtual_pp`, `seq_parallel`, `zero_stage`, `status`
/// (rows that are not `ok` are left out) and `calculon_pred`, the time that another model predicts.
/// Replicas are `gpus / (tp pp)`; a column `dp` is not looked at.
///
/// # Errors
/// Those of the table, see [`read_table`]; `bad-cell` too for devices that `tp x pp` don't divide
/// and batches that replicas and micro-batches don't.
pub fn read(path: &Path) -> Result<Vec<StepRow>, Diagnostic> {
    read_table(path, row)
}

/// Steps of one kind of device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneKind {
    /// The rows.
    pub rows: Vec<StepRow>,
    /// What column `gpu` or `device` calls the kind, where there is one.
    pub called: Option<String>,
}

/// As [`read`], and all rows must name the same device, for no calibration mixes clusters.
///
/// # Errors
/// As [`read`]; `mixed-devices`.
pub fn read_one_kind(path: &Path) -> Result<OneKind, Diagnostic> {
    let mut called = None;
    let rows = read_table(path, |fields| {
        let found = row(fields)?;
        if found.is_some() {
            one_kind(fields, &mut called)?;
        }
        Ok(found)
    })?;
    Ok(OneKind { rows, called })
}

fn one_kind(fields: &Fields, called: &mut Option<String>) -> Result<(), Diagnostic> {
    let Some(column) = ["gpu", "device"].into_iter().find(|column| fields.has(column)) else {
        return Ok(());
    };
    let device = fields.name(column)?;
    let first = called.get_or_insert_with(|| device.clone());
    if *first == device {
        return Ok(());
    }
    let message = format!("the steps are of `{first}` and of `{device}`");
    Err(fields
        .at(Diagnostic::input("mixed-devices", message), column)
        .hint("split the table: each cluster is calibrated on its own"))
}

fn row(fields: &Fields) -> Result<Option<StepRow>, Diagnostic> {
    if fields.has("status") && fields.text("status")? != "ok" {
        return Ok(None);
    }
    let is_metric = fields.has("metric");
    if is_metric && fields.text("metric")? != "iteration_time_s" {
        return Ok(None);
    }
    let time = match (is_metric, fields.has("iter_s_derived")) {
        (true, _) => "value",
        (false, true) => "iter_s_derived",
        (false, false) => "iter_s",
    };
    let model = fields.name(if fields.has("model_group") { "model_group" } else { "model" })?;
    let [gpus, micro_batch, global_batch] =
        [fields.count("gpus")?, fields.count("micro_batch")?, fields.count("global_batch")?];
    let (tensor, pipeline) = (small(fields, "tp")?, small(fields, "pp")?);
    let shards = u64::from(tensor) * u64::from(pipeline);
    let data = match u32::try_from(gpus / shards) {
        Ok(data) if gpus.is_multiple_of(shards) => data,
        _ => return Err(fields.bad("gpus", "a multiple of tp x pp")),
    };
    let round = u64::from(data).checked_mul(micro_batch);
    if !round.is_some_and(|round| global_batch.is_multiple_of(round)) {
        return Err(fields.bad("global_batch", "a multiple of replicas x micro_batch"));
    }
    Ok(Some(StepRow {
        line: fields.line(),
        stated_parameters: stated(&model),
        model,
        layers: small_or_blank(fields, "layers")?,
        hidden: fields.count("hidden")?,
        heads: fields.count_or_blank("heads")?,
        sequence: fields.count("seq")?,
        vocabulary: if fields.has("vocab") { fields.count_or_blank("vocab")? } else { None },
        gpus,
        tensor,
        pipeline,
        virtual_stages: if fields.has("virtual_pp") { small(fields, "virtual_pp")? } else { 1 },
        data,
        micro_batch,
        global_batch,
        recompute: recompute(fields)?,
        sequence_parallel: sequence_parallel(fields)?,
        zero: zero(fields)?,
        time_s: fields.positive(time)?,
        peer_s: match fields.has("calculon_pred") {
            true => fields.positive_or_blank("calculon_pred")?,
            false => None,
        },
    }))
}

/// A count that fits into 32 bits.
fn small(fields: &Fields, column: &str) -> Result<u32, Diagnostic> {
    let count = fields.count(column)?;
    u32::try_from(count).map_err(|_| fields.bad(column, "a count below 2^32"))
}

fn small_or_blank(fields: &Fields, column: &str) -> Result<Option<u32>, Diagnostic> {
    if fields.text(column)?.is_empty() { Ok(None) } else { small(fields, column).map(Some) }
}

/// The parameters that a name ends with, as in `h14400_lunknown_194B`.
fn stated(model: &str) -> Option<f64> {
    let billions = model.rsplit('_').next()?.strip_suffix('B')?.parse::<f64>().ok()?;
    (billions.is_finite() && billions > 0.0).then_some(billions * 1e9)
}

fn recompute(fields: &Fields) -> Result<Recompute, Diagnostic> {
    match fields.text("recompute")? {
        "full" => Ok(Recompute::Full),
        "selective" | "attn_only" => Ok(Recompute::Selective),
        "none" => Ok(Recompute::None),
        _ => Err(fields.bad("recompute", "`full`, `selective`, `attn_only` or `none`")),
    }
}

fn sequence_parallel(fields: &Fields) -> Result<SequenceParallel, Diagnostic> {
    if !fields.has("seq_parallel") {
        return Ok(SequenceParallel::Off);
    }
    match fields.text("seq_parallel")? {
        "true" => Ok(SequenceParallel::On),
        "false" | "" => Ok(SequenceParallel::Off),
        _ => Err(fields.bad("seq_parallel", "`true` or `false`")),
    }
}

fn zero(fields: &Fields) -> Result<ZeroStage, Diagnostic> {
    if !fields.has("zero_stage") {
        return Ok(ZeroStage::None);
    }
    match fields.text("zero_stage")? {
        "" | "0" => Ok(ZeroStage::None),
        "1" => Ok(ZeroStage::Optimizer),
        "2" => Ok(ZeroStage::Gradients),
        "3" => Ok(ZeroStage::Parameters),
        _ => Err(fields.bad("zero_stage", "0, 1, 2 or 3")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_table;
    use super::*;

    fn parse(header: &str, line: &str) -> Result<Vec<StepRow>, Diagnostic> {
        parse_table(format!("{header}\n{line}\n").as_bytes(), "steps.csv", row)
    }

    const PLAIN: &str = "model_group,gpus,tp,pp,dp,micro_batch,global_batch,hidden,heads,layers,\
                         seq,recompute,iter_s";
    const LONG: &str = "model,gpus,tp,pp,micro_batch,global_batch,hidden,heads,layers,seq,vocab,\
                        virtual_pp,recompute,seq_parallel,zero_stage,status,metric,value,\
                        calculon_pred";

    #[test]
    fn a_row_by_hand() {
        let rows = parse(PLAIN, "a,16,2,4,9,3,12,1024,16,24,512,full,1.5").unwrap();
        let row = &rows[0];
        assert_eq!((row.data, row.n_micro_batches(), row.layers), (2, 2, Some(24)));
        assert_eq!((row.line, row.time_s, row.vocabulary), (2, 1.5, None));
        assert_eq!((row.recompute, row.virtual_stages), (Recompute::Full, 1));
    }

    #[test]
    fn columns_that_only_some_tables_have() {
        let line =
            "x_l_194B,8,2,2,1,4,1024,,,512,51200,3,attn_only,true,1,ok,iteration_time_s,2,1.9";
        let row = &parse(LONG, line).unwrap()[0];
        assert_eq!((row.layers, row.heads, row.stated_parameters), (None, None, Some(194e9)));
        assert_eq!((row.vocabulary, row.virtual_stages), (Some(51_200), 3));
        assert_eq!(row.sequence_parallel, SequenceParallel::On);
        assert_eq!((row.zero, row.recompute), (ZeroStage::Optimizer, Recompute::Selective));
        assert_eq!((row.time_s, row.peer_s), (2.0, Some(1.9)));
        for (from, to) in [(",ok,", ",OOM,"), ("iteration_time_s", "activation_GiB")] {
            assert!(parse(LONG, &line.replace(from, to)).unwrap().is_empty(), "{to}");
        }
    }

    #[test]
    fn a_calibration_takes_one_kind_of_device() {
        let read = |lines: &str| {
            let mut called = None;
            let text = format!("gpu,{PLAIN}\n{lines}");
            let rows = parse_table(text.as_bytes(), "steps.csv", |fields| {
                one_kind(fields, &mut called).and_then(|()| row(fields))
            });
            rows.map(|rows| (rows.len(), called))
        };
        let line = "a,16,2,4,1,3,12,1024,16,24,512,full,1.5\n";
        let same = format!("A100,{line}A100,{line}");
        assert_eq!(read(&same).unwrap(), (2, Some("A100".to_owned())));
        let error = read(&format!("A100,{line}H100,{line}")).unwrap_err();
        assert_eq!(error.code, "mixed-devices");
        let text = format!("{error:?}");
        assert!(text.contains("Count(3)") && text.contains("gpu"), "{text}");
    }

    #[test]
    fn broken_cells_are_refused_with_their_place() {
        let good = "a,16,2,4,1,3,12,1024,16,24,512,full,1.5";
        assert!(parse(PLAIN, good).is_ok());
        for line in [
            "a,15,2,4,1,3,12,1024,16,24,512,full,1.5",
            "a,16,2,4,1,3,13,1024,16,24,512,full,1.5",
            "a,16,0,4,1,3,12,1024,16,24,512,full,1.5",
            "a,16,2,4,1,3,12,1024,16,24,512,some,1.5",
            "a,16,2,4,1,3,12,1024,16,24,512,full,NaN",
            "a,16,2,4,1,3,12,1024,16,24,512,full,-1",
            "a,16,2,4,1,18446744073709551615,12,1024,16,24,512,full,1",
            "a,16,4294967296,4,1,3,12,1024,16,24,512,full,1.5",
            ",16,2,4,1,3,12,1024,16,24,512,full,1.5",
        ] {
            let error = parse(PLAIN, line).unwrap_err();
            assert_eq!(error.code, "bad-cell", "{line}");
            assert!(format!("{error:?}").contains("steps.csv"), "{line}");
        }
        assert_eq!(parse("model,gpus", "a,1").unwrap_err().code, "missing-column");
    }
}
