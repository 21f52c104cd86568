//! Letters of calls, by hand.

use super::*;

fn of(
    target: &str,
    tensors: &[(&str, &[u64])],
    scalars: &[(&'static str, Scalar<'static>)],
    outputs: &[&[u64]],
) -> String {
    let call = Call {
        tensors: tensors.iter().map(|(name, shape)| (*name, Some(*shape))).collect(),
        scalars: scalars.to_vec(),
        outputs: outputs.iter().map(|shape| Some(*shape)).collect(),
    };
    super::of(target.split('.').nth(1).unwrap(), &call).words.join(" ")
}

/// Letters by hand, from the formulas of PyTorch's documentation.
#[test]
fn letters_by_hand() {
    let ints = |of: &[i64]| Scalar::Ints(of.to_vec());
    let view = |from: &[u64], to: &[u64]| of("aten.view.default", &[("self", from)], &[], &[to]);
    assert_eq!(view(&[2, 6, 8], &[2, 6, 4, 2]), "abc abc.");
    assert_eq!(view(&[2, 6, 8], &[12, 8]), "a.b ab");
    assert_eq!(view(&[1, 6, 8], &[6, 1, 8]), ".ab a.b");
    assert_eq!(view(&[4, 6], &[8, 3]), "a. a.");
    let matrix = [("self", &[4_u64, 1, 3, 8][..]), ("other", &[7, 8, 5])];
    assert_eq!(of("aten.matmul.default", &matrix, &[], &[&[4, 7, 3, 5]]), "a.ce bed abcd");
    let biased = [("input", &[2_u64, 3, 8][..]), ("weight", &[5, 8]), ("bias", &[5])];
    assert_eq!(of("aten.linear.default", &biased, &[], &[&[2, 3, 5]]), "abc dc d abd");
    let added = [("self", &[5_u64][..]), ("mat1", &[3, 8]), ("mat2", &[8, 5])];
    assert_eq!(of("aten.addmm.default", &added, &[], &[&[3, 5]]), "b ac cb ab");
    let moved = [("dims", ints(&[0, 2, 1, -1]))];
    let cube = [("self", &[2_u64, 3, 4, 5][..])];
    assert_eq!(of("aten.permute.default", &cube, &moved, &[&[2, 4, 3, 5]]), "acbd abcd");
    let last = [("dim", ints(&[-1]))];
    assert_eq!(of("aten.mean.dim", &cube, &last, &[&[2, 3, 4]]), "abcd abc");
    assert_eq!(of("aten.amax.default", &cube, &last, &[&[2, 3, 4]]), "abc. abc");
    let parts = [("split_size", Scalar::Int(2)), ("dim", Scalar::Int(-1))];
    assert_eq!(
        of("aten.split.Tensor", &[("self", &[3, 4])], &parts, &[&[3, 2], &[3, 2]]),
        "a. a. a."
    );
    let heads =
        [("query", &[2_u64, 8, 5, 4][..]), ("key", &[2, 4, 6, 4]), ("value", &[2, 4, 6, 4])];
    let target = "aten.scaled_dot_product_attention.default";
    assert_eq!(of(target, &heads, &[], &[&[2, 8, 5, 4]]), "abc. ab.. ab.. abc.");
    let causal = [("is_causal", Scalar::Int(1))];
    assert_eq!(of(target, &heads, &causal, &[&[2, 8, 5, 4]]), "ab.. ab.. ab.. ab..");
    let table = [("weight", &[9_u64, 4][..]), ("indices", &[2, 3])];
    assert_eq!(of("aten.embedding.default", &table, &[], &[&[2, 3, 4]]), "cd ab abd");
    let scores = [("self", &[6_u64, 9][..]), ("target", &[6])];
    assert_eq!(of("aten.cross_entropy_loss.default", &scores, &[], &[&[]]), "a. a ");
    let each = [("self", &[6_u64, 9][..]), ("other", &[9])];
    assert_eq!(of("aten.add.Tensor", &each, &[], &[&[6, 9]]), "ab b ab");
    assert_eq!(of("aten.kron.default", &[("self", &[9]), ("vec2", &[9])], &[], &[&[9, 9]]), "");
    let depth = [("input", &[2_u64, 6, 9][..]), ("weight", &[6, 1, 3]), ("bias", &[6])];
    let groups = [("groups", Scalar::Int(6))];
    assert_eq!(of("aten.conv1d.default", &depth, &groups, &[&[2, 6, 7]]), "ab. b.. b ab.");
}
