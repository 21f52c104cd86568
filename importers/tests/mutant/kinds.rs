//! Formats that are mutated: a row of [`KINDS`] says what a file would be called and how a mutant
//! of it is made.

use std::io::{Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{Dice, Pool, chakra, damage, json, text};

/// Programs of every kind of operation.
const PROGRAMS: [&str; 7] =
    ["attention", "choice", "collectives", "grouped_convolution", "loop", "scan", "sharded"];

/// Seeds of all formats.
pub(crate) struct Seeds {
    onnx: Pool,
    chakra: Pool,
    exported: Vec<Value>,
    archives: Vec<Vec<u8>>,
    execution: Value,
    kineto: Value,
    programs: Vec<String>,
}

/// A format: name, name of the file, and the mutant of a number.
pub(crate) type Kind = (&'static str, &'static str, fn(&Seeds, u64) -> Vec<u8>);

/// All.
pub(crate) const KINDS: [Kind; 6] = [
    ("onnx", "mutant.onnx", |seeds, seed| seeds.onnx.mutant(seed)),
    ("execution-trace", "mutant.et.json", |seeds, seed| {
        json::mutant(&seeds.execution, &mut Dice::new(seed))
    }),
    ("kineto", "mutant.kineto.json", |seeds, seed| {
        json::mutant(&seeds.kineto, &mut Dice::new(seed))
    }),
    ("torch.export", "mutant.pt2", |seeds, seed| {
        // One in eight is hurt as an archive, the others in what they hold.
        if seed.is_multiple_of(8) {
            let mut bytes = seeds.archives[seed as usize / 8 % seeds.archives.len()].clone();
            damage(&mut bytes, &mut Dice::new(seed));
            return bytes;
        }
        let program = &seeds.exported[seed as usize % seeds.exported.len()];
        zipped(&json::mutant(program, &mut Dice::new(seed)))
    }),
    ("chakra", "mutant.et", |seeds, seed| seeds.chakra.delimited(seed)),
    ("stablehlo", "mutant.mlir", |seeds, seed| text::mutant(&seeds.programs, &mut Dice::new(seed))),
];

impl Seeds {
    /// The small files among the test data.
    pub(crate) fn open(data: &Path) -> std::io::Result<Self> {
        let cut = |name: &str, list: &str, n: usize| -> std::io::Result<Value> {
            let file = std::fs::File::open(data.join("traces").join(name))?;
            let mut text = String::new();
            GzDecoder::new(file).read_to_string(&mut text)?;
            let mut value: Value = serde_json::from_str(&text)?;
            if let Some(items) = value.get_mut(list).and_then(Value::as_array_mut) {
                items.truncate(n);
            }
            Ok(value)
        };
        let text = |name: &&str| {
            std::fs::read_to_string(data.join("stablehlo").join(format!("{name}.mlir")))
        };
        let archives =
            ["tied_cond.pt2", "joint_step.pt2"].map(|name| data.join("exported").join(name));
        Ok(Self {
            programs: PROGRAMS.iter().map(text).collect::<std::io::Result<_>>()?,
            exported: archives.iter().map(|path| program(path)).collect::<Result<_, _>>()?,
            archives: archives.iter().map(std::fs::read).collect::<Result<_, _>>()?,
            onnx: Pool::open(data)?,
            chakra: Pool::of(vec![chakra()]),
            // The root of a thread stands at the end: all but the first nodes would miss it.
            execution: rooted(cut("gloo_rank0.et.json.gz", "nodes", 60)?),
            kineto: cut("gloo_rank0.kineto.json.gz", "traceEvents", 60)?,
        })
    }
}

/// The program of an archive.
fn program(path: &Path) -> std::io::Result<Value> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path)?)?;
    let is_model = |name: &str| name.contains("/models/") && name.ends_with(".json");
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let name = names.iter().find(|name| is_model(name)).cloned().unwrap_or_default();
    Ok(serde_json::from_reader(archive.by_name(&name)?)?)
}

/// An archive of a program, or of what is left of one.
fn zipped(program: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let written = archive.start_file("m/models/model.json", stored);
    let written = written.and_then(|()| Ok(archive.write_all(program)?));
    written.and_then(|()| Ok(archive.finish()?.into_inner())).unwrap_or_default()
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
