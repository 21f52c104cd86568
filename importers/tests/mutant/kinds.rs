//! Formats that are mutated: a row of [`KINDS`] says what a file would be called and how a mutant
//! of it is made.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{Dice, Pool, chakra, json};

/// Seeds of all formats.
pub(crate) struct Seeds {
    onnx: Pool,
    chakra: Pool,
    execution: Value,
    kineto: Value,
}

/// A format: name, name of the file, and the mutant of a number.
pub(crate) type Kind = (&'static str, &'static str, fn(&Seeds, u64) -> Vec<u8>);

/// All.
pub(crate) const KINDS: [Kind; 4] = [
    ("onnx", "mutant.onnx", |seeds, seed| seeds.onnx.mutant(seed)),
    ("execution-trace", "mutant.et.json", |seeds, seed| {
        json::mutant(&seeds.execution, &mut Dice::new(seed))
    }),
    ("kineto", "mutant.kineto.json", |seeds, seed| {
        json::mutant(&seeds.kineto, &mut Dice::new(seed))
    }),
    ("chakra", "mutant.et", |seeds, seed| seeds.chakra.delimited(seed)),
];

impl Seeds {
    /// The small files among the test data.
    pub(crate) fn open(data: &Path) -> std::io::Result<Self> {
        let cut = |name: &str, list: &str, kept: usize| -> std::io::Result<Value> {
            let file = std::fs::File::open(data.join("traces").join(name))?;
            let mut text = String::new();
            GzDecoder::new(file).read_to_string(&mut text)?;
            let mut value: Value = serde_json::from_str(&text)?;
            if let Some(items) = value.get_mut(list).and_then(Value::as_array_mut) {
                items.truncate(kept);
            }
            Ok(value)
        };
        Ok(Self {
            onnx: Pool::open(data)?,
            chakra: Pool::of(vec![chakra()]),
            // The root of a thread stands at the end: all but the first nodes would miss it.
            execution: rooted(cut("gloo_rank0.et.json.gz", "nodes", 60)?),
            kineto: cut("gloo_rank0.kineto.json.gz", "traceEvents", 60)?,
        })
    }
}

/// A trace whose nodes without a parent in it are roots.
fn rooted(mut trace: Value) -> Value {
    let nodes = trace.get_mut("nodes").and_then(Value::as_array_mut);
    if let Some(nodes) = nodes {
        let ids: Vec<Value> = nodes.iter().map(|node| node["id"].clone()).collect();
        for node in nodes {
            if !ids.contains(&node["ctrl_deps"]) {
                node["ctrl_deps"] = node["id"].clone();
            }
        }
    }
    trace
}
