//! How each method packs a weight: bits of an element, and of what is written beside.
//!
//! Sources: the configuration classes of transformers (`utils/quantization_config.py`), `QuantizationArgs`
//! of compressed-tensors, `hf_quant_config.json` of NVIDIA's ModelOpt, the OCP microscaling formats (version
//! 1.0, section 5), and the tensors that AWQ, GPTQ and bitsandbytes write.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use serde_json::Value;

use super::pattern::Names;
use super::{Rule, object};
use crate::config::fields::{Fields, invalid, number};

/// Elements that share a scale of bitsandbytes' 4-bit types (`blocksize` of `quantize_4bit`).
const BNB_BLOCK: u64 = 64;
/// Scales that share a scale of their own where bitsandbytes nests them.
const BNB_NESTED: f64 = 256.0;
/// Bits of a scale in an eighth, half and single precision.
const EIGHTH: f64 = 8.0;
const HALF: f64 = 16.0;
const SINGLE: f64 = 32.0;
/// Elements that share a scale of MXFP4 and MXFP8, and of NVFP4.
const MX_BLOCK: u64 = 32;
const NV_BLOCK: u64 = 16;
/// Rows and columns of a block of scales where ModelOpt's name says nothing else.
const SQUARE: [u64; 2] = [128, 128];

/// What shares a scale, in a weight of outputs by inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Group {
    /// So many elements, wherever rows end.
    Flat(u64),
    /// So many elements of a row.
    Along(u64),
    /// So many rows by so many columns.
    Block([u64; 2]),
    /// A row.
    Row,
    /// The whole weight.
    Weight,
}

impl Group {
    /// Groups of a weight.
    pub(super) fn count(self, [rows, columns]: [u64; 2]) -> f64 {
        match self {
            Self::Flat(n) => (rows as f64 * columns as f64 / n as f64).ceil(),
            Self::Along(n) => rows as f64 * columns.div_ceil(n) as f64,
            Self::Block([high, wide]) => rows.div_ceil(high) as f64 * columns.div_ceil(wide) as f64,
            Self::Row => rows as f64,
            Self::Weight => 1.0,
        }
    }
}

/// How a weight is packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Packing {
    /// Type of the packed elements.
    pub dtype: DType,
    /// Bits of an element.
    pub bits: u64,
    /// What shares scales and zero points.
    pub group: Group,
    /// Their bits.
    pub group_bits: f64,
    /// Bits for each column of a weight, such as the order of columns.
    pub column_bits: f64,
    /// Bits for each weight, such as a scale of the scales or of its input.
    pub once_bits: f64,
}

const fn packing(dtype: DType, bits: u64, group: Group, group_bits: f64) -> Packing {
    Packing { dtype, bits, group, group_bits, column_bits: 0.0, once_bits: 0.0 }
}

const MXFP4: Packing = packing(DType::F4, 4, Group::Along(MX_BLOCK), EIGHTH);

/// The rules of a method; `None` for one that is not known.
pub(super) fn rules(method: &str, fields: Fields<'_>) -> Result<Option<Vec<Rule>>, Diagnostic> {
    let all = match method {
        "awq" | "gptq" | "auto-round" | "intel/auto-round" => by_groups(method, fields)?,
        "bitsandbytes" => match bitsandbytes(fields)? {
            Loaded::As(packing) => packing,
            Loaded::Plain => return Ok(Some(vec![of_all(None)])),
            Loaded::Unknown => return Ok(None),
        },
        "fp8" => {
            let others = of_all(Some(eighths(fields)?));
            let mut rules = match fields.get("quantized_layers") {
                Some(_) => modelopt(fields)?.unwrap_or_default(),
                None => Vec::new(),
            };
            rules.push(others);
            return Ok(Some(rules));
        }
        "fbgemm_fp8" => packing(DType::F8, 8, Group::Row, SINGLE),
        "eetq" => packing(DType::I8, 8, Group::Row, HALF),
        "bitnet" => packing(DType::I2, 2, Group::Weight, HALF),
        "mxfp4" => {
            return Ok(Some(experts(Some("fp4"))));
        }
        "hqq" => hqq(fields)?,
        "quanto" | "torchao" => match by_name(method, fields)? {
            Some(found) => found,
            None => return Ok(None),
        },
        "compressed-tensors" => return compressed(fields).map(Some),
        "modelopt" | "modelopt_fp4" | "modelopt_mixed" => return modelopt(fields),
        _ => return Ok(None),
    };
    Ok(Some(vec![of_all(Some(all))]))
}

fn of_all(packing: Option<Packing>) -> Rule {
    Rule { targets: Names::default(), packing }
}

/// The rule of experts whose elements a config states to be 4-bit floats (`FineGrainedFP8Config` of transformers).
pub(super) fn experts(dtype: Option<&str>) -> Vec<Rule> {
    let targets = || Names::new(["experts"]);
    let rule = (dtype == Some("fp4")).then(|| Rule { targets: targets(), packing: Some(MXFP4) });
    rule.into_iter().collect()
}

/// Integers with a scale in half precision and a zero point as wide as an element for each group; GPTQ has
/// the group of each column beside where it sorts columns by their weight.
fn by_groups(method: &str, fields: Fields<'_>) -> Result<Packing, Diagnostic> {
    let name = if fields.get("bits").is_some() { "bits" } else { "w_bit" };
    let bits = fields.bits(name, 4)?;
    let is_sorted = method == "gptq" && fields.flag("desc_act")? == Some(true);
    // AWQ's own files name it otherwise than transformers does.
    let group = match fields.get("group_size") {
        None => fields.group("q_group_size", 128)?,
        Some(_) => fields.group("group_size", 128)?,
    };
    let column_bits = if is_sorted { SINGLE } else { 0.0 };
    Ok(Packing { column_bits, ..packing(integer(bits), bits, group, HALF + bits as f64) })
}

/// How bitsandbytes loads weights.
enum Loaded {
    As(Packing),
    /// In the type of the model.
    Plain,
    /// Nothing says how.
    Unknown,
}

/// Saved configs have some switches twice, the second time behind an underscore.
fn bitsandbytes(fields: Fields<'_>) -> Result<Loaded, Diagnostic> {
    let switch = |names: [&str; 2]| Ok(fields.flag(names[0])?.or(fields.flag(names[1])?));
    let in_8 = switch(["load_in_8bit", "_load_in_8bit"])?;
    let in_4 = switch(["load_in_4bit", "_load_in_4bit"])?;
    let nested = fields.flag("bnb_4bit_use_double_quant")? == Some(true);
    let scale = if nested { EIGHTH + SINGLE / BNB_NESTED } else { SINGLE };
    Ok(match (in_8, in_4) {
        (Some(true), _) => Loaded::As(packing(DType::I8, 8, Group::Row, SINGLE)),
        (_, Some(true)) => Loaded::As(packing(DType::F4, 4, Group::Flat(BNB_BLOCK), scale)),
        (None, None) => Loaded::Unknown,
        _ => Loaded::Plain,
    })
}

/// 8-bit floats with a scale for each block of rows and columns, or for the weight.
fn eighths(fields: Fields<'_>) -> Result<Packing, Diagnostic> {
    let group = fields.block("weight_block_size")?.map_or(Group::Weight, Group::Block);
    Ok(packing(DType::F8, 8, group, SINGLE))
}

/// A scale and a zero point in half precision for each group.
fn hqq(fields: Fields<'_>) -> Result<Packing, Diagnostic> {
    let outer = fields.nested("quant_config")?;
    let outer = outer.as_ref().map_or(fields, Fields);
    let inner = outer.nested("weight_quant_params")?;
    let inner = inner.as_ref().map_or(outer, Fields);
    let bits = inner.bits("nbits", 4)?;
    let group = match inner.group("group_size", 64)? {
        Group::Along(n) => Group::Flat(n),
        other => other,
    };
    Ok(packing(integer(bits), bits, group, 2.0 * HALF))
}

/// Methods whose type is a name such as `int4` or `int8_weight_only`.
fn by_name(method: &str, fields: Fields<'_>) -> Result<Option<Packing>, Diagnostic> {
    let field = if method == "quanto" { "weights" } else { "quant_type" };
    let options = fields.nested("quant_type_kwargs")?;
    let named = fields.get(field).map(Value::to_string).unwrap_or_default().to_lowercase();
    let data =
        fields.get(field).and_then(|value| value.pointer("/default/_data/group_size")).cloned();
    let fields = options.as_ref().map_or(fields, Fields);
    let is_one = |name: &str| named.matches(name).count() == 1 && !named.contains("fqn");
    Ok(if is_one("int4") || is_one("int2") {
        let bits = if named.contains("int2") { 2 } else { 4 };
        let group = match data {
            Some(stated) => Group::Along(number("group_size", &stated, 1)?),
            None => fields.group("group_size", 128)?,
        };
        Some(packing(integer(bits), bits, group, 2.0 * HALF))
    } else if named.contains("int8") {
        Some(packing(DType::I8, 8, Group::Row, HALF))
    } else if named.contains("float8") {
        Some(packing(DType::F8, 8, Group::Row, SINGLE))
    } else {
        None
    })
}

/// How compressed-tensors writes weights (its `CompressionFormat`), where a format says it.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    /// In the type of the model, quantised or not.
    Dense,
    /// An element in a byte, of as few bits as it may be.
    Bytes,
    /// Elements side by side.
    Packed,
}

/// Formats that are understood; without one elements are side by side.
const FORMATS: [(&str, Format); 7] = [
    ("dense", Format::Dense),
    ("int-quantized", Format::Bytes),
    ("float-quantized", Format::Bytes),
    ("naive-quantized", Format::Bytes),
    ("pack-quantized", Format::Packed),
    ("nvfp4-pack-quantized", Format::Packed),
    ("mxfp4-pack-quantized", Format::Packed),
];
/// The format of files whose groups have formats of their own.
const MIXED: &str = "mixed-precision";

fn format(fields: Fields<'_>) -> Result<Option<Format>, Diagnostic> {
    let name = fields.text("format")?;
    Ok(name.and_then(|name| FORMATS.iter().find(|row| row.0 == name)).map(|row| row.1))
}

/// A format of compressed-tensors that is not understood.
pub(super) fn unknown_format<'a>(
    method: &str,
    fields: Fields<'a>,
) -> Result<Option<&'a str>, Diagnostic> {
    let name = fields.text("format")?.filter(|name| *name != MIXED);
    let is_known = |name: &str| FORMATS.iter().any(|row| row.0 == name);
    Ok(name.filter(|name| method == "compressed-tensors" && !is_known(name)))
}

/// Groups of modules with types of their own.
fn compressed(fields: Fields<'_>) -> Result<Vec<Rule>, Diagnostic> {
    let of_all = format(fields)?;
    let groups = fields.nested("config_groups")?.unwrap_or_default();
    let mut rules = Vec::new();
    for (name, value) in &groups {
        let group = object(name, value)?;
        let group = Fields(&group);
        let targets = group.list("targets")?.iter().filter_map(Value::as_str);
        let targets = match targets.clone().any(|target| target == "Linear") {
            true => Names::default(),
            false => Names::new(targets),
        };
        let weights = group.nested("weights")?;
        let mut packing = weights.as_ref().map(|weights| arguments(Fields(weights))).transpose()?;
        let inputs = group.nested("input_activations")?;
        // A scale of the inputs in the file: of static ones, and the one above scales that are found on the way.
        let dynamic = inputs.as_ref().and_then(|inputs| Fields(inputs).get("dynamic"));
        if let (Some(packing), Some(dynamic)) = (&mut packing, dynamic) {
            packing.once_bits += match dynamic {
                Value::Bool(false) => HALF,
                Value::String(text) if text == "local" => SINGLE,
                _ => 0.0,
            };
        }
        let format = format(group)?.or(of_all).unwrap_or(Format::Packed);
        let packing = match format {
            Format::Dense => None,
            Format::Bytes => packing.map(in_bytes),
            Format::Packed => packing,
        };
        rules.push(Rule { targets, packing });
    }
    // Groups that name modules go before one of all modules.
    rules.sort_by_key(|rule| rule.targets.is_empty());
    Ok(rules)
}

/// The same with a byte for each element.
fn in_bytes(packing: Packing) -> Packing {
    let dtype = if matches!(packing.dtype, DType::F4 | DType::F8) { DType::F8 } else { DType::I8 };
    Packing { dtype, bits: 8, ..packing }
}

/// `QuantizationArgs`: scales have the type of the model, but of 4-bit floats 8 bits.
fn arguments(fields: Fields<'_>) -> Result<Packing, Diagnostic> {
    let bits = fields.bits("num_bits", 8)?;
    let is_float = fields.text("type")? == Some("float");
    let dtype = match (is_float, bits) {
        (true, 8) => DType::F8,
        (true, 4) => DType::F4,
        (true, _) => {
            let value = fields.get("num_bits").cloned().unwrap_or_default();
            return Err(invalid("num_bits", &value, "floats of 4 or 8 bits are understood"));
        }
        _ => integer(bits),
    };
    let group = match fields.block("block_structure")? {
        Some(block) => Group::Block(block),
        None if fields.get("group_size").is_some() => fields.group("group_size", 128)?,
        None if fields.text("strategy")? == Some("channel") => Group::Row,
        None => Group::Weight,
    };
    let is_narrow = dtype == DType::F4;
    let zero = if fields.flag("symmetric")? == Some(false) { bits as f64 } else { 0.0 };
    let scale = if is_narrow { EIGHTH } else { HALF };
    let once_bits = if is_narrow && group == Group::Along(NV_BLOCK) { SINGLE } else { 0.0 };
    Ok(Packing { once_bits, ..packing(dtype, bits, group, scale + zero) })
}

/// One algorithm for all, or one for each module.
fn modelopt(fields: Fields<'_>) -> Result<Option<Vec<Rule>>, Diagnostic> {
    let inner = fields.nested("quantization")?;
    let inner = inner.as_ref().map_or(fields, Fields);
    let layers = inner.nested("quantized_layers")?.unwrap_or_default();
    let mut alike: Vec<(Packing, Vec<&str>)> = Vec::new();
    for (module, value) in &layers {
        let of = object("quantized_layers", value)?;
        let Some(packing) = algorithm(Fields(&of))? else { return Ok(None) };
        match alike.iter_mut().find(|(known, _)| *known == packing) {
            Some((_, modules)) => modules.push(module),
            None => alike.push((packing, vec![module])),
        }
    }
    if !alike.is_empty() {
        let rule =
            |(packing, modules)| Rule { targets: Names::new(modules), packing: Some(packing) };
        return Ok(Some(alike.into_iter().map(rule).collect()));
    }
    if let Some(packing) = algorithm(inner)? {
        return Ok(Some(vec![of_all(Some(packing))]));
    }
    let has_groups = inner.get("quant_algo").is_none() && inner.get("config_groups").is_some();
    has_groups.then(|| compressed(inner)).transpose()
}

/// Algorithms of ModelOpt; of static 8-bit types the scale of the input is written beside.
fn algorithm(fields: Fields<'_>) -> Result<Option<Packing>, Diagnostic> {
    let of = |dtype, bits, group, scale| packing(dtype, bits, group, scale);
    let both = |packing: Packing| Packing { once_bits: packing.once_bits + SINGLE, ..packing };
    Ok(Some(match fields.text("quant_algo")?.unwrap_or_default() {
        "FP8" => both(of(DType::F8, 8, Group::Weight, SINGLE)),
        "FP8_PER_CHANNEL_PER_TOKEN" => of(DType::F8, 8, Group::Row, SINGLE),
        "FP8_PB_WO" | "FP8_PB_REAL" => of(DType::F8, 8, Group::Block(SQUARE), SINGLE),
        "MXFP8" => of(DType::F8, 8, Group::Along(MX_BLOCK), EIGHTH),
        "NVFP4" | "NVFP4_AWQ" | "W4A16_NVFP4" => {
            let group = fields.group("group_size", NV_BLOCK)?;
            both(both(of(DType::F4, 4, group, EIGHTH)))
        }
        "MXFP4" | "W4A8_MXFP4_FP8" => MXFP4,
        "W4A16_AWQ" | "W4A8_AWQ" | "INT4_AWQ" => {
            of(DType::I4, 4, fields.group("group_size", 128)?, HALF)
        }
        "W8A16" | "W8A8_SQ_PER_CHANNEL" | "INT8_SQ" => of(DType::I8, 8, Group::Row, SINGLE),
        _ => return Ok(None),
    }))
}

impl Fields<'_> {
    fn bits(self, name: &str, usual: u64) -> Result<u64, Diagnostic> {
        let Some(value) = self.get(name) else { return Ok(usual) };
        let known = value.as_u64().filter(|bits| [2, 3, 4, 8].contains(bits));
        known.ok_or_else(|| invalid(name, value, "2, 3, 4 or 8 bits are understood"))
    }

    /// -1 is a whole row.
    fn group(self, name: &'static str, usual: u64) -> Result<Group, Diagnostic> {
        match self.get(name) {
            None => Ok(Group::Along(usual)),
            Some(value) if value.as_i64() == Some(-1) => Ok(Group::Row),
            Some(value) => Ok(Group::Along(number(name, value, 1)?)),
        }
    }

    /// Rows and columns that share a scale.
    fn block(self, name: &'static str) -> Result<Option<[u64; 2]>, Diagnostic> {
        match self.list(name)? {
            [] => Ok(None),
            [rows, columns] => {
                let of = |extent| number("weight_block_size", extent, 1);
                Ok(Some([of(rows)?, of(columns)?]))
            }
            _ => {
                let value = self.get(name).cloned().unwrap_or_default();
                Err(invalid(name, &value, "rows and columns are needed"))
            }
        }
    }
}

/// The integer that holds so many bits.
const fn integer(bits: u64) -> DType {
    match bits {
        2 => DType::I2,
        8 => DType::I8,
        _ => DType::I4,
    }
}
