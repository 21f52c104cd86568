//! `quantization_config`: how many bytes weights take that are held in fewer bits.
//!
//! Sources: the configuration classes of transformers (`utils/quantization_config.py`) and the
//! tensors that AWQ, GPTQ and bitsandbytes write beside packed weights.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use serde_json::Value;

use super::fields::{Fields, invalid, number};
use crate::json::Object;

/// Elements that share a scale of bitsandbytes' 4-bit types (`blocksize` of `quantize_4bit`).
const BNB_BLOCK: f64 = 64.0;
/// Scales that share a scale of their own where bitsandbytes nests them.
const BNB_NESTED: f64 = 256.0;
/// Bits of a scale in half and in single precision.
const HALF: f64 = 16.0;
const SINGLE: f64 = 32.0;

/// Weights of products in fewer bits. Embeddings, norms, biases and the head stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantization {
    /// Its name, such as `awq`.
    pub method: String,
    /// Type of the packed elements.
    pub dtype: DType,
    /// Bits of an element.
    pub bits: u64,
    /// Bits of scales and zero points that a group of elements shares.
    group_bits: f64,
    /// Elements of such a group.
    group: Group,
    /// Parts of module names that are left as they are.
    excluded: Vec<String>,
}

/// What shares a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Group {
    /// So many elements.
    Elements(f64),
    /// All that make one element of the output.
    Row,
    /// The whole weight.
    Weight,
}

/// Type and bits of the packed elements, bits that a group of them shares, and the group; `None` for
/// a method that is not known.
type Scheme = (DType, u64, f64, Group);

fn scheme(method: &str, own: Fields<'_>) -> Result<Option<Scheme>, Diagnostic> {
    Ok(Some(match method {
        "awq" | "gptq" => {
            let bits = own.bits()?;
            // A scale in half precision, and a zero point as wide as an element.
            (packed(bits), bits, HALF + bits as f64, own.group()?)
        }
        "bitsandbytes" if own.flag("load_in_8bit")? == Some(true) => {
            (DType::I8, 8, SINGLE, Group::Row)
        }
        "bitsandbytes" => {
            let nested = own.flag("bnb_4bit_use_double_quant")? == Some(true);
            let scale = if nested { 8.0 + SINGLE / BNB_NESTED } else { SINGLE };
            (DType::F4, 4, scale, Group::Elements(BNB_BLOCK))
        }
        "fp8" => {
            let block = own.list("weight_block_size")?;
            let mut elements = 1.0;
            for extent in block {
                elements *= number("weight_block_size", extent, 1)? as f64;
            }
            let group = if block.is_empty() { Group::Weight } else { Group::Elements(elements) };
            (DType::F8, 8, SINGLE, group)
        }
        "fbgemm_fp8" => (DType::F8, 8, SINGLE, Group::Row),
        "eetq" => (DType::I8, 8, HALF, Group::Row),
        _ => return Ok(None),
    }))
}

impl Quantization {
    /// What a config says; the other value is a warning about what is not understood.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn read(
        fields: Fields<'_>,
    ) -> Result<(Option<Self>, Option<Diagnostic>), Diagnostic> {
        let Some(value) = fields.get("quantization_config") else { return Ok((None, None)) };
        let own: Object = value
            .as_object()
            .map(|members| members.clone().into_iter().collect())
            .ok_or_else(|| invalid("quantization_config", value, "an object is needed"))?;
        let own = Fields(&own);
        let method = own.text("quant_method")?.unwrap_or_else(|| {
            let is_bnb = own.get("load_in_4bit").or(own.get("load_in_8bit")).is_some();
            if is_bnb { "bitsandbytes" } else { "" }
        });
        let mut excluded = Vec::new();
        for list in ["modules_to_not_convert", "llm_int8_skip_modules", "ignore"] {
            excluded.extend(own.list(list)?.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        let found = scheme(method, own)?.map(|(dtype, bits, group_bits, group)| Self {
            method: method.to_owned(),
            dtype,
            bits,
            group_bits,
            group,
            excluded,
        });
        let unknown = found.is_none().then(|| {
            let shown: String = method.chars().take(40).collect();
            let message = format!(
                "`quantization_config` of method `{shown}` is not understood: weights are counted \
                 in the type of the model"
            );
            Diagnostic::warning("quantization-unknown", message)
                .hint("understood are awq, gptq, bitsandbytes, fp8, fbgemm_fp8 and eetq")
        });
        Ok((found, unknown))
    }

    /// Bytes of a weight of `columns` by `rows` elements with its scales, or `None` where the module
    /// is left as it is or a size passes 64 bits.
    pub(super) fn bytes(&self, module: &str, [columns, rows]: [u64; 2]) -> Option<u64> {
        if self.excluded.iter().any(|part| module.split('.').any(|own| own == part)) {
            return None;
        }
        let elements = columns.checked_mul(rows)?;
        let groups = match self.group {
            Group::Elements(n) => (elements as f64 / n).ceil(),
            Group::Row => columns as f64,
            Group::Weight => 1.0,
        };
        let scales = (groups * self.group_bits / 8.0).ceil() as u64;
        elements.checked_mul(self.bits)?.div_ceil(8).checked_add(scales)
    }
}

impl Fields<'_> {
    fn bits(self) -> Result<u64, Diagnostic> {
        let name = if self.get("bits").is_some() { "bits" } else { "w_bit" };
        let Some(value) = self.get(name) else { return Ok(4) };
        let known = value.as_u64().filter(|bits| [2, 3, 4, 8].contains(bits));
        known.ok_or_else(|| invalid(name, value, "2, 3, 4 or 8 bits are understood"))
    }

    /// 128 where it is not stated; -1 is a whole row.
    fn group(self) -> Result<Group, Diagnostic> {
        match self.get("group_size") {
            None => Ok(Group::Elements(128.0)),
            Some(value) if value.as_i64() == Some(-1) => Ok(Group::Row),
            Some(value) => Ok(Group::Elements(number("group_size", value, 1)? as f64)),
        }
    }
}

/// The integer that holds so many bits.
const fn packed(bits: u64) -> DType {
    match bits {
        2 => DType::I2,
        8 => DType::I8,
        _ => DType::I4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str, module: &str, extents: [u64; 2]) -> Option<u64> {
        let text = format!("{{\"quantization_config\":{text}}}");
        let fields: Object = crate::json::parse(text.as_bytes()).unwrap();
        let (found, warning) = Quantization::read(Fields(&fields)).unwrap();
        assert!(warning.is_none());
        found.unwrap().bytes(module, extents)
    }

    /// Sizes of the tensors of one product of Llama-2-7B as the writers of the formats lay them out.
    #[test]
    fn packed_weights_have_the_bytes_of_their_files() {
        let square = [4096, 4096];
        // qweight i32[4096, 512], scales f16[32, 4096], qzeros i32[32, 512].
        let awq = 4096 * 512 * 4 + 32 * 4096 * 2 + 32 * 512 * 4;
        let text = r#"{"quant_method":"awq","bits":4,"group_size":128,"zero_point":true}"#;
        assert_eq!(bytes(text, "model.layers.0.self_attn.q_proj", square), Some(awq));
        // Packed u8[8388608], absmax f32[262144].
        let text = r#"{"quant_method":"bitsandbytes","load_in_4bit":true}"#;
        assert_eq!(bytes(text, "q_proj", square), Some(8_388_608 + 262_144 * 4));
        let text = r#"{"load_in_8bit":true,"llm_int8_skip_modules":["lm_head"]}"#;
        assert_eq!(bytes(text, "q_proj", square), Some(16_777_216 + 4096 * 4));
        assert_eq!(bytes(text, "lm_head", square), None);
        // weight f8[4096, 4096], weight_scale_inv f32[32, 32].
        let text = r#"{"quant_method":"fp8","weight_block_size":[128,128]}"#;
        assert_eq!(bytes(text, "q_proj", square), Some(16_777_216 + 32 * 32 * 4));
    }

    #[test]
    fn faults_and_unknown_methods_are_named() {
        let read = |text: &str| {
            let text = format!("{{\"quantization_config\":{text}}}");
            let fields: Object = crate::json::parse(text.as_bytes()).unwrap();
            Quantization::read(Fields(&fields)).map(|(found, warning)| (found, warning.is_some()))
        };
        assert_eq!(read(r#"{"quant_method":"other"}"#).unwrap(), (None, true));
        for wrong in ["4", r#"{"quant_method":"awq","bits":5}"#, r#"{"quant_method":7}"#] {
            assert_eq!(read(wrong).unwrap_err().code, "invalid-field", "{wrong}");
        }
        let negative = r#"{"quant_method":"gptq","bits":4,"group_size":-2}"#;
        assert_eq!(read(negative).unwrap_err().code, "invalid-field");
    }
}
