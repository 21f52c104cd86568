//! Which requests a fleet serves: mixes, prefixes, files of them, so many at once, and whole latencies.

use serde_json::Value;

use super::fleets::{folder, number, workers};
use super::folder::Folder;

const ON: &str =
    "infer qwen.json --cluster eight.yaml -o plan.json --force --json --time-limit 10m";

fn planned(folder: &Folder, flags: &str) -> (Value, Value) {
    let answer = folder.run(&format!("{ON} {flags}")).exits(0).json();
    folder.run("verify plan.json").exits(0);
    (answer, folder.json("plan.json"))
}

/// Seconds of a request by the figures of the slowest workers of each role.
fn latency(plan: &Value, n_output: f64) -> f64 {
    let slowest = |role: &str, name: &str| {
        let here = workers(plan).iter().filter(|worker| worker["role"] == role);
        here.filter_map(|worker| worker[name].as_f64()).fold(0.0, f64::max)
    };
    let whole =
        slowest("aggregated", "ttft_s") + (n_output - 1.0) * slowest("aggregated", "tpot_s");
    let parts = slowest("prefill", "ttft_s") + (n_output - 1.0) * slowest("decode", "tpot_s");
    whole.max(parts)
}

/// Requests under way are the rate times how long one takes (Little 1961).
#[test]
fn so_many_requests_are_under_way() {
    let folder = folder();
    for n in [16.0, 200.0] {
        let flags = format!(
            "--concurrency {n} --tpot 30ms --mode aggregated --input-tokens 2000 --output-tokens 500"
        );
        let (_, plan) = planned(&folder, &flags);
        assert!(plan["fleet"]["bound"].is_null(), "rates are sampled: {plan}");
        let rate = number(&plan["fleet"]["requests_per_s"]);
        let under_way = rate * latency(&plan, 500.0);
        assert!((0.97..1.1).contains(&(under_way / n)), "{under_way} of {n}: {plan}");
    }
}

/// A request latency is kept in the mean, a longer one takes no more devices, none fewer than the bound of a
/// shorter one, and one that none keeps comes with one that is kept.
#[test]
fn a_request_latency_is_kept() {
    let folder = folder();
    let (mut before, mut bound) = (u64::MAX, 0.0_f64);
    for seconds in [10.0, 20.0, 60.0] {
        let flags = format!(
            "--rate 20 --request-latency {seconds}s --input-tokens 2000 --output-tokens 500"
        );
        let (_, plan) = planned(&folder, &flags);
        assert!(latency(&plan, 500.0) <= 1.01 * seconds, "{plan}");
        let n = plan["fleet"]["n_devices"].as_u64().unwrap();
        assert!(n <= before, "{n} devices for {seconds} s, {before} for less");
        bound = bound.max(number(&plan["fleet"]["bound"]));
        assert!(n as f64 >= bound, "{n} devices for {seconds} s, a bound of {bound}");
        before = n;
    }
    let asked = "infer qwen.json --cluster eight.yaml --rate 20 --time-limit 10m";
    let ran = folder.run(&format!("{asked} --request-latency 1s")).exits(5).talk();
    let eased = ran.split("--request-latency ").nth(1).unwrap().split(',').next().unwrap();
    folder.run(&format!("{asked} --request-latency {eased}")).exits(0);
}

/// A percentile of the request latency is kept: of the requests of each worker; of prefill and decode workers by
/// percentiles half as far from the end, which bound it; and takes no fewer devices than the mean.
#[test]
fn a_percentile_of_the_request_latency_is_kept() {
    let folder = folder();
    for mode in ["aggregated", "disaggregated"] {
        let flags =
            format!("--rate 20 --request-latency 12s --lengths 2000:300:3,1000:600 --mode {mode}");
        let (_, mean) = planned(&folder, &flags);
        let (answer, plan) = planned(&folder, &format!("{flags} --percentile 90"));
        assert_eq!(plan["fleet"]["promises"]["percentile"], 90.0, "{plan}");
        let within = number(&answer["latency_seconds"]);
        assert!(within <= 12.0, "{answer}");
        let slowest = answer["worker_latencies"].as_array().unwrap().iter();
        let p90 = slowest.map(|of| number(&of["latency_s"]["p90"])).fold(0.0, f64::max);
        assert!(p90 <= 1.02 * within, "{p90} {within} {answer}");
        let devices = |plan: &Value| plan["fleet"]["n_devices"].as_u64().unwrap();
        assert!(devices(&plan) >= devices(&mean), "{plan}");
    }
}

/// Shares count by their ratio alone, and more of a prompt in a shared prefix takes no more devices.
#[test]
fn mixes_and_prefixes_count() {
    let folder = folder();
    let of = |flags: &str| {
        let flags = format!("--rate 20 --ttft 2s --tpot 30ms --mode aggregated {flags}");
        folder.run(&format!("{ON} {flags}")).exits(0);
        folder.json("plan.json")["fleet"]["n_devices"].as_u64().unwrap()
    };
    let one = of("--lengths 4000:500:3,500:200");
    assert_eq!(one, of("--lengths 4000:500:6,500:200:2"));
    let devices: Vec<u64> = ["", "--prefix-tokens 1000", "--prefix-tokens 3500"]
        .map(|prefix| of(&format!("--input-tokens 4000 --output-tokens 200 {prefix}")))
        .to_vec();
    assert!(
        devices.is_sorted_by(|less, more| less >= more) && devices[0] > devices[2],
        "{devices:?}"
    );
}

/// A file of requests is replayed to its end: its requests keep what is promised, far apart ones take as long as
/// one alone, and a plan is replayed on other files.
#[test]
fn requests_of_a_file_are_replayed_to_their_end() {
    let folder = folder();
    let file = |n: u32, gap: f64| {
        let row = |at: u32| format!("{},1500,{}\n", f64::from(at) * gap, 100 + at % 200);
        let rows: String = (0..n).map(row).collect();
        format!("arrival_s,input_tokens,output_tokens\n{rows}")
    };
    folder.write("some.csv", &file(600, 0.1));
    let (answer, plan) =
        planned(&folder, "--requests some.csv --ttft 1s --tpot 30ms --percentile 90");
    assert!((number(&plan["fleet"]["rate"]) - 10.0).abs() < 1e-9);
    // What others need for the same arrivals.
    let others = answer["alternatives"].as_array().unwrap();
    assert!(others.iter().any(|of| of["n_devices"].is_u64()), "{others:?}");
    let own = plan["fleet"]["n_devices"].as_u64();
    let is_fewer = |of: &Value| of["n_devices"].is_u64() && of["n_devices"].as_u64() < own;
    let is_looser = |of: &Value| of["name"].as_str().unwrap().contains("limit");
    assert!(!others.iter().any(|of| is_fewer(of) && !is_looser(of)), "{others:?}");
    let replayed = &answer["requests"];
    assert_eq!(replayed["n_replayed"], 600);
    assert!(number(&replayed["ttft_s"]["p90"]) <= 1.0, "{replayed}");
    assert!(number(&replayed["tpot_s"]["p90"]) <= 0.03, "{replayed}");
    // The last one arrives after 59.9 s.
    assert!(number(&replayed["total_s"]) > 59.9, "{replayed}");
    let on = |name: &str| {
        folder.run(&format!("simulate plan.json --requests {name} --json")).exits(0).json()["requests"].clone()
    };
    assert_eq!(&on("some.csv"), replayed);
    folder.write("rare.csv", &file(40, 1_000.0));
    let rare = on("rare.csv");
    let [first, last] = ["p50", "p99"].map(|name| number(&rare["ttft_s"][name]));
    assert!((last - first).abs() <= 1e-9 * first, "{rare}");
    // All at once: more than are served in time, but an end.
    folder.write("burst.csv", &file(5_000, 0.0));
    let burst = on("burst.csv");
    assert!(number(&burst["ttft_s"]["p99"]) > 10.0 * last, "{burst}");
    assert_eq!(burst["n_replayed"], 5_000);
}

/// What states the same twice, or what is no file of requests, is refused by name.
#[test]
fn requests_that_are_none_are_refused_by_name() {
    let folder = folder();
    folder.write("some.csv", "arrival_s,input_tokens,output_tokens\n0,10,10\n1,10,10\n");
    folder.write("back.csv", "arrival_s,input_tokens,output_tokens\n5,10,10\n1,10,10\n");
    folder.write("none.csv", "arrival_s,input_tokens,output_tokens\n");
    folder.write("once.csv", "arrival_s,input_tokens,output_tokens\n0,10,10\n0,10,10\n");
    folder.write("long.csv", "arrival_s,input_tokens,output_tokens\n0,10,10\n1,1000000,10\n");
    folder.write("after.csv", "arrival_s,input_tokens,output_tokens\n0,10,10\n1e300,10,10\n");
    folder.write("before.csv", "arrival_s,input_tokens,output_tokens\n-5,10,10\n1,10,10\n");
    let refused = [
        ("--rate 1 --concurrency 4", "--concurrency"),
        ("--requests some.csv --concurrency 4", "--concurrency"),
        ("--requests some.csv --input-tokens 4", "--input-tokens"),
        ("--lengths 1:1 --output-tokens 4", "--output-tokens"),
        ("--lengths 10", "--lengths"),
        ("--lengths 10:0", "--lengths"),
        ("--lengths 10:10:-1", "--lengths"),
        ("--concurrency 0", "--concurrency"),
        ("--concurrency -4", "--concurrency"),
        ("--concurrency 4 --objective throughput", "--concurrency"),
        ("--prefix-tokens 4000", "--prefix-tokens"),
        ("--request-latency 0s", "--request-latency"),
        ("--percentile 0", "--percentile"),
        ("--requests back.csv", "line 3"),
        ("--requests none.csv", "no request"),
        ("--requests once.csv", "--rate"),
        ("--requests absent.csv", "absent.csv"),
        ("--requests long.csv", "leave longer requests out of long.csv"),
        ("--requests after.csv", "needs seconds from 0 to 1e12"),
        ("--requests before.csv", "needs seconds from 0 to 1e12"),
        ("--phase decode --concurrency 4", "--concurrency"),
        ("--input-tokens 1000000 --output-tokens 10", "context"),
        ("--lengths 1000000:10:1,10:10", "context"),
    ];
    for (flags, name) in refused {
        let ran = folder.run(&format!("infer qwen.json --cluster one.yaml {flags}"));
        assert!([2, 3].contains(&ran.code), "{flags}: {} {}", ran.code, ran.stderr);
        assert!(ran.talk().contains(name), "{flags}: {}", ran.stderr);
    }
    folder.run("infer qwen.json --cluster one.yaml --requests once.csv --rate 2").exits(0);
}
