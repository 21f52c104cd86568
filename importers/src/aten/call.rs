//! Calls of operators, as readers see them.

/// An argument that is no tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Int(i64),
    Ints(Vec<i64>),
    Bools(Vec<bool>),
    Text(&'a str),
}

/// A call of an operator: extents of tensors by the names of its schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call<'a> {
    /// Tensor arguments in order, members of lists one by one; `None` = unknown extents.
    pub(crate) tensors: Vec<(&'a str, Option<&'a [u64]>)>,
    /// Other arguments that the call states; schemas' defaults are left out.
    pub(crate) scalars: Vec<(&'a str, Scalar<'a>)>,
    /// Results in order.
    pub(crate) outputs: Vec<Option<&'a [u64]>>,
}

impl<'a> Call<'a> {
    /// Extents of a tensor argument.
    pub(super) fn shape(&self, name: &str) -> Option<&'a [u64]> {
        self.tensors.iter().find(|(key, _)| *key == name)?.1
    }

    /// Extents of a tensor argument by one of its names, which differ between overloads.
    pub(super) fn either(&self, names: &[&str]) -> Option<&'a [u64]> {
        names.iter().find_map(|name| self.shape(name))
    }

    /// A list of tensors; `None` where the extents of one are unknown.
    pub(super) fn list(&self, name: &str) -> Option<Vec<&'a [u64]>> {
        self.tensors.iter().filter(|(key, _)| *key == name).map(|(_, shape)| *shape).collect()
    }

    pub(super) fn scalar(&self, name: &str) -> Option<&Scalar<'a>> {
        self.scalars.iter().find(|(key, _)| *key == name).map(|(_, scalar)| scalar)
    }

    /// A whole number, or a truth value as 0 and 1.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.scalar(name)? {
            Scalar::Int(number) => Some(*number),
            Scalar::Bools(flags) => flags.first().map(|flag| i64::from(*flag)),
            Scalar::Ints(_) | Scalar::Text(_) => None,
        }
    }

    /// Whether a flag is set; not, where it is left out.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.int(name).is_some_and(|number| number != 0)
    }
}
