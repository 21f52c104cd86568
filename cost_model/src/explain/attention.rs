//! Fused attention and fused experts in words.

use ir::op::Kernel;

use super::products::reachable;
use super::quantity::{Unit, number};
use super::{Explanation, Figure, moved, share};
use crate::kernels::attention::{Call, CallParts};
use crate::kernels::moe::RankLoad;
use crate::kernels::origin::Sourced;
use crate::kernels::price::kind::KindCosts;

/// Names and units of the constants of calls over prompts.
const PREFILL: [(&str, Unit); 11] = [
    ("launch", Unit::Seconds),
    ("compute efficiency", Unit::One),
    ("memory efficiency", Unit::One),
    ("p-norm", Unit::One),
    ("factor of small heads", Unit::One),
    ("factor of large heads", Unit::One),
    ("block", Unit::Seconds),
    ("share of the longest row", Unit::One),
    ("share of padding", Unit::One),
    ("saving of short prompts", Unit::One),
    ("share of the last wave", Unit::One),
];
/// The same of calls with one query per sequence.
const DECODE: [(&str, Unit); 11] = [
    ("launch", Unit::Seconds),
    ("memory efficiency", Unit::One),
    ("p-norm", Unit::One),
    ("heads of one reading", Unit::One),
    ("shared block", Unit::Seconds),
    ("block", Unit::Seconds),
    ("growth per doubling", Unit::Seconds),
    ("power of the head", Unit::One),
    ("share of the last wave", Unit::One),
    ("cache gain", Unit::One),
    ("query of a shared block", Unit::Seconds),
];
/// The same of layers of experts.
const EXPERTS: [(&str, Unit); 10] = [
    ("launch", Unit::Seconds),
    ("compute efficiency", Unit::One),
    ("memory efficiency", Unit::One),
    ("p-norm", Unit::One),
    ("spread over ranks", Unit::One),
    ("crowding of ranks", Unit::One),
    ("extra width of products", Unit::One),
    ("routing of an expert", Unit::Seconds),
    ("extra width of memory", Unit::One),
    ("single token", Unit::One),
];

/// Times of the fits are in microseconds.
fn figures<const N: usize>(
    explanation: &mut Explanation,
    names: &[(&str, Unit); N],
    constants: &Sourced<[f64; N]>,
) {
    for ((name, unit), value) in names.iter().zip(constants.value) {
        let value = if *unit == Unit::Seconds { value * 1e-6 } else { value };
        explanation.figures.push(Figure::new(*name, value, *unit, constants));
    }
}

/// A fused attention core.
pub(super) fn call(
    explanation: &mut Explanation,
    kernel: &Kernel,
    (call, parts, projected_s): (&Call, &CallParts, f64),
    costs: &KindCosts,
) {
    let Some(constants) = costs.attention(call.queries) else { return };
    let is_decode = call.queries <= 1.0;
    let Ok(products) = costs.products(kernel.dtype.unwrap_or(ir::tensor::DType::F32)) else {
        return;
    };
    let facts = &products.facts;
    let s = number(f64::from(facts.n_multiprocessors));
    let blocks = if is_decode {
        format!("{} waves of {} heads on {s} multiprocessors", number(parts.waves), call.heads)
    } else {
        let rate = reachable(facts.peak, constants.value[1]);
        let work = Unit::Flops.show(parts.work);
        format!(
            "{work} with padding / {rate} in {} waves on {s} multiprocessors, {} a block",
            number(parts.waves),
            Unit::Seconds.show(constants.value[6] * 1e-6)
        )
    };
    explanation.formula("compute", parts.compute_s, Unit::Seconds, blocks);
    if projected_s > 0.0 {
        let text = "products that project into it, as matrix products".to_owned();
        explanation.formula("projection", projected_s, Unit::Seconds, text);
    }
    let efficiency = constants.value[if is_decode { 1 } else { 2 }];
    let bytes = call.query_bytes * call.queries + call.cached_bytes;
    let text = format!("{} bytes / {}", number(bytes), share(facts.memory_bandwidth, efficiency));
    explanation.formula("memory", parts.memory_s, Unit::Seconds, text);
    figures(explanation, if is_decode { &DECODE } else { &PREFILL }, constants);
    sheet(explanation, kernel, costs);
}

/// A fused layer of experts.
pub(super) fn experts(
    explanation: &mut Explanation,
    kernel: &Kernel,
    load: &RankLoad,
    costs: &KindCosts,
) {
    let Some(constants) = costs.experts() else { return };
    let Ok(products) = costs.products(kernel.dtype.unwrap_or(ir::tensor::DType::F32)) else {
        return;
    };
    let [launch, ec, em, _, _, _, kc, routing, km, _] = constants.value;
    let parts = crate::kernels::moe::on_rank(&products.facts, &constants.value, load);
    let (f, n) = (number(load.ffn), number(load.experts));
    let us = |value: f64| Unit::Seconds.show(value * 1e-6);
    let text = format!("{} + {} x {n} experts", us(launch), us(routing));
    explanation.formula("launch", parts.launch_s, Unit::Seconds, text);
    let rate = reachable(products.facts.peak, ec);
    let work = Unit::Flops.show(load.flops);
    let text = format!("{work} / {rate} x (1 + {} / {f})", number(kc));
    explanation.formula("compute", parts.compute_s, Unit::Seconds, text);
    let rate = share(products.facts.memory_bandwidth, em);
    let text = format!("{} / {rate} x (1 + {} / {f})", moved(kernel), number(km));
    explanation.formula("memory", parts.memory_s, Unit::Seconds, text);
    figures(explanation, &EXPERTS, constants);
    sheet(explanation, kernel, costs);
}

fn sheet(explanation: &mut Explanation, kernel: &Kernel, costs: &KindCosts) {
    if let Ok(products) = costs.products(kernel.dtype.unwrap_or(ir::tensor::DType::F32)) {
        let name = format!("rate of {} products", products.rate_of.name());
        let rate = products.facts.peak;
        let figure = Figure::new(name, rate, Unit::FlopsPerSecond, &products.rate);
        explanation.figures.push(figure.checked(costs.sheet().check));
        let s = f64::from(products.facts.n_multiprocessors);
        explanation.sheet("multiprocessors", s, Unit::One, costs);
    }
    explanation.bandwidth(costs);
}
