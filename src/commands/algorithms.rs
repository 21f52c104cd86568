//! `algorithms`: the registry.

use planner::registry::entries;

use crate::commands::{CommandResult, Exit};
use crate::printer::Printer;
use crate::table::Column;

pub(crate) fn run(printer: &Printer) -> CommandResult {
    let columns = [
        Column::Name("algorithm"),
        Column::Name("kind"),
        Column::Text("decides"),
        Column::Text("summary"),
        Column::Text("paper"),
    ];
    let rows = entries().iter().map(|entry| {
        let decides: Vec<&str> = entry.decides.iter().map(|field| field.name()).collect();
        vec![
            entry.name.to_owned(),
            entry.kind.name().to_owned(),
            decides.join(", "),
            entry.summary.to_owned(),
            entry.paper.to_owned(),
        ]
    });
    printer.table(&columns, rows.collect());
    printer.line("recipe: transforms, then what decides, then what improves, such as fuse,m-sct");
    printer.document(&web::routes::algorithms::document());
    Ok(Exit::DONE)
}
