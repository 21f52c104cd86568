//! Adapters, frozen parts, optimizers in fewer bits, and measured costs of operators, on the command line.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::folder::{Folder, diamond};

/// Configs, clusters of cards that people have, and a table of costs.
fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    let config = |hidden: u64, layers: u64, inner: u64, heads: u64, words: u64| {
        json!({
            "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": 8, "intermediate_size": inner,
            "vocab_size": words, "max_position_embeddings": 4096, "tie_word_embeddings": false,
            "torch_dtype": "bfloat16"
        })
    };
    folder.write("8b.json", &config(4096, 32, 14_336, 32, 128_256).to_string());
    folder.write("70b.json", &config(8192, 80, 28_672, 64, 32_000).to_string());
    let one =
        |device: &str| format!("name: c\nnodes:\n  - {{count: 1, device: {device}, devices: 1}}\n");
    folder.write("24.yaml", &one("rtx_4090"));
    folder.write("48.yaml", &one("rtx_a6000"));
    folder.write(
        "two.yaml",
        "name: c\nnodes:\n  - {count: 1, device: rtx_4090, devices: 2, scaleup: pcie4_x16, \
         host: pcie4_x16}\n",
    );
    folder
}

const LORA: &str = "train 8b.json --cluster 24.yaml --global-batch 8 --sequence-length 2048";
const QLORA: &str = "train 70b.json --global-batch 4 --sequence-length 2048 --adapter qlora:rank=8";

/// What people fine-tune on their cards fits, and what they don't does not.
#[test]
fn adapters_fit_where_whole_models_do_not() {
    let folder = folder();
    folder.run(&format!("{LORA} --no-offload")).exits(4);
    for (line, zero) in [
        (format!("{LORA} --adapter lora:rank=16"), None),
        (format!("{LORA} --adapter dora:rank=16,targets=q+v"), None),
        (format!("{QLORA} --cluster 48.yaml"), None),
        (format!("{QLORA} --cluster two.yaml"), Some(3)),
    ] {
        folder.run(&format!("{line} -o plan.json --force")).exits(0);
        let plan = folder.json("plan.json");
        let model = if line.contains("8b") { "8b.json" } else { "70b.json" };
        let cluster =
            ["24.yaml", "48.yaml", "two.yaml"].into_iter().find(|name| line.contains(name));
        let verify = format!("verify plan.json --model {model} --cluster {}", cluster.unwrap());
        folder.run(&verify).exits(0);
        assert!(
            zero.is_none_or(|zero| plan["parallelism"]["training"]["zero"] == zero),
            "{}",
            plan["parallelism"]
        );
        folder.run("export plan.json --target huggingface -o hf.json --force").exits(0);
        let file = folder.json("hf.json");
        assert_eq!(file["peft_config"]["peft_type"], "LORA");
        assert_eq!(file["quantization_config"].is_object(), line.contains("qlora"));
        let refused = folder.run("export plan.json --target torchtitan -o t --force").exits(3);
        assert!(refused.talk().contains("adapters"), "{}", refused.talk());
    }
}

/// Fewer bits of states, and fewer trained weights, never take more memory.
#[test]
fn states_in_fewer_bits_take_less() {
    let folder = folder();
    let peak = |more: &str| {
        let line = format!(
            "train 8b.json --cluster two.yaml --scale memory=8 --global-batch 4 --sequence-length 512 \
             --stack peft --pin zero=0 --pin data=2 --pin recompute=full --pin micro-batch=1 --for any \
             --no-offload {more} -o plan.json --force"
        );
        folder.run(&line).exits(0);
        folder.json("plan.json")["training"]["memory"][0]["peak_bytes"].as_u64().unwrap()
    };
    let peaks = ["", "--optimizer adamw-8bit", "--optimizer paged-adamw-8bit"].map(peak);
    assert!(peaks[0] > peaks[1] && peaks[1] > peaks[2], "{peaks:?}");
    let frozen =
        ["--freeze layers=8", "--freeze embedding,layers=24", "--adapter lora", "--adapter qlora"];
    let frozen = frozen.map(peak);
    assert!(peaks[0] > frozen[0] && frozen.is_sorted_by(|a, b| a > b), "{frozen:?}");
}

#[test]
fn slips_are_refused_by_name() {
    let folder = folder();
    folder.write(
        "adapter_config.json",
        r#"{"peft_type": "LORA", "r": 16, "target_modules": "all-linear"}"#,
    );
    folder.run(&format!("{LORA} --adapter adapter_config.json,base=nf4")).exits(0);
    folder.write("ia3.json", r#"{"peft_type": "IA3"}"#);
    for (flags, named) in [
        ("--adapter lora:rank=0", "rank=0"),
        ("--adapter lora:targets=conv", "conv"),
        ("--adapter ia3.json", "IA3"),
        ("--adapter lora:rank=8000", "8000"),
        ("--adapter lora --freeze head", "--freeze"),
        ("--freeze layers=33", "layers=33"),
        ("--optimizer adamw-16bit --dtype fp32", "adamw-16bit"),
        ("--adapter lora --for torchtitan", "adapters"),
    ] {
        let ran = folder.run(&format!("{LORA} {flags}")).exits(2);
        assert!(ran.talk().contains(named), "{flags}: {}", ran.talk());
    }
}

/// GPT-2 with a table of ten lines.
#[test]
fn a_table_prices_a_graph() {
    let folder = folder();
    let table = "op,rtx_3090,bytes\ntransformer.wte,2e-5,\ntransformer.wpe,1e-5,\ntransformer.h.*.ln_1,1e-5,\n\
                 transformer.h.*.attn,2e-4,33554432\ntransformer.h.*.ln_2,1e-5,\ntransformer.h.*.mlp,3e-4,\n\
                 transformer.ln_f,1e-5,\nlm_head,1e-3,\nno.such,1e-3,\n";
    folder.write("costs.csv", table);
    let root = env!("CARGO_MANIFEST_DIR");
    let on = format!(
        "{root}/examples/models/gpt2_small.onnx --cluster {root}/examples/clusters/two-rtx3090.yaml"
    );
    let ran = folder.run(&format!("place {on} --costs costs.csv --all -o plan.json")).exits(0);
    assert!(
        ran.talk().contains("line 10 of the costs, `no.such`, matches no operator"),
        "{}",
        ran.talk()
    );
    assert!(ran.talk().contains("no row of the costs prices"), "{}", ran.talk());
    let step = |name: &str| folder.json(name)["cost"]["step_time_ns"].as_u64().unwrap();
    // Twelve blocks and the head, and what no row prices.
    let priced = 12 * 520_000 + 1_000_000 + 40_000;
    assert!((priced..priced + 1_000_000).contains(&step("plan.json")), "{}", step("plan.json"));
    folder.run(&format!("verify plan.json --model {}", on)).exits(0);
    folder.write("costs.csv", &format!("{table}*,0,\n"));
    folder.run(&format!("place {on} --costs costs.csv -o all.json")).exits(0);
    // Each operator takes whole nanoseconds.
    assert!(step("all.json").abs_diff(priced) < 500, "{}", step("all.json"));
    for (row, named) in
        [("lm_head,-1,", "`-1`"), ("lm_head,NaN,", "`NaN`"), ("lm_head,1", "2 cells")]
    {
        folder.write("bad.csv", &format!("op,rtx_3090,bytes\n{row}\n"));
        let ran = folder.run(&format!("place {on} --costs bad.csv")).exits(3);
        assert!(ran.talk().contains("line 2 ") && ran.talk().contains(named), "{}", ran.talk());
    }
    folder.write("bad.csv", "op,t4\nlm_head,1\n");
    let ran = folder.run(&format!("place {on} --costs bad.csv")).exits(3);
    assert!(ran.talk().contains("line 2 ") && ran.talk().contains("`t4`"), "{}", ran.talk());
}

/// Steps of fine-tuning that one H100 took (`examples/h100-steps/fine_tune.py`): peaks of the allocator, and times
/// where a pass has tokens enough that the device, not the host, is what it waits for.
#[test]
fn peaks_and_steps_of_one_h100_are_near_those_measured() {
    let folder = folder();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/h100-steps");
    let text = |name: &str| std::fs::read_to_string(examples.join(name)).unwrap();
    folder.write("h100.yaml", &text("h100.yaml"));
    for name in ["llama-1b", "llama-3b"] {
        let mut config: serde_json::Value =
            serde_json::from_str(&text(&format!("{name}.json"))).unwrap();
        config["tie_word_embeddings"] = true.into();
        folder.write(&format!("{name}.json"), &config.to_string());
    }
    folder.write("llama-8b.json", &folder.json("8b.json").to_string());
    let table = text("tuning.csv");
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut n_timed = 0;
    for line in lines {
        let row: BTreeMap<_, _> = names.iter().copied().zip(line.split(',')).collect();
        let number = |name: &str| row[name].parse::<f64>().unwrap();
        let is_whole = row["rank"] == "0";
        let kind = if row["base"] == "nf4" { "qlora" } else { "lora" };
        let dtype = if row["adapter_bytes"] == "4" { "fp32" } else { "16bit" };
        let adapter = match is_whole {
            true => String::new(),
            false => {
                let (rank, targets) = (row["rank"], row["targets"]);
                format!("--adapter {kind}:rank={rank},targets={targets},dtype={dtype}")
            }
        };
        let optimizer = match (row["optimizer"], is_whole) {
            ("adamw", true) => "adamw-16bit",
            (name, _) => name,
        };
        let (batch, recompute) = (row["micro_batch"], row["recompute"]);
        folder
            .run(&format!(
                "train {}.json --cluster h100.yaml --global-batch {batch} --sequence-length {} --stack peft \
                 --dtype bf16 --pin micro-batch={batch} --pin recompute={recompute} --no-offload \
                 --memory-margin 0 --optimizer {optimizer} {adapter} -o plan.json --force",
                row["model"], row["length"]
            ))
            .exits(0);
        let plan = folder.json("plan.json");
        let peak = plan["training"]["memory"][0]["peak_bytes"].as_f64().unwrap();
        let step = plan["cost"]["step_time_s"].as_f64().unwrap();
        let [peak_off, step_off] =
            [peak / number("peak_allocated_bytes"), step / number("step_s")].map(|x| x - 1.0);
        println!("{:+6.1} % {:+6.1} %  {line}", 100.0 * peak_off, 100.0 * step_off);
        assert!((-0.05..=0.1).contains(&peak_off), "peak {peak_off:+.3}: {line}");
        // Of paged moments all are priced as paged; bitsandbytes' updates start kernel by kernel.
        let is_timed = number("length") * number("micro_batch") >= 4096.0
            && row["base"] == "bf16"
            && row["optimizer"] == "adamw"
            && row["model"] != "llama-1b";
        if is_timed {
            n_timed += 1;
            assert!(step_off.abs() <= 0.1, "step {step_off:+.3}: {line}");
        }
    }
    assert!(n_timed >= 3, "{n_timed}");
}
