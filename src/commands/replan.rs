//! `replan`: what this version makes of all that a service has planned.

use std::ffi::OsString;

use engine::answer::exit::{CommandResult, Exit};
use engine::answer::page::Column;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::{Bytes, Nanos};
use serde_json::json;
use web::replan::{Again, Figures, Row, replan};

use crate::printer::Printer;
use crate::service_flags::ReplanArgs;

pub(crate) fn run(args: &ReplanArgs, again: &[OsString], printer: &Printer) -> CommandResult {
    let setting = Again {
        database: args.database.place()?,
        limits: args.limits.limits(),
        program: again.to_vec(),
    };
    let mut rows = Vec::new();
    replan(&setting, &mut |row| rows.push(row)).map_err(|reason| {
        Diagnostic::usage("replan-failed", "the stored plans can not be planned again")
            .fact("reason", reason)
            .hint("name the database of the service with --database")
    })?;
    printer.page(|page| {
        let columns = Column::row(
            "@plan | model | #then | #now | #gap then | #gap now | #peak then | #peak now | \
             verdict",
        );
        let is_told = |row: &&Row| args.all || row.verdict != "equal" || !row.broken.is_empty();
        let shown: Vec<Vec<String>> = rows.iter().filter(is_told).map(cells).collect();
        if !shown.is_empty() {
            page.table(&columns, shown);
        }
        let n = |verdict: &str| rows.iter().filter(|row| row.verdict == verdict).count();
        let n_broken = rows.iter().filter(|row| !row.broken.is_empty()).count();
        page.line(&format!(
            "{} plans again: {} better, {} worse, {} new, {} equal; {n_broken} break a rule of this \
             version",
            rows.len(),
            n("better"),
            n("worse"),
            n("new"),
            n("equal"),
        ));
        page.document(&json!({ "plans": rows, "better": n("better"), "worse": n("worse"),
            "new": n("new"), "equal": n("equal"), "broken": n_broken }));
        Ok(match (n_broken, n("worse")) {
            (1.., _) => Exit(Blame::IllegalPlan.exit_code()),
            (0, 1..) => Exit::DIFFERS,
            _ => Exit::DONE,
        })
    })
}

fn cells(row: &Row) -> Vec<String> {
    let time =
        |figures: &Figures| figures.value_ns.map_or("-".to_owned(), |ns| Nanos(ns).to_string());
    let gap = |figures: &Figures| {
        figures.gap.map_or("-".to_owned(), |gap| format!("{:.1} %", gap * 100.0))
    };
    let peak =
        |figures: &Figures| figures.peak_bytes.map_or("-".to_owned(), |n| Bytes(n).to_string());
    let broken = if row.broken.is_empty() {
        String::new()
    } else {
        format!(", breaks {}", row.broken.join(", "))
    };
    vec![
        row.plan.clone(),
        row.request["model"].as_str().unwrap_or_default().to_owned(),
        time(&row.then),
        time(&row.now),
        gap(&row.then),
        gap(&row.now),
        peak(&row.then),
        peak(&row.now),
        format!("{}{broken}", row.verdict),
    ]
}
