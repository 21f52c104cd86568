//! Server settings for offloaded experts: an expert cache on the device, the other experts in host memory.
//!
//! llama.cpp (b10488, `common/arg.cpp`): `--n-cpu-moe N` keeps the experts of the first N layers of the
//! model on the processor, whether they have any or not; `-ot PATTERN=CPU` those whose tensors a regular
//! expression finds, by the names that `--n-cpu-moe` expands to (`LLM_FFN_EXPS_REGEX`, `common/common.h`).
//! All experts of a layer are one tensor, and what lies on the processor is computed there.

use ir::diagnostic::Diagnostic;
use ir::workload::Mode;

use super::{HEAD, LLAMA_CPP};
use crate::format::Export;
use crate::modules::refusal;

/// Names of the tensors of a layer's experts.
const TENSORS: &str = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps";

/// Layers of experts in slots.
#[derive(Clone, Debug, Default)]
pub struct SlotsSource {
    /// Devices.
    pub n_devices: usize,
    /// What is run.
    pub mode: Mode,
    /// Experts of a layer.
    pub n_experts: usize,
    /// By layer of experts, in the order of the model, its slots.
    pub layers: Vec<(u32, usize)>,
}

pub(crate) fn llama_cpp(source: &SlotsSource) -> Result<Export, Diagnostic> {
    if source.n_devices > 1 {
        let message = format!("{LLAMA_CPP} gives devices layers, not experts of a layer");
        return Err(refusal(LLAMA_CPP, message).hint("plan for one device"));
    }
    let is_whole = |slots: usize| slots >= source.n_experts;
    let away: Vec<u32> = source
        .layers
        .iter()
        .filter(|(_, slots)| !is_whole(*slots))
        .map(|(layer, _)| *layer)
        .collect();
    let text = format!(
        "{HEAD}# Words behind this script go to the server, such as -m model.gguf.\n\
         exec llama-server \"$@\" -ngl all{}\n",
        flags(source, &away)
    );
    let warnings = if away.is_empty() { Vec::new() } else { vec![warning(source, &away)] };
    Ok(Export { warnings, ..Export::from(text) })
}

/// What keeps the experts of layers on the processor.
fn flags(source: &SlotsSource, away: &[u32]) -> String {
    let Some(last) = away.last() else { return String::new() };
    let first = source.layers.iter().take_while(|(layer, _)| layer <= last).count();
    if first == away.len() {
        return format!(" --n-cpu-moe {}", last + 1);
    }
    let numbers: Vec<String> = away.iter().map(u32::to_string).collect();
    format!(r" -ot 'blk\.({}){TENSORS}=CPU'", numbers.join("|"))
}

fn warning(source: &SlotsSource, away: &[u32]) -> Diagnostic {
    let of = |layer: &u32| {
        source.layers.iter().find(|(number, _)| number == layer).map_or(0, |row| row.1)
    };
    let unused: usize = away.iter().map(of).sum();
    let message = format!(
        "{LLAMA_CPP} holds all experts of a layer or none, and computes on the processor where it holds \
         none: {} of {} layers, whose {unused} slots are not used, nor what is fetched ahead",
        away.len(),
        source.layers.len()
    );
    Diagnostic::warning("whole-layers", message)
        .hint("plan with expertflow(layers=whole) to give the slots to whole layers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export;

    fn source(slots: [usize; 3]) -> SlotsSource {
        SlotsSource {
            n_devices: 1,
            mode: Mode::Inference,
            n_experts: 8,
            layers: [1, 2, 3].into_iter().zip(slots).collect(),
        }
    }

    fn line(slots: [usize; 3]) -> (String, usize) {
        let exported = export("llama.cpp", &source(slots)).unwrap();
        let text = String::from_utf8(exported.bytes).unwrap();
        (text.lines().last().unwrap().to_owned(), exported.warnings.len())
    }

    #[test]
    fn layers_that_are_not_whole_stay_on_the_processor() {
        let base = "exec llama-server \"$@\" -ngl all";
        assert_eq!(line([8, 8, 8]), (base.to_owned(), 0));
        assert_eq!(line([2, 2, 8]), (format!("{base} --n-cpu-moe 3"), 1));
        assert_eq!(line([2, 2, 2]), (format!("{base} --n-cpu-moe 4"), 1));
        let named = format!("{base} -ot 'blk\\.(1|3)\\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU'");
        assert_eq!(line([2, 8, 7]), (named, 1));
        let message = export("llama.cpp", &source([2, 8, 7])).unwrap().warnings[0].message.clone();
        assert!(message.contains("2 of 3 layers, whose 9 slots"), "{message}");
    }

    #[test]
    fn what_it_can_not_say_is_refused() {
        assert_eq!(export("vllm", &source([8; 3])).unwrap_err().code, "unknown-target");
        let several = SlotsSource { n_devices: 2, ..source([8; 3]) };
        assert_eq!(export("llama.cpp", &several).unwrap_err().code, "cannot-express");
        let trained = SlotsSource { mode: Mode::Training, ..source([8; 3]) };
        assert_eq!(export("llama.cpp", &trained).unwrap_err().code, "cannot-express");
    }
}
