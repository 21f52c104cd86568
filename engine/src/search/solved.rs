//! What a search over an instance found, in words.

use cost_model::given::{Goal, row};
use ir::instance::Instance;
use ir::units::Nanos;
use planner::given::runner::{Answer, method};
use planner::run::StopReason;

use crate::answer::words::{elapsed, percent};

/// The objective's name and value.
pub fn value(instance: &Instance, goal: Goal, value: Nanos) -> String {
    format!("{} {}", row(goal).name, instance.unit().text(value))
}

/// How far it is from the best, why the search ended and after what time.
pub fn proof(instance: &Instance, goal: Goal, value: Nanos, answer: &Answer) -> String {
    let (method, bound) = (answer.bound.method, answer.bound.value);
    let caveat = |sign: &str| {
        let text = answer.bound.standing.caveat();
        text.map_or_else(String::new, |text| format!("{sign} {text}"))
    };
    let elapsed = elapsed(answer.elapsed);
    // What is proved is said by whoever proved it.
    let stop = match answer.stop {
        StopReason::ProvedOptimal => StopReason::Finished,
        other => other,
    };
    let ended = format!("planned in {elapsed}; {}", stop.words());
    let plans = match covered(goal, method) {
        None => "",
        Some(_) => " of all plans with the devices in one order",
    };
    let lower = format!("lower bound{plans} {}", instance.unit().text(bound));
    match answer.gap() {
        _ if answer.is_proved => {
            format!("proved optimal{plans}{}; planned in {elapsed}; bound: {method}", caveat(","))
        }
        Some(_) if bound == Nanos::ZERO => format!("no lower bound is known; {ended}"),
        Some(_) => {
            let above = percent(value, bound);
            format!("at most {above} above the best ({lower}, {method}{}); {ended}", caveat(";"))
        }
        None => format!("{lower}; {ended}"),
    }
}

/// Solutions that a bound covers, where it does not cover all. Contiguous splits may visit three or more
/// devices in a circle; these methods do not search such splits.
pub fn covered(goal: Goal, method: &str) -> Option<&'static str> {
    let in_order = [method::IDEALS, method::PROGRAM].contains(&method);
    (goal == Goal::ContiguousMaxLoad && in_order).then_some("devices-in-one-order")
}
