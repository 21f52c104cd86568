//! `algorithms`: the registry.

use planner::algorithm::OptionRow;
use planner::registry::{Entry, entries};

use crate::printer::Printer;
use engine::exit::{CommandResult, Exit};
use engine::page::Column;

/// `heuristic`, or by what is planned where the promises differ.
fn promises(entry: &Entry) -> String {
    let all = entry.promises();
    match all.as_slice() {
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => first.name(),
        _ => {
            let each = all.iter().map(|(kind, promise)| format!("{kind}: {}", promise.name()));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

pub(crate) fn run(printer: &Printer) -> CommandResult {
    let columns = [
        Column::Name("algorithm"),
        Column::Name("kind"),
        Column::Text("objectives"),
        Column::Text("decides"),
        Column::Text("promises"),
        Column::Text("summary"),
        Column::Text("paper"),
    ];
    let rows = entries().iter().map(|entry| {
        let decides: Vec<&str> = entry.decides.iter().map(|field| field.name()).collect();
        vec![
            entry.name.to_owned(),
            entry.kind.name().to_owned(),
            entry.objectives().join(", "),
            decides.join(", "),
            promises(entry),
            entry.summary.to_owned(),
            entry.paper.to_owned(),
        ]
    });
    printer.table(&columns, rows.collect());
    printer.text("\n");
    let columns = [
        Column::Name("option"),
        Column::Text("values"),
        Column::Name("default"),
        Column::Text("meaning"),
    ];
    let option = |entry: &Entry, option: &OptionRow| {
        vec![
            format!("{}({})", entry.name, option.name),
            option.unit.to_owned(),
            option.default.to_owned(),
            option.summary.to_owned(),
        ]
    };
    let rows =
        entries().iter().flat_map(|entry| entry.options.iter().map(move |o| option(entry, o)));
    printer.table(&columns, rows.collect());
    printer.text("\n");
    printer.line("recipe: transforms, then what decides, then what improves, such as fuse,m-sct");
    printer.document(&web::routes::algorithms::document());
    Ok(Exit::DONE)
}
