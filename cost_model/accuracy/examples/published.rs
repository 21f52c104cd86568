//! Prints what `constants::published` and `interval` hold: constants fitted on all rows of each
//! GPU of the public tables, and tenths of measured over predicted time by form and origin.
//!
//! `cargo run --release -p accuracy --example published -- FOLDER`, where FOLDER holds the tables
//! (`docs/data.md`).
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use accuracy::judged::{SEEDS, half};
use cost_model::links::collective::curve::{Curve, Form};
use cost_model::links::collective::table::tables;
use cost_model::links::collective::{Link, ring};
use cost_model::{kernels::attention, kernels::donor, kernels::matrix_product, kernels::moe};
use importers::cluster::catalogue;
use importers::measurements::{self, devices};
use ir::measured::{AttentionPhase, AttentionRow, GemmRow, GpuFacts, MoeRow};
use ir::units::Bytes;

type Rows<R> = BTreeMap<String, (GpuFacts, Vec<R>)>;
type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let folder: PathBuf = std::env::args().nth(1).ok_or("which folder?")?.into();
    products(&folder)?;
    for phase in [AttentionPhase::Prefill, AttentionPhase::Decode] {
        calls(&folder, phase)?;
    }
    layers(&folder)?;
    links(&folder)
}

fn by_gpu<R>(rows: Vec<R>, gpu: impl Fn(&R) -> String) -> Result<Rows<R>, Failure> {
    let mut all: Rows<R> = BTreeMap::new();
    for row in rows {
        let name = gpu(&row);
        if !all.contains_key(&name) {
            let facts = devices::facts(&name).map_err(|e| e.message)?;
            all.insert(name.clone(), (facts.ok_or("a GPU without a data sheet")?, Vec::new()));
        }
        all.entry(name).and_modify(|(_, rows)| rows.push(row));
    }
    Ok(all)
}

fn figures(name: &str, facts: &GpuFacts, values: &[f64]) {
    let values: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
    println!("{name} {facts:?}\n  [{}]", values.join(", "));
}

/// Ratios of measured over predicted times, as tenths and the mean error of the prediction.
fn ratios(what: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    let n = ratios.len();
    let at = |share: f64| ratios.get(((n as f64 - 1.0) * share).round() as usize).copied();
    let errors: f64 = ratios.iter().map(|ratio| (1.0 / ratio - 1.0).abs()).sum();
    let (low, middle, high) = (at(0.1), at(0.5), at(0.9));
    if let (Some(low), Some(middle), Some(high)) = (low, middle, high) {
        let mean = 100.0 * errors / n as f64;
        println!(
            "  {what}: {n} rows, 10 % {low:.3}, 50 % {middle:.3}, 90 % {high:.3}, mean error {mean:.1} %"
        );
    }
}

/// Whether a kind has a sibling among the others.
fn has_sibling<R>(name: &str, facts: &GpuFacts, all: &Rows<R>) -> bool {
    all.iter().any(|(other, (theirs, _))| other != name && donor::distance(facts, theirs).is_some())
}

fn products(folder: &Path) -> Result<(), Failure> {
    println!("== products");
    let rows = measurements::gemm::read(&folder.join("gemm.csv")).map_err(|e| e.message)?;
    let all = by_gpu(rows, |row: &GemmRow| row.gpu.clone())?;
    let mut models = BTreeMap::new();
    for (name, (facts, rows)) in &all {
        let model = matrix_product::Model::fit(*facts, rows);
        figures(name, facts, &model.constants.figures());
        models.insert(name, model);
    }
    let (mut halves, mut halves_memory) = (Vec::new(), Vec::new());
    let mut transferred: BTreeMap<bool, Vec<f64>> = BTreeMap::new();
    let mut transferred_memory: BTreeMap<bool, Vec<f64>> = BTreeMap::new();
    for (name, (facts, rows)) in &all {
        let mut record = |model: &matrix_product::Model, row: &GemmRow, unseen: Option<bool>| {
            let ratio = row.time_s / model.closed().predict(row.into()).seconds;
            let [m, n, k] = [row.m, row.n, row.k];
            let bytes = 2.0 * (m * k + k * n + m * n) as f64;
            let product = [ir::op::Product { count: 1, m, k, n }];
            let parts =
                model.constants.parts(facts, &product, bytes, matrix_product::Units::Tensor);
            let is_memory = parts.memory_s > 2.0 * parts.compute_s;
            let (all, memory) = match unseen {
                None => (&mut halves, &mut halves_memory),
                Some(sibling) => (
                    transferred.entry(sibling).or_default(),
                    transferred_memory.entry(sibling).or_default(),
                ),
            };
            all.push(ratio);
            if is_memory {
                memory.push(ratio);
            }
        };
        let sites: std::collections::BTreeSet<(u64, u64)> =
            rows.iter().map(|row| (row.n, row.k)).collect();
        for seed in SEEDS {
            let chosen: std::collections::BTreeSet<_> = sites
                .iter()
                .zip(half(sites.len(), seed))
                .filter_map(|(site, fitted)| fitted.then_some(*site))
                .collect();
            let (fitted, judged): (Vec<_>, Vec<_>) =
                rows.iter().cloned().partition(|row| chosen.contains(&(row.n, row.k)));
            let model = matrix_product::Model::fit(*facts, &fitted);
            judged.iter().for_each(|row| record(&model, row, None));
        }
        let sources: Vec<_> =
            models.iter().filter(|(other, _)| **other != name).map(|(_, model)| model).collect();
        if let Some(model) = matrix_product::Model::unseen(*facts, &sources) {
            let sibling = has_sibling(name, facts, &all);
            rows.iter().for_each(|row| record(&model, row, Some(sibling)));
        }
    }
    ratios("half and half", halves);
    ratios("half and half, memory binds", halves_memory);
    print_transferred("", transferred);
    print_transferred(", memory binds", transferred_memory);
    Ok(())
}

fn print_transferred(which: &str, transferred: BTreeMap<bool, Vec<f64>>) {
    for (sibling, values) in transferred {
        ratios(&format!("left out, sibling {sibling}{which}"), values);
    }
}

fn calls(folder: &Path, phase: AttentionPhase) -> Result<(), Failure> {
    println!("== attention {phase:?}");
    let rows = measurements::attention::read(&folder.join("attention.csv"));
    let rows = rows.map_err(|e| e.message)?.into_iter().filter(|row| row.phase == phase);
    let all = by_gpu(rows.collect(), |row: &AttentionRow| row.gpu.clone())?;
    let mut fitted = BTreeMap::new();
    let mut halves = Vec::new();
    for (name, (facts, rows)) in &all {
        let model = attention::Model::fit(*facts, phase, rows);
        figures(name, facts, &model.constants);
        fitted.insert(name, (*facts, model.constants));
        for seed in SEEDS {
            let (chosen, judged) = parts(rows, seed);
            let model = attention::Model::fit(*facts, phase, &chosen).closed();
            halves.extend(judged.iter().map(|row| row.time_s / model.predict(&row.into()).seconds));
        }
    }
    ratios("half and half", halves);
    let mut left_out = Vec::new();
    for (name, (facts, rows)) in &all {
        let sources: Vec<_> =
            fitted.iter().filter(|(other, _)| **other != name).map(|(_, source)| *source).collect();
        if let Some((constants, _)) = donor::transfer(facts, &sources, &[0]) {
            let model = attention::Model::of(*facts, phase, constants);
            let unseen: Vec<f64> =
                rows.iter().map(|row| row.time_s / model.predict(&row.into()).seconds).collect();
            ratios(&format!("left out {name}"), unseen.clone());
            left_out.extend(unseen);
        }
    }
    ratios("left out", left_out);
    Ok(())
}

fn layers(folder: &Path) -> Result<(), Failure> {
    println!("== experts");
    let rows = measurements::moe::read(&folder.join("moe.csv")).map_err(|e| e.message)?;
    let all = by_gpu(rows, |row: &MoeRow| row.gpu.clone())?;
    let mut fitted = BTreeMap::new();
    let mut halves = Vec::new();
    let pairs = |rows: &[MoeRow]| -> Vec<_> {
        rows.iter().map(|row| (moe::Layer::from(row), row.time_s)).collect()
    };
    for (name, (facts, rows)) in &all {
        let model = moe::Model::fit(*facts, &pairs(rows));
        figures(name, facts, &model.constants);
        fitted.insert(name, (*facts, model.constants));
        for seed in SEEDS {
            let (chosen, judged) = parts(rows, seed);
            let model = moe::Model::fit(*facts, &pairs(&chosen)).closed();
            halves.extend(pairs(&judged).iter().map(|(l, time)| time / model.predict(l).seconds));
        }
    }
    ratios("half and half", halves);
    let mut left_out = Vec::new();
    for (name, (facts, rows)) in &all {
        let sources: Vec<_> =
            fitted.iter().filter(|(other, _)| **other != name).map(|(_, source)| *source).collect();
        if let Some((constants, _)) = donor::transfer(facts, &sources, &[]) {
            let model = moe::Model::of(*facts, constants);
            left_out.extend(pairs(rows).iter().map(|(l, time)| time / model.predict(l).seconds));
        }
    }
    ratios("left out", left_out);
    Ok(())
}

/// Two GPUs of one host: as a link of their own, and by the catalogue's figures of their link type.
fn links(folder: &Path) -> Result<(), Failure> {
    println!("== links");
    let rows = measurements::collectives::read(&folder.join("collectives.csv"));
    let rows = rows.map_err(|e| e.message)?;
    let catalogue = catalogue().map_err(|e| e.message)?;
    let kinds = [
        ("a100_sxm", "nvlink3"),
        ("h100_sxm", "nvlink4"),
        ("b200_sxm", "nvlink5"),
        ("gb200", "nvlink5"),
    ];
    let (mut measured, mut nominal) = (Vec::new(), Vec::new());
    for (key, table) in tables(&rows) {
        let is_pair = key.ranks == 2 && key.ranks_per_node == 2;
        if !is_pair || !key.library.starts_with("nccl/") {
            continue;
        }
        let row = kinds.iter().find(|(system, _)| *system == key.system);
        let row = row.and_then(|(_, link)| catalogue.link(link));
        let curve = Curve::fit(&table, Form::Line);
        for (bytes, time) in table.points() {
            let bytes = Bytes(*bytes as u64);
            if let Some(curve) = &curve {
                measured.push(time / curve.time(bytes));
            }
            if let Some(row) = row {
                let link = Link { start_up_s: row.latency_ns * 1e-9, rate: row.rate() };
                nominal.push(time / ring(key.operation, 2, bytes, link));
            }
        }
    }
    ratios("a line of its own", measured);
    ratios("the catalogue's line", nominal);
    Ok(())
}

/// A random half of the rows, and the other.
fn parts<R: Clone>(rows: &[R], seed: u64) -> (Vec<R>, Vec<R>) {
    let fitted = half(rows.len(), seed);
    let pick = |wanted: bool| {
        let chosen = rows.iter().zip(&fitted).filter(move |(_, fitted)| **fitted == wanted);
        chosen.map(|(row, _)| row.clone()).collect()
    };
    (pick(true), pick(false))
}
