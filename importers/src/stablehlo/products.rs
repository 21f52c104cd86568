//! Contractions and convolutions as matrix products.

use ir::op::Product;

use super::syntax::{Operation, numbers};

/// Why an operation's types can't be: which of them, in words.
pub(super) type Mismatch = String;

/// A contraction of two tensors.
#[derive(Debug, PartialEq)]
pub(super) struct Contraction {
    pub(super) product: Product,
    /// Extents of the result, in order: batch, left, right.
    pub(super) result: Vec<u64>,
    /// Whether it is a product of matrices in the order of `MatMul`.
    pub(super) is_plain: bool,
}

/// Axes of a contraction: batch and contracted ones, of the left and the right operand.
#[derive(Debug, Default)]
struct Axes {
    batch: [Vec<usize>; 2],
    contracted: [Vec<usize>; 2],
}

fn positions(value: &[u8]) -> Vec<usize> {
    numbers(value).into_iter().map(|n| usize::try_from(n).unwrap_or(usize::MAX)).collect()
}

/// The list behind `name = ` in the text of an attribute.
fn listed(value: &[u8], name: &str) -> Vec<usize> {
    let at = value.windows(name.len()).position(|window| window == name.as_bytes());
    let Some(rest) = at.map(|at| &value[at + name.len()..]) else { return Vec::new() };
    let inner = rest.split(|byte| matches!(byte, b'[' | b']')).nth(1);
    inner.map(positions).unwrap_or_default()
}

/// `[0] x [1]`.
fn pair(value: Option<&[u8]>) -> [Vec<usize>; 2] {
    let mut lists = value.unwrap_or_default().split(|byte| *byte == b']').map(positions);
    [lists.next().unwrap_or_default(), lists.next().unwrap_or_default()]
}

impl Axes {
    fn of(op: &Operation<'_>, left_rank: usize) -> Self {
        if op.short() == b"dot" {
            let last = left_rank.saturating_sub(1);
            return Self { batch: Default::default(), contracted: [vec![last], vec![0]] };
        }
        match op.clause(&["dot_dimension_numbers"]) {
            Some(value) => Self {
                batch: ["lhs_batching_dimensions", "rhs_batching_dimensions"]
                    .map(|name| listed(value, name)),
                contracted: ["lhs_contracting_dimensions", "rhs_contracting_dimensions"]
                    .map(|name| listed(value, name)),
            },
            None => Self {
                batch: pair(op.clause(&["batching_dims"])),
                contracted: pair(op.clause(&["contracting_dims"])),
            },
        }
    }
}

/// The product of extents; the extents are of tensors whose sizes fit.
fn volume(extents: &[u64]) -> u64 {
    extents.iter().fold(1, |n, extent| n.saturating_mul(*extent))
}

/// The product of a `dot_general` or a `dot`.
///
/// # Errors
/// Where axes do not exist or do not agree.
pub(super) fn contraction(
    op: &Operation<'_>,
    left: &[u64],
    right: &[u64],
) -> Result<Contraction, Mismatch> {
    let axes = Axes::of(op, left.len());
    let extents = |shape: &[u64], axes: &[usize]| -> Result<Vec<u64>, Mismatch> {
        let extent = |axis: &usize| shape.get(*axis).copied();
        let all: Option<Vec<u64>> = axes.iter().map(extent).collect();
        all.ok_or_else(|| "an axis of the product does not exist".to_owned())
    };
    let batch = extents(left, &axes.batch[0])?;
    let contracted = extents(left, &axes.contracted[0])?;
    if batch != extents(right, &axes.batch[1])?
        || contracted != extents(right, &axes.contracted[1])?
    {
        return Err("the factors of the product do not fit".to_owned());
    }
    let free = |side: usize, shape: &[u64]| -> Vec<u64> {
        let is_free = |axis: &usize| {
            !axes.batch[side].contains(axis) && !axes.contracted[side].contains(axis)
        };
        (0..shape.len()).filter(is_free).map(|axis| shape[axis]).collect()
    };
    let (rows, columns) = (free(0, left), free(1, right));
    let product = Product {
        count: volume(&batch),
        m: volume(&rows),
        k: volume(&contracted),
        n: volume(&columns),
    };
    let n_batch = batch.len();
    let is_leading = |side: usize| axes.batch[side].iter().copied().eq(0..n_batch);
    let is_plain = is_leading(0)
        && is_leading(1)
        && axes.contracted[0] == [left.len().wrapping_sub(1)]
        && axes.contracted[1] == [n_batch]
        && columns.len() <= 1;
    Ok(Contraction { product, result: [batch, rows, columns].concat(), is_plain })
}

/// A convolution as an implicit product, and whether it is a transposed one.
pub(super) fn convolution(
    op: &Operation<'_>,
    [input, kernel, output]: [&[u64]; 3],
) -> Option<(Product, bool)> {
    let labels = labels(op.clause(&["dim_numbers", "dimension_numbers"])?)?;
    let extent = |side: usize, shape: &[u64], label: &[u8]| -> Option<u64> {
        shape.get(labels[side].iter().position(|candidate| *candidate == label)?).copied()
    };
    let spatial = |side: usize, shape: &[u64]| -> Option<u64> {
        let is_spatial = |label: &&[u8]| label.iter().all(u8::is_ascii_digit);
        if labels[side].len() != shape.len() {
            return None;
        }
        let spatial = labels[side].iter().zip(shape).filter(|(label, _)| is_spatial(label));
        Some(spatial.fold(1, |n: u64, (_, extent)| n.saturating_mul(*extent)))
    };
    let count = |name: &str| {
        let stated = op.clause(&[name]).and_then(|value| numbers(value).first().copied());
        stated.map_or(Some(1), |n| u64::try_from(n).ok().filter(|n| *n > 0))
    };
    let (groups, batch_groups) = (count("feature_group_count")?, count("batch_group_count")?);
    let samples = extent(0, input, b"b")?;
    let inner = extent(1, kernel, b"i")?;
    let columns = extent(1, kernel, b"o")?;
    let taps = spatial(1, kernel)?;
    let dilated = op.clause(&["lhs_dilation"]).or_else(|| {
        let window = op.clause(&["window"])?;
        let at = window.windows(10).position(|bytes| bytes == b"lhs_dilate")?;
        window[at..].split(|byte| matches!(byte, b'[' | b']')).nth(1)
    });
    // `dense<2> : tensor<2xi64>` and `array<i64: 2, 2>` name types that hold numbers too.
    let list = |value: &[u8]| {
        let is_dense = value.starts_with(b"dense<");
        let end = value.iter().position(|byte| is_dense && *byte == b'>');
        numbers(&value[if is_dense { 6 } else { 0 }..end.unwrap_or(value.len())])
    };
    if dilated.is_some_and(|value| list(value).iter().any(|n| *n > 1)) {
        let m = samples.saturating_mul(spatial(0, input)?);
        let n = (columns / groups).saturating_mul(taps);
        return Some((Product { count: groups, m, k: inner, n }, true));
    }
    let m = (samples / batch_groups).saturating_mul(spatial(2, output)?);
    let k = taps.saturating_mul(inner);
    let count = groups.checked_mul(batch_groups)?;
    Some((Product { count, m, k, n: columns / count }, false))
}

/// `[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]`.
fn labels(value: &[u8]) -> Option<[Vec<&[u8]>; 3]> {
    let mut groups = value.split(|byte| *byte == b'[').skip(1).map(|group| {
        let inner = group.split(|byte| *byte == b']').next().unwrap_or_default();
        inner.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect()
    });
    Some([groups.next()?, groups.next()?, groups.next()?])
}
