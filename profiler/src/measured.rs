//! Checks on this very machine, which take minutes and want it idle: run with `--release` and
//! `MESHWRIGHT_PROFILE=host`, or `MESHWRIGHT_PROFILE_TORCH=PYTHON`; `MESHWRIGHT_PROFILE_BUSY=1`
//! measures a busy machine, too, and then prints figures without judging them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking and print")]

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ir::diagnostic::Diagnostic;
use ir::profile::Profile;

use crate::measurement::Measurement;
use crate::options::{Busy, Clock, Engine, Options, Part};
use crate::{check, measure, to_profile};

/// Median error that a profile may have on products that it has not seen.
const LIMIT: f64 = 0.2;
/// Seconds that a whole run may take.
const TIME: f64 = 100.0;

fn busy() -> Busy {
    match env::var_os("MESHWRIGHT_PROFILE_BUSY") {
        Some(_) => Busy::Allowed,
        None => Busy::Refused,
    }
}

/// A profile, its measurement, and 30 products apart from it; or why there is none.
fn profiled(engine: Engine) -> Result<(Profile, Measurement, Measurement), Diagnostic> {
    let options = Options { busy: busy(), ..Options::new(engine) };
    let measurement = measure(&options)?;
    // The first run has raised the load itself, so the second is not refused for it.
    let other = Options { part: Part::Products, seed: 1, n_products: 30, ..options };
    let other = measure(&Options { busy: Busy::Allowed, time: Duration::from_secs(60), ..other })?;
    Ok((to_profile(&measurement)?, measurement, other))
}

/// Prints and judges; `None` where the machine is too busy to be measured.
fn judged(engine: Engine) -> Option<Profile> {
    let (profile, measurement, other) = match profiled(engine) {
        Ok(found) => found,
        Err(error) if ["machine-busy", "measurement-noisy"].contains(&error.code) => {
            println!("skipped: {error}: {:?}", error.facts);
            return None;
        }
        Err(error) => panic!("{}: {error}", error.code),
    };
    for (part, quality) in &profile.quality {
        println!("{part}: {quality:?}");
    }
    println!("{:?}\n{:?}\n{:?}", profile.kinds, profile.links, profile.rates);
    let check = check(&profile, &other);
    println!("{} in {:.1} s, notes {:?}", measurement.source, measurement.elapsed_s, profile.notes);
    println!(
        "30 other products: median error {:.1} %, worst {:.1} % ({:?})",
        100.0 * check.median_error,
        100.0 * check.worst_error,
        check.worst
    );
    assert_eq!(check.n, 30);
    assert!(measurement.elapsed_s < TIME || busy() == Busy::Allowed);
    if measurement.machine.idle && other.dispersion() < 0.1 {
        assert!(check.median_error <= LIMIT, "{check:?}");
    }
    Some(profile)
}

#[test]
fn the_host_is_predicted() {
    match env::var("MESHWRIGHT_PROFILE") {
        Ok(engine) if engine == "host" => drop(judged(Engine::Host)),
        _ => println!("skipped: MESHWRIGHT_PROFILE is not `host`"),
    }
}

#[test]
fn torch_is_predicted() {
    let Some(python) = env::var_os("MESHWRIGHT_PROFILE_TORCH").map(PathBuf::from) else {
        println!("skipped: MESHWRIGHT_PROFILE_TORCH names no Python with torch");
        return;
    };
    let clock = match busy() {
        Busy::Allowed => Clock::Processor,
        Busy::Refused => Clock::Wall,
    };
    let engine = Engine::Torch { python: python.clone(), script: None, clock };
    let Some(profile) = judged(engine) else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let document = documents::profile::ProfileDocument::from_ir(&profile);
    std::fs::write(file.path(), documents::json::pretty(&document).unwrap()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/check_torch_profile.py");
    let mut command = Command::new(python);
    command.arg(script).arg(file.path());
    if clock == Clock::Processor {
        command.arg("--cpu-time");
    }
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let passes = output.status.success();
    assert!(passes || busy() == Busy::Allowed, "{}", String::from_utf8_lossy(&output.stderr));
}
