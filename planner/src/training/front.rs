//! The front of time, memory and devices: the fastest plans for fewer devices and less memory.

use super::search_3d::judge::Judged;
use super::search_3d::space::Space;
use super::search_3d::{Cuts, Found, Options, bounded, solve, solve_among};
use cost_model::runs::forms::model::Pricing;
use ir::units::Bytes;

/// Shares of the best plan's peak under which the fastest plan is looked for.
const SHARES: [f64; 3] = [0.75, 0.5, 0.25];

/// Plans of which no other one is faster, smaller and on fewer devices at once: where it
/// is asked for, for each count of devices the fastest, and for the best plan's count the fastest within shares of its peak. By
/// devices, then time. What is not found when the search has to stop is left out.
pub(super) fn of(
    pricing: &Pricing<'_>,
    (space, by_count): (&Space, bool),
    found: &Found,
    options: &Options,
) -> Vec<Judged> {
    let one = Options { n_plans: 1, cuts: Cuts::OfPlans, ..options.clone() };
    let mut plans: Vec<Judged> = found.plans.first().into_iter().cloned().collect();
    if by_count && space.devices.len() > 1 {
        for n in space.devices.iter().take_while(|_| options.stop().is_none()) {
            let space = Space { devices: vec![*n], ..space.clone() };
            plans.extend(solve(pricing, &space, &one).plans);
        }
    }
    let best = found.plans.first().filter(|_| options.stop().is_none());
    let smaller: Vec<Judged> = best.map_or_else(Vec::new, |best| {
        let devices = vec![u32::try_from(best.n_devices()).unwrap_or(u32::MAX)];
        let space = Space { devices, ..space.clone() };
        let shapes = bounded(pricing, &space, options);
        let within = |share: f64| {
            let limit = Some(Bytes((best.peak as f64 * share) as u64));
            solve_among(&Pricing { limit, ..*pricing }, &space, &shapes, &one).plans
        };
        let shares = SHARES.into_iter().take_while(|_| options.stop().is_none());
        shares.map_while(|share| within(share).into_iter().next()).collect()
    });
    plans.extend(smaller);
    let beats = |a: &Judged, b: &Judged| {
        let key = |plan: &Judged| (plan.n_devices(), plan.step.0, plan.peak);
        let (a, b) = (key(a), key(b));
        a != b && a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2
    };
    let all = plans.clone();
    plans.retain(|plan| !all.iter().any(|other| beats(other, plan)));
    plans.sort_by_key(|plan| (plan.n_devices(), plan.step, plan.peak));
    plans.dedup_by_key(|plan| (plan.n_devices(), plan.step, plan.peak));
    plans
}

/// A plan of the front may be faster than the best one: under a lower limit the rule cuts stages
/// otherwise. Then it is the best one.
pub(super) fn promote(found: &mut Found, front: &[Judged]) {
    let Some(best) = found.plans.first() else { return };
    let n_devices = best.n_devices();
    let others = front.iter().filter(|plan| plan.n_devices() == n_devices && plan.step < best.step);
    let Some(faster) = others.min_by_key(|plan| (plan.step, plan.configuration.key())) else {
        return;
    };
    let degrees = |plan: &Judged| {
        let d = &plan.configuration.degrees;
        [d.data, d.tensor, d.pipeline, d.context, d.expert, d.of_expert()]
    };
    let of_faster = degrees(faster);
    found.plans.retain(|plan| degrees(plan) != of_faster);
    found.plans.insert(0, faster.clone());
    found.bound_s = found.bound_s.min(faster.step.seconds());
}
