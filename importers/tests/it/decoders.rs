//! Families of decoders against transformers' own models: `python/config_figures.py` wrote the table.

use std::collections::BTreeMap;

use importers::{ImportOptions, read, read_bytes};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A family: a small config, and changes of it with parameters and operations of a pass over 2 samples
/// of 32 tokens (`None` where that model does not run).
#[derive(Deserialize)]
struct Row {
    config: Map<String, Value>,
    changes: Vec<(Map<String, Value>, u64, Option<u64>)>,
}

fn table() -> BTreeMap<String, Row> {
    serde_json::from_str(include_str!("../../../tests/data/decoders.json")).unwrap()
}

fn options() -> ImportOptions {
    let dims = [("batch".to_owned(), 2), ("sequence".to_owned(), 32)].into();
    ImportOptions { dims, ..ImportOptions::default() }
}

#[test]
fn every_family_and_field_has_the_figures_of_its_class() {
    let (mut wrong, mut n_counted, mut n_rows) = (Vec::new(), 0, 0);
    for (kind, row) in table() {
        for (change, parameters, flops) in row.changes {
            let mut config = row.config.clone();
            config.extend(change.clone());
            config.insert("model_type".into(), kind.clone().into());
            let text = serde_json::to_vec(&config).unwrap();
            let summary = read_bytes("config.json", &text, &options()).map(|import| import.summary);
            n_rows += 1;
            n_counted += usize::from(flops.is_some());
            // The counter sees convolutions beyond the last token.
            let is_right = summary.as_ref().is_ok_and(|summary| {
                summary.initializer_elements == parameters
                    && flops.is_none_or(|n| summary.forward_flops.abs_diff(n) * 100 <= n)
            });
            if !is_right {
                let figures =
                    summary.map(|summary| (summary.initializer_elements, summary.forward_flops));
                wrong.push(format!("{kind} {change:?}: {parameters} {flops:?}, read {figures:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {n_rows}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(n_rows > 900 && n_counted > 850, "{n_rows} {n_counted}");
}

/// No op has another op's name, and each reads what stands before it.
#[test]
fn graphs_of_all_families_are_sound() {
    for (kind, row) in table() {
        let mut config = row.config;
        config.insert("model_type".into(), kind.clone().into());
        let text = serde_json::to_vec(&config).unwrap();
        let graph = read_bytes("config.json", &text, &options()).unwrap().graph;
        let names: std::collections::BTreeSet<&str> =
            graph.ops.iter().map(|op| op.name.as_str()).collect();
        assert_eq!(names.len(), graph.ops.len(), "{kind}");
        let producers = graph.producers();
        for op in graph.op_ids() {
            for input in &graph.op(op).inputs {
                let is_fed = graph.inputs.contains(input);
                assert!(is_fed || producers[input.index()].is_some_and(|p| p < op), "{kind}");
            }
        }
    }
}

#[test]
fn published_sizes_have_their_true_parameters() {
    let Some(folder) = benchmark_data::folder() else { return };
    let folder = folder.join("models/hf_families");
    let Ok(text) = std::fs::read_to_string(folder.join("parameters.json")) else { return };
    let truth: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let mut n_exact = 0;
    for (name, figures) in truth {
        let Ok(read) = read(&folder.join(format!("{name}.json")), &ImportOptions::default()) else {
            continue;
        };
        let parameters = figures["parameters"].as_u64().unwrap();
        assert_eq!(read.summary.initializer_elements, parameters, "{name}");
        n_exact += 1;
    }
    assert!(n_exact >= 54, "{n_exact}");
}

#[test]
fn the_documentation_lists_the_families() {
    let text = include_str!("../../../docs/formats.md");
    let words: std::collections::BTreeSet<&str> =
        text.split(|c: char| !(c.is_alphanumeric() || "-_".contains(c))).collect();
    // An unknown type is answered with all that are known.
    let error = read_bytes("config.json", br#"{"model_type":"none"}"#, &options()).unwrap_err();
    let known = error.facts.iter().find_map(|(name, value)| match (*name, value) {
        ("supported", ir::diagnostic::Value::List(known)) => Some(known.clone()),
        _ => None,
    });
    let known = known.unwrap();
    assert!(known.len() > 150, "{}", known.len());
    let all = table().into_keys().chain(known);
    let missing: Vec<String> = all.filter(|kind| !words.contains(kind.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// An unknown family is read as Llama and marked, or refused with what is missing.
#[test]
fn unknown_families_are_guessed_or_refused() {
    let config = serde_json::json!({"model_type": "newllama", "architectures": ["NewForCausalLM"],
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 24, "num_local_experts": 4, "num_experts_per_tok": 2});
    let of = |config: &Value| {
        read_bytes("config.json", &serde_json::to_vec(config).unwrap(), &options())
    };
    let import = of(&config).unwrap();
    // Both ends, a norm, and per layer four squares, two norms, a router and four experts.
    let layer = 4 * 256 + 32 + 64 + 4 * 3 * 16 * 24;
    assert_eq!(import.summary.initializer_elements, 2 * 50 * 16 + 16 + 2 * layer);
    assert!(import.warnings.iter().any(|warning| warning.code == "guessed-family"));
    let is_guessed = |op: &ir::op::Op| {
        matches!(
            &op.work,
            ir::op::Work::Kernel(kernel) if kernel.origin == ir::op::Origin::Guessed
        )
    };
    assert!(import.graph.ops.iter().all(is_guessed));
    for (field, value) in [("vocab_size", Value::Null), ("architectures", Value::Null)] {
        let mut other = config.clone();
        other[field] = value;
        let error = of(&other).unwrap_err();
        assert_eq!(error.code, "unknown-model-type");
        assert_eq!(error.message.contains("`vocab_size`"), field == "vocab_size", "{error:?}");
    }
}

/// Each field of each family at the ends of what JSON can say: refused as the input's fault, or read,
/// at once.
#[test]
fn no_field_of_any_family_stops_the_reader() {
    let wrong = [
        Value::from(0),
        Value::from(-1),
        Value::from(1_u64 << 20),
        Value::from(u64::MAX),
        Value::from(1e300),
        Value::from("text"),
        Value::from(true),
        Value::from(vec![1; 5_000]),
        serde_json::json!({"a": 1}),
    ];
    let started = std::time::Instant::now();
    let (mut n_read, mut n_refused) = (0, 0);
    for (kind, row) in table() {
        let mut all = row.config.clone();
        all.extend(row.changes.into_iter().flat_map(|(change, ..)| change));
        for field in all.keys() {
            for value in &wrong {
                let mut config = row.config.clone();
                config.insert("model_type".into(), kind.clone().into());
                config.insert(field.clone(), value.clone());
                let text = serde_json::to_vec(&config).unwrap();
                let one = std::time::Instant::now();
                match read_bytes("config.json", &text, &options()) {
                    Ok(_) => n_read += 1,
                    Err(error) => {
                        n_refused += 1;
                        assert_eq!(error.blame, ir::diagnostic::Blame::Input, "{error:?}");
                    }
                }
                assert!(one.elapsed().as_secs() < 60, "{kind} {field} {value}");
            }
        }
    }
    assert!(n_read > 1_000 && n_refused > 5_000, "{n_read} {n_refused} {:?}", started.elapsed());
}
