//! Elementwise arithmetic on small constants. Integer overflow leaves a node unfolded.

use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::Call;
use crate::onnx::infer::elementwise::aligned;
use crate::onnx::infer::fold::{content, result, stretched};
use crate::onnx::raw::RawValues;

fn floats(values: &RawValues) -> Vec<f64> {
    match values {
        RawValues::Floats(floats) => floats.clone(),
        RawValues::Ints(ints) => ints.iter().map(|int| *int as f64).collect(),
    }
}

/// Both inputs stretched to the output's shape, combined element by element.
fn zip<T: Copy, R>(
    call: &Call<'_>,
    outputs: &[Facts],
    (left, right): (&[T], &[T]),
    combine: impl Fn(T, T) -> Option<R>,
) -> Option<Vec<R>> {
    let shape = result(outputs)?;
    let right_shape = aligned(call, 1, call.shape(1)?).ok()?;
    let (at_left, at_right) = (stretched(call.shape(0)?, shape)?, stretched(&right_shape, shape)?);
    at_left.iter().zip(&at_right).map(|(i, j)| combine(*left.get(*i)?, *right.get(*j)?)).collect()
}

/// Two-operand arithmetic, by op type.
pub(crate) fn binary(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let name = call.node.op_type.as_str();
    let floor_mod = call.int("fmod", 0).ok()? == 0;
    let values = match (content(call, 0)?, content(call, 1)?) {
        (RawValues::Ints(a), RawValues::Ints(b)) => {
            RawValues::Ints(zip(call, outputs, (a, b), |a, b| integer(name, floor_mod, a, b))?)
        }
        (a, b) => {
            let (a, b) = (floats(a), floats(b));
            RawValues::Floats(zip(call, outputs, (&a, &b), |a, b| real(name, a, b))?)
        }
    };
    Some(vec![values])
}

fn integer(name: &str, floor_mod: bool, a: i64, b: i64) -> Option<i64> {
    match name {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        "Mod" if floor_mod => {
            let rest = a.checked_rem(b)?;
            Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        "Mod" => a.checked_rem(b),
        "Pow" => a.checked_pow(u32::try_from(b).ok()?),
        "Min" => Some(a.min(b)),
        "Max" => Some(a.max(b)),
        "And" => Some(i64::from(a != 0 && b != 0)),
        "Or" => Some(i64::from(a != 0 || b != 0)),
        "Xor" => Some(i64::from((a != 0) != (b != 0))),
        _ => None,
    }
}

fn real(name: &str, a: f64, b: f64) -> Option<f64> {
    Some(match name {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Pow" => a.powf(b),
        "Min" => a.min(b),
        "Max" => a.max(b),
        _ => return None,
    })
}

/// Comparisons, by op type.
pub(crate) fn compare(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let name = call.node.op_type.as_str();
    let truths = match (content(call, 0)?, content(call, 1)?) {
        (RawValues::Ints(a), RawValues::Ints(b)) => {
            zip(call, outputs, (a, b), |a, b| ordered(name, &a, &b))?
        }
        (a, b) => {
            let (a, b) = (floats(a), floats(b));
            zip(call, outputs, (&a, &b), |a, b| ordered(name, &a, &b))?
        }
    };
    Some(vec![RawValues::Ints(truths)])
}

fn ordered<T: PartialOrd>(name: &str, a: &T, b: &T) -> Option<i64> {
    Some(i64::from(match name {
        "Equal" => a == b,
        "Less" => a < b,
        "LessOrEqual" => a <= b,
        "Greater" => a > b,
        "GreaterOrEqual" => a >= b,
        _ => return None,
    }))
}

/// One-operand arithmetic, by op type.
pub(crate) fn unary(call: &Call<'_>, _: &[Facts]) -> Option<Vec<RawValues>> {
    let name = call.node.op_type.as_str();
    let values = match content(call, 0)? {
        RawValues::Ints(ints) => {
            let map = |int: &i64| match name {
                "Neg" => int.checked_neg(),
                "Abs" => int.checked_abs(),
                "Not" => Some(i64::from(*int == 0)),
                "Sign" => Some(int.signum()),
                "Relu" => Some((*int).max(0)),
                _ => None,
            };
            RawValues::Ints(ints.iter().map(map).collect::<Option<_>>()?)
        }
        RawValues::Floats(floats) => {
            let map: fn(f64) -> f64 = match name {
                "Neg" => |x| -x,
                "Abs" => f64::abs,
                "Floor" => f64::floor,
                "Ceil" => f64::ceil,
                "Relu" => |x| x.max(0.0),
                "Round" => f64::round_ties_even,
                "Sqrt" => f64::sqrt,
                "Reciprocal" => f64::recip,
                "Exp" => f64::exp,
                "Log" => f64::ln,
                _ => return None,
            };
            RawValues::Floats(floats.iter().copied().map(map).collect())
        }
    };
    Some(vec![values])
}

/// `Cast`, to the type that inference found.
pub(crate) fn cast(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let to = outputs.first()?.dtype?;
    let value = content(call, 0)?;
    let is_float = to.is_wide_float() || matches!(to, DType::F8 | DType::F4);
    Some(vec![match value {
        RawValues::Ints(_) | RawValues::Floats(_) if is_float => RawValues::Floats(floats(value)),
        RawValues::Ints(ints) if to == DType::Bool => {
            RawValues::Ints(ints.iter().map(|int| i64::from(*int != 0)).collect())
        }
        RawValues::Ints(ints) => RawValues::Ints(ints.clone()),
        // A cast of floats saturates.
        RawValues::Floats(floats) => {
            RawValues::Ints(floats.iter().map(|float| *float as i64).collect())
        }
    }])
}

/// `Where`.
pub(crate) fn choose(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let RawValues::Ints(condition) = content(call, 0)? else { return None };
    let shape = result(outputs)?;
    let at = |index: usize| stretched(call.shape(index)?, shape);
    let (at_condition, at_yes, at_no) = (at(0)?, at(1)?, at(2)?);
    let rows = at_condition.iter().zip(&at_yes).zip(&at_no);
    let values = match (content(call, 1)?, content(call, 2)?) {
        (RawValues::Ints(yes), RawValues::Ints(no)) => RawValues::Ints(
            rows.map(|((c, y), n)| {
                if *condition.get(*c)? != 0 { yes.get(*y).copied() } else { no.get(*n).copied() }
            })
            .collect::<Option<_>>()?,
        ),
        (yes, no) => {
            let (yes, no) = (floats(yes), floats(no));
            RawValues::Floats(
                rows.map(|((c, y), n)| {
                    if *condition.get(*c)? != 0 {
                        yes.get(*y).copied()
                    } else {
                        no.get(*n).copied()
                    }
                })
                .collect::<Option<_>>()?,
            )
        }
    };
    Some(vec![values])
}

/// Reductions to a single element, by op type.
pub(crate) fn reduce(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    if outputs.first()?.elements()? != 1 {
        return None;
    }
    let name = call.node.op_type.as_str();
    let value = match content(call, 0)? {
        RawValues::Ints(ints) => RawValues::Ints(vec![match name {
            "ReduceProd" => ints.iter().try_fold(1i64, |a, b| a.checked_mul(*b))?,
            "ReduceSum" => ints.iter().try_fold(0i64, |a, b| a.checked_add(*b))?,
            "ReduceMax" => *ints.iter().max()?,
            "ReduceMin" => *ints.iter().min()?,
            _ => return None,
        }]),
        RawValues::Floats(floats) => RawValues::Floats(vec![match name {
            "ReduceProd" => floats.iter().product(),
            "ReduceSum" => floats.iter().sum(),
            "ReduceMax" => floats.iter().copied().reduce(f64::max)?,
            "ReduceMin" => floats.iter().copied().reduce(f64::min)?,
            _ => return None,
        }]),
    };
    Some(vec![value])
}

#[cfg(test)]
mod tests {
    use super::{binary, compare};
    use crate::onnx::infer::call::testing::{call, node, tensor, vector};
    use crate::onnx::raw::RawValues;

    #[test]
    fn integers_divide_as_in_c_and_take_the_sign_of_the_divisor_in_mod() {
        let (a, b) = (vector(&[-7, 7]), vector(&[2]));
        let shape = [tensor(&[2])];
        for (name, expected) in [("Div", [-3, 3]), ("Mod", [1, 1]), ("Mul", [-14, 14])] {
            let op = node(name, &[]);
            let folded = binary(&call(&op, &[&a, &b]), &shape);
            assert_eq!(folded, Some(vec![RawValues::Ints(expected.to_vec())]), "{name}");
        }
    }

    #[test]
    fn what_has_no_value_stays() {
        let (a, b) = (vector(&[i64::MAX]), vector(&[0]));
        for name in ["Div", "Mod"] {
            assert_eq!(binary(&call(&node(name, &[]), &[&a, &b]), &[tensor(&[1])]), None);
        }
        assert_eq!(binary(&call(&node("Add", &[]), &[&a, &a]), &[tensor(&[1])]), None);
        let greater = compare(&call(&node("Greater", &[]), &[&a, &b]), &[tensor(&[1])]);
        assert_eq!(greater, Some(vec![RawValues::Ints(vec![1])]));
    }
}
