//! Counts of T5, held against the library's and against ones by hand.

use ir::diagnostic::Diagnostic;

use crate::import::{Import, ImportOptions};

const BASE: &str = r#"{"model_type":"t5","vocab_size":32128,"d_model":768,"d_kv":64,
    "d_ff":3072,"num_layers":12,"num_decoder_layers":12,"num_heads":12,
    "relative_attention_num_buckets":32,"feed_forward_proj":"relu"}"#;

fn import(text: &str, options: &ImportOptions) -> Result<Import, Diagnostic> {
    crate::read_bytes("config.json", text.as_bytes(), options)
}

/// T5-base has 222,903,552 parameters (`T5ForConditionalGeneration`, transformers 5.23).
#[test]
fn parameters_are_those_of_the_library() {
    let import = import(BASE, &ImportOptions::default()).unwrap();
    assert_eq!(import.summary.initializer_elements, 222_903_552);
    assert_eq!(import.graph.inputs.len(), 2);
    assert_eq!(import.graph.tensor(import.graph.inputs[0]).shape, [1, 512]);
}

/// Google's T5 v1.1 text encoders drop the decoder: of T5-base 109,628,544 parameters are left
/// (`T5EncoderModel`, transformers 5.23), by hand the embedding, 12 blocks of 7,079,424 with two
/// norms, biases of 32 x 12 and the last norm.
#[test]
fn classes_without_decoder_or_head_have_none() {
    let class = |name: &str| {
        let named = format!("{{\"torch_dtype\":\"float32\",\"architectures\":[\"{name}\"],");
        let read = import(&BASE.replacen('{', &named, 1), &ImportOptions::default()).unwrap();
        (read.summary.initializer_elements, read.graph.inputs.len(), read.warnings.len())
    };
    let block = 4 * 768 * 768 + 2 * 768 * 3072 + 2 * 768;
    let encoder = 32_128 * 768 + 12 * block + 32 * 12 + 768;
    assert_eq!(encoder, 109_628_544);
    // One warning is of the length that is assumed.
    assert_eq!(class("T5EncoderModel"), (encoder, 1, 1));
    assert_eq!(class("T5Model"), (222_903_552, 2, 1));
    assert_eq!(class("T5ForConditionalGeneration"), (222_903_552, 2, 1));
    assert_eq!(class("T5ForOther"), (222_903_552, 2, 2));
}

/// Products of one block of each side, by hand.
#[test]
fn work_is_that_of_the_products() {
    let tiny = BASE.replace("\"num_layers\":12", "\"num_layers\":1");
    let tiny = tiny.replace("\"num_decoder_layers\":12", "\"num_decoder_layers\":1");
    let (s, h, f, v) = (512_u64, 768_u64, 3072_u64, 32_128_u64);
    let attention = s * 4 * h * h + 2 * s * s * h;
    let products = 3 * attention + 2 * 2 * s * h * f + s * h * v;
    let flops = import(&tiny, &ImportOptions::default()).unwrap().summary.forward_flops;
    assert_eq!(flops, 2 * products);
}

/// The class of transformers 5.23 ties the head in any case; a checkpoint may have its own.
#[test]
fn gates_are_counted_and_heads_of_their_own_are_warned_of() {
    let read = |text: &str| import(text, &ImportOptions::default()).unwrap();
    let gated = read(&BASE.replace("\"relu\"", "\"gated-gelu\",\"tie_word_embeddings\":false"));
    let plain = read(BASE).summary.initializer_elements;
    assert_eq!(gated.summary.initializer_elements - plain, 24 * 768 * 3072);
    assert!(gated.warnings.iter().any(|warning| warning.code == "tied-head"));
}

#[test]
fn faults_have_codes() {
    let code = |from: &str, to: &str| {
        import(&BASE.replace(from, to), &ImportOptions::default()).unwrap_err().code
    };
    assert_eq!(code("\"d_kv\":64", "\"d_kv\":\"64\""), "invalid-field");
    assert_eq!(code("\"num_heads\":12", "\"num_heads\":-1"), "invalid-field");
    assert_eq!(code("\"num_layers\":12", "\"num_layers\":1000000000"), "invalid-field");
    let mut options = ImportOptions::default();
    options.dims.insert("sequence".into(), 0);
    assert_eq!(import(BASE, &options).unwrap_err().code, "invalid-field");
}
