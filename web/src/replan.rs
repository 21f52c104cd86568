//! All plans that a service has made, planned again by this version: what became better or worse.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::channel;

use serde::Serialize;
use serde_json::{Value, json};

use crate::content::Shelf;
use crate::problem::Problem;
use crate::queue::{self, Plan};
use crate::store::{Place, Store};
use crate::work::child::{self, Answer, Limits};
use crate::work::{figures, folder};

/// What a plan is worth.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// How planning ended, as the command line's exit code; 0 = there is a plan.
    pub exit_code: Option<i64>,
    /// Value of the plan under its objective.
    pub value_ns: Option<u64>,
    /// What no plan is below.
    pub bound_ns: Option<u64>,
    /// Value / bound - 1.
    pub gap: Option<f64>,
    /// Bytes at the peak of the fullest device.
    pub peak_bytes: Option<u64>,
}

/// A request and what both versions make of it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The stored plan.
    pub plan: String,
    /// What was asked.
    pub request: Value,
    /// As stored.
    pub then: Figures,
    /// By this version.
    pub now: Figures,
    /// Rules of this version that the stored plan breaks.
    pub broken: Vec<String>,
    /// `better`, `worse` or `equal`, and `new` where only this version has a plan.
    pub verdict: &'static str,
}

impl Figures {
    fn of(exit_code: Option<i64>, progress: &Value) -> Self {
        Self {
            exit_code,
            value_ns: progress["value_ns"].as_u64(),
            bound_ns: progress["bound_ns"].as_u64(),
            gap: progress["gap"].as_f64(),
            peak_bytes: progress["peak_bytes"].as_u64(),
        }
    }

    const fn has_plan(&self) -> bool {
        matches!(self.exit_code, Some(0))
    }
}

/// Where the plans lie, and what plans them again.
#[derive(Clone, Debug)]
pub struct Again {
    /// The database.
    pub database: Place,
    /// What one process may use.
    pub limits: Limits,
    /// The words that start this program.
    pub program: Vec<OsString>,
}

/// Plans all stored requests again, of equal ones the latest, and tells of each.
///
/// # Errors
/// In words, those of the database.
pub fn replan(options: &Again, hear: &mut dyn FnMut(Row)) -> Result<(), String> {
    let store = Store::open(options.database.clone()).map_err(|fault| fault.to_string())?;
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let shelf = Shelf::new(place.path()).map_err(|error| error.to_string())?;
    let statement = "SELECT id FROM plans WHERE place IN (SELECT MAX(place) FROM plans \
        WHERE state IN ('done', 'infeasible') GROUP BY \
        COALESCE(NULLIF(content, ''), id)) ORDER BY place";
    let ids = store.read_here(|sql| Ok(sql.rows(statement, &[])?));
    for mut row in ids.map_err(|problem| problem.words())? {
        let id = row.text();
        let plan = store.read_here(|sql| queue::plan(sql, &id));
        // What was made elsewhere was never asked for.
        if plan.as_ref().is_ok_and(|plan| plan.request["verb"] == "open") {
            continue;
        }
        let again = plan.and_then(|plan| again(options, (&store, &shelf, place.path()), plan));
        hear(again.map_err(|problem| format!("{id}: {}", problem.words()))?);
    }
    Ok(())
}

fn again(
    options: &Again,
    (store, shelf, place): (&Store, &Shelf, &Path),
    plan: Plan,
) -> Result<Row, Problem> {
    let mut files = plan.files.clone();
    let then = Figures::of(plan.exit_code, &plan.progress);
    if then.has_plan() {
        files["stored-plan.json"] = format!("plan:{}", plan.id).into();
    }
    let folder = folder::laid_out(store, shelf, place, &files)?;
    let ask = |request: &Value| -> Result<(Option<Answer>, Value), Problem> {
        let (_orders, taken) = channel();
        let (mut news, mut found) =
            (queue::News { progress: json!({}), ..Default::default() }, None);
        let at = (folder.path(), options.limits);
        let ended = child::run(&options.program, at, request, taken, &mut |event| {
            figures::take(&mut news, &mut found, event);
        });
        let answer = ended.map_err(crate::content::unwritten)?.answer.ok();
        Ok((answer, news.progress))
    };
    let mut request = plan.request.clone();
    request["verb"] = "plan".into();
    let (answer, progress) = ask(&request)?;
    let now = answer.map_or_else(Figures::default, |answer| {
        let document = serde_json::from_str(&answer.text).unwrap_or_default();
        Figures::of(Some(answer.exit_code.into()), &figures::settled(progress, &document))
    });
    let broken = match then.has_plan() {
        true => broken(&ask(&crate::api::about_plan(&plan, "stored-plan.json", "verify"))?.0),
        false => Vec::new(),
    };
    let verdict = verdict(&then, &now);
    Ok(Row { plan: plan.id, request: plan.request, then, now, broken, verdict })
}

/// Codes of the rules that a verdict names.
fn broken(answer: &Option<Answer>) -> Vec<String> {
    let Some(answer) = answer else { return vec!["not-verified".to_owned()] };
    if answer.exit_code == 0 {
        return Vec::new();
    }
    let document: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let rules = document["violations"].as_array().into_iter().flatten();
    let mut codes: Vec<String> =
        rules.filter_map(|rule| rule["code"].as_str().map(str::to_owned)).collect();
    codes.extend(document["error"]["code"].as_str().map(str::to_owned));
    codes.dedup();
    if codes.is_empty() { vec![format!("exit-code-{}", answer.exit_code)] } else { codes }
}

fn verdict(then: &Figures, now: &Figures) -> &'static str {
    match (then.has_plan(), now.has_plan()) {
        (true, false) => "worse",
        (false, true) => "new",
        (false, false) if then.exit_code == now.exit_code => "equal",
        (false, false) => "worse",
        (true, true) => match now.value_ns.cmp(&then.value_ns) {
            std::cmp::Ordering::Less => "better",
            std::cmp::Ordering::Equal => "equal",
            std::cmp::Ordering::Greater => "worse",
        },
    }
}
