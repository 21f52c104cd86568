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
        let told = match std::fs::read_to_string(&path) {
            Err(error) => json!({ "refused": error.to_string() }),
            Ok(text) => match launcher::read(launcher, &text) {
                Ok(settings) => said(&settings),
                Err(error) => json!({ "refused": error.code, "message": error.message }),
            },
        };
        println!("{}", json!({ "file": path, "settings": told }));
    }
    ExitCode::SUCCESS
}

fn said(own: &LaunchSettings) -> Value {
    json!({
        "data": own.data,
        "tensor": own.tensor,
        "pipeline": own.pipeline,
        "context": own.context,
        "expert": own.expert,
        "virtual_stages": own.virtual_stages,
        "micro_batch": own.micro_batch,
        "n_micro_batches": own.n_micro_batches,
        "global_batch": own.global_batch,
        "sequence_length": own.sequence_length,
        "sequence_parallel": own.sequence.map(|own| own == ir::card::SequenceParallel::On),
        "zero": own.zero.map(|own| own as u32),
        "pipeline_inside": own.mesh.map(|own| own == ir::plan::Mesh::TpCpPpDp),
        "recompute": own.recompute.map(RecomputeDocument::from),
        "blocks": own.blocks,
        "n_predicting": own.n_predicting,
        "dtype": own.dtype.map(|own| own.to_string()),
        "optimizer": own.optimizer.map(|own| format!("{own:?}").to_lowercase()),
        "offloads": own.offloads,
        "schedule": own.schedule,
        "sizes": own.sizes,
        "with_experts": own.with_experts,
        "not_judged": own.not_judged.values().flatten().collect::<Vec<_>>(),
    })
}
