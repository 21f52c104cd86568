//! Clusters that say less, or something else, than a plan needs: islands, units, ranges.

use super::folder::{Folder, Ran, diamond};
use super::training::config;

fn folder(cluster: &str) -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", cluster);
    folder
}

pub(super) trait Says {
    fn says(self, what: &str) -> Self;
}

impl Says for Ran {
    #[track_caller]
    fn says(self, what: &str) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(what), "{what} is missing in:\n{all}");
        self
    }
}

const APART: &str = "\
name: apart
nodes:
  - {count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, host: pcie4_x16, nics: 4}
";

const PLAN: &str =
    "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 2048";

#[test]
fn hosts_without_a_network_are_islands_for_training_runs() {
    let apart = folder(APART);
    let refused = apart.run(PLAN).exits(3);
    refused.says("don't reach each other").says("node1").says("--devices 4");
    // One island is planned, with a warning, and its plan is what the host alone gets.
    let ran = apart.run(&format!("{PLAN} --devices 4 -o plan.json --json")).exits(0);
    let ran = ran.says("islands");
    let alone = folder(&APART.replace("count: 2", "count: 1"));
    let on_one = alone.run(&format!("{PLAN} --json")).exits(0).json();
    assert_eq!(ran.json()["best"]["step_time_ns"], on_one["best"]["step_time_ns"]);
    let on = "plan.json --model config.json --cluster cluster.yaml";
    apart.run(&format!("verify {on}")).exits(0);
    // A plan of eight devices is legal on joined hosts only.
    let joined = folder(&format!("{APART}network: {{link: ib_hdr_200}}\n"));
    joined.run(&format!("{PLAN} -o plan.json")).exits(0);
    apart.write("wide.json", &joined.read("plan.json"));
    let on = "wide.json --model config.json --cluster cluster.yaml --allow-mismatch";
    apart.run(&format!("verify {on}")).exits(6).says("don't reach each other");
    apart.run(&format!("simulate {on}")).exits(6);
}

#[test]
fn operators_are_warned_of_islands_and_stay_on_one() {
    let apart = folder("nodes: [{count: 2, device: t4, devices: 2}]\n");
    let plan = "plan config.json --cluster cluster.yaml --algorithm m-etf --all -o plan.json";
    apart.run(plan).exits(0).says("islands").says("node1");
    let plan: serde_json::Value = serde_json::from_str(&apart.read("plan.json")).unwrap();
    let hosts: std::collections::BTreeSet<String> = plan["placement"]
        .as_array()
        .unwrap()
        .iter()
        .map(|op| op["device"].as_str().unwrap().split('.').next().unwrap().to_owned())
        .collect();
    assert_eq!(hosts.len(), 1, "{hosts:?}");
}

#[test]
fn rates_that_hang_a_search_are_refused_with_the_likely_unit() {
    let with_peak = |peak: &str| {
        format!(
            "kinds: [{{name: chip, memory_bytes: 80e9, memory_bytes_per_s: 2e12, \
             peak_bf16_flops: {peak}}}]
nodes: [{{count: 2, device: chip, devices: 4, scaleup: nvlink3, host: pcie4_x16}}]
network: {{link: ib_hdr_200}}
"
        )
    };
    folder(&with_peak("312")).run(PLAN).exits(3).says("`peak_bf16_flops: 312e12`");
    folder(&with_peak("1e-300")).run(PLAN).exits(3).says("out of range");
    folder(&with_peak("312e12")).run(PLAN).exits(0);
}

#[test]
fn constants_of_a_profile_that_no_stack_can_have_are_refused() {
    let cluster = format!("{APART}network: {{link: ib_hdr_200}}\n");
    let stack = |derating: &str| {
        format!(
            "version: 1\nname: own\nstacks:\n  megatron-core:\n    constants: {{derating: \
             {derating}}}\n    provenance: {{how: measured, source: s, date: 2026-01-01}}\n"
        )
    };
    let with = format!("{PLAN} --profile own.yaml");
    for absurd in ["1e21", "2", "1e-6", "0", "-1"] {
        let folder = folder(&cluster);
        folder.write("own.yaml", &stack(absurd));
        folder.run(&with).exits(3).says("derating");
    }
    let folder = folder(&cluster);
    folder.write("own.yaml", &stack("0.9"));
    folder.run(&with).exits(0);
}

#[test]
fn a_model_that_fits_in_16_bits_is_told_so() {
    // 0.6 billion parameters: 2.4 GB in fp32, 1.2 GB in bf16.
    let folder = folder(
        "kinds: [{name: chip, memory_bytes: 2GB, memory_bytes_per_s: 1e12, peak_fp32_flops: 1e13, \
         peak_bf16_flops: 1e14}]\ndevices: [{id: only, kind: chip}]\n",
    );
    let mut wide = config();
    wide["torch_dtype"] = "float32".into();
    wide["max_position_embeddings"] = 256.into();
    folder.write("config.json", &wide.to_string());
    let plan = "plan config.json --cluster cluster.yaml";
    folder.run(plan).exits(4).says("with --dtype bf16 a plan fits");
    folder.run(&format!("{plan} --dtype bf16")).exits(0);
}

#[test]
fn sixteen_thousand_devices_are_planned() {
    let large = folder(
        "nodes: [{count: 2048, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4}]\n\
         network: {link: ib_ndr_400}\n",
    );
    let line = "plan config.json --cluster cluster.yaml --global-batch 16384 --sequence-length \
                1024 --devices 16384 --pin pipeline=1 --pin tensor=8 --json";
    let answer = large.run(line).exits(0).json();
    assert!(answer["best"]["degrees"].as_str().unwrap().starts_with("data 2048 x tensor 8"));
    // Operators are placed one by one, on fewer.
    large.run("plan config.json --cluster cluster.yaml").exits(3).says("4096 devices");
    let lone = folder("nodes: [{count: 100000, device: t4}]\n");
    lone.run(line).exits(3).says("between 1 and 65536");
}
