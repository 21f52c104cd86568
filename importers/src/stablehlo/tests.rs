//! Texts that are wrong, strange or made to hurt.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ir::diagnostic::Diagnostic;
use ir::op::{Origin, Work};

use crate::import::{Import, ImportOptions};
use crate::read_bytes;

fn of(text: &str) -> Result<Import, Diagnostic> {
    let start = Instant::now();
    let found = read_bytes("program.mlir", text.as_bytes(), &ImportOptions::default());
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    found
}

/// The error of a text, which says where it is and what to do.
fn error(text: &str) -> (&'static str, u64, u64) {
    let error = of(text).unwrap_err();
    let number = |name: &str| {
        error.facts.iter().find_map(|(key, value)| match value {
            ir::diagnostic::Value::Count(n) if *key == name => Some(*n),
            _ => None,
        })
    };
    assert!(!error.hints.is_empty(), "{error:?}");
    (error.code, number("line").unwrap_or(0), number("column").unwrap_or(0))
}

/// `main` with one argument `%x` of 4 x 8 numbers.
fn main(body: &str) -> String {
    format!("func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {{\n{body}\n}}")
}

fn types(text: &str) -> Vec<String> {
    of(text).unwrap().graph.ops.into_iter().map(|op| op.op_type).collect()
}

const T: &str = "tensor<4x8xf32>";

#[test]
fn faults_are_told_with_line_and_column() {
    for (body, code, line, column) in [
        ("%0 = stablehlo.add %x, %y : tensor<4x8xf32>", "undefined-tensor", 2, 24),
        ("%x = stablehlo.tanh %x : tensor<4x8xf32>", "duplicate-id", 2, 1),
        ("%0 = stablehlo.tanh %x : tensor<4x9xf32>", "shape-mismatch", 2, 6),
        ("%0 = stablehlo.tanh %x : (tensor<4x8xf32>) -> tensor<4x9xf32>", "shape-mismatch", 2, 6),
        ("%0 = stablehlo.tanh %x : tensor<4x8xq7>", "unknown-dtype", 2, 26),
        ("%0 = stablehlo.tanh %x : tensor<4x8xf32", "truncated-text", 2, 26),
        ("%0 = stablehlo.tanh %x : 5", "invalid-mlir", 2, 26),
        ("%0 = \"stablehlo.tanh", "truncated-text", 2, 6),
        ("%0 = stablehlo.constant dense<[1.0, : tensor", "truncated-text", 2, 30),
        ("%0:2 = stablehlo.tanh %x : tensor<4x8xf32>", "type-mismatch", 2, 8),
        ("%0 = stablehlo.tanh %x#3 : tensor<4x8xf32>", "undefined-tensor", 2, 21),
        ("%0 = call @nothing(%x) : (tensor<4x8xf32>) -> tensor<4x8xf32>", "undefined-tensor", 2, 6),
        ("%0 = call @main(%x) : (tensor<4x8xf32>) -> tensor<4x8xf32>", "recursive-function", 2, 6),
        ("^bb1:\nreturn %x : tensor<4x8xf32>", "unsupported-control-flow", 2, 1),
    ] {
        assert_eq!(error(&main(body)), (code, line, column), "{body}");
    }
    let product = "%0 = stablehlo.dot_general %x, %x, contracting_dims = [1] x [0] : \
                   (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>";
    assert_eq!(error(&main(product)).0, "shape-mismatch");
    let turned =
        "%0 = stablehlo.transpose %x, dims = [1, 0] : (tensor<4x8xf32>) -> tensor<4x8xf32>";
    assert_eq!(error(&main(turned)).0, "shape-mismatch");
    let huge = format!("%0 = stablehlo.tanh %x : tensor<4x1{}xf32>", "0".repeat(40));
    assert_eq!(error(&main(&huge)).0, "number-out-of-range");
    let many = format!("%0 = stablehlo.tanh %x : tensor<{}f32>", "9999999x".repeat(9));
    assert_eq!(error(&main(&many)).0, "size-overflow");
    assert_eq!(error("module {").0, "truncated-text");
    assert_eq!(error("module {}").0, "missing-graph");
    assert_eq!(error(&main("")).0, "missing-graph");
    assert_eq!(error(&main("return %x : tensor<4x8xf32>")).0, "no-ops");
}

#[test]
fn bytecode_points_to_text() {
    for name in ["a.mlirbc", "a.mlir", "a"] {
        let read = read_bytes(name, b"ML\xEFR\x01", &ImportOptions::default());
        let error = read.unwrap_err();
        assert_eq!(error.code, "unsupported-format");
        assert!(error.hints[0].contains("as_text"), "{error:?}");
    }
}

/// Depth, length and number, each far past what any program has.
#[test]
fn what_is_made_to_hurt_ends_soon() {
    let n = 100_000;
    let regions = "\"stablehlo.case\"(%x) ({".repeat(n);
    assert_eq!(error(&main(&regions)).0, "nesting-limit");
    let brackets = format!("%0 = stablehlo.tanh %x {{a = {}", "[".repeat(n));
    assert_eq!(error(&main(&brackets)).0, "nesting-limit");
    let location = format!("%0 = stablehlo.tanh %x : {T} loc({}", "callsite(".repeat(n));
    assert_eq!(error(&main(&location)).0, "nesting-limit");
    let angles = format!("%0 = stablehlo.tanh %x : {}", "tensor<".repeat(n));
    assert_eq!(error(&main(&angles)).0, "nesting-limit");
    let axes = format!("%0 = stablehlo.tanh %x : tensor<{}f32>", "1x".repeat(n));
    assert_eq!(error(&main(&axes)).0, "rank-limit");
    let mut unused = String::new();
    for number in 0..n {
        writeln!(unused, "%{number} = stablehlo.tanh %x : {T}").unwrap();
    }
    writeln!(unused, "return %7 : {T}").unwrap();
    assert_eq!(of(&main(&unused)).unwrap().graph.ops.len(), 1);
    // Each function calls the one before it twice.
    let mut doubled = main(&format!("%0 = call @f40(%x) : ({T}) -> {T}\nreturn %0 : {T}"));
    for number in 1..=40 {
        let call = format!("call @f{}(%x) : ({T}) -> {T}", number - 1);
        write!(
            doubled,
            "\nfunc.func private @f{number}(%x: {T}) -> {T} {{\n%0 = {call}\n%1 = {call}\n\
             %2 = stablehlo.add %0, %1 : {T}\nreturn %2 : {T}\n}}"
        )
        .unwrap();
    }
    write!(doubled, "\nfunc.func private @f0(%x: {T}) -> {T} {{ return %x : {T} }}").unwrap();
    assert_eq!(error(&doubled).0, "inline-budget");
}

#[test]
fn constants_cost_their_type_and_nothing_of_their_text() {
    let blob = "AB".repeat(8 << 20);
    let body = format!(
        "%0 = stablehlo.constant dense<\"0x{blob}\"> : {T}\n%1 = stablehlo.add %x, %0 : {T}\n\
         return %1 : {T}"
    );
    let import = of(&main(&body)).unwrap();
    assert_eq!(import.summary.parameter_bytes, 128);
    let constant = import.graph.tensors.iter().find(|tensor| tensor.name == "%0").unwrap();
    assert!(constant.trainable);
    // One number for all is a part of the formula.
    let splat = body.replace(&format!("\"0x{blob}\""), "1.0");
    let import = of(&main(&splat)).unwrap();
    assert!(import.graph.tensors.iter().all(|tensor| !tensor.trainable));
}

/// The same operation in both of its forms.
#[test]
fn generic_forms_are_the_printed_ones() {
    let pair = |printed: &str, generic: &str| {
        let [a, b] = [printed, generic].map(|body| {
            let import = of(&main(&format!("{body}\nreturn %0 : {T}"))).unwrap();
            import.graph.ops
        });
        assert_eq!(a, b);
    };
    pair(
        "%c = stablehlo.constant dense<1.0> : tensor<8x8xf32>\n%0 = stablehlo.dot_general %x, %c, \
         contracting_dims = [1] x [0], precision = [DEFAULT, DEFAULT] : (tensor<4x8xf32>, \
         tensor<8x8xf32>) -> tensor<4x8xf32>",
        "%c = \"stablehlo.constant\"() <{value = dense<1.0> : tensor<8x8xf32>}> : () -> \
         tensor<8x8xf32>\n%0 = \"stablehlo.dot_general\"(%x, %c) <{dot_dimension_numbers = \
         #stablehlo.dot<lhs_contracting_dimensions = [1], rhs_contracting_dimensions = [0]>, \
         precision_config = [#stablehlo<precision DEFAULT>]}> : (tensor<4x8xf32>, \
         tensor<8x8xf32>) -> tensor<4x8xf32>",
    );
    let (i, t) = ("tensor<i32>", T);
    let start = format!("%c = stablehlo.constant dense<0> : {i}\n");
    let inside = format!(
        "%n = stablehlo.constant dense<5> : {i}\n%t = stablehlo.compare LT, %a, %n, SIGNED : \
         ({i}, {i}) -> tensor<i1>\nstablehlo.return %t : tensor<i1>\n"
    );
    let body = format!(
        "%s = stablehlo.constant dense<2> : {i}\n%d = stablehlo.add %a, %s : {i}\n%e = \
         stablehlo.tanh %b : {t}\nstablehlo.return %d, %e : {i}, {t}\n"
    );
    let printed = format!(
        "{start}%1:2 = stablehlo.while(%a = %c, %b = %x) : {i}, {t}\ncond {{\n{inside}}} do \
         {{\n{body}}}\nreturn %1#1 : {t}"
    );
    let turned = inside.replace("compare LT, %a, %n, SIGNED", "compare GT, %n, %a");
    let generic = format!(
        "{start}%1:2 = \"stablehlo.while\"(%c, %x) ({{\n^bb0(%a: {i}, %b: {t}):\n{turned}}}, \
         {{\n^bb0(%a: {i}, %b: {t}):\n{body}}}) : ({i}, {t}) -> ({i}, {t})\nreturn %1#1 : {t}"
    );
    let [a, b] = [printed, generic].map(|text| of(&main(&text)).unwrap().graph.ops);
    assert_eq!(a, b);
    // Three times: 0, 2 and 4 are below 5. A run writes a number and 4 x 8 numbers, and a test.
    let Work::Kernel(kernel) = &a[0].work else { panic!("{:?}", a[0]) };
    assert_eq!(kernel.bytes_written.get(), 3 * (4 + 128 + 1));
    assert_eq!(kernel.origin, Origin::Rule);
}

#[test]
fn strange_types_are_sized_as_they_are_stored() {
    for (name, bytes) in [
        ("tensor<4xf8E4M3FN>", 4),
        ("tensor<4xi1>", 4),
        ("tensor<4xui4>", 2),
        ("tensor<4xcomplex<f32>>", 32),
        ("tensor<4x!quant.uniform<i8:f32, 0.1:-30>>", 4),
        ("tensor<4x!quant.uniform<i8<-127:127>:f32:0, {0.1,0.2,0.3,0.4}>>", 4),
        ("tensor<?xf32, #stablehlo.bounds<4>>", 16),
    ] {
        let text = format!(
            "func.func @main(%x: {name}) -> {name} {{\n%0 = stablehlo.negate %x : {name}\nreturn \
             %0 : {name}\n}}"
        );
        let import = of(&text).unwrap();
        assert_eq!(import.graph.tensor(import.graph.inputs[0]).bytes.get(), bytes, "{name}");
    }
    let open = "func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {\n%0 = stablehlo.negate \
                %x : tensor<?x4xf32>\nreturn %0 : tensor<?x4xf32>\n}";
    let import = of(open).unwrap();
    assert!(import.warnings.iter().any(|warning| warning.code == "unknown-shape"));
    assert!(import.summary.guessed_share > 0.9);
}

#[test]
fn calls_of_foreign_code_are_taken_by_name() {
    let call = |target: &str, operands: &str, types: &str| {
        let text = format!(
            "%0 = stablehlo.custom_call @{target}({operands}) : ({types}) -> {T}\n%1 = \
             stablehlo.tanh %0 : {T}\nreturn %1 : {T}"
        );
        of(&main(&text)).unwrap()
    };
    let of_type = |import: &Import| import.graph.ops[0].op_type.clone();
    assert_eq!(of_type(&call("Sharding", "%x", T)), "Tanh");
    let unknown = call("my_kernel", "%x", T);
    assert_eq!(of_type(&unknown), "my_kernel");
    assert!(unknown.warnings.iter().any(|warning| warning.code == "unknown-op"));
    assert!(unknown.summary.guessed_share > 0.0);
    let square = "%c = stablehlo.constant dense<1.0> : tensor<8x8xf32>\n%0 = \
                  stablehlo.custom_call @__cublas$gemm(%x, %c) : (tensor<4x8xf32>, \
                  tensor<8x8xf32>) -> tensor<4x8xf32>\nreturn %0 : tensor<4x8xf32>";
    let product = of(&main(square)).unwrap();
    assert_eq!(product.summary.forward_flops, 2 * 4 * 8 * 8);
    let constraint = "%0 = sdy.sharding_constraint %x <@mesh, [{\"a\"}, {}]> : tensor<4x8xf32>\n%1 = \
                      stablehlo.tanh %0 : tensor<4x8xf32>\nreturn %1 : tensor<4x8xf32>";
    let text = format!("module {{\nsdy.mesh @mesh = <[\"a\"=2]>\n{}\n}}", main(constraint));
    assert_eq!(of(&text).unwrap().summary.pins, ["data=2"]);
    assert_eq!(types(&text), ["Tanh"]);
}

#[test]
fn a_text_is_told_by_how_it_begins() {
    let body = main(&format!("%0 = stablehlo.tanh %x : {T}\nreturn %0 : {T}"));
    let debug = format!("#loc1 = loc(\"x\")\n{body}");
    let module = format!("// a comment\nmodule @m attributes {{a = 1 : i32}} {{\n{body}\n}}");
    for (text, names) in [
        (&body, &["a.mlir", "a.txt", "a", "a.stablehlo"][..]),
        (&debug, &["a.mlir", "a.txt", "a"]),
        (&module, &["a.mlir"]),
    ] {
        for name in names {
            let import = read_bytes(name, text.as_bytes(), &ImportOptions::default()).unwrap();
            assert_eq!(import.summary.format, "stablehlo", "{name}");
        }
    }
    let profile = "node1 -- Input0 -- forward_compute_time=0.0, backward_compute_time=0.0, \
                   activation_size=1.0, parameter_size=0.0\n";
    let error = read_bytes("graph.txt", profile.as_bytes(), &ImportOptions::default()).unwrap_err();
    assert_eq!(error.code, "no-graph");
}

/// CHLO prints the types of two operands without parentheses, and those of one as StableHLO does.
#[test]
fn types_of_operands_may_stand_without_parentheses() {
    for body in [
        "%0 = chlo.next_after %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>",
        "%0 = chlo.polygamma %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>",
        "%0 = chlo.broadcast_add %x, %x : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>",
        "%0 = chlo.lgamma %x : tensor<4x8xf32> -> tensor<4x8xf32>",
    ] {
        let text = main(&format!("{body}\nreturn %0 : {T}"));
        let found = of(&text).unwrap();
        let [op] = &found.graph.ops[..] else { panic!("{body}") };
        assert_eq!(found.graph.tensor(op.outputs[0]).shape, [4, 8], "{body}");
    }
    let wrong = "%0 = chlo.next_after %x, %x : tensor<4x8xf32>, tensor<4x9xf32> -> tensor<4x8xf32>";
    assert_eq!(error(&main(wrong)).0, "type-mismatch");
}
