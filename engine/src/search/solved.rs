//! What a search over an instance found, in one line.

use cost_model::given::{Goal, row};
use ir::instance::Instance;
use ir::units::Nanos;
use planner::given::runner::{Answer, method};

use crate::answer::words::percent;

/// What was found, in one line.
pub fn sentence(instance: &Instance, goal: Goal, value: Nanos, answer: &Answer) -> String {
    let unit = instance.unit();
    let caveat = answer.bound.standing.caveat();
    let state = match answer.gap() {
        _ if answer.is_proved => {
            let caveat = caveat.map_or_else(String::new, |caveat| format!(", {caveat}"));
            format!("proved optimal{caveat}")
        }
        Some(_) if answer.bound.value == Nanos::ZERO => "no lower bound is known".to_owned(),
        Some(_) => {
            let caveat = caveat.map_or_else(String::new, |caveat| format!("; {caveat}"));
            let method = answer.bound.method;
            let above = percent(value, answer.bound.value);
            format!("at most {above} above the best ({method}{caveat})")
        }
        None => String::new(),
    };
    format!(
        "{} {}, {} is below {}: {state}; {:.3} s; stopped: {}",
        row(goal).name,
        unit.text(value),
        covered(goal, answer.bound.method)
            .map_or("no plan", |_| "no plan with its devices in one order"),
        unit.text(answer.bound.value),
        answer.elapsed.as_secs_f64(),
        answer.stop.name()
    )
}

/// Solutions that a bound covers, where it does not cover all. Contiguous splits may visit three or more
/// devices in a circle; these methods do not search such splits.
pub fn covered(goal: Goal, method: &str) -> Option<&'static str> {
    let in_order = [method::IDEALS, method::PROGRAM].contains(&method);
    (goal == Goal::ContiguousMaxLoad && in_order).then_some("devices-in-one-order")
}
