//! What a document states, held against what was derived from the same inputs, field by field.

use std::collections::{BTreeMap, HashMap};

use documents::plan::energy::EnergyDocument;
use documents::plan::{CommunicationDocument, CostDocument, PlanDocument};
use documents::report::IntervalDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::launch::LaunchSettings;
use ir::units::Nanos;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Most differences that are listed.
const MOST: usize = 100;

/// Stated fractions are compared to this share: they went through decimal digits.
const TOLERANCE: f64 = 1e-9;

/// Members of a plan that name what it was made for.
const REFERENCES: [&str; 3] = ["model", "cluster", "profile"];

/// Members by which entries of a list are told apart where their order says nothing.
const KEYS: [&str; 3] = ["op", "device", "channel"];

/// Every field of a document whose value is not the derived one, at most [`MOST`]; what is not
/// stated is not looked at. `stated-wrong` each, with the field, the value stated and the derived
/// one.
pub fn differences(stated: &Value, derived: &Value) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    walk("", stated, Some(derived), &mut found);
    found
}

/// What a plan document states and the derived one does not, as [`differences`]. Digests say for
/// what a plan was made; whether that is at hand is asked before.
pub fn of_plans(stated: &PlanDocument, derived: &PlanDocument) -> Vec<Diagnostic> {
    let energies = stated.energy.as_ref().zip(derived.energy.as_ref());
    let mut found = energies.map_or_else(Vec::new, |(energy, other)| left_out(energy, other));
    found.extend(moves_left_out(stated, &derived.communication));
    let intervals = [stated, derived].map(|plan| plan.cost.as_ref()?.interval.clone());
    let [stated, derived] = [stated, derived].map(|plan| plan.to_json().unwrap_or_default());
    let [stated, derived] = [&stated, &derived].map(|text| members(text));
    if stated.is_empty() {
        found.push(difference("plan", "nothing", "a plan"));
    }
    let of_interval = wider(intervals);
    for (name, text) in &stated {
        let other = derived.get(name);
        // A million placements are seldom told apart: what is spelled alike is not parsed.
        if other.is_some_and(|other| other.get() == text.get()) {
            continue;
        }
        let value = |text: &RawValue| serde_json::from_str::<Value>(text.get()).unwrap_or_default();
        let mut member = value(text);
        if let (true, Some(reference)) = (REFERENCES.contains(name), member.as_object_mut()) {
            reference.remove("digest");
        }
        if let ("cost", Some(_), Some(cost)) = (*name, &of_interval, member.as_object_mut()) {
            cost.remove("interval");
        }
        walk(name, &member, other.map(|other| value(other)).as_ref(), &mut found);
    }
    found.extend(of_interval);
    found
}

/// An interval that is stated around the derived one, as a warning: it claims less than is known of this
/// release's prices.
fn wider([stated, derived]: [Option<IntervalDocument>; 2]) -> Option<Diagnostic> {
    let (stated, derived) = (stated?, derived?);
    // As written by this program, to the digits that a document carries.
    let is_same = |ns: u64, s: f64| (s * 1e9 - ns as f64).abs() <= 1e-14 * ns as f64;
    let is_whole = is_same(stated.low_ns, stated.low_s) && is_same(stated.high_ns, stated.high_s);
    let is_around = stated.low_ns <= derived.low_ns && stated.high_ns >= derived.high_ns;
    let is_wider = stated != derived && is_around && is_whole && stated.origin == derived.origin;
    is_wider.then(|| {
        let shown = |low: u64, high: u64| format!("{} to {}", Nanos(low), Nanos(high));
        let (was, is) =
            (shown(stated.low_ns, stated.high_ns), shown(derived.low_ns, derived.high_ns));
        let message = format!("the plan states an interval of {was}, this release one of {is}");
        Diagnostic::warning("wider-interval", message)
            .hint("plan again to have it state the interval of this release")
    })
}

/// Members of an energy that is stated, which it leaves out though they are known.
fn left_out(stated: &EnergyDocument, derived: &EnergyDocument) -> Vec<Diagnostic> {
    let members = |energy: &EnergyDocument| {
        [energy.joules_per_output_token, energy.price_per_token, energy.least_price_per_token]
    };
    let names = ["joules_per_output_token", "price_per_token", "least_price_per_token"];
    let both = names.iter().zip(members(stated).into_iter().zip(members(derived)));
    let missing = both.filter_map(|(name, pair)| match pair {
        (None, Some(derived)) => {
            Some(difference(&format!("energy.{name}"), "nothing", &derived.to_string()))
        }
        _ => None,
    });
    missing.collect()
}

/// What a plan that goes on from another one leaves out of what has to move.
fn moves_left_out(stated: &PlanDocument, derived: &CommunicationDocument) -> Vec<Diagnostic> {
    let communication = &stated.communication;
    let is_of = communication.replaced.is_some();
    let moves = is_of && communication.moves.is_empty() && !derived.moves.is_empty();
    let left_out = [
        (moves, "moves", format!("{} moves", derived.moves.len())),
        (
            is_of && communication.moving_ns.is_none(),
            "moving_ns",
            derived.moving_ns.unwrap_or_default().to_string(),
        ),
        (
            !is_of && !stated.request.lost.is_empty(),
            "replaced",
            "what devices held before some were lost".to_owned(),
        ),
    ];
    let diagnostic = |(_, name, derived): (bool, &str, String)| {
        difference(&format!("communication.{name}"), "nothing", &derived)
    };
    left_out.into_iter().filter(|member| member.0).map(diagnostic).collect()
}

/// Members of a document by name, each as it is spelled.
fn members(text: &str) -> BTreeMap<&str, &RawValue> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Figures of a cost that contradict each other, whatever was planned.
pub fn within(cost: &CostDocument) -> Vec<Diagnostic> {
    let least = cost.bound_ns.min(cost.minimised_ns());
    let derived = CostDocument::new(cost.step_time_ns, least, &cost.bound_method);
    let derived = cost.value_ns.into_iter().fold(derived, CostDocument::with_value);
    let derived = derived.with_trust(cost.interval.clone(), cost.origins.clone());
    differences(&json!({ "cost": cost }), &json!({ "cost": derived }))
}

/// That two plans were made for settings that differ.
pub fn other_setting(differ: &[(&str, bool)], hint: &str) -> Option<Diagnostic> {
    let differ: Vec<&str> =
        differ.iter().filter(|setting| setting.1).map(|setting| setting.0).collect();
    (!differ.is_empty()).then(|| {
        let message = format!("the plans answer different questions: {}", differ.join(", "));
        Diagnostic::warning("other-setting", message).hint(hint)
    })
}

/// One field whose value is not the derived one.
pub fn difference(field: &str, stated: &str, derived: &str) -> Diagnostic {
    let message = format!("`{field}` states {stated}, derived is {derived}");
    Diagnostic::error(Blame::IllegalPlan, "stated-wrong", message)
        .fact("field", field)
        .fact("stated", stated)
        .fact("derived", derived)
}

fn walk(field: &str, stated: &Value, derived: Option<&Value>, found: &mut Vec<Diagnostic>) {
    if found.len() >= MOST {
        return;
    }
    match (stated, derived) {
        (Value::Object(object), Some(Value::Object(other))) => {
            for (name, value) in object {
                let field = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                walk(&field, value, other.get(name), found);
            }
        }
        (Value::Array(entries), Some(Value::Array(other))) => {
            let key = KEYS.into_iter().find(|key| all_have(entries, key) && all_have(other, key));
            if entries.len() != other.len() {
                let count = |list: &[Value]| format!("{} entries", list.len());
                found.push(difference(field, &count(entries), &count(other)));
            }
            let mut by_key: HashMap<&str, &Value> = HashMap::new();
            for (entry, name) in key.iter().flat_map(|key| named(other, key)) {
                by_key.entry(name).or_insert(entry);
            }
            for (index, value) in entries.iter().enumerate() {
                match key.and_then(|key| value[key].as_str()) {
                    None => walk(&format!("{field}[{index}]"), value, other.get(index), found),
                    Some(name) => {
                        let field = format!("{field}[{}]", plain(&name.into()));
                        walk(&field, value, by_key.get(name).copied(), found);
                    }
                }
            }
        }
        (stated, derived) if derived.is_some_and(|derived| is_same(stated, derived)) => {}
        (stated, derived) => {
            let derived = derived.map_or_else(|| "nothing".to_owned(), plain);
            found.push(difference(field, &plain(stated), &derived));
        }
    }
}

/// Entries of a list that have a text by a key, with it.
fn named<'a>(list: &'a [Value], key: &str) -> impl Iterator<Item = (&'a Value, &'a str)> {
    list.iter().filter_map(move |entry| Some((entry, entry.get(key)?.as_str()?)))
}

fn all_have(list: &[Value], key: &str) -> bool {
    !list.is_empty() && named(list, key).count() == list.len()
}

fn is_same(stated: &Value, derived: &Value) -> bool {
    match (stated, derived) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
        }
        (stated, derived) => stated == derived,
    }
}

/// A value in few characters.
fn plain(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(map) => format!("an object of {}", map.len()),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(stated: &Value, derived: &Value) -> Vec<String> {
        let of = |diagnostic: &Diagnostic| match &diagnostic.facts[0].1 {
            ir::diagnostic::Value::Text(field) => field.clone(),
            other => format!("{other:?}"),
        };
        differences(stated, derived).iter().map(of).collect()
    }

    #[test]
    fn every_field_that_is_stated_is_looked_at() {
        let derived = json!({"a": 1, "b": [{"op": "x", "n": 2}, {"op": "y", "n": 3}], "s": 0.5});
        // Order, spelling of numbers, and what is left out say nothing.
        let same = json!({"b": [{"op": "y", "n": 3}, {"op": "x", "n": 2}], "s": 0.5000000000001});
        assert!(fields(&same, &derived).is_empty());
        let wrong = json!({
            "a": 2, "b": [{"op": "x", "n": 2}, {"op": "z", "n": 3}], "s": 0.51, "more": "x"
        });
        assert_eq!(fields(&wrong, &derived), ["a", "b[z]", "more", "s"]);
        assert_eq!(fields(&json!({"b": []}), &derived), ["b"]);
        assert_eq!(fields(&json!([1, 2]), &json!([2, 1])), ["[0]", "[1]"]);
    }

    #[test]
    fn a_hundred_thousand_entries_may_stand_in_another_order() {
        let list = |range: &mut dyn Iterator<Item = u32>| -> Value {
            range.map(|n| json!({ "op": format!("layer {n}"), "n": n })).collect()
        };
        let (stated, derived) = (list(&mut (0..100_000)), list(&mut (0..100_000).rev()));
        let start = std::time::Instant::now();
        assert!(fields(&stated, &derived).is_empty());
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }
}

/// Settings that nothing is priced by, as warnings.
pub fn not_judged(settings: &LaunchSettings) -> impl Iterator<Item = Diagnostic> {
    settings.not_judged.iter().map(|(why, flags)| {
        let flags: Vec<String> = flags.iter().map(|flag| format!("`{flag}`")).collect();
        let message = format!("not judged: {}; {why}", flags.join(", "));
        let hint = "time and memory of what runs are those without it";
        Diagnostic::warning("not-judged", message).hint(hint)
    })
}

/// Settings that do nothing as the others are, as warnings.
pub fn no_effect(settings: &LaunchSettings) -> impl Iterator<Item = Diagnostic> {
    settings.no_effect.iter().map(|(setting, needed)| {
        let message = format!("`{setting}` has no effect without {needed}");
        let hint = format!("leave it out, or add {needed}");
        Diagnostic::warning("no-effect", message).hint(hint)
    })
}

/// Settings that are in no plan, as one warning.
pub fn not_planned(settings: &LaunchSettings) -> Option<Diagnostic> {
    let all: Vec<String> = settings.not_planned.iter().cloned().collect();
    let message = match all.len() {
        1 => "1 setting is not modelled".to_owned(),
        n => format!("{n} settings are not modelled"),
    };
    let warning = Diagnostic::warning("not-planned", message).fact("settings", all);
    (!settings.not_planned.is_empty()).then(|| warning.hint("time and memory do not count them"))
}
