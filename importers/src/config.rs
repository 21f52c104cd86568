//! Hugging Face `config.json`: a transformer written out op by op from its few numbers.

mod architecture;
mod blocks;
mod builder;
pub mod card;
mod decoder;
mod fields;
mod gpt_oss;
#[cfg(test)]
mod hostile_tests;
pub mod hyperparameters;
mod mixtures;
mod model_type;
mod parts;
mod quantization;
mod request;
pub mod served;
pub mod stored;
mod task;
mod towers;

use ir::diagnostic::Diagnostic;

use crate::config::fields::Fields;
use crate::config::request::{MAX_BYTES, Reader, Request, held_dtype, quantized, with_modelopt};
use crate::gguf;
use crate::import::{Import, ImportOptions, Summary};
use crate::source::{self, Source};

/// Dimensions that can be bound.
const DIMENSIONS: [&str; 2] = ["batch", "sequence"];

/// Encoders and decoders whose layers are all alike.
const UNIFORM: [&str; 2] = ["bert", "gpt2"];

/// All model types that are written out op by op.
fn written_out() -> impl Iterator<Item = &'static str> {
    UNIFORM.into_iter().chain(towers::types()).chain(decoder::types())
}

/// Model types that state the fields of common decoders, or none, and do something else: the trait for
/// which they are refused instead of guessed.
const UNBUILT: &[(&[&str], &str)] = &[
    (
        &["sam", "sam_hq", "sam2"],
        "attention in windows with decomposed positions and a decoder of masks",
    ),
    (&["musicgen", "musicgen_melody"], "a codec of sound beside its decoder"),
    (&["rwkv", "xlstm"], "a recurrence of its own"),
    (&["diffllama"], "differential attention"),
    (&["bailing_hybrid"], "delta attention with a decay for each channel"),
    (&["olmo_hybrid"], "delta attention behind a product for each of its inputs"),
    (&["axk2", "dots3_note", "dots3_note_text", "hy_v4"], "sparse attention of its own"),
    (&["cohere2_moe"], "dense layers of another width than experts, beside attention"),
    (
        &["inkling_mm_model", "inkling_text", "inkling2", "inkling2_text"],
        "convolutions between the parts of a layer",
    ),
    (&["zamba"], "one block of attention that layers share"),
    (&["zaya"], "attention behind convolutions, and routers of several layers"),
    (&["blt"], "patches of bytes"),
    (&["longcat_flash"], "experts that pass tokens on, and two blocks of attention in a layer"),
    (&["gemma3n", "gemma3n_text", "gemma4_unified_text"], "embeddings of each layer"),
    (&["hrm_text"], "layers that run in turns"),
    (&["phi4_multimodal"], "adapters for pictures and sound"),
    (
        &[
            "megatron-bert",
            "rembert",
            "roformer",
            "ernie",
            "roc_bert",
            "xmod",
            "git",
            "modernbert-decoder",
        ],
        "an encoder's layers",
    ),
];

/// A refusal of a model type with those that are known.
fn with_known_types(error: Diagnostic) -> Diagnostic {
    if error.code != architecture::UNKNOWN_TYPE {
        return error;
    }
    let known: Vec<String> = written_out().map(str::to_owned).collect();
    error
        .hint(format!(
            "docs/formats.md lists the {} model types that are supported; for any other give the \
             model itself, as a torch.export archive (meshwright.trace in Python) or as ONNX",
            known.len()
        ))
        .fact("supported", known)
}

/// Who reads configs of a model type.
fn reader(model_type: &str) -> Option<Reader> {
    match model_type {
        name if UNIFORM.contains(&name) => Some(blocks::read),
        name if towers::types().any(|known| known == name) => Some(towers::read),
        name if decoder::types().any(|known| known == name) => Some(decoder::read),
        _ => None,
    }
}

/// Reads a config. `--batch` samples go through (1 if left out), of as many tokens as the dimension
/// `sequence` says; without it as many as the model has positions, up to a limit.
///
/// # Errors
/// `batch-sizes`, `unknown-model-type`, `missing-field`, `invalid-field`, `layer-budget`,
/// `size-budget`, `heads-do-not-divide`, and those of the JSON reader.
pub(crate) fn read(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let text = with_modelopt(source::read_all(source, MAX_BYTES)?, source.path())?;
    let (object, other_type) = model_type::fields(text)?;
    let (dtype, untold) = held_dtype(Fields(&object), options.dtype)?;
    let fields = Fields(&object);
    let model_type = fields.text("model_type")?.unwrap_or_default();
    let unbuilt = UNBUILT.iter().find(|(types, _)| types.contains(&model_type));
    if let Some((_, feature)) = unbuilt {
        let message =
            format!("models of type `{model_type}` have {feature}, which is not written out");
        return Err(Diagnostic::input("unsupported-trait", message).hint(
            "give the model itself, as a torch.export archive (meshwright.trace in Python) or as ONNX",
        ));
    }
    let read = reader(model_type).unwrap_or(decoder::guessed);
    let request = Request { fields, model_type, name, dtype, options };
    let written = read(&request).map_err(with_known_types)?;
    let mut warnings = warnings(written.sequence, written.positions, options)?;
    warnings.extend(other_type);
    warnings.extend(written.warnings);
    warnings.extend(untold);
    let graph = (!options.trains).then_some(&written.graph);
    warnings.extend(quantized(fields, dtype.name(), graph)?);
    let summary = Summary { tokens: written.tokens, ..Summary::of("config", &written.graph) };
    Ok(Import { graph: written.graph, cluster: None, summary, warnings })
}

/// Reads the config that a GGUF file stands for.
///
/// # Errors
/// Those of the header, and as [`read`].
pub(crate) fn of_gguf(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let text = gguf::as_config(source)?.unwrap_or_default();
    let mut import = read(&text.as_slice(), name, options)?;
    import.summary.format = "gguf";
    import.warnings.extend(gguf::noted(source)?);
    Ok(import)
}

/// What of the options has no effect, and what was assumed.
fn warnings(
    sequence: Option<u64>,
    positions: Option<u64>,
    options: &ImportOptions,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    if let (Some(batch), Some(dim)) = (options.batch, options.dims.get("batch"))
        && batch != *dim
    {
        return Err(Diagnostic::usage(
            "batch-sizes",
            format!(
                "`--dim batch={dim}` contradicts a batch of {batch} samples that go through at once"
            ),
        )
        .hint("state the batch once"));
    }
    let mut warnings = Vec::new();
    let unused = options
        .dims
        .keys()
        .filter(|name| sequence.is_some() && !DIMENSIONS.contains(&name.as_str()));
    for name in unused {
        let warning =
            Diagnostic::warning("unused-dimension", format!("no dimension is named `{name}`"))
                .hint("a config has the dimensions `batch` and `sequence`");
        warnings.push(warning);
    }
    if !options.batch_axis.is_empty() {
        warnings.push(Diagnostic::warning(
            "flag-without-effect",
            "`--batch-axis` has no effect on a config, whose batch is always axis 0",
        ));
    }
    if let (Some(sequence), None) = (sequence, options.dims.get("sequence")) {
        let warning = Diagnostic::warning(
            "default-sequence",
            format!("no sequence length was given: {sequence} tokens are assumed"),
        )
        .fact("sequence", sequence)
        .hint("state another length with `--dim sequence=N`");
        warnings.push(match positions {
            Some(positions) => warning.fact("positions", positions),
            None => warning,
        });
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use ir::op::Work;
    use ir::tensor::Role;

    use super::*;

    fn import(text: &str, options: &ImportOptions) -> Result<Import, Diagnostic> {
        crate::read_bytes("config.json", text.as_bytes(), options)
    }

    /// The page with a list of names written anew, which begins after some words and ends its sentence.
    fn listed(page: &str, words: &str, names: impl Iterator<Item = &'static str>) -> String {
        let (head, rest) = page.split_once(words).unwrap();
        let (_, tail) = rest.split_once(". ").unwrap();
        let names: Vec<&str> = std::collections::BTreeSet::from_iter(names).into_iter().collect();
        format!("{head}{words}{}. {tail}", names.join(", "))
    }

    #[test]
    fn the_page_of_formats_lists_the_families() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/formats.md");
        let page = std::fs::read_to_string(file).unwrap();
        let [bert, gpt2] = UNIFORM.map(std::iter::once);
        let decoders = decoder::types().chain(gpt2);
        let updated = listed(&page, "delta rules, short convolutions): ", decoders);
        let updated =
            listed(&updated, "sound and models of several: ", towers::types().chain(bert));
        if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
            std::fs::write(file, &updated).unwrap();
        }
        assert!(updated == std::fs::read_to_string(file).unwrap(), "docs/formats.md is stale");
    }

    const TINY: &str = r#"{"model_type":"llama","hidden_size":8,"num_hidden_layers":2,
        "num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":16,"vocab_size":10,
        "max_position_embeddings":4}"#;

    #[test]
    fn a_tiny_llama_by_hand() {
        let import = import(TINY, &ImportOptions::default()).unwrap();
        // Layer: q 8x8, k and v 8x4 each, o 8x8, three 8x16, two norms of 8.
        let layer = 64 + 2 * 32 + 64 + 3 * 128 + 16;
        assert_eq!(import.summary.initializer_elements, 2 * layer + 2 * 80 + 8);
        // Two per multiply-add: each weight of a product once per token, and both attention
        // products of two heads, 4 x 4 x 4 each.
        let products = layer - 16;
        let attention = 2 * (2 * 4 * 4 * 4);
        assert_eq!(import.summary.forward_flops, 2 * (4 * (2 * products + 80) + 2 * attention));
        assert_eq!(import.graph.outputs.len(), 1);
    }

    #[test]
    fn batch_and_sequence_are_bound() {
        let mut options = ImportOptions { batch: Some(3), ..ImportOptions::default() };
        let once = import(TINY, &ImportOptions::default()).unwrap().summary.forward_flops;
        assert_eq!(import(TINY, &options).unwrap().summary.forward_flops, 3 * once);
        options.dims.insert("sequence".into(), 2);
        let input = import(TINY, &options).unwrap().graph;
        assert_eq!(input.tensors[input.inputs[0].index()].shape, [3, 2]);
        options.dims.insert("sequence".into(), 0);
        assert_eq!(import(TINY, &options).unwrap_err().code, "invalid-field");
    }

    #[test]
    fn what_is_assumed_or_unused_is_warned_of() {
        let long = TINY.replace("embeddings\":4", "embeddings\":32768");
        let read = import(&long, &ImportOptions::default()).unwrap();
        let codes: Vec<_> = read.warnings.iter().map(|w| w.code).collect();
        assert_eq!(codes, ["default-sequence", "assumed-dtype"]);
        let long = long.replacen('{', "{\"torch_dtype\":\"float32\",", 1);
        let mut options = ImportOptions::default();
        options.dims.insert("seq".into(), 2);
        let read = import(&long, &options).unwrap();
        let codes: Vec<_> = read.warnings.iter().map(|w| w.code).collect();
        assert_eq!(codes, ["unused-dimension", "default-sequence"]);
        assert_eq!(read.graph.tensor(read.graph.inputs[0]).shape, [1, 4096]);
        options.dims = [("sequence".into(), 8192), ("batch".into(), 2)].into();
        let read = import(&long, &options).unwrap();
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
        assert_eq!(read.graph.tensor(read.graph.inputs[0]).shape, [2, 8192]);
        options.batch = Some(3);
        assert_eq!(import(&long, &options).unwrap_err().code, "batch-sizes");
    }

    #[test]
    fn the_hidden_size_is_checked_before_the_key_value_heads() {
        let both = TINY.replace("_attention_heads\":2", "_attention_heads\":3");
        let error =
            import(&both.replace("value_heads\":1", "value_heads\":2"), &ImportOptions::default());
        assert_eq!(error.unwrap_err().message, "hidden_size 8 is not divisible by 3 heads");
    }

    #[test]
    fn tied_heads_share_the_embedding() {
        let tied =
            TINY.replace("\"vocab_size\":10", "\"vocab_size\":10,\"tie_word_embeddings\":true");
        let separate = import(TINY, &ImportOptions::default()).unwrap().summary;
        let shared = import(&tied, &ImportOptions::default()).unwrap().summary;
        assert_eq!(separate.initializer_elements - shared.initializer_elements, 80);
        assert_eq!(separate.forward_flops, shared.forward_flops);
    }

    #[test]
    fn every_activation_has_one_producer_before_its_readers() {
        let graph = import(TINY, &ImportOptions::default()).unwrap().graph;
        let producers = graph.producers();
        for op in graph.op_ids() {
            for input in &graph.op(op).inputs {
                let is_fed = graph.tensor(*input).role == Role::Input;
                assert!(is_fed || producers[input.index()].is_some_and(|p| p < op));
            }
            assert!(matches!(graph.op(op).work, Work::Kernel(_)));
        }
    }

    #[test]
    fn faults_have_codes() {
        let code = |from: &str, to: &str| {
            import(&TINY.replace(from, to), &ImportOptions::default()).unwrap_err().code
        };
        assert_eq!(code("llama", "reformer"), "unknown-model-type");
        assert_eq!(code("llama", "rwkv"), "unsupported-trait");
        assert_eq!(
            code("\"num_attention_heads\":2", "\"num_attention_heads\":3"),
            "heads-do-not-divide"
        );
        assert_eq!(
            code("\"num_key_value_heads\":1", "\"num_key_value_heads\":3"),
            "heads-do-not-divide"
        );
        assert_eq!(
            code("\"num_hidden_layers\":2", "\"num_hidden_layers\":1000000000"),
            "layer-budget"
        );
        assert_eq!(code("\"hidden_size\":8,", ""), "missing-field");
        assert_eq!(code("\"hidden_size\":8", "\"hidden_size\":-8"), "invalid-field");
        assert_eq!(code("\"hidden_size\":8", "\"hidden_size\":0"), "invalid-field");
    }
}
