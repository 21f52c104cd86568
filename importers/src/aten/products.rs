//! Matrix products of calls, by the extents of their tensors.

use ir::op::Product;

use super::{Call, Scalar};
use crate::onnx::infer::einsum::Equation;

type Found = Option<Vec<Product>>;

/// The product of extents, or `None` past 64 bits.
fn volume(extents: &[u64]) -> Option<u64> {
    extents.iter().try_fold(1u64, |volume, extent| volume.checked_mul(*extent))
}

/// `input @ weight.T`, a weight of `[out, in]`.
pub(super) fn linear(call: &Call<'_>) -> Found {
    let (input, weight) = (call.shape("input")?, call.shape("weight")?);
    let (rows, k) = match input {
        [] => (&[][..], 1),
        [rows @ .., k] => (rows, *k),
    };
    let n = if weight.len() > 1 { weight[0] } else { 1 };
    Some(vec![Product { count: 1, m: volume(rows)?, k, n }])
}

/// `mm`, `bmm`, `matmul`, `dot`, ...: the first two tensors; a chain of them one by one.
pub(super) fn matmul(call: &Call<'_>) -> Found {
    if let Some((_, Some(first))) = call.tensors.iter().find(|(name, _)| *name == "tensors") {
        let mut chain = call.list("tensors")?.into_iter().skip(1);
        return chain
            .try_fold((first.to_vec(), Vec::new()), |(left, mut products), right| {
                let product = Product::of_matrices(&left, right)?;
                products.push(product);
                Some((vec![product.m, product.n], products))
            })
            .map(|(_, products)| products);
    }
    let (left, right) = (call.tensors.first()?.1?, call.tensors.get(1)?.1?);
    Some(vec![Product::of_matrices(left, right)?])
}

/// `addmm`, `baddbmm`, `addmv`: a product that is added to the first tensor.
pub(super) fn sum(call: &Call<'_>) -> Found {
    let left = call.either(&["mat1", "mat", "batch1"])?;
    let right = call.either(&["mat2", "vec", "batch2"])?;
    Some(vec![Product::of_matrices(left, right)?])
}

/// `einsum`: labels of both operands that stay are independent products, those of one side rows or
/// columns, those that go are contracted.
pub(super) fn einsum(call: &Call<'_>) -> Found {
    let Some(Scalar::Text(equation)) = call.scalar("equation") else { return None };
    let operands = call.list("tensors").filter(|operands| !operands.is_empty());
    let operands = operands.or_else(|| call.list("operands"))?;
    Equation::of(equation, &operands).ok()?.products()
}

/// `inner`: the last axes of both are contracted.
pub(super) fn inner(call: &Call<'_>) -> Found {
    let (left, right) = (call.tensors.first()?.1?, call.tensors.get(1)?.1?);
    let ((k, rows), (_, columns)) = (left.split_last()?, right.split_last()?);
    Some(vec![Product { count: 1, m: volume(rows)?, k: *k, n: volume(columns)? }])
}

/// `tensordot`: as many elements are contracted as the result lacks of both tensors.
pub(super) fn tensordot(call: &Call<'_>) -> Found {
    let (left, right) = (volume(call.tensors.first()?.1?)?, volume(call.tensors.get(1)?.1?)?);
    let result = volume((*call.outputs.first()?)?)?.max(1);
    let k = (u128::from(left) * u128::from(right) / u128::from(result)).isqrt();
    let k = u64::try_from(k).ok()?.max(1);
    Some(vec![Product { count: 1, m: left / k, k, n: right / k }])
}

/// `cdist` by products: distances of many rows are those of `a^2 - 2 a b + b^2`.
pub(super) fn distances(call: &Call<'_>) -> Found {
    let (left, right) = (call.tensors.first()?.1?, call.tensors.get(1)?.1?);
    let ([outer @ .., m, k], [.., n, _]) = (left, right) else { return None };
    // PyTorch's threshold.
    if *m <= 25 && *n <= 25 {
        return Some(Vec::new());
    }
    Some(vec![Product { count: volume(outer)?, m: *m, k: k.checked_add(2)?, n: *n }])
}

/// `bilinear`: `input1 @ weight[o] @ input2` by output `o` of a weight `[out, in1, in2]`.
pub(super) fn bilinear(call: &Call<'_>) -> Found {
    let (left, weight) = (call.shape("input1")?, call.shape("weight")?);
    let &[out, a, b] = weight else { return None };
    let rows = volume(left.split_last()?.1)?;
    Some(vec![
        Product { count: 1, m: rows, k: a, n: out.checked_mul(b)? },
        Product { count: rows, m: out, k: b, n: 1 },
    ])
}

/// A product by a packed weight: its columns are those of the result.
pub(super) fn packed(call: &Call<'_>) -> Found {
    let (rows, k) = call.tensors.first()?.1?.split_last().map(|(k, rows)| (rows, *k))?;
    let n = *(*call.outputs.first()?)?.last()?;
    Some(vec![Product { count: 1, m: volume(rows)?, k, n }])
}

/// Rows of each group by a matrix of its own; together the groups have all rows.
pub(super) fn grouped(call: &Call<'_>) -> Found {
    let left = call.either(&["input", "self", "mat_a"])?;
    let right = call.either(&["weight", "mat2", "mat_b"])?;
    match (left, right) {
        (&[rows, k], &[.., n]) => Some(vec![Product { count: 1, m: rows, k, n }]),
        (&[_, rows, k], &[_, n]) => Some(vec![Product { count: 1, m: rows, k, n }]),
        (&[_, _, _], &[_, _, _]) => Some(vec![Product::of_matrices(left, right)?]),
        _ => None,
    }
}

/// Gradients of a grouped product with regard to both factors.
pub(super) fn grouped_backward(call: &Call<'_>) -> Found {
    Some(gradients(&grouped(call)?))
}

/// Gradients of products with regard to both factors.
fn gradients(forward: &[Product]) -> Vec<Product> {
    let of_left = forward.iter().map(|p| Product { k: p.n, n: p.k, ..*p });
    let of_right = forward.iter().map(|p| Product { m: p.k, k: p.m, ..*p });
    of_left.chain(of_right).collect()
}

/// A convolution as an implicit product: a row per output position, a column per output channel of
/// a group; transposed, a row per input position, a column per output channel and tap.
fn implicit([rows_of, weight]: [&[u64]; 2], is_transposed: bool, groups: u64) -> Option<Product> {
    let (&[first, second, ref taps @ ..], groups) = (weight, groups.max(1)) else { return None };
    // Without a batch the first axis is that of the channels.
    let spatial = taps.len();
    let positions = rows_of.get(rows_of.len().checked_sub(spatial)?..)?;
    let batch = if rows_of.len() == spatial + 2 { rows_of[0] } else { 1 };
    let m = volume(positions)?.checked_mul(batch)?;
    let taps = volume(taps)?;
    Some(if is_transposed {
        Product { count: groups, m, k: first / groups, n: second.checked_mul(taps)? }
    } else {
        Product { count: groups, m, k: second.checked_mul(taps)?, n: first / groups }
    })
}

fn groups(call: &Call<'_>) -> u64 {
    let stated = call.int("groups").or_else(|| call.int("n_weight_grps"));
    // A call that does not state them says by its weight how many there are.
    let by_weight = || {
        let input = call.either(&["input", "self"])?;
        let weight = call.shape("weight")?;
        let channels = *input.get(input.len().checked_sub(weight.len() - 1)?)?;
        channels.checked_div(*weight.get(1)?)
    };
    stated.and_then(|groups| u64::try_from(groups).ok()).or_else(by_weight).unwrap_or(1)
}

/// `conv2d`, `convolution`, ...
pub(super) fn convolution(call: &Call<'_>) -> Found {
    if call.flag("transposed") {
        return transposed_convolution(call);
    }
    let output = (*call.outputs.first()?)?;
    Some(vec![implicit([output, call.shape("weight")?], false, groups(call))?])
}

/// `conv_transpose2d`, ...
pub(super) fn transposed_convolution(call: &Call<'_>) -> Found {
    let input = call.either(&["input", "self"])?;
    let groups = call.int("groups").and_then(|groups| u64::try_from(groups).ok()).unwrap_or(1);
    Some(vec![implicit([input, call.shape("weight")?], true, groups)?])
}

/// Each gradient that is asked for has the work of the forward pass.
pub(super) fn convolution_backward(call: &Call<'_>) -> Found {
    let (gradient, input) = (call.shape("grad_output")?, call.shape("input")?);
    let is_transposed = call.flag("transposed");
    let rows_of = if is_transposed { input } else { gradient };
    let forward = implicit([rows_of, call.shape("weight")?], is_transposed, groups(call))?;
    let mask = match call.scalar("output_mask") {
        Some(Scalar::Bools(mask)) => mask.clone(),
        _ => vec![true; 3],
    };
    let is_wanted = |at: usize| mask.get(at).copied().unwrap_or(true);
    let of_input = Product { k: forward.n, n: forward.k, ..forward };
    let of_weight = Product { m: forward.k, k: forward.m, ..forward };
    let both = [(0, of_input), (1, of_weight)];
    Some(both.into_iter().filter(|(at, _)| is_wanted(*at)).map(|(_, product)| product).collect())
}

/// Queries, keys and values as `[heads of all samples, length, width]`.
struct Core {
    count: u64,
    queries: u64,
    keys: u64,
    width: u64,
    value_width: u64,
}

impl Core {
    fn forward(&self) -> Vec<Product> {
        let Self { count, queries, keys, width, value_width } = *self;
        vec![
            Product { count, m: queries, k: width, n: keys },
            Product { count, m: queries, k: keys, n: value_width },
        ]
    }

    /// Gradients of both products with regard to both factors; fused kernels compute the scores
    /// once more, which prices know.
    fn backward(&self) -> Vec<Product> {
        gradients(&self.forward())
    }
}

/// `[.., heads, length, width]`.
fn core(call: &Call<'_>) -> Option<Core> {
    let [query, key, value] = ["query", "key", "value"].map(|name| call.shape(name));
    let ([outer @ .., queries, width], [.., keys, _], [.., value_width]) = (query?, key?, value?)
    else {
        return None;
    };
    let count = volume(outer)?;
    Some(Core { count, queries: *queries, keys: *keys, width: *width, value_width: *value_width })
}

/// `[batch, length, heads, width]`, or `[tokens of all samples, heads, width]`: then each sample is
/// as long as the call says that one can be.
fn core_by_token(call: &Call<'_>) -> Option<Core> {
    let [query, key, value] = ["query", "key", "value"].map(|name| call.shape(name));
    let (query, key, value_width) = (query?, key?, *value?.last()?);
    match (query, key) {
        (&[batch, queries, heads, width], &[_, keys, _, _]) => {
            Some(Core { count: batch.checked_mul(heads)?, queries, keys, width, value_width })
        }
        (&[tokens, heads, width], _) => {
            let most = |names: [&str; 2]| {
                names.iter().find_map(|name| u64::try_from(call.int(name)?).ok())
            };
            let queries = most(["max_q", "max_seqlen_q"])?.max(1);
            let keys = most(["max_k", "max_seqlen_k"])?.max(1);
            let count = heads.checked_mul(tokens.div_ceil(queries))?;
            Some(Core { count, queries, keys, width, value_width })
        }
        _ => None,
    }
}

/// `scaled_dot_product_attention`: scores, then their product with the values.
pub(crate) fn attention(call: &Call<'_>) -> Found {
    Some(core(call)?.forward())
}

pub(super) fn attention_backward(call: &Call<'_>) -> Found {
    Some(core(call)?.backward())
}

pub(super) fn attention_by_token(call: &Call<'_>) -> Found {
    Some(core_by_token(call)?.forward())
}

pub(super) fn attention_by_token_backward(call: &Call<'_>) -> Found {
    Some(core_by_token(call)?.backward())
}

/// `_native_multi_head_attention`: projections of queries, keys and values, a core, and the
/// projection of its result.
pub(super) fn multi_head(call: &Call<'_>) -> Found {
    let &[batch, queries, width] = call.either(&["query", "src"])? else { return None };
    let keys = call.shape("key").map_or(Some(queries), |key| key.get(1).copied())?;
    let heads = call.int("num_head").or_else(|| call.int("num_heads"))?;
    let heads = u64::try_from(heads).ok().filter(|heads| *heads > 0)?;
    let (rows, head) = (batch.checked_mul(queries)?, width / heads);
    let count = batch.checked_mul(heads)?;
    let core = Core { count, queries, keys, width: head, value_width: head };
    let mut products = core.forward();
    products.push(Product { count: 1, m: rows, k: width, n: width.checked_mul(3)? });
    products.push(Product { count: 1, m: rows, k: width, n: width });
    Some(products)
}

/// `_transformer_encoder_layer_fwd`: the same and two products of its feed-forward part.
pub(super) fn encoder_layer(call: &Call<'_>) -> Found {
    let mut products = multi_head(call)?;
    let rows = volume(call.shape("src")?.split_last()?.1)?;
    for name in ["ffn_weight_1", "ffn_weight_2"] {
        let &[n, k] = call.shape(name)? else { return None };
        products.push(Product { count: 1, m: rows, k, n });
    }
    Some(products)
}

/// Recurrent layers and cells: of each layer and direction the inputs of all steps in one product,
/// then a recurrent product (and a projection, where the layer has one) per step.
pub(super) fn recurrent(call: &Call<'_>) -> Found {
    let input = call.either(&["input"])?;
    let listed = ["params", "hx", "w_ih", "w_hh", "weight0", "weight1"];
    let weights: Vec<&[u64]> = call
        .tensors
        .iter()
        .filter(|(name, _)| listed.contains(name) && *name != "hx")
        .map(|(_, shape)| *shape)
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .filter(|shape| shape.len() == 2)
        .collect();
    let is_cell = call.shape("w_ih").is_some();
    let (steps, batch) = match *input {
        [batch, _] if is_cell => (1, batch),
        [_] if is_cell => (1, 1),
        [steps, _] => (steps, 1),
        [first, second, _] if call.flag("batch_first") => (second, first),
        [first, second, _] => (first, second),
        _ => return None,
    };
    let rows = steps.checked_mul(batch)?;
    let mut products = Vec::new();
    for group in layers(&weights)? {
        let [n, k] = group[0];
        products.push(Product { count: 1, m: rows, k, n });
        let each = group[1..].iter().map(|&[n, k]| Product { count: steps, m: batch, k, n });
        products.extend(each);
    }
    Some(products)
}

pub(super) fn recurrent_backward(call: &Call<'_>) -> Found {
    let forward = recurrent(call)?;
    let of_left = forward.iter().map(|p| Product { k: p.n, n: p.k, ..*p });
    let of_right = forward.iter().map(|p| Product { m: p.k, k: p.m, ..*p });
    Some(of_left.chain(of_right).collect())
}

/// Weights of one layer and direction each: of the input, of the state, and perhaps a projection,
/// which is narrower than the gates.
fn layers(weights: &[&[u64]]) -> Option<Vec<Vec<[u64; 2]>>> {
    let mut layers: Vec<Vec<[u64; 2]>> = Vec::new();
    for weight in weights {
        let &[n, k] = *weight else { return None };
        match layers.last_mut() {
            Some(last) if last.len() < 2 || (last.len() == 2 && n < last[0][0]) => {
                last.push([n, k])
            }
            _ => layers.push(vec![[n, k]]),
        }
    }
    layers.iter().all(|layer| layer.len() > 1).then_some(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flops(found: Found) -> u64 {
        found.unwrap().iter().map(|product| product.flops().unwrap().get()).sum()
    }

    fn call<'a>(tensors: &[(&'a str, &'a [u64])], outputs: &[&'a [u64]]) -> Call<'a> {
        Call {
            tensors: tensors.iter().map(|(name, shape)| (*name, Some(*shape))).collect(),
            scalars: Vec::new(),
            outputs: outputs.iter().map(|shape| Some(*shape)).collect(),
        }
    }

    /// Two per multiply-add, by hand.
    #[test]
    fn products_by_hand() {
        let linear_call = call(&[("input", &[2, 3, 8]), ("weight", &[5, 8])], &[&[2, 3, 5]]);
        assert_eq!(flops(linear(&linear_call)), 2 * 2 * 3 * 8 * 5);
        let many = call(&[("self", &[4, 1, 3, 8]), ("other", &[7, 8, 5])], &[]);
        assert_eq!(flops(matmul(&many)), 2 * 4 * 7 * 3 * 8 * 5);
        let added = call(&[("self", &[5]), ("mat1", &[3, 8]), ("mat2", &[8, 5])], &[]);
        assert_eq!(flops(sum(&added)), 2 * 3 * 8 * 5);
        let conv = call(&[("input", &[2, 6, 9, 9]), ("weight", &[4, 3, 3, 3])], &[&[2, 4, 7, 7]]);
        // Two groups, by the channels of input and weight.
        assert_eq!(flops(convolution(&conv)), 2 * (2 * 7 * 7) * 4 * (3 * 9));
        let alone = call(&[("input", &[3, 9]), ("weight", &[4, 3, 3])], &[&[4, 7]]);
        assert_eq!(flops(convolution(&alone)), 2 * 7 * 4 * 9);
        let turned = call(&[("input", &[1, 4, 5, 5]), ("weight", &[4, 6, 2, 2])], &[]);
        assert_eq!(flops(transposed_convolution(&turned)), 2 * 25 * 4 * 6 * 4);
        let both = call(&[("input1", &[10, 3]), ("input2", &[10, 4]), ("weight", &[5, 3, 4])], &[]);
        assert_eq!(flops(bilinear(&both)), 2 * 10 * 5 * (3 * 4) + 2 * 10 * 5 * 4);
    }

    #[test]
    fn attention_and_its_gradient_by_hand() {
        let shapes: [(&str, &[u64]); 3] =
            [("query", &[2, 4, 16, 8]), ("key", &[2, 4, 32, 8]), ("value", &[2, 4, 32, 6])];
        let forward = 2 * 8 * 16 * 32 * (8 + 6);
        assert_eq!(flops(attention(&call(&shapes, &[]))), forward);
        assert_eq!(flops(attention_backward(&call(&shapes, &[]))), 2 * forward);
    }

    /// Two layers, the second over both directions' states: `2 b s 4h (in + h)` each.
    #[test]
    fn recurrent_layers_by_hand() {
        let (b, s, h, i) = (3, 7, 5, 11);
        let ih = [4 * h, i];
        let hh = [4 * h, h];
        let second = [4 * h, 2 * h];
        let bias = [4 * h];
        let params: Vec<(&str, &[u64])> = [&ih, &hh, &ih, &hh, &second, &hh, &second, &hh]
            .iter()
            .flat_map(|weight| [("params", weight.as_slice()), ("params", bias.as_slice())])
            .collect();
        let input = [b, s, i];
        let mut call = call(&[&[("input", input.as_slice())], params.as_slice()].concat(), &[]);
        call.scalars.push(("batch_first", Scalar::Int(1)));
        let by_hand = 2 * (2 * b * s * 4 * h * (i + h)) + 2 * (2 * b * s * 4 * h * (2 * h + h));
        assert_eq!(flops(recurrent(&call)), by_hand);
    }
}
