//! Where the value of a solution comes from, device by device.

use cost_model::given::gradients::{Buckets, spans};
use cost_model::given::{Goal, max_load, row, straight, tasks, time_per_sample};
use ir::diagnostic::Diagnostic;
use ir::instance::{
    GradientInstance, Instance, LayerProfile, LoadInstance, StageInstance, TaskInstance,
};
use ir::units::{Bytes, Nanos, Work};
use planner::given::runner::Solution;
use serde_json::{Value, json};

use super::averaging;
use super::text::device_name;
use super::verify::Found;
use crate::answer::page::Column;
use crate::answer::page::Page;

/// What one device or stage does for a sample.
pub(super) struct Figures {
    pub(super) name: String,
    pub(super) n_nodes: usize,
    pub(super) compute: Nanos,
    /// Moving data, and exchanging gradients between copies.
    pub(super) moving: Nanos,
    /// What it holds, where it has a limit or the instance says sizes.
    pub(super) bytes: Option<u128>,
    pub(super) limit: Option<Bytes>,
}

impl Figures {
    /// Of a device that does nothing.
    pub(super) fn empty(name: String, limit: Option<Bytes>) -> Self {
        let (compute, moving) = (Nanos::ZERO, Nanos::ZERO);
        Self { name, n_nodes: 0, compute, moving, bytes: Some(0), limit }
    }

    pub(super) fn total(&self) -> Nanos {
        self.compute + self.moving
    }

    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "nodes": self.n_nodes,
            "compute_ns": self.compute.get(),
            "moving_ns": self.moving.get(),
            "load_ns": self.total().get(),
            "bytes": self.bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            "limit_bytes": self.limit.filter(|limit| *limit != Bytes::MAX).map(Bytes::get),
        })
    }
}

/// Figures of every device or stage.
///
/// # Errors
/// The judge's fault, where the solution is illegal.
pub(super) fn of(found: &Found) -> Result<Vec<Figures>, Diagnostic> {
    Ok(match (&found.instance, &found.solution) {
        (Instance::Load(instance), Solution::Devices(devices)) => of_load(instance, devices),
        (Instance::Profile(profile), Solution::Devices(stages)) => of_profile(profile, stages),
        (Instance::Stages(instance), Solution::Stages(stages)) => of_stages(instance, stages)?,
        (Instance::Gradients(instance), Solution::Buckets(found)) => of_buckets(instance, found)?,
        (Instance::Tasks(instance), Solution::Devices(devices)) => of_tasks(instance, devices)?,
        (Instance::Averaging(instance), solution) => averaging::figures(instance, solution),
        _ => Vec::new(),
    })
}

fn of_tasks(instance: &TaskInstance, devices: &[u32]) -> Result<Vec<Figures>, Diagnostic> {
    let loads = tasks::loads(instance, devices)?;
    let of = |(at, (name, load)): (u32, (&String, u64))| Figures {
        n_nodes: devices.iter().filter(|device| **device == at).count(),
        compute: Nanos(load),
        bytes: None,
        ..Figures::empty(name.clone(), None)
    };
    Ok((0..).zip(instance.devices.iter().zip(loads)).map(of).collect())
}

fn of_load(instance: &LoadInstance, devices: &[u32]) -> Vec<Figures> {
    let loads = max_load::loads(instance, devices);
    let mut figures: Vec<Figures> = (0..loads.len())
        .map(|at| {
            let limit = (at < instance.n_accelerators).then_some(instance.accelerator_memory);
            Figures::empty(device_name(instance, at), limit)
        })
        .collect();
    for (node, device) in instance.nodes.iter().zip(devices) {
        let figures = &mut figures[*device as usize];
        let is_core = figures.limit.is_none();
        let time = node.accelerator.filter(|_| !is_core).unwrap_or(node.cpu);
        figures.n_nodes += 1;
        figures.compute += time;
        figures.bytes = figures.bytes.map(|bytes| bytes + u128::from(node.bytes.get()));
    }
    for (figures, load) in figures.iter_mut().zip(loads) {
        figures.moving = Nanos(load.get().saturating_sub(figures.compute.get()));
    }
    figures
}

fn of_profile(profile: &LayerProfile, stages: &[u32]) -> Vec<Figures> {
    let counted = straight::counted(profile);
    let n = stages.iter().max().map_or(0, |last| *last as usize + 1);
    let mut figures: Vec<Figures> =
        (0..n).map(|at| Figures::empty(format!("stage {at}"), None)).collect();
    for ((node, stage), counted) in profile.nodes.iter().zip(stages).zip(counted) {
        let figures = &mut figures[*stage as usize];
        figures.n_nodes += 1;
        figures.bytes = figures.bytes.map(|bytes| bytes + u128::from(node.parameters.get()));
        if counted {
            figures.compute += node.forward + node.backward;
        }
    }
    figures
}

fn of_buckets(instance: &GradientInstance, buckets: &Buckets) -> Result<Vec<Figures>, Diagnostic> {
    let numbered = spans(instance, buckets)?.into_iter().zip(&buckets.lengths).enumerate();
    let figures = numbered.map(|(at, (span, n))| Figures {
        name: format!("bucket {at}"),
        n_nodes: *n,
        compute: Nanos::ZERO,
        moving: Nanos::rounded((span.end_s - span.start_s) * 1e9, Work::None),
        bytes: Some(span.bytes as u128),
        limit: None,
    });
    Ok(figures.collect())
}

fn of_stages(
    instance: &StageInstance,
    stages: &[time_per_sample::Stage],
) -> Result<Vec<Figures>, Diagnostic> {
    // Rounded up, as the value is.
    let nanos = |units: f64| Nanos((units * 1e9).ceil() as u64);
    let figures = time_per_sample::figures(instance, stages)?;
    let of = |(at, (stage, figures)): (
        usize,
        (&time_per_sample::Stage, &time_per_sample::StageFigures),
    )| {
        let compute = nanos(figures.compute).min(nanos(figures.time));
        Figures {
            name: format!("stage {at} ({} x {})", stage.data, stage.tensor),
            n_nodes: stage.nodes.len(),
            compute,
            moving: Nanos(nanos(figures.time).get() - compute.get()),
            bytes: Some(figures.bytes),
            limit: Some(instance.device_memory),
        }
    };
    Ok(stages.iter().zip(&figures).enumerate().map(of).collect())
}

/// Prints the table.
pub(super) fn print(found: &Found, figures: &[Figures], page: &Page) {
    let unit = found.instance.unit();
    let columns =
        Column::row("@device | #nodes | #compute | #moving data | #together | #holds | #of");
    let row = |figures: &Figures| {
        let bytes = figures.bytes.and_then(|bytes| u64::try_from(bytes).ok());
        let limit = figures.limit.filter(|limit| *limit != Bytes::MAX);
        vec![
            figures.name.clone(),
            figures.n_nodes.to_string(),
            unit.text(figures.compute),
            unit.text(figures.moving),
            unit.text(figures.total()),
            bytes.map_or_else(String::new, |bytes| Bytes(bytes).to_string()),
            limit.map_or_else(String::new, |limit| limit.to_string()),
        ]
    };
    page.table(&columns, figures.iter().map(row).collect());
}

/// Why the value is what it is, in one line.
pub(super) fn sentence(found: &Found, figures: &[Figures]) -> String {
    let unit = found.instance.unit();
    let (name, value) = (row(found.goal).name, unit.text(found.value));
    let fullest = figures.iter().max_by_key(|figures| figures.total());
    match (found.goal, fullest) {
        (Goal::Latency, _) | (_, None) => {
            format!("{name} {value}: blocks of devices wait for each other, one after another")
        }
        (_, Some(fullest)) => format!(
            "{name} {value}: {} computes {} and moves data for {}",
            fullest.name,
            unit.text(fullest.compute),
            unit.text(fullest.moving)
        ),
    }
}

/// The figures as a document.
pub(super) fn document(found: &Found, figures: &[Figures]) -> Value {
    json!({
        "objective": row(found.goal).name,
        "value_ns": found.value.get(),
        "unit_ns": found.instance.unit().ns,
        "devices": figures.iter().map(Figures::document).collect::<Vec<_>>(),
    })
}
