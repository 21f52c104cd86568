//! What is said of a plan in a few figures: while it is searched, and at the end.

use serde_json::{Value, json};

use crate::queue::News;

/// Takes an event into the news; plans stay out of the events.
pub(crate) fn take(news: &mut News, plan: &mut Option<Value>, mut event: Value) {
    let Some(members) = event.as_object_mut() else { return };
    let kind = members.remove("event");
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("event").to_owned();
    if let Some(found) = members.remove("plan") {
        *plan = Some(found);
    }
    news.phase = match kind.as_str() {
        "searched" => "verifying".to_owned(),
        "accepted" => "importing".to_owned(),
        _ => "searching".to_owned(),
    };
    if let Some(progress) = news.progress.as_object_mut()
        && kind != "accepted"
    {
        progress.extend(members.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    news.events.push((kind, event));
}

/// The progress of a search with the figures of its answer: a bound may have risen since the last
/// plan was told of.
pub(crate) fn settled(mut progress: Value, answer: &Value) -> Value {
    let cost = &answer["plan"]["cost"];
    let of_run = answer["best"].is_object();
    // Another plan than the fastest may be answered.
    let of_time = of_run || progress["objective"] == "step-time";
    let known = [
        ("objective", if of_run { json!("step-time") } else { Value::Null }),
        ("value_ns", if of_time { cost["step_time_ns"].clone() } else { Value::Null }),
        ("bound_ns", first(&answer["bound"]["value_ns"], &cost["bound_ns"])),
        ("gap", first(&answer["gap"], &cost["gap"])),
        ("algorithm", answer["plan"]["algorithm"].clone()),
        ("peak_bytes", peak(answer)),
    ];
    let known = known.into_iter().filter(|(_, value)| !value.is_null());
    if let Some(progress) = progress.as_object_mut() {
        progress.extend(known.map(|(name, value)| (name.to_owned(), value)));
    }
    progress
}

/// The figures of a plan file, and where it comes from.
pub(crate) fn of_file(answer: &Value, file: &str) -> Value {
    let (plan, cost) = (&answer["plan"], &answer["plan"]["cost"]);
    let judged = first(&answer["report"]["step_time_ns"], &answer["best"]["step_time_ns"]);
    let judged = if plan["objective"] == "step-time" { judged } else { Value::Null };
    let value = first(&first(&cost["value_ns"], &cost["step_time_ns"]), &judged);
    let from = json!({
        "file": file,
        "model": plan["model"]["name"],
        "cluster": plan["cluster"]["name"],
        "is_judged": answer["report"].is_object()
            || answer["best"].is_object()
            || answer["worker_latencies"].is_array(),
    });
    let known = json!({ "objective": plan["objective"], "value_ns": value, "opened": from });
    let mut figures = settled(known, answer);
    if let Some(bound) = proved(answer) {
        let gap = figures["value_ns"].as_f64().map(|value| value / bound - 1.0);
        figures["bound_ns"] = (bound as u64).into();
        figures["gap"] = gap.into();
    }
    figures
}

/// The bound that was proved, where another one that the file states was not.
fn proved(answer: &Value) -> Option<f64> {
    let warnings = answer["warnings"].as_array().into_iter().flatten();
    let unproved = warnings.filter(|warning| warning["code"] == "unchecked-proof");
    let facts = unproved.filter_map(|warning| warning["facts"].as_array()).flatten();
    facts.filter(|fact| fact["name"] == "derived").find_map(|fact| fact["value"].as_f64())
}

fn first(one: &Value, other: &Value) -> Value {
    if one.is_null() { other.clone() } else { one.clone() }
}

/// Bytes at the peak of the fullest device.
fn peak(answer: &Value) -> Value {
    let devices = answer["report"]["devices"].as_array().into_iter().flatten();
    let of_devices = devices.filter_map(|device| device["peak_memory_bytes"].as_u64()).max();
    of_devices.map_or_else(|| answer["best"]["peak_bytes"].clone(), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_answered_in_place_of_the_fastest_has_its_own_figures() {
        let fastest =
            json!({ "objective": "step-time", "value_ns": 100, "bound_ns": 96, "gap": 0.04 });
        let answer = json!({
            "plan": { "cost": { "step_time_ns": 102 } }, "bound": { "value_ns": 96 },
            "gap": 0.0625, "fastest_ns": 100,
        });
        let settled = settled(fastest, &answer);
        let [value, bound, gap] =
            ["value_ns", "bound_ns", "gap"].map(|name| settled[name].as_f64().unwrap());
        assert!((value / bound - 1.0 - gap).abs() < 1e-12, "{settled}");
    }
}
