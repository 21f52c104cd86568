//! At which rate of a link a boundary between two stages takes as long as a stage.
//!
//! ```text
//! rate(L) = share x peak / (F L)   F operations of a block's forward pass per byte of a boundary
//! ```
//! `F` is 12 h in 16 bits where the feed-forward part is four times as wide as the model and samples
//! are short (arithmetic of the shapes: 24 h^2 operations and 2 h bytes per token).

use std::collections::{BTreeMap, BTreeSet};

use cost_model::kernels::plain_product::peak;
use cost_model::runs::forms::model::counts::model_flops;
use cost_model::runs::forms::precision::element;
use cost_model::runs::judge::costs::PipelineCosts;
use ir::card::ModelCard;
use ir::cluster::DeviceKind;
use ir::diagnostic::Diagnostic;
use ir::tuning::Tuning;
use ir::units::Bytes;
use serde_json::{Value, json};

use super::layered::stage_text;
use super::replay::Planned;
use crate::answer::page::{Column, Page};
use crate::request::value;

/// The shares that the devices of a plan reach themselves.
pub const AS_PLANNED: &str = "as-planned";

/// Blocks of a device that the table has columns for.
const BLOCKS: [(f64, Column); 3] = [
    (0.5, Column::Number("half a block")),
    (1.0, Column::Number("1 block")),
    (2.0, Column::Number("2 blocks")),
];

/// A kind of device, and what it computes of the forward pass.
struct Row<'c> {
    kind: &'c DeviceKind,
    /// Peak rate of dense products in the type of the run, operations per second.
    peak: f64,
    /// Share of it that a forward pass reaches; `None` where the plan does not say.
    share: Option<f64>,
}

/// `explain --break-even`, with a share.
///
/// # Errors
/// Those of pricing; `bad-share`.
pub fn explain(on: &Planned, share: &str, page: &Page) -> Result<Value, Diagnostic> {
    let share = match share {
        AS_PLANNED => None,
        text => {
            Some(value::share(text).ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(
                || {
                    Diagnostic::usage("bad-share", format!("`{text}` is no share of a peak rate"))
                        .hint("name one above 0 and up to 1, such as 0.4 or 40%")
                },
            )?)
        }
    };
    let costs = on.setting.costs(&on.plan, None)?;
    let intensity = flops_per_byte(on);
    let rows = rows(on, &costs, share);
    match intensity {
        Some(intensity) => print_kinds(on, &rows, intensity, page),
        None => page.line("the parts of a graph differ: no one rate holds for a number of them"),
    }
    let equals = equals(&rows, page);
    let boundaries = boundaries(on, &costs, page);
    let document = |row: &Row<'_>| {
        let even = row.share.zip(intensity).map(|(share, intensity)| share * row.peak / intensity);
        json!({ "kind": row.kind.name, "peak_flops": row.peak, "share": row.share,
            "one_block_bytes_per_s": even })
    };
    Ok(json!({
        "dtype": on.setting.numbers.dtype.to_string(),
        "flops_per_byte_of_boundary": intensity,
        "kinds": rows.iter().map(document).collect::<Vec<_>>(),
        "equals": equals,
        "boundaries": boundaries,
    }))
}

/// Operations of the forward pass of all blocks for one sample: a third of a step's that trains all.
fn forward_flops(model: &ModelCard) -> f64 {
    let mut blocks = ModelCard { tuning: Tuning::default(), ..model.clone() };
    blocks.groups.iter_mut().for_each(|group| group.card.vocabulary = 0);
    model_flops(&blocks, 1) / 3.0
}

/// Operations of a block per byte of a boundary, of the mean block; `None` for parts of a graph.
fn flops_per_byte(on: &Planned) -> Option<f64> {
    let model = &on.setting.model;
    let card = &model.groups.first().filter(|_| !model.is_of_parts())?.card;
    let bytes = element(on.setting.numbers.dtype) * card.sequence as f64 * card.hidden as f64;
    let intensity = forward_flops(model) / f64::from(model.n_blocks()) / bytes;
    Some(intensity).filter(|intensity| intensity.is_finite() && *intensity > 0.0)
}

/// The kinds of the cluster, with a stated share, or the least that a stage on each reaches.
fn rows<'o>(on: &'o Planned, costs: &PipelineCosts, stated: Option<f64>) -> Vec<Row<'o>> {
    let cluster = &on.setting.cluster;
    let dtype = on.setting.numbers.dtype;
    let rate = |kind: &DeviceKind| peak(kind, dtype).map_or(f64::NAN, |(_, rate)| rate.get());
    let run = &on.plan.parallelism;
    let mut reached: BTreeMap<&str, f64> = BTreeMap::new();
    let of_block = forward_flops(&on.setting.model) / f64::from(on.setting.model.n_blocks());
    let is_even = !on.setting.model.is_of_parts() && on.setting.model.groups.len() == 1;
    for (stage, cost) in on.plan.partition.stages.iter().zip(&costs.stages) {
        let blocks = f64::from(stage.blocks.end - stage.blocks.start);
        let mut note = |kind: &'o DeviceKind, samples: f64, devices: f64| {
            let flops = blocks * of_block * samples / devices;
            let share = flops / cost.forward.seconds() / rate(kind);
            let least = reached.entry(&kind.name).or_insert(f64::INFINITY);
            *least = least.min(share);
        };
        match &stage.mesh {
            Some(mesh) => {
                for (replica, samples) in
                    mesh.devices.chunks(mesh.tensor as usize).zip(&mesh.samples)
                {
                    let first = replica.first().copied().unwrap_or(ir::id::DeviceId(0));
                    note(cluster.kind_of(first), *samples as f64, replica.len() as f64);
                }
            }
            None => {
                let devices = f64::from(run.tensor) * f64::from(run.context);
                note(&on.setting.system.device, run.micro_batch as f64, devices);
            }
        }
    }
    let mut seen = BTreeSet::new();
    let kinds = cluster.device_ids().map(|device| cluster.kind_of(device));
    let row = |kind: &'o DeviceKind| {
        let of_plan = reached.get(kind.name.as_str()).copied().filter(|_| is_even);
        let of_plan = of_plan.filter(|share| share.is_finite());
        Row { kind, peak: rate(kind), share: stated.or(of_plan) }
    };
    kinds.filter(|kind| seen.insert(&kind.name)).map(row).collect()
}

/// A rate of a link, in bits per second.
fn bits(bytes_per_s: f64) -> String {
    let (value, unit) = match bytes_per_s * 8.0 {
        rate if rate < 1e9 * 0.0995 => (rate / 1e6, "Mb/s"),
        rate if rate < 1e12 * 0.9995 => (rate / 1e9, "Gb/s"),
        rate => (rate / 1e12, "Tb/s"),
    };
    format!("{} {unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    let digits = 2.0 - value.abs().max(1e-9).log10().floor();
    format!("{value:.*}", digits.clamp(0.0, 9.0) as usize)
}

fn print_kinds(on: &Planned, rows: &[Row<'_>], intensity: f64, page: &Page) {
    page.line(&format!(
        "forward, {}: a boundary behind L blocks of one device takes as long as they do at \
         share x peak / ({} FLOP/B x L), by peaks of data sheets (nominal)",
        on.setting.numbers.dtype,
        intensity.round()
    ));
    let head = [Column::Text("kind"), Column::Number("peak"), Column::Number("share")];
    let columns: Vec<Column> = head.into_iter().chain(BLOCKS.map(|(_, column)| column)).collect();
    let row = |row: &Row<'_>| {
        let cell = |(blocks, _): &(f64, Column)| {
            let even = row.share.map(|share| share * row.peak / (intensity * blocks));
            even.map_or_else(|| "-".to_owned(), bits)
        };
        let share = row.share.map(|share| format!("{} %", three_digits(100.0 * share)));
        let share = share.unwrap_or_else(|| "not used".to_owned());
        let peak = format!("{} TFLOP/s", three_digits(row.peak / 1e12));
        let head = vec![row.kind.name.clone(), peak, share];
        head.into_iter().chain(BLOCKS.iter().map(cell)).collect()
    };
    page.table(&columns, rows.iter().map(row).collect());
}

/// How many devices of one kind equal one of another, the faster one first.
fn equals(rows: &[Row<'_>], page: &Page) -> Vec<Value> {
    let speed = |row: &Row<'_>| row.share.map(|share| share * row.peak);
    let mut documents = Vec::new();
    for (at, one) in rows.iter().enumerate() {
        for other in &rows[at + 1..] {
            let Some((a, b)) = speed(one).zip(speed(other)) else { continue };
            let (fast, slow, n) = if a >= b { (one, other, a / b) } else { (other, one, b / a) };
            let memory = fast.kind.memory.zip(slow.kind.memory);
            let memory = memory.map(|(fast, slow)| fast.as_f64() / slow.as_f64());
            let memory_text = memory
                .map_or_else(String::new, |n| format!("; {} have as much memory", three_digits(n)));
            page.line(&format!(
                "{} {} compute as much as one {}{memory_text}",
                three_digits(n),
                slow.kind.name,
                fast.kind.name
            ));
            documents.push(json!({ "kind": slow.kind.name, "of": fast.kind.name, "by_speed": n,
                "by_memory": memory }));
        }
    }
    documents
}

/// By boundary that crosses ranks, the rate at which it takes as long as the stage before it.
fn boundaries(on: &Planned, costs: &PipelineCosts, page: &Page) -> Vec<Value> {
    let mut lines = Vec::new();
    let mut documents = Vec::new();
    let pairs = costs.stages.iter().zip(costs.stages.iter().skip(1)).enumerate();
    for (at, (stage, _)) in pairs.filter(|(_, (stage, next))| stage.rank != next.rank) {
        let (bytes, link) = (stage.next.activation, &stage.next.link);
        let left = stage.forward.as_f64() - link.latency_ns;
        let even = (left > 0.0).then(|| bytes.as_f64() / (left * 1e-9));
        let has = link.bandwidth.map(ir::units::BytesPerSecond::get);
        let ratio = link.time(bytes, 1).as_f64() / stage.forward.as_f64().max(1.0);
        lines.push(vec![
            format!("{at} to {}", at + 1),
            on.plan.partition.stages.get(at).map_or_else(String::new, stage_text),
            stage.forward.to_string(),
            Bytes(bytes.0).to_string(),
            even.map_or_else(|| "no rate".to_owned(), bits),
            has.map_or_else(|| "any".to_owned(), bits),
            three_digits(ratio),
        ]);
        documents.push(json!({ "from": at, "to": at + 1, "forward_ns": stage.forward.0,
            "bytes": bytes.0, "even_bytes_per_s": even, "way_bytes_per_s": has,
            "boundary_over_stage": ratio }));
    }
    if lines.is_empty() {
        page.line("nothing crosses from a stage to another");
        return documents;
    }
    let columns = Column::row(
        "stages | blocks | #forward | #boundary | #even at | #the way has | \
         #boundary / stage",
    );
    page.table(&columns, lines);
    documents
}
