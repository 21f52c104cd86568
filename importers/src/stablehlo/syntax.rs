//! A program as parsed: every operation in one form, however it was printed.

use std::collections::HashMap;

use super::types::{TypeId, Types};

/// A value, numbered over the whole text.
pub(super) type ValueId = u32;

/// An operation.
#[derive(Clone, Debug)]
pub(super) struct Operation<'t> {
    /// `stablehlo.add`; `call` and `return` have no dialect where it is left out.
    pub(super) name: &'t [u8],
    /// Where it begins.
    pub(super) at: u32,
    /// What it is called: `%3`, or empty.
    pub(super) label: &'t [u8],
    pub(super) operands: Vec<ValueId>,
    pub(super) first_result: ValueId,
    pub(super) n_results: u32,
    /// Attributes, properties and clauses of the printed form by name: `dims` to `[0, 1]`; words
    /// have no value, lists without a name no name.
    pub(super) clauses: Vec<(&'t [u8], &'t [u8])>,
    pub(super) regions: Vec<Region<'t>>,
    /// What `loc(...)` holds.
    pub(super) location: &'t [u8],
}

/// A region of one block.
#[derive(Clone, Debug, Default)]
pub(super) struct Region<'t> {
    pub(super) arguments: Vec<ValueId>,
    pub(super) operations: Vec<Operation<'t>>,
}

/// An argument or a result of a function.
#[derive(Clone, Debug)]
pub(super) struct Port<'t> {
    pub(super) label: &'t [u8],
    /// What its attributes hold, between braces.
    pub(super) attributes: Vec<(&'t [u8], &'t [u8])>,
    pub(super) location: &'t [u8],
}

/// A function.
#[derive(Clone, Debug)]
pub(super) struct Function<'t> {
    pub(super) name: &'t [u8],
    pub(super) at: u32,
    pub(super) arguments: Vec<Port<'t>>,
    pub(super) results: Vec<Port<'t>>,
    pub(super) body: Region<'t>,
    pub(super) is_public: bool,
}

/// A text.
#[derive(Debug, Default)]
pub(super) struct Program<'t> {
    pub(super) name: &'t [u8],
    pub(super) attributes: Vec<(&'t [u8], &'t [u8])>,
    pub(super) functions: Vec<Function<'t>>,
    /// Other operations of the module, such as `sdy.mesh`.
    pub(super) others: Vec<Operation<'t>>,
    /// `#loc1` to what it holds.
    pub(super) locations: HashMap<&'t [u8], &'t [u8]>,
    pub(super) types: Types<'t>,
    /// By value.
    pub(super) types_of: Vec<TypeId>,
}

/// The value of a clause.
pub(super) fn clause<'t>(clauses: &[(&'t [u8], &'t [u8])], name: &str) -> Option<&'t [u8]> {
    clauses.iter().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| *value)
}

impl<'t> Operation<'t> {
    /// The value of the first of these clauses that it has.
    pub(super) fn clause(&self, names: &[&str]) -> Option<&'t [u8]> {
        names.iter().find_map(|name| clause(&self.clauses, name))
    }

    pub(super) fn results(&self) -> impl Iterator<Item = ValueId> + use<> {
        self.first_result..self.first_result.saturating_add(self.n_results)
    }

    /// The name without its dialect.
    pub(super) fn short(&self) -> &'t [u8] {
        let end = self.name.iter().rposition(|byte| *byte == b'.');
        &self.name[end.map_or(0, |end| end + 1)..]
    }
}

impl<'t> Region<'t> {
    /// What it hands back.
    pub(super) fn returned(&self) -> &[ValueId] {
        match self.operations.last() {
            Some(last) if last.short() == b"return" => &last.operands,
            _ => &[],
        }
    }
}

/// All numbers of an attribute in order; `true` and `false` are 1 and 0.
pub(super) fn numbers(value: &[u8]) -> Vec<i64> {
    const MOST: usize = 4_096;
    let value = match value.strip_prefix(b"array<") {
        // The type in front of the colon is no number.
        Some(inner) => inner.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default(),
        None => value,
    };
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let words = value.split(|byte| !is_part(byte)).filter(|word| !word.is_empty());
    let number = |word: &[u8]| match word {
        b"true" => Some(1),
        b"false" => Some(0),
        _ => std::str::from_utf8(word).ok()?.parse().ok(),
    };
    words.filter_map(number).take(MOST).collect()
}

/// The text of a string attribute, quotes left out.
pub(super) fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}
