//! Server settings for expert placement with replicas.
//!
//! SGLang (0.5.23, `compute_initial_expert_location_metadata`; before 0.5.18 the results of copied
//! experts were summed up more than once): a JSON file with
//! `physical_to_logical_map`, for every layer of the model the expert of each slot; rank i of `--ep-size`
//! holds the i-th part of a row. A row has as many slots as experts and `--ep-num-redundant-experts`
//! together. Rows of layers without experts are read and not used. `--ep-dispatch-algorithm dynamic`
//! spreads the routed tokens of an expert evenly over its replicas.
//!
//! vLLM (0.26, `EPLBConfig`): the number of further copies; where they lie it decides itself, from what
//! it has recorded.

use ir::diagnostic::Diagnostic;
use ir::workload::Mode;

use super::{HEAD, SGLANG, VLLM};
use crate::format::Export;
use crate::modules::refusal;

/// Copies of experts on the devices of a cluster, in its order.
#[derive(Clone, Debug)]
pub struct ExpertsSource {
    /// Layers of the model, those that predict a later token aside.
    pub n_layers: u32,
    /// Experts of a layer.
    pub n_experts: usize,
    /// Devices.
    pub n_devices: usize,
    /// Hosts; as many devices on each, unless it is 0.
    pub n_hosts: usize,
    /// Attention heads of a layer.
    pub n_heads: usize,
    /// Slots of a device.
    pub slots: usize,
    /// What is run.
    pub mode: Mode,
    /// By layer of experts, the devices of each expert's copies.
    pub layers: Vec<(u32, Vec<Vec<usize>>)>,
}

/// Slots past those that hold each expert once.
fn redundant(source: &ExpertsSource) -> usize {
    (source.n_devices * source.slots).saturating_sub(source.n_experts)
}

/// The expert of each slot of a layer: those of the first device first, in order.
fn row(source: &ExpertsSource, layer: u32) -> Vec<usize> {
    let n_slots = source.n_devices * source.slots;
    let placed = source.layers.iter().find(|(number, _)| *number == layer);
    let Some((_, copies)) = placed else {
        return (0..n_slots).map(|slot| slot % source.n_experts.max(1)).collect();
    };
    let mut by_device = vec![Vec::new(); source.n_devices];
    for (expert, devices) in copies.iter().enumerate() {
        for device in devices {
            if let Some(experts) = by_device.get_mut(*device) {
                experts.push(expert);
            }
        }
    }
    by_device.into_iter().flatten().collect()
}

fn map(source: &ExpertsSource) -> String {
    let line = |layer: u32| {
        let row: Vec<String> = row(source, layer).iter().map(usize::to_string).collect();
        format!("[{}]", row.join(","))
    };
    let rows: Vec<String> = (0..source.n_layers).map(line).collect();
    format!("{{\"physical_to_logical_map\":[\n{}\n]}}\n", rows.join(",\n"))
}

pub(crate) fn location(source: &ExpertsSource) -> Result<Export, Diagnostic> {
    Ok(Export { warnings: of_sglang(), ..Export::from(map(source)) })
}

fn of_sglang() -> Vec<Diagnostic> {
    let nearest = "with an all-to-all backend SGLang takes a copy on the token's own device or host \
                   first: loads are the plan's only where the tokens of all devices visit alike";
    let some = "SGLang 0.5.23 takes the map for models whose class says which layers have experts \
                (DeepSeek, Qwen, GLM 4, gpt-oss, Kimi K2, MiniMax among them) and stops at others, \
                such as Mixtral, Llama 4 and DBRX";
    vec![Diagnostic::warning("nearest-copies", nearest), Diagnostic::warning("some-models", some)]
}

/// The oldest SGLang that counts the result of a copied expert once.
const CHECKED: &str = "python - <<'CHECK' || exit 1\n\
    from importlib.metadata import version\n\
    import re, sys\n\
    if tuple(map(int, re.findall(r'\\d+', version('sglang'))[:3])) < (0, 5, 18):\n\
    \x20   sys.exit('SGLang 0.5.18 or later is needed: others sum up copied experts wrongly')\n\
    CHECK\n";

/// How attention is shared out, where its heads can't be over all devices; and where hosts are.
fn around(source: &ExpertsSource) -> Result<String, Diagnostic> {
    let ExpertsSource { n_devices, n_hosts, n_heads, .. } = *source;
    let mut words = String::new();
    let attention = (1..=n_devices)
        .rev()
        .find(|n| n_devices.is_multiple_of(*n) && n_heads.is_multiple_of(*n))
        .unwrap_or(1);
    if attention < n_devices {
        words += &format!(" --enable-dp-attention --dp-size {}", n_devices / attention);
    }
    Ok(words + &of_hosts(n_hosts)?)
}

/// Words that say where hosts are, of which there are 0 where they have other numbers of devices.
pub(super) fn of_hosts(n_hosts: usize) -> Result<String, Diagnostic> {
    match n_hosts {
        0 => Err(refusal(
            SGLANG,
            "SGLang runs as many ranks on each host, and these have others".to_owned(),
        )
        .hint("plan on hosts of as many devices each")),
        1 => Ok(String::new()),
        n => Ok(format!(
            " --nnodes {n} --node-rank \"${{NODE_RANK:?the number of this host, from 0}}\" \
                 --dist-init-addr \"${{MASTER_ADDR:?the address of host 0}}:${{MASTER_PORT:-29500}}\""
        )),
    }
}

/// Where a script runs.
pub(super) fn on_each(n_hosts: usize) -> String {
    match n_hosts {
        0 | 1 => String::new(),
        n => format!("# Runs on each of {n} hosts.\n"),
    }
}

/// Words that start a part of vLLM's engines on each of several hosts (vLLM, *Data Parallel Deployment*);
/// none on one host.
pub(super) fn engines_of_hosts(n_devices: usize, n_hosts: usize) -> Result<String, Diagnostic> {
    if n_hosts == 1 {
        return Ok(String::new());
    }
    if n_hosts == 0 || !n_devices.is_multiple_of(n_hosts) {
        let message = "vLLM starts as many engines on each host, and these have others".to_owned();
        return Err(refusal(VLLM, message).hint("plan on hosts of as many devices each"));
    }
    let n_each = n_devices / n_hosts;
    Ok(format!(
        " --data-parallel-size-local {n_each} \
         --data-parallel-address \"${{MASTER_ADDR:?the address of host 0}}\" \
         --data-parallel-rpc-port \"${{MASTER_PORT:-29500}}\" \
         $([ \"${{NODE_RANK:?the number of this host, from 0}}\" -eq 0 ] || \
         echo --headless --data-parallel-start-rank $((NODE_RANK * {n_each})))"
    ))
}

pub(crate) fn sglang(source: &ExpertsSource) -> Result<Export, Diagnostic> {
    let ExpertsSource { n_devices, slots, n_hosts, .. } = source;
    let around = around(source)?;
    let on_each = on_each(*n_hosts);
    let text = format!(
        "{HEAD}{CHECKED}{on_each}# By layer the expert of each slot; rank i of {n_devices} holds the i-th {slots} of a \
         row.\nmap=$(mktemp --suffix=.json)\ncat > \"$map\" <<'END'\n{}END\n\
         # Words behind this script go to the server, such as --model-path MODEL.\n\
         exec python -m sglang.launch_server \"$@\" --tp-size {n_devices} --ep-size {n_devices} \
         --ep-num-redundant-experts {} --ep-dispatch-algorithm dynamic{around} \
         --init-expert-location \"$map\"\n",
        map(source),
        redundant(source)
    );
    Ok(Export { warnings: of_sglang(), ..Export::from(text) })
}

pub(crate) fn vllm(source: &ExpertsSource) -> Result<Export, Diagnostic> {
    if source.n_devices < 2 {
        let message = "vLLM balances experts over several devices, and here is one".to_owned();
        return Err(refusal(VLLM, message).hint("leave it out: one device holds all experts"));
    }
    let hosts = engines_of_hosts(source.n_devices, source.n_hosts)?;
    let on_each = on_each(source.n_hosts);
    let text = format!(
        "{HEAD}{on_each}# Words behind this script go to the server, the model first.\n\
         exec vllm serve \"$@\" --data-parallel-size {} --enable-expert-parallel --enable-eplb \
         --eplb-config '{{\"num_redundant_experts\": {}}}'{hosts}\n",
        source.n_devices,
        redundant(source)
    );
    let message = "vLLM takes the number of further copies alone: where they lie it decides itself, \
                   from the visits that it records";
    let warnings = vec![Diagnostic::warning("places-itself", message)];
    Ok(Export { warnings, ..Export::from(text) })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::export;

    fn source() -> ExpertsSource {
        // Three experts on two devices of two slots: the second one twice.
        let copies = vec![vec![1], vec![0, 1], vec![0]];
        ExpertsSource {
            n_layers: 3,
            n_experts: 3,
            n_devices: 2,
            n_hosts: 1,
            n_heads: 4,
            slots: 2,
            mode: Mode::Inference,
            layers: vec![(1, copies.clone()), (2, vec![vec![0, 0], vec![1], vec![1]])],
        }
    }

    fn text(target: &str) -> String {
        String::from_utf8(export(target, &source()).unwrap().bytes).unwrap()
    }

    fn flag<'t>(text: &'t str, name: &str) -> &'t str {
        text.split(name).nth(1).unwrap().split_whitespace().next().unwrap()
    }

    /// What SGLang makes of a map: `ExpertLocationMetadata._init_common` and
    /// `_compute_logical_to_all_physical_map`, by layer the devices of each expert.
    fn read(
        map: &Value,
        n_experts: usize,
        ep_size: usize,
        redundant: usize,
    ) -> Vec<Vec<Vec<usize>>> {
        let n_physical = n_experts + redundant;
        assert_eq!(n_physical % ep_size, 0);
        let local = n_physical / ep_size;
        let rows = map["physical_to_logical_map"].as_array().unwrap();
        let devices = |row: &Value| {
            let row = row.as_array().unwrap();
            assert_eq!(row.len(), n_physical);
            let mut devices = vec![Vec::new(); n_experts];
            for (physical, logical) in row.iter().enumerate() {
                devices[logical.as_u64().unwrap() as usize].push(physical / local);
            }
            assert!(devices.iter().all(|of_expert| !of_expert.is_empty()));
            devices
        };
        rows.iter().map(devices).collect()
    }

    #[test]
    fn sglang_reads_back_what_the_plan_says() {
        let script = text("sglang@0.5.23");
        let between =
            |a: &str, b: &str| script.split(a).nth(1).unwrap().split(b).next().unwrap().to_owned();
        let inner = between("<<'END'\n", "END\n");
        assert_eq!(inner, text("sglang-location"));
        let number = |name: &str| flag(&script, name).parse::<usize>().unwrap();
        assert_eq!(number("--tp-size "), number("--ep-size "));
        let map = serde_json::from_str(&inner).unwrap();
        let placed = read(&map, 3, number("--ep-size "), number("--ep-num-redundant-experts "));
        let source = source();
        assert_eq!(placed.len(), 3);
        for (layer, copies) in &source.layers {
            assert_eq!(placed[*layer as usize], *copies);
        }
        assert_eq!(flag(&script, "--ep-dispatch-algorithm "), "dynamic");
        assert_eq!(flag(&script, "--init-expert-location "), "\"$map\"");
    }

    #[test]
    fn attention_and_hosts_are_as_they_can_be() {
        let words = |n_devices, n_hosts, n_heads| {
            around(&ExpertsSource { n_devices, n_hosts, n_heads, ..source() })
        };
        assert_eq!(words(8, 1, 32).unwrap(), "");
        assert_eq!(words(64, 1, 32).unwrap(), " --enable-dp-attention --dp-size 2");
        assert_eq!(words(6, 1, 4).unwrap(), " --enable-dp-attention --dp-size 3");
        let two = words(16, 2, 32).unwrap();
        assert_eq!((flag(&two, "--nnodes "), two.contains("NODE_RANK")), ("2", true));
        assert_eq!(words(6, 0, 4).unwrap_err().code, "cannot-express");
        let one = ExpertsSource { n_devices: 1, ..source() };
        assert_eq!(export("vllm", &one).unwrap_err().code, "cannot-express");
    }

    #[test]
    fn vllm_is_told_how_many_and_says_that_it_places_them() {
        let export = export("vllm", &source()).unwrap();
        let text = text("vllm");
        let config = text.split('\'').nth(1).unwrap();
        let config: Value = serde_json::from_str(config).unwrap();
        assert_eq!(config["num_redundant_experts"], 1);
        assert_eq!(flag(&text, "--data-parallel-size "), "2");
        assert_eq!(export.warnings[0].code, "places-itself");
    }

    #[test]
    fn others_and_training_are_refused() {
        assert_eq!(export("megatron", &source()).unwrap_err().code, "unknown-target");
        assert_eq!(export("sglang@9", &source()).unwrap_err().code, "unknown-target");
        let trained = ExpertsSource { mode: Mode::Training, ..source() };
        assert_eq!(export("sglang", &trained).unwrap_err().code, "cannot-express");
    }
}
