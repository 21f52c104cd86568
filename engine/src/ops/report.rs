//! The report of a plan of ops, as a document.

use cost_model::ops::judge::report::{DeviceReport, LinkReport, Report};
use cost_model::ops::problem::Problem;
use documents::report::{DeviceDocument, HoldingDocument, LinkDocument, StepDocument};
use ir::units::Bytes;

use super::trust::{self, Trust};

/// The report as a document.
pub fn document(problem: &Problem, report: &Report, trust: &Trust) -> StepDocument {
    let mut document = StepDocument::new(report.step_time.get(), report.nominal);
    document.interval = trust.interval_document();
    document.origins = trust.origin_documents();
    document.devices = report.devices.iter().map(|d| device_document(problem, d)).collect();
    let channel = |link: &LinkReport| {
        let name = &problem.cluster.links.channels[link.channel.index()].name;
        LinkDocument::new(name, link.busy_ns, link.bytes, link.n_transfers)
    };
    document.links = report.links.iter().map(channel).collect();
    document
}

fn device_document(problem: &Problem, report: &DeviceReport) -> DeviceDocument {
    let device = &problem.cluster.devices[report.device.index()];
    let times = (report.compute_ns, report.communication_ns, report.idle_ns);
    DeviceDocument {
        memory_limit_bytes: report.limit,
        capacity_bytes: device.capacity.map(Bytes::get),
        context_bytes: device.context.get(),
        reserve_bytes: device.reserve.get(),
        parameter_bytes: report.parameter_bytes,
        what_peaks: report
            .what_peaks
            .iter()
            .map(|holding| HoldingDocument {
                kind: holding.what.name().to_owned(),
                name: holding.name.clone(),
                bytes: holding.bytes,
            })
            .collect(),
        origins: trust::documents(&report.origins),
        ..DeviceDocument::with_times(&device.name, times.0, times.1, times.2)
    }
    .with_peak(report.peak.bytes, report.peak.at)
}
