//! Reader of tables of measured training steps.

use std::io::Read;
use std::path::{Path, PathBuf};

use ir::card::{ModelCard, Recompute, SequenceParallel, TransformerCard, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::measured::StepRow;
use ir::tensor::DType;

use super::{Fields, read_table};
use crate::config;

/// Types that runs compute in.
const DTYPES: [DType; 5] = [DType::F32, DType::F16, DType::Bf16, DType::F8, DType::F4];

/// Reads a table of steps.
///
/// Columns: the model is `model_group` or `model`; its config.json is `config`, a path from the table
/// on, or `layers`, `hidden`, `heads`, `vocab` say what it is (`layers`, `heads` and `vocab` may be
/// blank, `vocab` missing); `seq`, `gpus`, `tp`, `pp`, `micro_batch`, `global_batch`, `recompute`
/// (`full`, `selective` or `attn_only`, `per-op`, `block N`, `uniform N`, `none`); the time is `iter_s` or `iter_s_derived`, or `value` in seconds of rows whose `metric` is
/// `iteration_time_s`. Where they are there: `virtual_pp`, `seq_parallel`, `zero_stage`, `status`
/// (rows that are not `ok` are left out), `dtype` (its first word; blank = bf16), `cp`, `ep` (blank = 1) and
/// `calculon_pred`, the time that another model predicts. Replicas are `gpus / (tp pp cp)`; a column
/// `dp` is not looked at.
///
/// # Errors
/// Those of the table, see [`read_table`], and of the configs that it names; `bad-cell` too for devices
/// that `tp x pp x cp` don't divide and batches that replicas and micro-batches don't.
pub fn read(path: &Path) -> Result<Vec<StepRow>, Diagnostic> {
    let folder = path.parent().unwrap_or(Path::new(""));
    read_table(path, |fields| row(fields, folder))
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
    let folder = path.parent().unwrap_or(Path::new(""));
    let rows = read_table(path, |fields| {
        let found = row(fields, folder)?;
        if found.is_some() {
            one_kind(fields, &mut called)?;
        }
        Ok(found)
    })?;
    Ok(OneKind { rows, called })
}

/// A step of a table that says of each row what it ran on.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnStep {
    /// Its cluster file, a path from the table on.
    pub cluster: PathBuf,
    /// Name of the stack preset.
    pub stack: String,
    /// The step.
    pub row: StepRow,
}

/// Whether the first line of a table names a column.
///
/// # Errors
/// Those of opening the table.
pub fn has_column(path: &Path, column: &str) -> Result<bool, Diagnostic> {
    let mut reader = csv::Reader::from_reader(super::open(path)?.take(super::MAX_BYTES));
    Ok(reader.headers().is_ok_and(|names| names.iter().any(|name| name.trim() == column)))
}

/// The step of a row of a table in `folder`: the columns of [`read`], `cluster` and `stack`.
///
/// # Errors
/// As [`read`].
pub fn own(fields: &Fields, folder: &Path) -> Result<Option<OwnStep>, Diagnostic> {
    let (cluster, stack) = (folder.join(fields.name("cluster")?), fields.name("stack")?);
    Ok(row(fields, folder)?.map(|row| OwnStep { cluster, stack, row }))
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

fn row(fields: &Fields, folder: &Path) -> Result<Option<StepRow>, Diagnostic> {
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
    let context = small_or_one(fields, "cp")?;
    let shards = u64::from(tensor) * u64::from(pipeline) * u64::from(context);
    let data = match u32::try_from(gpus / shards) {
        Ok(data) if gpus.is_multiple_of(shards) => data,
        _ => return Err(fields.bad("gpus", "a multiple of tp x pp x cp")),
    };
    let round = u64::from(data).checked_mul(micro_batch);
    if !round.is_some_and(|round| global_batch.is_multiple_of(round)) {
        return Err(fields.bad("global_batch", "a multiple of replicas x micro_batch"));
    }
    let sequence = fields.count("seq")?;
    let card = card(fields, folder, sequence)?;
    let (layers, hidden, heads, vocabulary) = size(fields, card.as_ref())?;
    Ok(Some(StepRow {
        line: fields.line(),
        stated_parameters: stated(&model),
        model,
        dtype: dtype(fields)?,
        layers,
        hidden,
        heads,
        sequence,
        vocabulary,
        card,
        gpus,
        tensor,
        pipeline,
        virtual_stages: if fields.has("virtual_pp") { small(fields, "virtual_pp")? } else { 1 },
        context,
        expert: small_or_one(fields, "ep")?,
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

/// The same, and 1 where the cell is blank or there is no such column.
fn small_or_one(fields: &Fields, column: &str) -> Result<u32, Diagnostic> {
    if fields.has(column) { small_or_blank(fields, column).map(|n| n.unwrap_or(1)) } else { Ok(1) }
}

/// Blocks, width, heads and rows of the embedding.
type Size = (Option<u32>, u64, Option<u64>, Option<u64>);

/// Those of a config, else of the columns.
fn size(fields: &Fields, model: Option<&ModelCard>) -> Result<Size, Diagnostic> {
    if let Some((model, first)) = model.and_then(|model| Some((model, model.groups.first()?))) {
        let TransformerCard { hidden, n_heads, vocabulary, .. } = first.card;
        return Ok((Some(model.n_blocks()), hidden, Some(n_heads), Some(vocabulary)));
    }
    let vocabulary = if fields.has("vocab") { fields.count_or_blank("vocab")? } else { None };
    let (layers, hidden) = (small_or_blank(fields, "layers")?, fields.count("hidden")?);
    Ok((layers, hidden, fields.count_or_blank("heads")?, vocabulary))
}

/// The model of the config that a row names.
fn card(fields: &Fields, folder: &Path, sequence: u64) -> Result<Option<ModelCard>, Diagnostic> {
    if !fields.has("config") || fields.text("config")?.is_empty() {
        return Ok(None);
    }
    let path = folder.join(fields.text("config")?);
    let (card, _) =
        config::card::card(&path, Some(sequence)).map_err(|error| fields.at(error, "config"))?;
    let is_of_blocks = !card.groups.is_empty() && !card.is_of_parts();
    if is_of_blocks { Ok(Some(card)) } else { Err(fields.bad("config", "a model of blocks")) }
}

/// What it computes in: the first word; blank = bf16.
fn dtype(fields: &Fields) -> Result<DType, Diagnostic> {
    if !fields.has("dtype") || fields.text("dtype")?.is_empty() {
        return Ok(DType::Bf16);
    }
    let is_of_word = |c: char| c.is_ascii_alphanumeric();
    let name = fields.text("dtype")?.split(|c| !is_of_word(c)).next().unwrap_or_default();
    let known = DTYPES.into_iter().find(|known| known.name() == name);
    let names = DTYPES.map(|known| format!("`{}`", known.name())).join(", ");
    known.ok_or_else(|| fields.bad("dtype", &format!("one of {names}")))
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
        "per-op" => Ok(Recompute::PerOp),
        "none" => Ok(Recompute::None),
        text => {
            let policy = text.split_once(' ').and_then(|(name, blocks)| {
                let blocks = blocks.parse().ok().filter(|blocks| *blocks > 0)?;
                match name {
                    "block" => Some(Recompute::Block { blocks }),
                    "uniform" => Some(Recompute::Uniform { blocks }),
                    _ => None,
                }
            });
            let wanted =
                "`full`, `selective`, `attn_only`, `per-op`, `block N`, `uniform N` or `none`";
            policy.ok_or_else(|| fields.bad("recompute", wanted))
        }
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
        let text = format!("{header}\n{line}\n");
        parse_table(text.as_bytes(), "steps.csv", |fields| row(fields, Path::new("")))
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
    fn a_row_of_experts_in_eight_bits_by_its_config() {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"model_type": "mixtral", "num_hidden_layers": 4, "hidden_size": 1024,
            "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 2048,
            "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000,
            "max_position_embeddings": 4096}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let header = "model,config,dtype,gpus,tp,pp,cp,ep,micro_batch,global_batch,seq,recompute,\
                      zero_stage,iter_s";
        let read = |line: &str| {
            let text = format!("{header}\n{line}\n");
            let of = |fields: &Fields| row(fields, folder.path());
            parse_table(text.as_bytes(), "steps.csv", of)
        };
        let line = "m,config.json,fp8,16,1,2,2,4,1,8,512,block 2,3,1.5";
        let rows = read(line).unwrap();
        let row = &rows[0];
        assert_eq!((row.dtype, row.context, row.expert, row.data), (DType::F8, 2, 4, 4));
        assert_eq!((row.layers, row.hidden, row.vocabulary), (Some(4), 1024, Some(32_000)));
        assert_eq!(row.recompute, Recompute::Block { blocks: 2 });
        assert_eq!(row.zero, ZeroStage::Parameters);
        let experts = row.card.as_ref().unwrap().groups[0].card.experts.unwrap();
        assert_eq!((experts.n_experts, experts.per_token), (8, 2));
        let half = read(&line.replace("fp8", "fp16/bf16")).unwrap();
        assert_eq!(half[0].dtype, DType::F16);
        for (from, to) in [("fp8", "fp7"), ("block 2", "block 0"), (",2,4,1,8", ",3,4,1,8")] {
            assert_eq!(read(&line.replace(from, to)).unwrap_err().code, "bad-cell", "{to}");
        }
        assert!(read(&line.replace("config.json", "none.json")).is_err());
    }

    #[test]
    fn a_calibration_takes_one_kind_of_device() {
        let read = |lines: &str| {
            let mut called = None;
            let text = format!("gpu,{PLAIN}\n{lines}");
            let rows = parse_table(text.as_bytes(), "steps.csv", |fields| {
                one_kind(fields, &mut called).and_then(|()| row(fields, Path::new("")))
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
