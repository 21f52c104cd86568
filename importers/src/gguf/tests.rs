//! Headers by a writer of the tests' own, and mixtures against the sizes of published files.

use std::path::Path;

use ir::card::ModelCard;
use ir::card::stored::Stored;

use super::recipe::{self, MIXTURES};
use super::types::{TYPES, TensorType};
use super::wire::header;
use super::{as_config, of_tensors};
use crate::config::card::of_bytes;
use crate::source::FileSource;

const GIB: f64 = 1_073_741_824.0;

/// A writer of headers after the specification.
#[derive(Clone, Default)]
struct Written {
    n_values: u64,
    values: Vec<u8>,
    n_tensors: u64,
    tensors: Vec<u8>,
    data: u64,
}

impl Written {
    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn value(mut self, key: &str, kind: u32, bytes: &[u8]) -> Self {
        self.n_values += 1;
        self.values.extend([&Self::text(key)[..], &kind.to_le_bytes(), bytes].concat());
        self
    }

    fn whole(self, key: &str, n: u32) -> Self {
        self.value(key, 4, &n.to_le_bytes())
    }

    fn tensor(mut self, name: &str, shape: &[u64], kind: &str) -> Self {
        let kind = TensorType::named(kind).unwrap();
        self.n_tensors += 1;
        self.tensors.extend(Self::text(name));
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|extent| self.tensors.extend(extent.to_le_bytes()));
        self.tensors.extend(kind.number.to_le_bytes());
        self.tensors.extend(self.data.to_le_bytes());
        self.data += kind.bytes_of(shape).unwrap().next_multiple_of(32);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let counts = [self.n_tensors.to_le_bytes(), self.n_values.to_le_bytes()].concat();
        [b"GGUF", &3_u32.to_le_bytes()[..], &counts, &self.values, &self.tensors].concat()
    }
}

/// Llama 3 8B as its published config states it.
const LLAMA_8B: &str = r#"{"model_type":"llama","hidden_size":4096,"intermediate_size":14336,
    "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256,
    "max_position_embeddings":8192,"torch_dtype":"bfloat16","tie_word_embeddings":false}"#;
/// Llama 3 70B.
const LLAMA_70B: &str = r#"{"model_type":"llama","hidden_size":8192,"intermediate_size":28672,
    "num_hidden_layers":80,"num_attention_heads":64,"num_key_value_heads":8,"vocab_size":128256,
    "max_position_embeddings":8192,"torch_dtype":"bfloat16","tie_word_embeddings":false}"#;
/// Mixtral 8x7B.
const MIXTRAL: &str = r#"{"model_type":"mixtral","hidden_size":4096,"intermediate_size":14336,
    "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,
    "num_local_experts":8,"num_experts_per_tok":2,"max_position_embeddings":32768,
    "torch_dtype":"bfloat16","tie_word_embeddings":false}"#;

fn card(config: &str) -> ModelCard {
    of_bytes(config.as_bytes(), "model", None).unwrap().0
}

fn all_bytes(stored: &Stored) -> u64 {
    let blocks = stored.blocks.iter().map(|block| block.others.bytes + block.experts.bytes);
    blocks.chain(stored.ends.iter().map(|end| end.bytes)).sum()
}

/// Tensors of Llama 3 8B in Q4_K_M, in the order and types of llama.cpp.
fn tensors() -> Vec<(String, Vec<u64>, &'static str)> {
    let mut all = vec![("token_embd.weight".to_owned(), vec![4096, 128_256], "Q4_K")];
    for at in 0..32_u64 {
        let more = if at < 4 || at >= 28 || (at - 4) % 3 == 2 { "Q6_K" } else { "Q4_K" };
        for (name, shape, kind) in [
            ("attn_norm", vec![4096], "F32"),
            ("attn_q", vec![4096, 4096], "Q4_K"),
            ("attn_k", vec![4096, 1024], "Q4_K"),
            ("attn_v", vec![4096, 1024], more),
            ("attn_output", vec![4096, 4096], "Q4_K"),
            ("ffn_norm", vec![4096], "F32"),
            ("ffn_gate", vec![4096, 14336], "Q4_K"),
            ("ffn_up", vec![4096, 14336], "Q4_K"),
            ("ffn_down", vec![14336, 4096], more),
        ] {
            all.push((format!("blk.{at}.{name}.weight"), shape, kind));
        }
    }
    all.push(("output_norm.weight".to_owned(), vec![4096], "F32"));
    all.push(("output.weight".to_owned(), vec![4096, 128_256], "Q6_K"));
    all
}

impl Written {
    /// The numbers of Llama 3 8B.
    fn of_llama(self) -> Self {
        self.value("general.architecture", 8, &Self::text("llama"))
            .whole("llama.block_count", 32)
            .whole("llama.embedding_length", 4096)
            .whole("llama.feed_forward_length", 14336)
            .whole("llama.attention.head_count", 32)
            .whole("llama.attention.head_count_kv", 8)
            .whole("llama.context_length", 8192)
            .value("llama.rope.freq_base", 6, &500_000_f32.to_le_bytes())
    }

    fn with(self, tensors: &[(String, Vec<u64>, &str)]) -> Self {
        tensors.iter().fold(self, |all, (name, shape, kind)| all.tensor(name, shape, kind))
    }
}

/// Llama 3 8B in Q4_K_M as a header.
fn llama_8b() -> Written {
    Written::default().of_llama().with(&tensors())
}

/// Llama 2 7B.
const LLAMA_2_7B: &str = r#"{"model_type":"llama","hidden_size":4096,"intermediate_size":11008,
    "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":32,"vocab_size":32000,
    "max_position_embeddings":4096,"torch_dtype":"float16","tie_word_embeddings":false}"#;
/// Qwen3-30B-A3B.
const QWEN_30B: &str = r#"{"model_type":"qwen3_moe","hidden_size":2048,"intermediate_size":6144,
    "num_hidden_layers":48,"num_attention_heads":32,"num_key_value_heads":4,"vocab_size":151936,
    "head_dim":128,"num_experts":128,"num_experts_per_tok":8,"moe_intermediate_size":768,
    "decoder_sparse_step":1,"norm_topk_prob":true,"max_position_embeddings":40960,
    "torch_dtype":"bfloat16","tie_word_embeddings":false}"#;

/// Sizes that `llama-bench` prints, in GiB: of Llama 3 in XiongjieDai's GPU-Benchmarks-on-LLM-Inference, of
/// Llama 2 in llama.cpp's pull request 3776, of Qwen3 in llama.cpp's threads.
#[test]
fn mixtures_have_the_sizes_of_published_files() {
    for (config, name, gib) in [
        (LLAMA_8B, "Q4_K_M", 4.58),
        (LLAMA_8B, "F16", 14.96),
        (LLAMA_70B, "Q4_K_M", 39.59),
        (LLAMA_70B, "F16", 131.42),
        (LLAMA_8B, "Q8_0", 7.95),
        (LLAMA_2_7B, "F16", 12.55),
        (LLAMA_2_7B, "Q8_0", 6.67),
        (LLAMA_2_7B, "Q4_0", 3.56),
        (LLAMA_2_7B, "Q4_K_M", 3.80),
        (QWEN_30B, "Q4_K_M", 17.28),
    ] {
        let bytes = all_bytes(&recipe::stored(&card(config), name).unwrap()) as f64 / GIB;
        assert!((bytes / gib - 1.0).abs() < 0.003, "{name}: {bytes:.3} GiB, not {gib}");
    }
}

#[test]
fn a_header_gives_the_card_of_its_config_and_the_bytes_of_its_tensors() {
    let bytes = llama_8b().bytes();
    let config = as_config(&bytes.as_slice()).unwrap().unwrap();
    let (read, _) = of_bytes(&config, "model", None).unwrap();
    let own = card(LLAMA_8B);
    assert_eq!(ModelCard { dtype: None, ..read }, ModelCard { dtype: None, ..own.clone() });
    let found = header(&bytes.as_slice()).unwrap();
    assert!(found.is_alone);
    let stored = of_tensors(&found.tensors).unwrap();
    // The recipe gives the same bytes to each block from the config alone.
    let like = recipe::stored(&own, "Q4_K_M").unwrap();
    for (one, two) in stored.blocks.iter().zip(&like.blocks) {
        assert_eq!((one.others, one.products), (two.others, two.products));
    }
    assert_eq!(stored.ends, like.ends);
    assert_eq!(stored.blocks.len(), 32);
}

#[test]
fn files_of_a_split_model_are_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let all = tensors();
    let name = |at: usize| folder.path().join(format!("llama-{at:05}-of-00003.gguf"));
    let part = |at: u16| {
        let of = Written::default()
            .value("split.no", 2, &at.to_le_bytes())
            .value("split.count", 2, &3_u16.to_le_bytes())
            .value("split.tensors.count", 5, &(all.len() as i32).to_le_bytes());
        let of = if at == 0 { of.of_llama() } else { of };
        let from = 100 * usize::from(at);
        of.with(&all[from..all.len().min(from + 100)]).bytes()
    };
    for at in 0..3 {
        std::fs::write(name(usize::from(at) + 1), part(at)).unwrap();
    }
    let whole = folder.path().join("llama.gguf");
    std::fs::write(&whole, llama_8b().bytes()).unwrap();
    let stored = |path: &Path| super::stored(path).map(|found| found.0);
    let config = |path: &Path| as_config(&FileSource::open(path).unwrap());
    assert_eq!(stored(&name(1)).unwrap(), stored(&whole).unwrap());
    assert_eq!(config(&name(1)).unwrap(), config(&whole).unwrap());
    // Not the first, not as named, a file of another place, and one that is missing.
    std::fs::copy(name(1), folder.path().join("first.gguf")).unwrap();
    for wrong in [&name(2), &folder.path().join("first.gguf")] {
        assert_eq!(stored(wrong).unwrap_err().code, "split-gguf");
    }
    std::fs::copy(name(2), name(3)).unwrap();
    assert_eq!(stored(&name(1)).unwrap_err().code, "split-gguf");
    std::fs::remove_file(name(3)).unwrap();
    let error = stored(&name(1)).unwrap_err();
    assert!(error.message.contains("file 3 of the 3"), "{error:?}");
}

#[test]
fn a_mixture_of_experts_has_their_bytes_apart() {
    let stored = recipe::stored(&card(MIXTRAL), "Q4_K_M").unwrap();
    let block = stored.blocks[10];
    assert_eq!(block.experts.elements, 8 * 3 * 4096 * 14336);
    assert_eq!(block.largest_expert * 8, block.experts.bytes);
}

#[test]
fn every_mixture_and_type_is_known_by_its_name() {
    for (name, kind) in MIXTURES {
        assert!(TensorType::named(kind).is_some(), "{name}");
        assert_eq!(recipe::named(&name.to_lowercase()), Some(name));
    }
    assert_eq!(recipe::named("Q4_K_X"), None);
    assert!(TYPES.iter().all(|kind| TensorType::numbered(kind.number) == Some(*kind)));
}

#[test]
fn hostile_headers_are_refused_at_once() {
    let code = |bytes: &[u8]| header(&bytes).map(|_| "").unwrap_or_else(|error| error.code);
    let good = llama_8b().bytes();
    assert_eq!(code(&good), "");
    // Cut anywhere within the header.
    for n in (0..good.len()).step_by(97) {
        assert!(["truncated-gguf", "bad-gguf"].contains(&code(&good[..n])), "{n}");
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    assert_eq!(code(&with(4, &1_u32.to_le_bytes())), "unsupported-gguf");
    assert_eq!(code(&with(4, &3_u32.to_be_bytes())), "unsupported-gguf");
    assert_eq!(code(&with(8, &u64::MAX.to_le_bytes())), "size-budget");
    assert_eq!(code(&with(16, &u64::MAX.to_le_bytes())), "size-budget");
    assert_eq!(code(&with(24, &u64::MAX.to_le_bytes())), "truncated-gguf");
    let nested = |depth: usize| {
        let list = [9_u32.to_le_bytes().as_slice(), &1_u64.to_le_bytes()].concat();
        let end = [4_u32.to_le_bytes().as_slice(), &0_u64.to_le_bytes()].concat();
        Written::default().value("a", 9, &[list.repeat(depth), end].concat()).bytes()
    };
    assert_eq!(code(&nested(1)), "");
    assert_eq!(code(&nested(100)), "bad-gguf");
    let long = [4_u32.to_le_bytes().as_slice(), &(u64::MAX / 2).to_le_bytes()].concat();
    assert_eq!(code(&Written::default().value("a", 9, &long).bytes()), "truncated-gguf");
    let twice = Written::default().whole("a", 1).whole("a", 1);
    assert_eq!(code(&twice.bytes()), "bad-gguf");
    let one = || Written::default().tensor("a", &[256], "Q4_K");
    assert_eq!(code(&one().tensor("a", &[256], "Q4_K").bytes()), "bad-gguf");
    // Offsets beyond the data, extents past 64 bits, half a block in a row, five dimensions.
    let mut beyond = one();
    beyond.data = 1 << 60;
    assert_eq!(code(&beyond.tensor("b", &[256], "Q4_K").bytes()), "bad-gguf");
    let wide = |shape: [u64; 2]| {
        let mut bytes = Written::default().tensor("a", &[256, 1], "Q4_K").bytes();
        let at = bytes.len() - 28;
        bytes[at..at + 8].copy_from_slice(&shape[0].to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&shape[1].to_le_bytes());
        bytes
    };
    assert_eq!(code(&wide([256, 2])), "");
    assert_eq!(code(&wide([1 << 40, 1 << 40])), "bad-gguf");
    assert_eq!(code(&wide([128, 1])), "bad-gguf");
    assert_eq!(code(&wide([0, 1])), "bad-gguf");
    // A part of the data is missing.
    let mut part = one().bytes();
    part.resize(part.len().next_multiple_of(32) + 10, 0);
    assert_eq!(code(&part), "truncated-gguf");
    part.resize(part.len() + 200, 0);
    assert_eq!(code(&part), "");
}

#[test]
fn every_byte_may_be_any() {
    let good = Written::default()
        .value("general.architecture", 8, &Written::text("llama"))
        .whole("llama.block_count", 1)
        .tensor("token_embd.weight", &[256, 2], "Q4_K")
        .bytes();
    for at in 0..good.len() {
        for byte in [0, 1, 9, 127, 255] {
            let mut changed = good.clone();
            changed[at] = byte;
            drop(as_config(&changed.as_slice()));
        }
    }
}
