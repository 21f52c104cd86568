//! Max-load on public instances: best known values, proved, from the raw files.

use std::sync::Arc;

use importers::{Content, ImportOptions, read_any};
use ir::instance::{Instance, LoadInstance};
use planner::given::max_load::check::check;
use planner::given::max_load::control::Control;
use planner::given::max_load::evaluate::evaluate;
use planner::given::max_load::search::{Options, solve};

use crate::data;

/// Instance, and the least value known before, in units of 10^9 ns: Tarnawski et al., NeurIPS 2020,
/// data of msr-fiddle/dnn-partitioning; values by HiGHS and column generation of November 2026.
const KNOWN: [(&str, f64); 5] = [
    ("layer/bert24_inference", 17.714_719),
    ("layer/bert24_training", 39.789_539),
    ("operator/bert_l-3_inference", 21.908_376),
    ("operator/bert_l-3_training", 54.207_400),
    ("operator/resnet50_inference", 124.348_850),
];

fn instance(name: &str) -> Option<LoadInstance> {
    let folder = data::folder()?.join("bench/placement/dnn-partitioning/throughput");
    let content = read_any(&folder.join(format!("{name}.json.gz")), &ImportOptions::default());
    match content.expect("the file is there") {
        Content::Instance(Instance::Load(instance)) => Some(instance),
        _ => panic!("another kind of instance"),
    }
}

#[test]
fn public_optima_are_found_and_proved() {
    for (name, known) in KNOWN {
        let Some(instance) = instance(name) else { return };
        let control = Control::new(None, Some(1_000_000_000), Arc::default());
        let outcome =
            solve(&instance, &Options::default(), &control, &mut |_, _| {}).expect("a placement");
        let value = outcome.value_ns as f64 / 1e9;
        assert_eq!(evaluate(&instance, &outcome.device_of), Some(outcome.value_ns), "{name}");
        assert!(value <= known * (1.0 + 1e-6), "{name}: {value}");
        assert_eq!(outcome.value_ns, outcome.bound_ns, "{name}");
        let certificate = outcome.certificate.expect("a certificate");
        assert_eq!(check(&instance, &certificate), Ok(()), "{name}");
    }
}
