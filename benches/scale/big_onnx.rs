//! ONNX files of a gibibyte, read by the real command in a child process.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;

pub(crate) fn run(folder: &Path) {
    println!(
        "\n### Large ONNX files\n\n| file | time | peak resident | answer |\n|---|---|---|---|"
    );
    let path = folder.join("raw.onnx");
    one_weight(&path, 9).unwrap();
    measure("1 GiB of inline raw_data", &path);
    one_weight(&path, 4).unwrap();
    measure("1 GiB of packed float_data", &path);
    many_weights(&path, 10_000_000).unwrap();
    measure("10,000,000 initializers of 16 bytes", &path);
}

fn measure(what: &str, path: &Path) {
    let mut best = (Duration::MAX, 0, None);
    for _ in 0..3 {
        let start = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshwright"))
            .arg("import")
            .arg(path)
            .arg("--json")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0;
        let status = loop {
            peak = resident_peak(child.id()).max(peak);
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_micros(500)),
            }
        };
        best = best.min_by_time((start.elapsed(), peak, status.code()));
    }
    let (time, peak, code) = best;
    let code = code.map_or("killed".to_owned(), |code| format!("exit {code}"));
    println!(
        "| {what} | {:.0} ms | {:.0} MB | {code} |",
        time.as_secs_f64() * 1e3,
        peak as f64 / 1e6
    );
}

trait MinByTime {
    fn min_by_time(self, other: Self) -> Self;
}

impl MinByTime for (Duration, u64, Option<i32>) {
    fn min_by_time(self, other: Self) -> Self {
        let peak = self.1.max(other.1);
        let least = if other.0 < self.0 { other } else { self };
        (least.0, peak, least.2)
    }
}

/// Bytes of the high-water mark of a process (Linux), 0 where it can't be read.
pub(crate) fn resident_peak(pid: u32) -> u64 {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .unwrap_or(0)
        * 1024
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn number_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// `y = x W` with `W` of 16384 x 16384 floats in TensorProto field `payload`; the payload itself
/// is a hole in the file.
fn one_weight(path: &Path, payload: u64) -> std::io::Result<()> {
    let mut tensor = Vec::new();
    number_field(&mut tensor, 1, 16_384);
    number_field(&mut tensor, 1, 16_384);
    number_field(&mut tensor, 2, 1);
    bytes_field(&mut tensor, 8, b"w");
    varint(&mut tensor, payload << 3 | 2);
    varint(&mut tensor, GIB);

    let mut node = Vec::new();
    bytes_field(&mut node, 1, b"x");
    bytes_field(&mut node, 1, b"w");
    bytes_field(&mut node, 2, b"y");
    bytes_field(&mut node, 4, b"MatMul");
    let mut graph = Vec::new();
    bytes_field(&mut graph, 1, &node);
    bytes_field(&mut graph, 11, &value(b"x"));
    bytes_field(&mut graph, 12, &value(b"y"));
    varint(&mut graph, 5 << 3 | 2);
    varint(&mut graph, tensor.len() as u64 + GIB);
    graph.extend_from_slice(&tensor);

    let mut model = head();
    varint(&mut model, 7 << 3 | 2);
    varint(&mut model, graph.len() as u64 + GIB);
    model.extend_from_slice(&graph);
    let mut file = File::create(path)?;
    file.write_all(&model)?;
    file.seek(SeekFrom::Start(0))?;
    file.set_len(model.len() as u64 + GIB)
}

fn many_weights(path: &Path, n: u64) -> std::io::Result<()> {
    let tensor = |index: u64| {
        let mut tensor = Vec::new();
        number_field(&mut tensor, 1, 4);
        number_field(&mut tensor, 2, 1);
        bytes_field(&mut tensor, 8, format!("w{index:08}").as_bytes());
        bytes_field(&mut tensor, 9, &[0; 16]);
        let mut field = Vec::new();
        bytes_field(&mut field, 5, &tensor);
        field
    };
    let mut node = Vec::new();
    bytes_field(&mut node, 1, b"x");
    bytes_field(&mut node, 2, b"y");
    bytes_field(&mut node, 4, b"Relu");
    let mut graph = Vec::new();
    bytes_field(&mut graph, 1, &node);
    bytes_field(&mut graph, 11, &value(b"x"));
    bytes_field(&mut graph, 12, &value(b"y"));
    let each = tensor(0).len() as u64;
    let mut out = BufWriter::new(File::create(path)?);
    let mut model = head();
    varint(&mut model, 7 << 3 | 2);
    varint(&mut model, graph.len() as u64 + each * n);
    out.write_all(&model)?;
    out.write_all(&graph)?;
    for index in 0..n {
        out.write_all(&tensor(index))?;
    }
    out.flush()
}

fn head() -> Vec<u8> {
    let mut opset = Vec::new();
    number_field(&mut opset, 2, 18);
    let mut model = Vec::new();
    number_field(&mut model, 1, 8);
    bytes_field(&mut model, 8, &opset);
    model
}

fn value(name: &[u8]) -> Vec<u8> {
    let mut extent = Vec::new();
    number_field(&mut extent, 1, 16_384);
    let mut shape = Vec::new();
    bytes_field(&mut shape, 1, &extent);
    bytes_field(&mut shape, 1, &extent);
    let mut tensor = Vec::new();
    number_field(&mut tensor, 1, 1);
    bytes_field(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    bytes_field(&mut kind, 1, &tensor);
    let mut info = Vec::new();
    bytes_field(&mut info, 1, name);
    bytes_field(&mut info, 2, &kind);
    info
}
