//! An explanation of the cost model as text and as a document.

use cost_model::explain::{Explanation, Figure};
use documents::quantity::Duration;
use ir::cluster::Check;
use serde_json::{Value, json};

use crate::answer::page::Column;
use crate::answer::page::Page;

/// Where figures come from, each source once.
#[derive(Default)]
pub(super) struct Sources(Vec<String>);

impl Sources {
    /// The number of a figure's source, from 1.
    fn number(&mut self, figure: &Figure) -> usize {
        let text = words(figure);
        if let Some(at) = self.0.iter().position(|known| *known == text) {
            return at + 1;
        }
        self.0.push(text);
        self.0.len()
    }

    /// `[1]`, `[1] [3]`.
    pub(super) fn marks(&mut self, figures: &[Figure]) -> String {
        let mut numbers: Vec<usize> = figures.iter().map(|figure| self.number(figure)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let marks: Vec<String> = numbers.iter().map(|number| format!("[{number}]")).collect();
        marks.join(" ")
    }

    /// The list of all.
    pub(super) fn print(&self, page: &Page) {
        for (at, text) in self.0.iter().enumerate() {
            page.line(&format!("[{}] {text}", at + 1));
        }
    }
}

/// `measured 2026-11-20, cuda: cuBLASLt`, `nominal, NVIDIA A100 datasheet (not checked)`.
fn words(figure: &Figure) -> String {
    let date = figure.date.as_ref().map_or(String::new(), |date| format!(" {date}"));
    let check = match figure.check {
        None => "",
        Some(check) => match check {
            Check::Read => " (read in its source)",
            Check::Measured => " (measured there)",
            Check::Recalled => " (not checked in its source)",
            Check::Given => "",
        },
    };
    format!("{}{date}, {}{check}", figure.origin.name(), figure.source)
}

/// The sum, the parts of the formula, and the constants.
pub(super) fn print(explanation: &Explanation, kind: &str, sources: &mut Sources, page: &Page) {
    let Explanation { total, sum, form, origin, .. } = explanation;
    if explanation.formulas.is_empty() {
        page.line(&format!("  {total}, {sum}"));
        return;
    }
    page.line(&format!("  {total} = {sum}"));
    page.line(&format!("  {form} on {kind}, {}", origin.name()));
    let columns = [Column::Text(""), Column::Number(""), Column::Text("")];
    let rows = explanation.formulas.iter().map(|formula| {
        let value = formula.unit.show(formula.value);
        vec![format!("  {}", formula.name), value, format!("= {}", formula.text)]
    });
    page.table(&columns, rows.collect());
    if explanation.figures.is_empty() {
        return;
    }
    page.text("\n");
    let columns = [Column::Text("constant"), Column::Number("value"), Column::Text("source")];
    let rows = explanation.figures.iter().map(|figure| {
        let value = figure.unit.show(figure.value);
        vec![figure.name.clone(), value, format!("[{}]", sources.number(figure))]
    });
    page.table(&columns, rows.collect());
}

/// The same as a document.
pub(super) fn document(explanation: &Explanation) -> Value {
    json!({
        "form": explanation.form,
        "total": Duration::from_ns(explanation.total.get()),
        "origin": explanation.origin.name(),
        "sum": explanation.sum,
        "formulas": explanation.formulas.iter().map(|formula| json!({
            "name": formula.name,
            "value": formula.value,
            "unit": formula.unit.name(),
            "text": formula.text,
        })).collect::<Vec<_>>(),
        "constants": explanation.figures.iter().map(figure).collect::<Vec<_>>(),
    })
}

fn figure(figure: &Figure) -> Value {
    json!({
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit.name(),
        "origin": figure.origin.name(),
        "source": figure.source,
        "date": figure.date,
        "check": figure.check.map(|check| match check {
            Check::Read => "read",
            Check::Measured => "measured",
            Check::Recalled => "recalled",
            Check::Given => "given",
        }),
    })
}
