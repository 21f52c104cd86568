//! `quantization_config`: how many bytes weights take that are held in fewer bits, by their modules.

mod pattern;
mod schemes;
#[cfg(test)]
mod tests;

use ir::card::stored::CacheType;
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::units::Bytes;
use serde_json::Value;

use self::pattern::Names;
use self::schemes::{Group, Packing};
use super::fields::{Fields, invalid};
use super::parts;
use crate::json::Object;

/// Methods that are understood, for hints.
const KNOWN: &str = "awq, gptq, auto-round, bitsandbytes, fp8, fbgemm_fp8, eetq, bitnet, mxfp4, hqq, quanto, \
                     torchao, compressed-tensors and modelopt";
/// Members that list modules which stay as they are.
const LEFT: [&str; 6] = [
    "modules_to_not_convert",
    "llm_int8_skip_modules",
    "skip_modules",
    "ignore",
    "ignored_layers",
    "exclude_modules",
];
/// Members that change which weights are held how, and are not understood.
const UNREAD: [&str; 3] = ["dynamic", "modules_in_block_to_quantize", "extra_config"];
/// Members that say how keys and values are cached.
const SCHEME: &str = "kv_cache_scheme";
const ALGORITHM: &str = "kv_cache_quant_algo";
/// The code of the warning that weights may be held otherwise than they are counted.
pub(super) const UNKNOWN: &str = "quantization-unknown";

/// Weights of products in fewer bits. Embeddings, norms, biases and routers stay as they are, and heads
/// where the method does not name them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantization {
    /// Its name, such as `awq`.
    pub method: String,
    /// The first that covers a module decides.
    rules: Vec<Rule>,
    /// Modules that are left as they are.
    excluded: Names,
    /// Whether a head of its own is a product like others.
    has_head: bool,
}

/// Modules, none for all, and how their weights are packed, if at all.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    targets: Names,
    packing: Option<Packing>,
}

/// An object that is a field's value.
fn object(name: &str, value: &Value) -> Result<Object, Diagnostic> {
    let members = value.as_object().ok_or_else(|| invalid(name, value, "an object is needed"))?;
    Ok(members.clone().into_iter().collect())
}

impl Fields<'_> {
    fn nested(self, name: &str) -> Result<Option<Object>, Diagnostic> {
        self.get(name).map(|value| object(name, value)).transpose()
    }
}

impl Quantization {
    /// Elements along a width that share a scale, where engines don't split these over tensor ranks (vLLM
    /// `validate_fp8_block_shape`, `AWQLinearMethod.create_weights`; `mxfp4` and `modelopt` are padded); 0 = none.
    pub(super) fn scale_block(&self) -> u64 {
        let is_padded = ["mxfp4", "modelopt"].contains(&&*self.method);
        let packings = self.rules.iter().filter_map(|rule| rule.packing.as_ref());
        let of = |packing: &Packing| match packing.group {
            Group::Block([rows, columns]) => rows.max(columns),
            Group::Along(n) if !is_padded => n,
            _ => 0,
        };
        packings.map(of).max().unwrap_or(0)
    }

    /// What a config, or its text part, says; the other value is a warning about what is not understood.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn read(
        fields: Fields<'_>,
    ) -> Result<(Option<Self>, Option<Diagnostic>), Diagnostic> {
        let Some(object) = stated(fields)? else { return Ok((None, None)) };
        let experts = parts::stated(fields, &["expert_dtype"]).and_then(Value::as_str);
        let fields = Fields(&object);
        let method = method(fields)?;
        let Some(mut rules) = schemes::rules(method, fields)? else {
            let shown: String = method.chars().take(40).collect();
            let message = format!(
                "`quantization_config` of method `{shown}` is not understood: weights are counted in the \
                 type of the model"
            );
            let hint = format!("understood are {KNOWN}");
            return Ok((None, Some(Diagnostic::warning(UNKNOWN, message).hint(hint))));
        };
        let inner = [fields.nested("quantization")?, fields.nested("quant_config")?];
        let parts: Vec<Fields<'_>> =
            [fields].into_iter().chain(inner.iter().flatten().map(Fields)).collect();
        // Beside layers of a second method other lists are that method's.
        let is_second = method == "fp8" && fields.get("quantized_layers").is_some();
        let lists = if is_second { &LEFT[..1] } else { &LEFT };
        let mut excluded = Vec::new();
        for (part, list) in parts.iter().flat_map(|part| lists.iter().map(move |list| (part, list)))
        {
            excluded.extend(part.list(list)?.iter().filter_map(Value::as_str));
        }
        let excluded = Names::new(excluded);
        if method == "fp8" && !is_second {
            rules.splice(0..0, schemes::experts(experts.or(fields.text("expert_dtype")?)));
        }
        let found = Self {
            method: method.to_owned(),
            has_head: has_head(method, fields)?,
            rules,
            excluded,
        };
        let unread = found.unread(fields)?;
        Ok((found.packs().then_some(found), unread))
    }

    /// What of it has no effect on the bytes that are counted, and should have.
    fn unread(&self, fields: Fields<'_>) -> Result<Option<Diagnostic>, Diagnostic> {
        let targets = self.rules.iter().map(|rule| &rule.targets);
        let pattern = targets.chain([&self.excluded]).find_map(Names::unread);
        let is_stated = |name: &&&str| match fields.get(name) {
            Some(Value::Object(members)) => !members.is_empty(),
            Some(Value::Array(entries)) => !entries.is_empty(),
            other => other.is_some(),
        };
        let sparsity = fields.nested("sparsity_config")?;
        let is_sparse = |object: &Object| {
            let format = Fields(object).text("format").ok().flatten();
            !object.is_empty() && format != Some("dense")
        };
        let format = schemes::unknown_format(&self.method, fields)?;
        let what = match (pattern, UNREAD.iter().find(is_stated), format) {
            (Some(pattern), ..) => pattern.chars().take(60).collect(),
            (None, Some(member), _) => (*member).to_owned(),
            (None, None, Some(format)) => format!("format: {format}"),
            _ if sparsity.as_ref().is_some_and(is_sparse) => "sparsity_config".to_owned(),
            _ => return Ok(None),
        };
        let message = format!(
            "`{what}` in `quantization_config` ({}) is not understood: bytes of weights are those without it",
            self.method
        );
        Ok(Some(
            Diagnostic::warning(UNKNOWN, message)
                .hint("give the model as ONNX or .pt2 for its bytes"),
        ))
    }

    /// Whether any weight may be packed: a config may state a method and pack none.
    fn packs(&self) -> bool {
        self.rules.iter().any(|rule| rule.packing.is_some())
    }

    /// Bits of the elements, in words: `4` or `4 or 8`.
    pub(super) fn bits(&self) -> String {
        let mut all: Vec<u64> =
            self.rules.iter().filter_map(|rule| Some(rule.packing.as_ref()?.bits)).collect();
        all.sort_unstable();
        all.dedup();
        let all: Vec<String> = all.iter().map(u64::to_string).collect();
        all.join(" or ")
    }

    /// The same for heads of their own.
    pub(super) fn of_head(&self) -> Option<&Self> {
        self.has_head.then_some(self)
    }

    /// Type of the elements, and bytes of a weight of `outputs` by `inputs` with its scales; `None` where the
    /// module is left as it is or a size passes 64 bits.
    pub(super) fn bytes(&self, module: &str, shape: [u64; 2]) -> Option<(DType, Bytes)> {
        if self.excluded.matches(module) {
            return None;
        }
        let covers = |rule: &&Rule| rule.targets.is_empty() || rule.targets.matches(module);
        let packing = self.rules.iter().find(covers)?.packing?;
        let elements = shape[0].checked_mul(shape[1])?;
        let beside = packing.group.count(shape) * packing.group_bits
            + shape[1] as f64 * packing.column_bits
            + packing.once_bits;
        let packed = elements.checked_mul(packing.bits)?.div_ceil(8);
        Some((packing.dtype, Bytes(packed.checked_add((beside / 8.0).ceil() as u64)?)))
    }
}

/// How a checkpoint says that keys and values are cached, and a warning where it says so in other words than
/// are understood (`kv_cache_scheme` of compressed-tensors and ModelOpt, `kv_cache_quant_algo` of ModelOpt).
///
/// # Errors
/// `invalid-field`.
pub(super) fn cache(
    fields: Fields<'_>,
) -> Result<(Option<CacheType>, Option<Diagnostic>), Diagnostic> {
    let Some(object) = stated(fields)? else { return Ok((None, None)) };
    let fields = Fields(&object);
    let inner = fields.nested("quantization")?;
    let all = [Some(fields), inner.as_ref().map(Fields)];
    let found = |name| all.into_iter().flatten().find_map(|part| part.get(name));
    let (name, value) = match (found(SCHEME), found(ALGORITHM)) {
        (Some(value), _) => (SCHEME, value),
        (None, Some(value)) => (ALGORITHM, value),
        (None, None) => return Ok((None, None)),
    };
    let known = match value.as_str().map(str::to_uppercase).as_deref() {
        Some("FP8") => Some(CacheType::F8),
        Some("NVFP4") => Some(CacheType::F4),
        _ => {
            let bits = value.get("num_bits").and_then(Value::as_u64);
            let is_float = value.get("type").and_then(Value::as_str) == Some("float");
            match (is_float, bits) {
                (true, Some(8)) => Some(CacheType::F8),
                (true, Some(4)) => Some(CacheType::F4),
                _ => None,
            }
        }
    };
    let unknown = known.is_none().then(|| {
        let shown: String = value.to_string().chars().take(60).collect();
        let message = format!("`{name}` is {shown}, which is not understood: 16 bits are counted");
        Diagnostic::warning("unknown-kv-dtype", message).hint("state one with --kv-dtype")
    });
    Ok((known, unknown))
}

/// The object of a config or of a part of it.
fn stated(fields: Fields<'_>) -> Result<Option<Object>, Diagnostic> {
    let found = parts::stated(fields, &["quantization_config", "compression_config"]);
    found.map(|value| object("quantization_config", value)).transpose()
}

/// Whether a head of its own is converted as other products are. bitsandbytes leaves it out unless a list of
/// what to leave out takes the place of its own (`get_modules_to_not_convert` of transformers).
fn has_head(method: &str, fields: Fields<'_>) -> Result<bool, Diagnostic> {
    let is_named = fields.get("lm_head") == Some(&true.into());
    Ok(match method {
        "compressed-tensors" | "mxfp4" => true,
        "bitsandbytes" => fields.get("llm_int8_skip_modules").is_some(),
        _ => method.starts_with("modelopt") || is_named,
    })
}

fn method(fields: Fields<'_>) -> Result<&str, Diagnostic> {
    if let Some(stated) = fields.text("quant_method")? {
        return Ok(stated);
    }
    let is_bnb = fields.get("load_in_4bit").or(fields.get("load_in_8bit")).is_some();
    Ok(if is_bnb {
        "bitsandbytes"
    } else if fields.get("config_groups").is_some() {
        "compressed-tensors"
    } else {
        ""
    })
}
