//! `compare` on solutions of one instance, or on a person's split and a solution.

use cost_model::given::row;
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use planner::given::runner::{Solution, judge};
use serde_json::json;

use super::verify::{Found, read};
use super::{figures, unused};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::kinds::buckets;
use crate::request::CompareRequest;

/// Compares two solutions of an instance.
///
/// # Errors
/// Those of reading; `not-comparable`.
pub fn compare(args: &CompareRequest, instance: Instance, page: &Page) -> CommandResult {
    unused::check(&args.target)?;
    let b = read(&args.b, instance.clone())?;
    let a = like(read(&args.a, instance)?, &b)?;
    if a.goal != b.goal {
        let message = "the solutions are for different objectives";
        return Err(Diagnostic::usage("not-comparable", message)
            .fact("a", row(a.goal).name)
            .fact("b", row(b.goal).name)
            .hint("plan both for one objective"));
    }
    let (of_a, of_b) = (figures::of(&a)?, figures::of(&b)?);
    let unit = a.instance.unit();
    let columns = [Column::Name("device"), Column::Number("A"), Column::Number("B")];
    let loads = |figures: &[figures::Figures], at: usize| {
        figures.get(at).map_or_else(|| "-".to_owned(), |figures| unit.text(figures.total()))
    };
    let name = |at: usize| {
        let both = of_a.get(at).or(of_b.get(at));
        both.map_or_else(String::new, |figures| figures.name.clone())
    };
    let n_devices = of_a.len().max(of_b.len());
    let rows = (0..n_devices).map(|at| vec![name(at), loads(&of_a, at), loads(&of_b, at)]);
    page.table(&columns, rows.collect());
    let moved = moved(&a.solution, &b.solution);
    let equal = a.solution == b.solution && a.n_devices == b.n_devices;
    let (name, of) = (row(b.goal).name, |found: &Found| unit.text(found.value));
    page.line(&format!("{name}: A {}, B {}", of(&a), of(&b)));
    let gain = a.value.as_f64() / b.value.as_f64().max(1.0);
    page.line(&match (equal, moved) {
        (true, _) => "the solutions decide the same".to_owned(),
        (false, Some(n)) => {
            format!("{n} nodes are elsewhere in B; B is {gain:.3} times as fast as A")
        }
        (false, None) if matches!(a.instance, Instance::Gradients(_)) => {
            let sent = [&a, &b].map(|found| buckets::sent(&found.instance, &found.solution));
            format!(
                "the buckets differ (A sends {}, B {}); B is {gain:.3} times as fast as A",
                sent[0], sent[1]
            )
        }
        (false, None) if matches!(a.instance, Instance::Averaging(_)) => {
            format!("what is exchanged differs; B is {gain:.3} times as fast as A")
        }
        (false, None) => format!("the stages differ; B is {gain:.3} times as fast as A"),
    });
    page.document(&json!({
        "equal": equal,
        "objective": name,
        "a": figures::document(&a, &of_a),
        "b": figures::document(&b, &of_b),
        "moved": moved,
        "gain": gain,
    }));
    Ok(if equal { Exit::DONE } else { Exit::DIFFERS })
}

/// A person's split states no objective: it is judged by the other's.
fn like(found: Found, other: &Found) -> Result<Found, Diagnostic> {
    if found.stated.is_some() || found.goal == other.goal {
        return Ok(found);
    }
    let value = judge(&found.instance, other.goal, found.n_devices, &found.solution)?;
    Ok(Found { goal: other.goal, value, ..found })
}

/// Nodes on another device.
fn moved(a: &Solution, b: &Solution) -> Option<usize> {
    match (a, b) {
        (Solution::Devices(a), Solution::Devices(b)) => {
            Some(a.iter().zip(b).filter(|(a, b)| a != b).count())
        }
        _ => None,
    }
}
