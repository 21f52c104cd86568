//! A placement of experts in figures, and as people read it.

use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use ir::card::ExpertCard;

use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::answer::words::share as percent;

/// Loads over the mean of all devices, the mean of all layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Layers.
    pub n_layers: usize,
    /// Greatest loads.
    pub load: f64,
    /// What no placement is below.
    pub bound: f64,
    /// Routed tokens of the busiest devices, of all layers in a step.
    pub busiest_visits: f64,
    /// The same if all devices had as many.
    pub even_visits: f64,
}

impl Figures {
    /// Of what a plan states.
    #[must_use]
    pub fn of(plan: &PlanDocument, experts: &ExpertCard) -> Self {
        let n_devices = f64::from(plan.parallelism.expert);
        let all = &plan.experts.layers;
        let n_layers = all.iter().map(|entry| entry.layers.len()).sum::<usize>();
        let sum = |of: fn(&ExpertLayersDocument) -> f64| {
            all.iter().map(|entry| entry.layers.len() as f64 * of(entry)).sum::<f64>()
        };
        let (load, bound) = (sum(|entry| entry.greatest_load), sum(|entry| entry.bound));
        let visits = plan.experts.tokens.unwrap_or_default() as f64 * experts.per_token as f64;
        let mean = n_layers.max(1) as f64 / n_devices.max(1.0);
        Self {
            n_layers,
            load: load / mean,
            bound: bound / mean,
            busiest_visits: load * visits,
            even_visits: mean * visits,
        }
    }

    /// `load / bound - 1`.
    #[must_use]
    pub fn gap(&self) -> f64 {
        self.load / self.bound - 1.0
    }

    /// What a step sends to the devices that have most.
    #[must_use]
    pub fn sentence(&self, plan: &PlanDocument, experts: &ExpertCard) -> String {
        format!(
            "a step of {} tokens with {} experts each: {:.0} routed tokens on the busiest devices over {} \
             layers, {:.0} if balanced",
            plan.experts.tokens.unwrap_or_default(),
            experts.per_token,
            self.busiest_visits,
            self.n_layers,
            self.even_visits
        )
    }
}

/// A row for each layer, as many as are shown.
pub fn table(plan: &PlanDocument, rows: Rows, page: &Page) {
    let n_devices = f64::from(plan.parallelism.expert);
    let columns =
        Column::row("layers | #slots | #most replicas | #load of the busiest | #bound | #gap");
    let row = |entry: &ExpertLayersDocument| {
        let most = entry.devices_of_expert.iter().map(Vec::len).max().unwrap_or_default();
        vec![
            ranges(&entry.layers),
            entry.slots.to_string(),
            most.to_string(),
            format!("{:.4}", entry.greatest_load * n_devices),
            format!("{:.4}", entry.bound * n_devices),
            percent(entry.greatest_load / entry.bound - 1.0),
        ]
    };
    rows.table(&columns, plan.experts.layers.iter().map(row), page);
}
