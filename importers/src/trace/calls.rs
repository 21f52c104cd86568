//! What a trace records: calls of operators, nested in each other and in annotations.

use std::collections::HashMap;
use std::rc::Rc;

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use serde_json::Value;

/// A tensor that a call reads or gives back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    /// Position among the arguments or results; members of a list share one.
    pub(super) position: usize,
    /// Identity of the tensor; 0 where the trace knows none.
    pub(super) tensor: u64,
    /// Identity of the memory behind it; used again once that is freed. 0 where there is none.
    pub(super) storage: u64,
    /// First element in the memory.
    pub(super) offset: u64,
    /// Number of elements.
    pub(super) elements: u64,
    /// Element type.
    pub(super) dtype: DType,
    /// Extents.
    pub(super) shape: Vec<u64>,
}

impl Operand {
    /// Bytes of the elements.
    pub(super) fn bytes(&self) -> u64 {
        self.dtype.size_of(self.elements).map_or(u64::MAX, |bytes| bytes.get())
    }

    /// Whether it is a number that was wrapped into a tensor.
    pub(super) fn is_scalar(&self) -> bool {
        self.elements <= 1 && self.shape.is_empty()
    }
}

/// What kind of record a call is, by PyTorch's `RecordScope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// A call of an operator.
    #[default]
    Operator,
    /// A node of the autograd graph, around the operators that it calls.
    Backward,
    /// What a program wrote around calls.
    Annotation,
}

/// The arguments of an operator, by its schema.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Signature {
    /// Names by position.
    pub(super) names: Vec<String>,
    /// Positions of the arguments that it writes.
    pub(super) written: Vec<usize>,
}

/// A call.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    /// Number in the trace.
    pub(super) id: u64,
    /// Such as `aten::mm`.
    pub(super) name: Rc<str>,
    /// Number of the call around it; its own or one that is missing for those at the top.
    pub(super) parent: u64,
    /// Number by which a profile of the same run knows it; 0 for none.
    pub(super) record: u64,
    /// Number that a forward call shares with its backward node.
    pub(super) sequence: Option<u64>,
    /// What kind of record it is.
    pub(super) scope: Scope,
    /// Thread that made it.
    pub(super) thread: u64,
    /// Of a backward node, the thread of its forward call.
    pub(super) forward_thread: u64,
    /// Tensors that it is given.
    pub(super) inputs: Vec<Operand>,
    /// Tensors that it gives back.
    pub(super) outputs: Vec<Operand>,
    /// Its arguments, where the trace has a schema.
    pub(super) signature: Option<Rc<Signature>>,
    /// Plain arguments of the few operators whose work depends on them: `position -> text`.
    pub(super) plain: Vec<(usize, String)>,
}

impl Call {
    /// Whether an argument is written.
    pub(super) fn writes(&self, position: usize) -> bool {
        match &self.signature {
            Some(signature) => signature.written.contains(&position),
            // By the naming of PyTorch.
            None => position == 0 && self.name.ends_with('_') && !self.name.ends_with("__"),
        }
    }

    /// The name of an argument, empty where it is not known.
    pub(super) fn argument(&self, position: usize) -> &str {
        let names = self.signature.as_ref().map(|signature| &signature.names);
        names.and_then(|names| names.get(position)).map_or("", String::as_str)
    }

    /// The name without its namespace.
    pub(super) fn short_name(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }
}

/// Texts and schemas that many calls share.
#[derive(Default)]
pub(super) struct Shared {
    texts: HashMap<Box<str>, Rc<str>>,
    signatures: HashMap<Box<str>, Rc<Signature>>,
}

impl Shared {
    /// The one copy of a text.
    pub(super) fn text(&mut self, text: &str) -> Rc<str> {
        if let Some(known) = self.texts.get(text) {
            return Rc::clone(known);
        }
        let new: Rc<str> = Rc::from(text);
        self.texts.insert(Box::from(text), Rc::clone(&new));
        new
    }

    /// The signature of a schema such as `aten::add_.Tensor(Tensor(a!) self, Tensor other, *,
    /// Scalar alpha=1) -> Tensor(a!)`; `None` for none.
    pub(super) fn signature(&mut self, schema: &str) -> Option<Rc<Signature>> {
        if schema.is_empty() {
            return None;
        }
        if let Some(known) = self.signatures.get(schema) {
            return Some(Rc::clone(known));
        }
        let new = Rc::new(signature(schema)?);
        self.signatures.insert(Box::from(schema), Rc::clone(&new));
        Some(new)
    }
}

fn signature(schema: &str) -> Option<Signature> {
    let (_, arguments) = schema.split_once('(')?;
    let mut signature = Signature::default();
    let (mut depth, mut start) = (0u32, 0);
    let mut push = |text: &str| {
        let text = text.trim();
        if text.is_empty() || text == "*" {
            return;
        }
        let declared = text.split('=').next().unwrap_or_default().trim();
        let name = declared.rsplit(' ').next().unwrap_or_default();
        if declared.contains("!)") || declared.contains("! ->") {
            signature.written.push(signature.names.len());
        }
        signature.names.push(name.to_owned());
    };
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' if depth == 0 => {
                push(&arguments[start..at]);
                return Some(signature);
            }
            b')' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                push(&arguments[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// How PyTorch's profiler and its trace observer name element types.
const DTYPES: [(&str, DType); 24] = [
    ("float", DType::F32),
    ("Float", DType::F32),
    ("double", DType::F64),
    ("Double", DType::F64),
    ("c10::Half", DType::F16),
    ("Half", DType::F16),
    ("c10::BFloat16", DType::Bf16),
    ("BFloat16", DType::Bf16),
    ("c10::Float8_e4m3fn", DType::F8),
    ("Float8_e4m3fn", DType::F8),
    ("c10::Float8_e5m2", DType::F8),
    ("Float8_e5m2", DType::F8),
    ("unsigned char", DType::U8),
    ("Byte", DType::U8),
    ("signed char", DType::I8),
    ("Char", DType::I8),
    ("short int", DType::I16),
    ("int", DType::I32),
    ("Int", DType::I32),
    ("long int", DType::I64),
    ("Long", DType::I64),
    ("bool", DType::Bool),
    ("c10::complex<float>", DType::C64),
    ("c10::complex<double>", DType::C128),
];

/// The element type of a name.
pub(crate) fn dtype(name: &str) -> Option<DType> {
    DTYPES.iter().find(|(known, _)| *known == name).map(|(_, dtype)| *dtype)
}

/// A member of a record, what it has to be, and whether a value is.
pub(super) type Member = (&'static str, &'static str, fn(&Value) -> bool);

/// The error of a member that holds something else than `wanted`.
pub(super) fn invalid_field(what: &str, call: &str, member: &str, wanted: &str) -> Diagnostic {
    let what = format!("`{member}` of {what} is not {wanted}");
    Diagnostic::input("invalid-field", what).fact("node", call).fact("member", member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_say_what_is_written() {
        let of = |schema: &str| signature(schema).unwrap();
        let add =
            of("aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)");
        assert_eq!(
            (add.names.as_slice(), add.written),
            (&["self".into(), "other".into(), "alpha".into()][..], vec![0])
        );
        let sum = of(
            "aten::sum.IntList_out(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None, Tensor(a!) out) -> Tensor(a!)",
        );
        assert_eq!((sum.names.len(), sum.written), (5, vec![4]));
        let each = of(
            "aten::_foreach_add_.List(Tensor(a!)[] self, Tensor[] other, *, Scalar alpha=1) -> ()",
        );
        assert_eq!(each.written, [0]);
        let view = of(
            "aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]",
        );
        assert!(view.written.is_empty());
        let conv = of(
            "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0]) -> Tensor",
        );
        assert_eq!(conv.names[4], "padding");
        assert_eq!(signature("no schema"), None);
        assert_eq!(signature("cut(Tensor self"), None);
    }
}
