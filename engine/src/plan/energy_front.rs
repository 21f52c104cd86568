//! Plans that were tried for energy, cost or power, as a table.

use documents::plan::energy::EnergyPointDocument;

use crate::answer::energy::{joules_text, watts};
use crate::answer::page::{Column, Page};

/// Of plans, those that no other beats in speed, energy, price and power at once.
pub(crate) fn of(points: Vec<EnergyPointDocument>) -> Vec<EnergyPointDocument> {
    let figures = |point: &EnergyPointDocument| {
        let price = point.price_per_token.unwrap_or_default();
        [-point.tokens_per_s, point.joules_per_token, point.most_w, price]
    };
    let beats = |a: &EnergyPointDocument, b: &EnergyPointDocument| {
        let (a, b) = (figures(a), figures(b));
        a != b && a.iter().zip(b).all(|(a, b)| *a <= b)
    };
    let is_beaten = |point: &EnergyPointDocument| points.iter().any(|other| beats(other, point));
    let mut front: Vec<EnergyPointDocument> =
        points.iter().filter(|point| !is_beaten(point)).cloned().collect();
    front.sort_by(|a, b| b.tokens_per_s.total_cmp(&a.tokens_per_s));
    // Devices that do nothing make no other plan.
    let are_near = |a: &EnergyPointDocument, b: &EnergyPointDocument| {
        figures(a).iter().zip(figures(b)).all(|(a, b)| (a - b).abs() <= 1e-9 * a.abs())
    };
    front.dedup_by(|a, b| are_near(a, b));
    front
}

/// Prints the plans that none is better than.
pub(crate) fn print(points: &[EnergyPointDocument], page: &Page) {
    let mut columns = Column::row("#devices | #boards at | #tokens/s | #per token | #draw at most");
    if points.iter().any(|point| point.price_per_token.is_some()) {
        columns.push(Column::Number("price of a million"));
    }
    let row = |point: &EnergyPointDocument| {
        let price = point.price_per_token.map(|price| format!("{:.4}", price * 1e6));
        let figures = [
            point.n_devices.to_string(),
            format!("{:.1} %", 100.0 * point.board_limit),
            format!("{:.1}", point.tokens_per_s),
            joules_text(point.joules_per_token),
            watts(point.most_w),
            price.unwrap_or_default(),
        ];
        figures.into_iter().take(columns.len()).collect()
    };
    page.line("plans that were tried of which no other is better in all of it:");
    let rows = points.iter().map(row).collect();
    page.table(&columns, rows);
}
