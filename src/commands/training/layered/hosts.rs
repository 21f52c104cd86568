//! Whether hosts hold what a plan leaves with them.

use cost_model::layers::LayerPricing;
use cost_model::layers::judged::figures;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use planner::parallelism::per_layer::Judged;

use super::super::setting::Setting;
use super::pricing;

/// Refuses a plan that leaves more with a host than it has; hosts without a stated size are taken to
/// have enough.
///
/// # Errors
/// `host-memory`.
pub(super) fn check(setting: &Setting, best: &Judged) -> Result<(), Diagnostic> {
    check_within(setting, &pricing(setting)?, best)
}

/// The same under other prices than those of the setting.
///
/// # Errors
/// `host-memory`.
pub(super) fn check_within(
    setting: &Setting,
    pricing: &LayerPricing<'_>,
    best: &Judged,
) -> Result<(), Diagnostic> {
    let figures = figures(pricing, &best.plan()?)?;
    let degrees = &best.degrees;
    let width = u64::from(degrees.data) * u64::from(degrees.tensor);
    let mut hosts: Vec<f64> = Vec::new();
    for (stage, own) in (0_u64..).zip(&figures) {
        for device in stage * width..(stage + 1) * width {
            let host = (device / u64::from(pricing.per_host.max(1))) as usize;
            if hosts.len() <= host {
                hosts.resize(host + 1, 0.0);
            }
            hosts[host] += own.on_host;
        }
    }
    for (host, need) in hosts.into_iter().enumerate() {
        let node = setting.cluster.nodes.get(host);
        let Some(has) = node.and_then(|node| node.host_memory) else { continue };
        if need > has.as_f64() {
            let name = node.map_or_else(String::new, |node| node.name.clone());
            let message = format!("the memory of host `{name}` binds: it can't hold the states");
            return Err(Diagnostic::error(Blame::Infeasible, "host-memory", message)
                .fact("need", Bytes(need as u64))
                .fact("have", has)
                .fact("binds", "optimizer states on the host")
                .hint("use hosts with more memory, or more of them"));
        }
    }
    Ok(())
}
