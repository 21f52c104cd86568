//! Ops of a training step in words.

use ir::op::{Fused, Kernel, Op};
use ir::tensor::DType;

use super::products::{all_work, reachable};
use super::quantity::Unit;
use super::{Explanation, Figure, moved, share};
use crate::kernels::origin::Sourced;
use crate::kernels::plain_product;
use crate::kernels::power;
use crate::kernels::price::evaluate::Breakdown;
use crate::kernels::price::kind::KindCosts;
use crate::kernels::price::step::StepCosts;
use crate::kernels::step_constants::Constant;

/// `0.91 ms products + 0.02 ms memory + 0.10 ms of waiting for launches`.
pub(super) fn sum(found: &Breakdown) -> String {
    let parts = [
        (found.compute_s, "products"),
        (found.memory_s, "memory"),
        (found.launch_s, "waiting for launches"),
    ];
    let parts = parts.iter().filter(|(seconds, _)| *seconds > 0.0);
    let parts: Vec<String> =
        parts.map(|(seconds, what)| format!("{} {what}", Unit::Seconds.show(*seconds))).collect();
    match parts.is_empty() {
        true => "done by the kernel of its chain".to_owned(),
        false => parts.join(" + "),
    }
}

const EFFICIENCY: &str = "compute efficiency";

/// The parts of the sum.
pub(super) fn step(
    explanation: &mut Explanation,
    found: &Breakdown,
    (op, kernel): (&Op, &Kernel),
    (step_costs, costs): (&StepCosts, &KindCosts),
) {
    let source = format!("stack {}, {}", step_costs.stack.name, step_costs.stack.source);
    let of_stack = Sourced::nominal((), source);
    let constant = |name: &str, constant: Constant| {
        Figure::new(name, step_costs.constants.get(constant), Unit::One, &of_stack)
    };
    if found.compute_s > 0.0 {
        let dtype = kernel.dtype.unwrap_or(DType::F32);
        let peak = plain_product::peak(costs.sheet(), dtype).map_or(0.0, |(_, rate)| rate.get());
        let derating = step_costs.constants.get(Constant::Derating);
        let sustained = match dtype {
            DType::F32 => 1.0,
            _ => power::sustained(costs.sheet(), dtype),
        };
        let in_step = peak * derating * sustained;
        let core_rate =
            step_costs.core_rate(op, kernel).filter(|_| kernel.fused == Fused::Attention);
        let (work, share) = match (core_rate, step_costs.products(dtype)) {
            (Some(rate), _) => {
                let tables =
                    "attention tables of aiconfigurator@095f58a5, by length and size of heads";
                let tables = Sourced::nominal((), tables.to_owned());
                let work = format!("half of {} in one fused core", all_work(kernel));
                (work, Figure::new(EFFICIENCY, rate / in_step, Unit::One, &tables))
            }
            (None, Some(products)) => {
                let efficiency = products.value.compute_efficiency;
                (all_work(kernel), Figure::new(EFFICIENCY, efficiency, Unit::One, products))
            }
            (None, None) => return,
        };
        let text = format!("{work} / {}, tiles and launch", reachable(in_step, share.value));
        explanation.formula("products", found.compute_s, Unit::Seconds, text);
        explanation.figures.push(share);
        explanation.figures.push(constant("derating in a step", Constant::Derating));
        if sustained != 1.0 {
            let source = "power limit and generation of the device".to_owned();
            let (name, of_power) = ("kept up under its power limit", Sourced::nominal((), source));
            explanation.figures.push(Figure::new(name, sustained, Unit::One, &of_power));
        }
        explanation.sheet("rate of products", peak, Unit::FlopsPerSecond, costs);
    }
    if found.memory_s > 0.0 {
        let rate = costs.sheet().memory_bandwidth.map_or(f64::INFINITY, |rate| rate.get());
        let what = match kernel.products.is_empty() {
            true => moved(kernel),
            false => "gradients added up".to_owned(),
        };
        let text =
            format!("{what} / {}", share(rate, step_costs.constants.get(Constant::Elementwise)));
        explanation.formula("memory", found.memory_s, Unit::Seconds, text);
        explanation.figures.push(constant("share of the bandwidth", Constant::Elementwise));
        explanation.sheet("memory bandwidth", rate, Unit::BytesPerSecond, costs);
    }
}
