//! What is read of tables and traces, and hostile ones.

use ir::diagnostic::Value;
use ir::measured::CollectiveOperation;

use super::*;

fn read_text(text: &[u8], kind: Option<&str>) -> Result<Set, Diagnostic> {
    let mut set = Set::default();
    parse(text, "f", kind, &mut set)?;
    Ok(set)
}

fn fact(error: &Diagnostic, name: &str) -> Option<String> {
    error.facts.iter().find(|(fact, _)| *fact == name).map(|(_, value)| match value {
        Value::Text(text) => text.clone(),
        Value::Count(count) => count.to_string(),
        other => format!("{other:?}"),
    })
}

const GEMM: &str = "gpu,dtype,m,n,k,time_us\n";

#[test]
fn tables_are_told_by_their_columns() {
    let rows = |text: &str| read_text(text.as_bytes(), None).unwrap().rows;
    let products = rows("gpu,dtype,m,n,k,time_us\na,fp32,1,2,3,4\n").products;
    assert_eq!((products[0].dtype, products[0].time_s), (DType::F32, 4.0 * 1e-6));
    let links = rows("link,bytes,time_ms\nnet,8,4\n").transfers;
    assert_eq!((links[0].bytes, links[0].time_s), (8, 4.0 * 1e-3));
    let streams = rows("device,family,bytes,time_s\nd,copy,8,4\n").streams;
    assert_eq!((streams[0].device.as_str(), streams[0].time_s), ("d", 4.0));
    let collectives =
        rows("gpu,op,library,gpus,gpus_per_node,message_bytes,time_us\na,all_reduce,x,8,8,64,5\n");
    assert_eq!(collectives.collectives[0].operation, CollectiveOperation::AllReduce);
}

#[test]
fn json_holds_the_same_fields() {
    let text = br#"[{"gpu":"a","dtype":"bf16","m":1,"n":2,"k":3,"time_us":4.0},
                    {"gpu":"b","dtype":"bf16","m":1,"n":2,"k":3,"time_us":4.0}]"#;
    let rows = read_text(text, None).unwrap().rows.products;
    assert_eq!((rows.len(), rows[1].device.as_str()), (2, "b"));
    let samples = br#"{"torch":"2","samples":[
        {"task":"product","dtype":"fp32","m":1,"k":2,"n":3,"median_s":1e-6,"dispersion":0.0},
        {"task":"stream","family":"copy","bytes":8,"median_s":1e-6,"dispersion":0.1},
        {"task":"transfer","link":"loopback","bytes":8,"median_s":1e-6,"dispersion":0.1}]}"#;
    let rows = read_text(samples, Some("box")).unwrap().rows;
    assert_eq!(rows.products[0].device, "box");
    assert_eq!((rows.streams.len(), rows.transfers.len()), (1, 1));
}

#[test]
fn kernels_of_a_trace_take_the_shape_of_their_operator() {
    let text = br#"{"deviceProperties":[{"name":"NVIDIA H100 80GB HBM3"}],"traceEvents":[
      {"ph":"M","name":"process_name","args":{"name":"python"}},
      {"ph":"X","cat":"cpu_op","name":"aten::addmm","dur":90.0,"args":{"External id":7,
        "Input Dims":[[768],[128,256],[256,768],[],[]],
        "Input type":["c10::BFloat16","c10::BFloat16","c10::BFloat16","Scalar","Scalar"]}},
      {"ph":"X","cat":"cpu_op","name":"aten::bmm","dur":9.0,"args":{"External id":8,
        "Input Dims":[[4,2,3],[4,3,5]],"Input type":["float","float"]}},
      {"ph":"X","cat":"kernel","name":"gemm","dur":5.0,"args":{"External id":7}},
      {"ph":"X","cat":"kernel","name":"splitk","dur":1.5,"args":{"External id":7}},
      {"ph":"X","cat":"kernel","name":"ncclDevKernel_AllReduce","dur":40.0,"args":{
        "External id":9,"Collective name":"allreduce","In msg nelems":1000,"dtype":"BFloat16",
        "Group size":8}}]}"#;
    let set = read_text(text, None).unwrap();
    let product = &set.rows.products[0];
    assert_eq!((product.m, product.n, product.k, product.dtype), (128, 768, 256, DType::Bf16));
    assert!((product.time_s - 6.5e-6).abs() < 1e-15, "both kernels of the operator count");
    assert_eq!(product.device, "nvidia_h100_80gb_hbm3");
    let collective = &set.rows.collectives[0];
    assert_eq!((collective.bytes, collective.ranks, collective.time_s), (2000, 8, 40.0 * 1e-6));
    assert_eq!(set.warnings[0].code, "unclear-events", "a batch of products has no row");
}

#[test]
fn a_trace_of_a_processor_counts_its_operators() {
    let text = br#"{"traceEvents":[{"cat":"cpu_op","name":"aten::mm","dur":90.0,"args":{
        "External id":7,"Input Dims":[[8,4],[4,2]],"Input type":["float","float"]}}]}"#;
    let set = read_text(text, Some("box")).unwrap();
    assert_eq!((set.rows.products.len(), set.rows.products[0].device.as_str()), (1, "box"));
    let bad = String::from_utf8_lossy(text).replace("90.0", "-1");
    assert_eq!(read_text(bad.as_bytes(), None).unwrap_err().code, "bad-cell");
    let none = br#"{"traceEvents":[{"cat":"cpu_op","name":"aten::relu","dur":1,"args":{}}]}"#;
    assert_eq!(read_text(none, None).unwrap_err().code, "empty-table");
}

#[test]
fn one_kind_has_one_device() {
    let text = "gpu,dtype,m,n,k,time_us\na,bf16,1,2,3,4\nb,bf16,1,2,3,4\n";
    assert_eq!(read_text(text.as_bytes(), None).unwrap().rows.products.len(), 2);
    let error = read_text(text.as_bytes(), Some("x")).unwrap_err();
    assert_eq!(error.code, "mixed-devices");
    assert_eq!(fact(&error, "row").as_deref(), Some("3"));
    assert_eq!(fact(&error, "column").as_deref(), Some("gpu"));
    let one = read_text(b"gpu,dtype,m,n,k,time_us\na,bf16,1,2,3,4\n", Some("x")).unwrap();
    assert_eq!(one.called.as_deref(), Some("a"));
    let nameless = b"dtype,m,n,k,time_us\nbf16,1,2,3,4\n";
    assert_eq!(read_text(nameless, None).unwrap_err().code, "missing-column");
    assert_eq!(read_text(nameless, Some("x")).unwrap().rows.products[0].device, "x");
}

#[test]
fn a_row_that_repeats_counts_once() {
    let text = format!("{GEMM}a,bf16,1,2,3,4\na,bf16,1,2,3,5\na,bf16,1,2,3,4\n");
    let set = read_text(text.as_bytes(), None).unwrap();
    assert_eq!(set.rows.products.len(), 2);
    let warning = &set.warnings[0];
    assert_eq!((warning.code, fact(warning, "row")), ("duplicate-row", Some("4".into())));
    assert_eq!(fact(warning, "repeats_row"), Some("2".into()));
}

/// A text, and the code, row and column that it must be refused with; empty is any.
type Refusal = (&'static str, &'static str, &'static str, &'static str);

const COLLECTIVE: &str = "gpu,op,library,gpus,gpus_per_node,";

#[test]
fn hostile_tables_are_refused_with_their_place() {
    let cases: [Refusal; 18] = [
        ("", "empty-table", "", ""),
        ("GEMM", "empty-table", "", ""),
        ("a,b\n1,2\n", "unknown-table", "2", ""),
        ("gpu,dtype,m,n,k,time\na,bf16,1,2,3,4\n", "missing-unit", "2", "time"),
        ("gpu,dtype,m,n,k,time_min\na,bf16,1,2,3,4\n", "unknown-unit", "2", "time_min"),
        ("link,bytes,time\nl,1,2\n", "missing-unit", "2", "time"),
        ("link,size_mb,time_s\nl,1,2\n", "missing-column", "2", ""),
        ("COLLmessage,time_us\na,all_reduce,x,8,8,64,5\n", "missing-unit", "2", "message"),
        ("COLLmessage_mb,time_us\na,all_reduce,x,8,8,64,5\n", "unknown-unit", "2", "message_mb"),
        ("GEMMa,bf16,1,2,3,NaN\n", "bad-cell", "2", "time_us"),
        ("GEMMa,bf16,1,2,3,4\na,bf16,1,2,3,-4\n", "bad-cell", "3", "time_us"),
        ("GEMMa,bf16,1,2,3,0\n", "bad-cell", "2", "time_us"),
        ("GEMMa,bf16,1,2,3,1e300\n", "bad-cell", "2", "time_us"),
        ("GEMMa,bf16,99999999999999999999,2,3,4\n", "bad-cell", "2", "m"),
        ("GEMMa,bf16,9999999999999999,2,3,4\n", "bad-cell", "2", "m"),
        ("GEMMa,bf61,1,2,3,4\n", "bad-cell", "2", "dtype"),
        ("GEMMa,bf16,1,2,3\n", "bad-table", "2", "6"),
        ("GEMMa,bf16,1,2,3,4,5\n", "bad-table", "2", "7"),
    ];
    for (text, code, row, column) in cases {
        let text = text.replace("GEMM", GEMM).replace("COLL", COLLECTIVE);
        refused(text.as_bytes(), code, row, column);
    }
}

fn refused(text: &[u8], code: &str, row: &str, column: &str) {
    let error = read_text(text, None).unwrap_err();
    let shown = String::from_utf8_lossy(text);
    assert_eq!(error.code, code, "{shown}: {error}");
    assert_eq!(fact(&error, "file").as_deref(), Some("f"), "{shown}");
    for (name, wanted) in [("row", row), ("column", column)] {
        if !wanted.is_empty() {
            assert_eq!(fact(&error, name).as_deref(), Some(wanted), "{shown}: {error:?}");
        }
    }
}

#[test]
fn hostile_bytes_and_json_are_refused_with_their_place() {
    refused(b"\0\xff\xfe\x00\x01garbage\n\0\0", "bad-table", "1", "1");
    refused(b"gpu,dtype,m,n,k,time_us\na,bf16,1,2,3,\xff\n", "bad-table", "2", "6");
    let cases: [Refusal; 6] = [
        ("[]", "empty-table", "", ""),
        (r#"[{"link":"l","bytes":1,"time_s":NaN}]"#, "invalid-json", "", ""),
        (r#"[{"link":"l","bytes":1,"time_s":1e999}]"#, "number-out-of-range", "", ""),
        (r#"[{"link":"l","bytes":[1],"time_s":1}]"#, "bad-cell", "1", "bytes"),
        (r#"[{"link":"l","link":"l","bytes":1,"time_s":1}]"#, "duplicate-key", "1", "link"),
        (r#"{"rows":[]}"#, "unknown-table", "", ""),
    ];
    for (text, code, row, column) in cases {
        refused(text.as_bytes(), code, row, column);
    }
}

#[test]
fn deep_and_long_files_are_bounded() {
    let deep = "[".repeat(100_000);
    assert!(read_text(deep.as_bytes(), None).is_err());
    let nested = format!("[{{\"link\":{deep}");
    assert_eq!(read_text(nested.as_bytes(), None).unwrap_err().code, "nesting-limit");
    let header = b"link,bytes,time_us\n".as_slice();
    let endless = header.chain(std::io::repeat(b'x').take(1 << 20));
    let error = parse(endless, "f", None, &mut Set::default()).unwrap_err();
    assert_eq!(error.code, "bad-table");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let error = read(&[Path::new("/dev/zero")], None).unwrap_err();
    assert_eq!(error.code, "unreadable-file");
    assert_eq!(read(&[Path::new("/nowhere/at-all")], None).unwrap_err().code, "unreadable-file");
}
