//! Server settings for nano-batches.
//!
//! SGLang (0.5.23, `ExecOverlap`): `--enable-two-batch-overlap` cuts every step that can be cut, at the
//! request that halves its tokens best; `--tbo-token-distribution-threshold 0` keeps it from cutting
//! inside a request. SGLang has no minimum number of tokens.
//!
//! vLLM (`ParallelConfig`, `check_ubatch_thresholds`): `--enable-dbo` with the least tokens of a step of
//! decoding, and of one with prompts, from which on it is cut after half of its tokens. It takes DeepEP's
//! exchange between data-parallel ranks alone.
//!
//! Both run pieces in an order of their own.

use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;

use super::experts::{engines_of_hosts, of_hosts, on_each};
use super::{HEAD, SGLANG, VLLM};
use crate::format::Export;
use crate::modules::refusal;

/// A threshold that no step reaches.
const NEVER: u64 = i32::MAX as u64;

/// Nano-batches of a model on the devices of a cluster.
#[derive(Clone, Debug)]
pub struct NanoBatchesSource {
    /// Devices.
    pub n_devices: usize,
    /// Hosts.
    pub n_hosts: usize,
    /// Whether layers have experts.
    pub has_experts: bool,
    /// What the step does.
    pub phase: StepPhase,
    /// Its nano-batches.
    pub nano_batches: u32,
    /// By phase and tokens of a step on a replica of attention, from, the nano-batches.
    pub thresholds: Vec<(StepPhase, u64, u32)>,
}

impl NanoBatchesSource {
    /// Refuses what no server cuts.
    pub(crate) fn check(&self, name: &'static str) -> Result<(), Diagnostic> {
        if !self.has_experts {
            let message = format!("{name} cuts steps of models with experts alone");
            return Err(refusal(name, message).hint("leave it out: the cut stands in the plan"));
        }
        if self.n_devices < 2 {
            let message =
                format!("{name} cuts steps that exchange something, and here is one device");
            return Err(refusal(name, message).hint("leave it out: nothing is cut"));
        }
        Ok(())
    }
}

/// From how many tokens on all steps of a phase are cut; `None` where those of most tokens are not.
fn least(source: &NanoBatchesSource, phase: StepPhase) -> Option<u64> {
    let last = source.thresholds.iter().rfind(|threshold| threshold.0 == phase)?;
    (last.2 > 1).then_some(last.1)
}

fn own_order(name: &str, cuts: &str) -> Diagnostic {
    let message = format!(
        "{name} {cuts}, and runs pieces in an order of its own: the plan's cut, order and shares of \
         multiprocessors stand in the plan alone"
    );
    Diagnostic::warning("own-order", message)
}

pub(crate) fn sglang(source: &NanoBatchesSource) -> Result<Export, Diagnostic> {
    let NanoBatchesSource { n_devices, n_hosts, .. } = *source;
    let on_each = on_each(n_hosts);
    let hosts = of_hosts(n_hosts)?;
    let (overlap, warnings) = match source.nano_batches {
        0 | 1 => ("", Vec::new()),
        _ => {
            let mut warnings =
                vec![own_order(SGLANG, "cuts at the request that halves a step best")];
            let few =
                [StepPhase::Prefill, StepPhase::Decode].map(|phase| match least(source, phase) {
                    None => format!("no step of {}", phase.name()),
                    Some(tokens) => format!("steps of {} from {tokens} tokens on", phase.name()),
                });
            let message = format!(
                "SGLang asks no number of tokens and cuts every step that can be cut; the plan cuts {} \
                 and {}",
                few[0], few[1]
            );
            warnings.push(Diagnostic::warning("cuts-all", message));
            let message = "SGLang 0.5.23 has an order of two batches for DeepSeek V2 to V4, Qwen3-MoE and \
                           MiMo V2 alone: other models run uncut, or stop";
            warnings.push(Diagnostic::warning("some-models", message));
            (" --enable-two-batch-overlap --tbo-token-distribution-threshold 0", warnings)
        }
    };
    let text = format!(
        "{HEAD}{on_each}# Words behind this script go to the server, such as --model-path MODEL.\n\
         exec python -m sglang.launch_server \"$@\" --tp-size {n_devices} --ep-size {n_devices} \
         --attn-dp-size {n_devices} --moe-dense-tp-size 1 --moe-a2a-backend deepep{overlap}{hosts}\n"
    );
    Ok(Export { warnings, ..Export::from(text) })
}

pub(crate) fn vllm(source: &NanoBatchesSource) -> Result<Export, Diagnostic> {
    let least = [StepPhase::Decode, StepPhase::Prefill].map(|phase| least(source, phase));
    let (overlap, warnings) = match least {
        [None, None] => (String::new(), Vec::new()),
        [decode, prefill] => {
            let [decode, prefill] = [decode, prefill].map(|tokens| tokens.unwrap_or(NEVER));
            let text = format!(
                " --enable-dbo --dbo-decode-token-threshold {decode} --dbo-prefill-token-threshold \
                 {prefill}"
            );
            (
                text,
                vec![own_order(VLLM, "cuts after half of a step's tokens, inside a request too")],
            )
        }
    };
    let backend = match source.phase {
        StepPhase::Decode => "deepep_low_latency",
        _ => "deepep_high_throughput",
    };
    let hosts = engines_of_hosts(source.n_devices, source.n_hosts)?;
    let on_each = on_each(source.n_hosts);
    let text = format!(
        "{HEAD}{on_each}# Words behind this script go to the server, the model first.\n\
         exec vllm serve \"$@\" --data-parallel-size {} --enable-expert-parallel --all2all-backend \
         {backend}{overlap}{hosts}\n",
        source.n_devices
    );
    Ok(Export { warnings, ..Export::from(text) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export;

    fn source() -> NanoBatchesSource {
        let (prefill, decode) = (StepPhase::Prefill, StepPhase::Decode);
        NanoBatchesSource {
            n_devices: 16,
            n_hosts: 2,
            has_experts: true,
            phase: prefill,
            nano_batches: 2,
            thresholds: vec![(prefill, 0, 1), (prefill, 4096, 2), (decode, 0, 1)],
        }
    }

    fn text(target: &str, source: &NanoBatchesSource) -> String {
        String::from_utf8(export(target, source).unwrap().bytes).unwrap()
    }

    fn flag<'t>(text: &'t str, name: &str) -> &'t str {
        text.split(name).nth(1).unwrap().split_whitespace().next().unwrap()
    }

    #[test]
    fn servers_are_told_when_they_cut_and_say_what_they_do_themselves() {
        let script = text("vllm@0.26", &source());
        assert!(script.contains(" --enable-dbo "), "{script}");
        assert_eq!(flag(&script, "--dbo-prefill-token-threshold "), "4096");
        // vLLM cuts a step whose tokens reach the threshold: none does.
        assert_eq!(flag(&script, "--dbo-decode-token-threshold "), "2147483647");
        assert_eq!(flag(&script, "--all2all-backend "), "deepep_high_throughput");
        assert_eq!(export("vllm", &source()).unwrap().warnings[0].code, "own-order");
        let script = text("sglang", &source());
        assert!(script.contains(" --enable-two-batch-overlap "), "{script}");
        assert_eq!(flag(&script, "--tbo-token-distribution-threshold "), "0");
        assert_eq!(flag(&script, "--nnodes "), "2");
        let warnings = export("sglang", &source()).unwrap().warnings;
        assert!(
            warnings[1].message.contains("from 4096 tokens on and no step of decode"),
            "{warnings:?}"
        );
    }

    #[test]
    fn what_is_not_cut_is_no_word() {
        let thresholds = vec![(StepPhase::Prefill, 0, 2), (StepPhase::Prefill, 64, 1)];
        let uncut = NanoBatchesSource { nano_batches: 1, thresholds, ..source() };
        for target in ["vllm", "sglang"] {
            let text = text(target, &uncut);
            assert!(!text.contains("dbo") && !text.contains("overlap"), "{text}");
            assert!(export(target, &uncut).unwrap().warnings.is_empty());
            let dense = NanoBatchesSource { has_experts: false, ..source() };
            assert_eq!(export(target, &dense).unwrap_err().code, "cannot-express");
            let one = NanoBatchesSource { n_devices: 1, ..source() };
            assert_eq!(export(target, &one).unwrap_err().code, "cannot-express");
        }
        assert_eq!(export("megatron", &uncut).unwrap_err().code, "unknown-target");
        assert_eq!(export("vllm@1", &uncut).unwrap_err().code, "unknown-target");
    }
}
