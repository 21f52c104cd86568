#![allow(clippy::all)]
use importers::ImportOptions;
#[test]
fn nodes() {
    let mut files: Vec<_> = std::fs::read_dir("/tmp/nodecases").unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let (mut ok, mut bad) = (0, 0);
    for f in files {
        let n = f.file_stem().unwrap().to_string_lossy().to_string();
        match std::panic::catch_unwind(|| importers::read(&f, &ImportOptions::default())) {
            Err(_) => println!("PANIC {n}"),
            Ok(Err(e)) => { bad += 1; println!("ERR {n} {}: {} {:?}", e.code, e.message, e.facts) }
            Ok(Ok(i)) => {
                ok += 1;
                for w in &i.warnings { println!("{} {n} {}", w.code, w.message); }
                if i.graph.ops.is_empty() { println!("EMPTY {n}"); }
            }
        }
        let o = ImportOptions { batch: Some(5), dtype: Some(ir::tensor::DType::F8), ..Default::default() };
        match std::panic::catch_unwind(|| importers::read(&f, &o)) {
            Err(_) => println!("PANIC {n}"),
            Ok(Err(e)) => { println!("BERR {n} {}: {} {:?}", e.code, e.message, e.facts) }
            Ok(Ok(i)) => { for w in &i.warnings { if w.code=="batch-scaled" { println!("{} {n} {}", w.code, w.message); } } }
        }
    }
    println!("{ok} {bad}");
}
#[test]
fn big() {
    for f in ["gpt2_xl", "llama3_8b", "mixtral_8x7b"] {
        let b = std::fs::read(format!("/work/shared/models/onnx/{f}.onnx")).unwrap();
        let t = std::time::Instant::now();
        importers::read_bytes("x.onnx", &b, &ImportOptions::default()).unwrap();
        println!("TIME {f} {:?}", t.elapsed());
    }
    if let Ok(b) = std::fs::read("/tmp/big20k.onnx") {
        for _ in 0..2 {
        let t = std::time::Instant::now();
        let i = importers::read_bytes("x.onnx", &b, &ImportOptions::default()).unwrap();
        println!("TIME big {:?} {}", t.elapsed(), i.summary.n_ops); }
        let o = ImportOptions { batch: Some(5), ..Default::default() };
        let t = std::time::Instant::now();
        let i = importers::read_bytes("x.onnx", &b, &o).unwrap();
        println!("TIME big batch {:?} {} {}", t.elapsed(), i.summary.n_ops, i.summary.scaled_share);
    }
}
