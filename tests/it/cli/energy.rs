//! Energy, prices and caps of power: of training runs and of pipelines that serve, held against laws and
//! sums by hand.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const ROOM: &str = "\
name: room
nodes:
  - {name: fast, count: 1, device: rtx_4090, devices: 2}
  - {name: slow, count: 2, device: rtx_2080_ti, devices: 2}
network: {bytes_per_s: 1.25e9, latency_s: 50e-6}
running:
  - {kind: rtx_4090, idle_w: 20, transfers_w: 100, memory_w: 250, products_w: 440, price_per_hour: 0.4}
  - {kind: rtx_2080_ti, idle_w: 15, transfers_w: 80, memory_w: 150, products_w: 250, price_per_hour: 0.1}
";
const EQUAL: &str = "\
name: equal
nodes: [{name: n, count: 2, device: a100_sxm4_80gb, devices: 2, scaleup: nvlink3, host: pcie4_x16}]
network: {link: ib_hdr_200}
";
const TRAIN: &str = "--global-batch 16 --sequence-length 1024 --dtype f16 --deterministic";
const SERVE: &str = "--phase decode --cached 1000 --dtype f16 --deterministic";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 1024,
        "num_hidden_layers": 12, "num_attention_heads": 16, "num_key_value_heads": 8,
        "intermediate_size": 2816, "vocab_size": 32000, "max_position_embeddings": 4096,
        "tie_word_embeddings": false
    });
    folder.write("dense.json", &config.to_string());
    folder.write("room.yaml", ROOM);
    folder.write("equal.yaml", EQUAL);
    folder
}

fn planned(folder: &Folder, line: &str) -> Value {
    folder.run(&format!("plan dense.json {line} --json")).exits(0).json()
}

fn number(of: &Value, pointer: &str) -> f64 {
    of.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {of}"))
}

/// Joules at the wall and watts at most, from the seconds that a plan states and the watts of the file.
fn by_hand(plan: &Value, pue: f64) -> [f64; 2] {
    let step = number(plan, "/energy/step_s");
    let (mut joules, mut most) = (0.0, 0.0);
    for device in plan["energy"]["devices"].as_array().unwrap() {
        let [idle, transfers, memory, products] = match device["kind"].as_str().unwrap() {
            "rtx_4090" => [20.0, 100.0, 250.0, 440.0],
            _ => [15.0, 80.0, 150.0, 250.0],
        };
        let n = number(device, "/n_devices");
        let [computing, at_peak, sends] =
            ["/computing_s", "/products_s", "/transfers_s"].map(|name| number(device, name));
        let each = products * at_peak
            + memory * (computing - at_peak)
            + transfers * sends
            + idle * (step - computing - sends);
        joules += pue * n * each;
        let busy = match (computing > 0.0, at_peak > 0.0) {
            (_, true) => products,
            (true, false) => memory,
            (false, false) => idle,
        };
        most += pue * n * busy.max(if sends > 0.0 { transfers } else { idle });
    }
    [joules, most]
}

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[test]
fn joules_scale_with_the_facility_and_seconds_do_not() {
    let folder = folder();
    for what in
        [format!("{TRAIN} --cluster room.yaml"), format!("{SERVE} --batch 4 --cluster room.yaml")]
    {
        let [one, two] = ["1", "1.5"]
            .map(|pue| planned(&folder, &format!("{what} --pue {pue}"))["plan"].clone());
        for name in ["joules_per_step", "joules_per_token", "mean_w", "most_w"] {
            let figure = |plan: &Value| number(plan, &format!("/energy/{name}"));
            assert!(is_near(figure(&two), 1.5 * figure(&one)), "{what} {name}");
        }
        assert_eq!(one["cost"], two["cost"]);
        assert_eq!(one["energy"]["price_per_token"], two["energy"]["price_per_token"]);
        for (plan, pue) in [(&one, 1.0), (&two, 1.5)] {
            let [joules, most] = by_hand(plan, pue);
            assert!(is_near(joules, number(plan, "/energy/joules_per_step")), "{what}");
            // Rows are of all of their devices, before what the facility adds.
            let rows = plan["energy"]["devices"].as_array().unwrap().iter();
            let rows: f64 = rows.map(|row| number(row, "/joules")).sum();
            assert!(is_near(pue * rows, joules), "{what}: {rows}");
            assert!(is_near(most, number(plan, "/energy/most_w")), "{what}");
            assert!(number(plan, "/energy/mean_w") <= most * (1.0 + 1e-12));
        }
        let used: f64 = one["energy"]["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| {
                number(device, "/n_devices") * if device["kind"] == "rtx_4090" { 0.4 } else { 0.1 }
            })
            .sum();
        let step = number(&one, "/energy/step_s");
        let tokens =
            number(&one, "/energy/joules_per_step") / number(&one, "/energy/joules_per_token");
        let price = number(&one, "/energy/price_per_token");
        assert!(is_near(price, used * step / 3600.0 / tokens), "{what} {price}");
        assert_eq!(one["energy"]["is_nominal"], false);
    }
}

#[test]
fn a_token_takes_less_energy_in_larger_batches_until_products_bind() {
    let folder = folder();
    folder.write("one.yaml", "name: one\nnodes:\n  - {name: a, device: a100_sxm4_80gb}\n");
    let mut before = f64::INFINITY;
    for batch in [1, 2, 4, 8, 16, 32, 64, 128] {
        let line = format!("{SERVE} --batch {batch} --cluster one.yaml --pue 1.1");
        let plan = planned(&folder, &line)["plan"].clone();
        if plan["energy"]["binds"] == "products" {
            break;
        }
        let joules = number(&plan, "/energy/joules_per_output_token");
        assert!(joules < before, "{batch}: {joules} {before}");
        assert!(joules >= number(&plan, "/energy/least_joules_per_token"));
        assert_eq!(plan["energy"]["is_nominal"], true);
        before = joules;
    }
}

#[test]
fn caps_are_kept_and_fronts_have_no_dominated_point() {
    let folder = folder();
    for what in
        [format!("{TRAIN} --cluster equal.yaml"), format!("{SERVE} --batch 4 --cluster room.yaml")]
    {
        let free = planned(&folder, &format!("{what} --power-cap 1MW"));
        let most = number(&free["plan"], "/energy/most_w");
        for share in [0.8, 0.5, 0.35] {
            let cap = most * share;
            let answer = planned(&folder, &format!("{what} --power-cap {cap} -o cap.json --force"));
            assert!(number(&answer["plan"], "/energy/most_w") <= cap, "{what} {share}");
            assert!(
                number(&answer, "/plan/cost/step_time_s")
                    >= number(&free, "/plan/cost/step_time_s") * 0.999_999
                    || answer["plan"]["request"].get("without").is_some()
            );
            front(&answer);
        }
        // A cap of what is drawn is kept to the last digit, and so is the file.
        let answer = planned(&folder, &format!("{what} --power-cap {most} -o most.json --force"));
        assert!(number(&answer["plan"], "/energy/most_w") <= most, "{what}");
        let on = if what.contains("room") { "room.yaml" } else { "equal.yaml" };
        folder.run(&format!("verify most.json --model dense.json --cluster {on}")).exits(0);
        folder.run(&format!("verify cap.json --model dense.json --cluster {on}")).exits(0);
        let mut edited = folder.json("cap.json");
        edited["request"]["power_cap_w"] = json!(number(&edited, "/energy/most_w") * 0.99);
        folder.write("edited.json", &edited.to_string());
        let ran =
            folder.run(&format!("verify edited.json --model dense.json --cluster {on}")).exits(6);
        assert!(ran.stderr.contains("power-cap"), "{}", ran.stderr);
        let mut silent = folder.json("cap.json");
        silent.as_object_mut().unwrap().remove("energy");
        folder.write("silent.json", &silent.to_string());
        folder.run(&format!("verify silent.json --model dense.json --cluster {on}")).exits(3);
        let none = folder.run(&format!("plan dense.json {what} --power-cap 3")).exits(4);
        assert!(none.stderr.contains("power-cap"), "{}", none.stderr);
    }
}

/// Boards go down to a fifth of their data sheet, whatever less a file lets them draw; what is there and does
/// nothing draws what it does at rest.
#[test]
fn low_caps_are_kept_where_boards_can_and_idle_devices_count() {
    let folder = folder();
    folder.write(
        "low.yaml",
        "name: low\nnodes: [{name: a, device: t4}]\nrunning: [{kind: t4, power_w: 35}]\n",
    );
    // A T4 has 70 W: 14 W at least.
    let answer = planned(&folder, &format!("{SERVE} --batch 4 --cluster low.yaml --power-cap 15"));
    assert!(number(&answer["plan"], "/energy/most_w") <= 15.0);
    let none = format!("plan dense.json {SERVE} --batch 4 --cluster low.yaml --power-cap 13.9");
    assert!(folder.run(&none).exits(4).stderr.contains("power-cap"));
    let (_, running) = ROOM.split_once("running:\n").unwrap();
    let (_, slow) = running.split_once('\n').unwrap();
    let nodes = "nodes: [{name: slow, device: rtx_2080_ti, devices: 2}]";
    folder.write("pair.yaml", &format!("name: pair\n{nodes}\nrunning:\n{slow}"));
    let line = format!("{TRAIN} --cluster pair.yaml --devices 1 --pue 1.5");
    let plan = planned(&folder, &line)["plan"].clone();
    let duties = plan["energy"]["devices"].as_array().unwrap();
    let idle: Vec<&Value> = duties.iter().filter(|duty| duty.get("stage").is_none()).collect();
    assert_eq!(idle.len(), 1, "{duties:?}");
    let [joules, most] = by_hand(&plan, 1.5);
    assert!(is_near(joules, number(&plan, "/energy/joules_per_step")));
    assert!(is_near(most, number(&plan, "/energy/most_w")));
}

fn front(answer: &Value) {
    let points = answer["energy_front"].as_array().unwrap();
    let figures = |point: &Value| {
        let price = point["price_per_token"].as_f64().unwrap_or_default();
        let [speed, joules, most] =
            ["/tokens_per_s", "/joules_per_token", "/most_w"].map(|name| number(point, name));
        [-speed, joules, most, price]
    };
    for (a, b) in points.iter().flat_map(|a| points.iter().map(move |b| (a, b))) {
        let (a, b) = (figures(a), figures(b));
        assert!(a == b || a.iter().zip(b).any(|(a, b)| *a > b), "{a:?} {b:?}");
    }
}

#[test]
fn the_least_energy_and_cost_are_no_more_than_the_fastest_plan_takes() {
    let folder = folder();
    for what in [
        format!("{TRAIN} --cluster equal.yaml"),
        format!("{TRAIN} --cluster room.yaml"),
        format!("{SERVE} --batch 4 --cluster room.yaml"),
    ] {
        let on = if what.contains("room") { "room.yaml" } else { "equal.yaml" };
        let fast = planned(&folder, &format!("{what} --pue 1"))["plan"].clone();
        let answer =
            planned(&folder, &format!("{what} --objective energy-per-token -o least.json --force"));
        let (taken, other) = ("/energy/joules_per_token", "/energy/least_joules_per_token");
        assert!(number(&answer["plan"], taken) <= number(&fast, taken), "{what}");
        assert!(number(&answer["plan"], taken) >= number(&answer["plan"], other), "{what}");
        front(&answer);
        folder.run(&format!("verify least.json --model dense.json --cluster {on}")).exits(0);
        folder.run(&format!("simulate least.json --model dense.json --cluster {on}")).exits(0);
        let explained =
            folder.run(&format!("explain least.json --model dense.json --cluster {on}")).exits(0);
        assert!(explained.stdout.contains("each draws"), "{}", explained.stdout);
        for name in ["joules_per_output_token", "price_per_token", "least_price_per_token"] {
            let mut edited = folder.json("least.json");
            if edited["energy"].as_object_mut().unwrap().remove(name).is_some() {
                folder.write("edited.json", &edited.to_string());
                let verify = format!("verify edited.json --model dense.json --cluster {on}");
                assert!(folder.run(&verify).exits(6).stderr.contains(name), "{what}");
            }
        }
        for (pointer, value) in [
            ("/energy/joules_per_step", json!(1.0)),
            ("/energy/most_w", json!(1.0)),
            ("/energy/least_joules_per_token", json!(1e-9)),
            ("/energy/devices/0/computing_s", json!(1e-9)),
            ("/request/board_limit", json!(0.99)),
            ("/objective", json!("cost-per-token")),
            ("/request/least", json!("beauty")),
        ] {
            let mut edited = folder.json("least.json");
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            edited.pointer_mut(parent).unwrap()[name] = value;
            folder.write("edited.json", &edited.to_string());
            let code =
                folder.run(&format!("verify edited.json --model dense.json --cluster {on}")).code;
            assert!([3, 6].contains(&code), "{what} {pointer}: {code}");
        }
        if on == "room.yaml" {
            let answer = planned(&folder, &format!("{what} --objective cost-per-token"));
            let price = "/energy/price_per_token";
            assert!(number(&answer["plan"], price) <= number(&fast, price), "{what}");
        }
    }
}

#[test]
fn what_can_not_be_is_refused() {
    let folder = folder();
    let plan = format!("plan dense.json {SERVE} --batch 4 --cluster room.yaml");
    let refused = |text: &str, flags: &str, word: &str| {
        folder.write("room.yaml", text);
        let ran = folder.run(&format!("{plan} {flags}"));
        assert!([2, 3].contains(&ran.code), "{flags} {}", ran.stderr);
        assert!(ran.stderr.contains(word) && ran.stderr.contains("hint"), "{}", ran.stderr);
    };
    let with = |from: &str, to: &str| ROOM.replace(from, to);
    refused(&with("idle_w: 20", "idle_w: 300"), "", "power-order");
    refused(&with("memory_w: 250", "memory_w: 445"), "", "power-order");
    refused(&with("products_w: 440", "products_w: 4400"), "", "power-order");
    refused(&with("idle_w: 20", "idle_w: -1"), "", "kind-power");
    refused(&with("price_per_hour: 0.4", "price_per_hour: -1"), "", "kind-price");
    refused(&with("idle_w: 20", "power_w: 20"), "", "kind-power");
    refused(&with("kind: rtx_2080_ti", "kind: rtx_4090"), "", "duplicate-kind");
    refused(&with("kind: rtx_2080_ti", "kind: rtx_2080"), "", "unknown-kind");
    refused(&with(", price_per_hour: 0.1", ""), "--objective cost-per-token", "no-price");
    refused(ROOM, "--pue 0.5", "--pue");
    refused(ROOM, "--power-cap=0", "power-cap");
    refused(ROOM, "--scale power=2", "bad-scale");
    // What costs nothing can't be better by a share.
    folder.write(
        "room.yaml",
        &with("price_per_hour: 0.4", "price_per_hour: 0").replace("0.1}", "0}"),
    );
    let free = folder.run(&format!("{plan} --objective cost-per-token")).exits(0).stdout;
    assert!(!free.contains("NaN") && free.contains("less than nothing"), "{free}");
    // A limit slows products down: nothing is had for nothing.
    folder.write("room.yaml", &with("idle_w: 20", "power_w: 300, idle_w: 20"));
    let train = format!("{TRAIN} --cluster room.yaml --pue 1");
    let slow = number(&planned(&folder, &train), "/plan/cost/step_time_s");
    folder.write("room.yaml", ROOM);
    assert!(slow > number(&planned(&folder, &train), "/plan/cost/step_time_s"));
}
