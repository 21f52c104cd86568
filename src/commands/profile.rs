//! `profile`: measures this machine and writes a profile.

use documents::profile::ProfileDocument;
use ir::profile::{KernelConstants, Profile, Quality};
use profiler::options::{Busy, Clock, Engine, Options};
use serde_json::json;

use crate::artifact::{self, Existing};
use crate::commands::{CommandResult, Exit};
use crate::measure_flags::{BackendName, ProfileArgs};
use crate::printer::Printer;
use crate::table::Column;

pub(crate) fn run(args: &ProfileArgs, printer: &Printer) -> CommandResult {
    let existing = Existing::of(args.force);
    artifact::check(&[args.output.as_path()], &[], existing)?;
    let engine = match args.backend {
        BackendName::Host => Engine::Host,
        BackendName::Torch => {
            Engine::Torch { python: args.python.clone(), script: None, clock: Clock::Wall }
        }
        BackendName::Cuda => Engine::Cuda { device: 0 },
    };
    let busy = if args.busy { Busy::Allowed } else { Busy::Refused };
    let options = Options { kind: args.kind.clone(), busy, ..Options::new(engine) };
    let measurement = profiler::measure(&options)?;
    let profile = profiler::to_profile(&measurement)?;
    let text = documents::json::pretty(&ProfileDocument::from_ir(&profile))?;
    artifact::write_all(&[(args.output.clone(), text.into_bytes())], existing)?;

    constants(&profile, printer);
    printer.line("");
    quality(&profile, printer);
    let seconds = measurement.elapsed_s;
    let path = args.output.display().to_string();
    printer.line(&format!("measured in {seconds:.1} s, wrote {path}"));
    printer.document(&json!({
        "profile": ProfileDocument::from_ir(&profile),
        "run": { "elapsed_s": seconds, "written": [path] },
    }));
    Ok(Exit::DONE)
}

fn constants(profile: &Profile, printer: &Printer) {
    let columns = [
        Column::Name("kind"),
        Column::Number("launch"),
        Column::Number("compute"),
        Column::Number("memory"),
        Column::Number("p"),
    ];
    let row = |(kind, constants): (&String, &KernelConstants)| {
        vec![
            kind.clone(),
            format!("{:.2} us", constants.launch.get() * 1e6),
            format!("{:.0} %", constants.compute_efficiency * 100.0),
            format!("{:.0} %", constants.memory_efficiency * 100.0),
            format!("{:.2}", constants.p_norm),
        ]
    };
    printer.table(&columns, profile.kinds.iter().map(row).collect());
}

/// How well each fit describes what was measured.
fn quality(profile: &Profile, printer: &Printer) {
    let columns = [
        Column::Name("fit"),
        Column::Number("samples"),
        Column::Number("r^2"),
        Column::Number("median error"),
        Column::Text("not identified by the samples"),
    ];
    let row = |(name, quality): (&String, &Quality)| {
        vec![
            name.clone(),
            quality.n_samples.to_string(),
            format!("{:.3}", quality.r_squared),
            format!("{:.1} %", quality.median_error * 100.0),
            quality.unidentified.join(", "),
        ]
    };
    printer.table(&columns, profile.quality.iter().map(row).collect());
}
