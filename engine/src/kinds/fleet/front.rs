//! The Pareto front of fleets for the same requests: what a shorter time per token costs.

use documents::plan::fleet::AlternativeDocument;
use planner::serving::fleet::Objective;

/// What the objective makes small: devices, price per hour, or the negative of requests/s.
fn cost(objective: Objective, of: &AlternativeDocument) -> Option<f64> {
    match objective {
        Objective::FewestDevices => of.n_devices.map(|n| n as f64),
        Objective::LowestPrice => of.price_per_hour,
        Objective::Throughput => of.requests_per_s.map(|rate| -rate),
    }
}

/// How much longer the TPOT of the plan may be than that of another fleet of its cost that it stands for.
const TIE: f64 = 1.05;

/// Fleets that no other one beats in both cost and TPOT, by ascending TPOT; of equal ones the first, which is the
/// plan: it stands for those of its cost that are about as fast.
pub(super) fn of(objective: Objective, fleets: &[AlternativeDocument]) -> Vec<AlternativeDocument> {
    let point = |of: &AlternativeDocument| Some((of.tpot_seconds?, cost(objective, of)?));
    let mut all: Vec<_> = fleets.iter().filter_map(|of| Some((point(of)?, of))).collect();
    all.sort_by(|((tpot, cost), _), ((other_tpot, other_cost), _)| {
        tpot.total_cmp(other_tpot).then(cost.total_cmp(other_cost))
    });
    let mut front = Vec::new();
    let mut least = f64::INFINITY;
    for ((_, cost), of) in all {
        if cost < least {
            least = cost;
            front.push(of.clone());
        }
    }
    let Some((tpot, own)) = fleets.first().and_then(point) else { return front };
    let same = front.iter().position(|of| cost(objective, of) == Some(own));
    let Some(at) = same else { return front };
    let seconds = |at: usize| front.get(at).and_then(|of: &AlternativeDocument| of.tpot_seconds);
    let is_next = seconds(at + 1).is_none_or(|next| tpot < next);
    if is_next && seconds(at).is_some_and(|least| tpot <= TIE * least) {
        front[at] = fleets[0].clone();
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(n: u64, tpot_ms: u64) -> AlternativeDocument {
        AlternativeDocument {
            name: format!("{n} at {tpot_ms}"),
            n_devices: Some(n),
            requests_per_s: Some(n as f64),
            tpot_seconds: Some(1e-3 * tpot_ms as f64),
            ..AlternativeDocument::default()
        }
    }

    #[test]
    fn no_fleet_of_a_front_beats_another() {
        let mut all: Vec<AlternativeDocument> =
            (0..60).map(|at| fleet((at * 37 + 11) % 41 + 1, (at * 29 + 30) % 53 + 1)).collect();
        all.push(AlternativeDocument { name: "none".to_owned(), ..AlternativeDocument::default() });
        for objective in [Objective::FewestDevices, Objective::Throughput] {
            let front = of(objective, &all);
            let point =
                |of: &AlternativeDocument| (of.tpot_seconds.unwrap(), cost(objective, of).unwrap());
            assert!(front.len() > 1);
            for two in front.windows(2) {
                let ((tpot, cost), (longer, less)) = (point(&two[0]), point(&two[1]));
                assert!(tpot < longer && less < cost, "{two:?}");
            }
            for other in all.iter().filter(|of| of.tpot_seconds.is_some()) {
                let (tpot, cost) = point(other);
                let is_met =
                    |of: &AlternativeDocument| point(of).0 <= TIE * tpot && point(of).1 <= cost;
                assert!(front.iter().any(is_met), "{other:?}");
            }
        }
    }
    #[test]
    fn the_plan_stands_for_a_tie_and_for_no_faster_fleet() {
        let names = |all: &[AlternativeDocument]| -> Vec<String> {
            of(Objective::FewestDevices, all).into_iter().map(|of| of.name).collect()
        };
        assert_eq!(
            names(&[fleet(22, 100), fleet(22, 98), fleet(25, 50)]),
            ["25 at 50", "22 at 100"]
        );
        assert_eq!(
            names(&[fleet(22, 100), fleet(22, 60), fleet(25, 50)]),
            ["25 at 50", "22 at 60"]
        );
        assert_eq!(
            names(&[fleet(22, 100), fleet(22, 98), fleet(20, 99)]),
            ["22 at 98", "20 at 99"]
        );
    }
}
