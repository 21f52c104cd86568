//! Hints of fleets that are not found, followed.

use serde_json::Value;

use super::fleets::folder;
use super::folder::Folder;

const ONE: &str = "name: hosts\nnodes:\n  - {count: 1, device: h200_sxm5_141gb, devices: 8, scaleup: nvlink4, \
     host: pcie5_x16, nics: 8}\nnetwork: {link: ib_ndr_400}\n";
const ASKED: &str = "infer qwen.json --input-tokens 4000 --output-tokens 1000 --ttft 2s --tpot 30ms --mode aggregated";

/// Hints of an answer, as one text.
fn hints(folder: &Folder, line: &str, code: i32) -> String {
    let answer = folder.run(&format!("{line} --json")).exits(code).json();
    let of = |error: &Value| error["hints"].to_string();
    let warnings = answer["warnings"].as_array().into_iter().flatten();
    of(&answer["error"]) + &warnings.map(of).collect::<String>()
}

/// The word behind some text.
fn after<'t>(text: &'t str, before: &str) -> &'t str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}")).1;
    rest.split([' ', '`', '"', ',']).next().unwrap()
}

#[test]
fn what_suffices_does() {
    let folder = folder();
    let asked = format!("{ASKED} --cluster one.yaml --rate 20");
    let said = hints(&folder, &asked, 4);
    let rate = after(&said, "--rate ");
    folder.run(&format!("{ASKED} --cluster one.yaml --rate {rate}")).exits(0);
    let more = ONE.replace("count: 1", &format!("count: {}", after(&said, "count: ")));
    folder.write("more.yaml", &more);
    folder.run(&format!("{ASKED} --cluster more.yaml --rate 20")).exits(0);
}

/// More than the devices that are named, and more than there are.
#[test]
fn what_suffices_does_where_devices_are_limited() {
    let folder = folder();
    let said = hints(&folder, &format!("{ASKED} --cluster one.yaml --rate 4 --devices 2"), 4);
    let n = after(&said, "use --devices ");
    folder.run(&format!("{ASKED} --cluster one.yaml --rate 4 --devices {n}")).exits(0);
    let said = hints(&folder, &format!("{ASKED} --cluster one.yaml --rate 20 --devices 2"), 4);
    assert!(said.contains("leave out --devices"), "{said}");
    let more = ONE.replace("count: 1", &format!("count: {}", after(&said, "count: ")));
    folder.write("more.yaml", &more);
    folder.run(&format!("{ASKED} --cluster more.yaml --rate 20")).exits(0);
}

/// Hints name the engine that is planned for, and no export that is refused.
#[test]
fn hints_are_of_the_engine() {
    let folder = folder();
    let asked = format!("{ASKED} --cluster one.yaml --rate 4");
    let limited = format!("{asked} --for sglang --memory-margin 20% -o plan.json");
    let said = hints(&folder, &limited, 0);
    assert!(!said.contains("vLLM") && said.contains("no script of sglang"), "{said}");
    let ran = folder.run(&format!("{limited} --force")).exits(0);
    let text = ran.stdout.clone() + &ran.talk();
    assert!(text.contains("no server as it is") && !text.contains("meshwright export"), "{text}");
    let said = hints(&folder, &format!("{asked} --for vllm --memory-margin 20%"), 0);
    assert!(said.contains("--gpu-memory-utilization"), "{said}");
    let answer = folder.run(&format!("{asked} --for any --json")).exits(0).json();
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("engine vllm") && warnings.contains("--for"), "{warnings}");
}

/// A model that fits on several hosts alone, for an engine of which none is started on several.
#[test]
fn an_engine_that_runs_no_worker_is_named() {
    let folder = folder();
    folder.write(
        "two.yaml",
        &ONE.replace("count: 1", "count: 2").replace("h200_sxm5_141gb", "a100_sxm4_40gb"),
    );
    let large =
        folder.read("qwen.json").replace("\"num_hidden_layers\":64", "\"num_hidden_layers\":480");
    folder.write("large.json", &large);
    let asked = "infer large.json --cluster two.yaml --rate 0.001 --input-tokens 500 --output-tokens 100 --for trtllm";
    let talk = folder.run(asked).exits(5).talk();
    assert!(talk.contains("trtllm runs no worker that the model fits on"), "{talk}");
    folder.run(&asked.replace("trtllm", "vllm")).exits(0);
}

/// Both limits are missed by one request at a time: the hint is enough for both.
#[test]
fn limits_that_suffice_do() {
    let folder = folder();
    let asked =
        "infer qwen.json --cluster one.yaml --rate 0.01 --input-tokens 4000 --output-tokens 1000";
    for mode in ["aggregated", "disaggregated"] {
        let asked = format!("{asked} --mode {mode}");
        let said = hints(&folder, &format!("{asked} --ttft 9ms --tpot 1ms"), 4);
        let [ttft, tpot] = ["--ttft ", "--tpot "].map(|flag| after(&said, flag));
        folder.run(&format!("{asked} --ttft {ttft} --tpot {tpot}")).exits(0);
    }
    // The request latency is missed with the TPOT.
    let said = hints(&folder, &format!("{asked} --tpot 1ms --request-latency 1s"), 4);
    let [tpot, latency] = ["--tpot ", "--request-latency "].map(|flag| after(&said, flag));
    folder.run(&format!("{asked} --tpot {tpot} --request-latency {latency}")).exits(0);
}

/// Of two kinds of devices the model fits on one, which misses the limit and is too few.
#[test]
fn the_kind_that_the_model_fits_on_is_named() {
    let folder = folder();
    let both = ONE.replace("network", "  - {count: 1, device: l4, devices: 1}\nnetwork");
    folder.write("both.yaml", &both);
    let asked = format!("{ASKED} --cluster both.yaml");
    let talk = folder.run(&format!("{asked} --rate 1").replace("--ttft 2s", "--ttft 1ms")).talk();
    assert!(talk.contains("no worker meets TTFT 1.00 ms"), "{talk}");
    let said = hints(&folder, &format!("{asked} --rate 20"), 4);
    assert!(said.contains("of h200_sxm5_141gb hosts"), "{said}");
    let more = both.replacen("count: 1", &format!("count: {}", after(&said, "count: ")), 1);
    folder.write("more.yaml", &more);
    folder.run(&format!("{ASKED} --cluster more.yaml --rate 20")).exits(0);
}

/// A request latency that is missed is named, not a TTFT that TP 8 meets and smaller workers miss.
#[test]
fn what_is_missed_is_named() {
    let folder = folder();
    let asked = "infer qwen.json --cluster one.yaml --rate 0.01 --input-tokens 4000 --output-tokens 1000 \
        --mode aggregated --ttft 150ms --tpot 30ms";
    folder.run(asked).exits(0);
    let talk = folder.run(&format!("{asked} --request-latency 4s")).exits(5).talk();
    assert!(talk.contains("request latency of at most 4.00 s"), "{talk}");
}

#[test]
fn devices_that_fit_do() {
    let folder = folder();
    let large =
        folder.read("qwen.json").replace("\"num_hidden_layers\":64", "\"num_hidden_layers\":180");
    folder.write("large.json", &large);
    let asked =
        "infer large.json --cluster one.yaml --rate 0.01 --input-tokens 500 --output-tokens 100";
    let said = hints(&folder, &format!("{asked} --devices 1"), 4);
    folder.run(&format!("{asked} --devices {}", after(&said, "--devices "))).exits(0);
}
