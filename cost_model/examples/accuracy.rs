//! Prints the accuracy of the kernel forms on a folder of tables.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its reader")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use cost_model::accuracy;
use cost_model::numeric::score::Line;
use ir::diagnostic::Diagnostic;
use ir::measured::GpuFacts;

fn main() -> Result<(), String> {
    let folder = std::env::args().nth(1).ok_or("usage: accuracy FOLDER")?;
    run(Path::new(&folder)).map_err(|error| format!("{error:?}"))
}

fn run(folder: &Path) -> Result<(), Diagnostic> {
    let tables = folder.join("measurements");
    let gemm = importers::measurements::gemm::read(&tables.join("gemm.csv"))?;
    let gpus = gemm.iter().map(|row| row.gpu.as_str());
    let facts = facts(gpus)?;
    timed(|| accuracy::gemm::lines(&gemm, &facts));
    let attention = importers::measurements::attention::read(&tables.join("attention.csv"))?;
    timed(|| accuracy::attention::lines(&attention, &facts));
    let moe = importers::measurements::moe::read(&tables.join("moe.csv"))?;
    timed(|| accuracy::moe::lines(&moe, &facts));
    Ok(())
}

fn facts<'a>(
    gpus: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, GpuFacts>, Diagnostic> {
    let mut all = BTreeMap::new();
    for gpu in gpus {
        if all.contains_key(gpu) {
            continue;
        }
        if let Some(facts) = importers::measurements::devices::facts(gpu)? {
            all.insert(gpu.to_owned(), facts);
        }
    }
    Ok(all)
}

fn timed(part: impl FnOnce() -> Vec<Line>) {
    let start = Instant::now();
    let lines = part();
    let seconds = start.elapsed().as_secs_f64();
    for Line { part, way, score, n_constants, target, .. } in &lines {
        let target = target.map_or_else(String::new, |target| format!("{target:.1}"));
        println!(
            "{part:<50} {way:<18} n {:>6}  mean {:>6.2}  median {:>6.2}  p90 {:>6.2}  worst {:>8.1} \
             ({})  constants {n_constants}  target {target}",
            score.n, score.mape, score.median, score.p90, score.worst, score.worst_row,
        );
    }
    println!("{seconds:.2} s");
}
