//! Plans that were tried for energy, cost or power, as a table.

use documents::plan::energy::EnergyPointDocument;

use crate::energy::{joules_text, watts};
use crate::page::{Column, Page};

/// Prints the plans that none is better than.
pub(super) fn print(points: &[EnergyPointDocument], page: &Page) {
    let mut columns = vec![
        Column::Number("devices"),
        Column::Number("boards at"),
        Column::Number("tokens/s"),
        Column::Number("per token"),
        Column::Number("draw at most"),
    ];
    if points.iter().any(|own| own.price_per_token.is_some()) {
        columns.push(Column::Number("price of a million"));
    }
    let row = |own: &EnergyPointDocument| {
        let price = own.price_per_token.map(|own| format!("{:.4}", own * 1e6));
        let figures = [
            own.n_devices.to_string(),
            format!("{:.1} %", 100.0 * own.board_limit),
            format!("{:.1}", own.tokens_per_s),
            joules_text(own.joules_per_token),
            watts(own.most_w),
            price.unwrap_or_default(),
        ];
        figures.into_iter().take(columns.len()).collect()
    };
    page.line("plans that were tried of which no other is better in all of it:");
    let rows = points.iter().map(row).collect();
    page.table(&columns, rows);
}
