//! What the reader of a launcher's settings sees, one JSON document per file, for those who hold it
//! against the launcher's own parser: `launch_settings megatron FILE...`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it was asked for")]

use std::process::ExitCode;

use documents::plan::training::RecomputeDocument;
use importers::launcher::{self, Launcher};
use ir::launch::LaunchSettings;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(launcher) = words.next().and_then(|name| Launcher::of(&name)) else {
        eprintln!("the first word names a launcher");
        return ExitCode::from(2);
    };
    for path in words {
        let settings = match std::fs::read_to_string(&path) {
            Err(error) => json!({ "refused": error.to_string() }),
            Ok(text) => match launcher::read(launcher, &text) {
                Ok(settings) => said(&settings),
                Err(error) => json!({ "refused": error.code, "message": error.message }),
            },
        };
        println!("{}", json!({ "file": path, "settings": settings }));
    }
    ExitCode::SUCCESS
}

fn said(settings: &LaunchSettings) -> Value {
    json!({
        "data": settings.data,
        "tensor": settings.tensor,
        "pipeline": settings.pipeline,
        "context": settings.context,
        "expert": settings.expert,
        "virtual_stages": settings.virtual_stages,
        "micro_batch": settings.micro_batch,
        "n_micro_batches": settings.n_micro_batches,
        "global_batch": settings.global_batch,
        "sequence_length": settings.sequence_length,
        "sequence_parallel": settings.sequence.map(|mode| mode == ir::card::SequenceParallel::On),
        "zero": settings.zero.map(|stage| stage as u32),
        "pipeline_inside": settings.mesh.map(|mesh| mesh == ir::plan::Mesh::TpCpPpDp),
        "recompute": settings.recompute.map(RecomputeDocument::from),
        "blocks": settings.blocks,
        "n_predicting": settings.n_predicting,
        "dtype": settings.dtype.map(|dtype| dtype.to_string()),
        "optimizer": settings.optimizer.map(|optimizer| format!("{optimizer:?}").to_lowercase()),
        "offloads": settings.offloads,
        "schedule": settings.schedule,
        "sizes": settings.sizes,
        "with_experts": settings.with_experts,
        "not_judged": settings.not_judged.values().flatten().collect::<Vec<_>>(),
    })
}
