//! Windows of the step against its report.

use cost_model::runs::judge::judge;
use cost_model::runs::judge::memory::changes;
use cost_model::runs::judge::windows::{Doing, levels, parts, shares};

use crate::laws::sharing;
use crate::random::{Random, costs, grid};

/// Windows of a rank add up: shares to their length and to the report, levels to the peak.
#[test]
fn windows_add_up_to_the_report() {
    let mut random = Random(5);
    for round in 0..300 {
        let costs = costs(&mut random, u64::from(round % 4 > 0), sharing(round));
        let grid = grid(&mut random, &costs);
        let judged = judge(&costs, &grid).unwrap();
        let step = judged.report.step_time.0;
        for (rank, report) in judged.report.ranks.iter().enumerate() {
            let parts = parts(&judged, rank);
            let mut at = 0;
            for part in &parts {
                assert_eq!(part.span.start, at, "round {round}");
                at = part.span.end;
            }
            assert_eq!(at, step);
            let n = 1 + random.below(40) as usize;
            let shares = shares(&parts, step, n);
            let begin = |window: usize| step * window as u64 / n as u64;
            let lengths = (0..n).map(|window| begin(window + 1) - begin(window));
            assert!(
                shares.iter().map(|window| window.iter().sum::<u64>()).eq(lengths),
                "round {round}"
            );
            let sum =
                |doing: Doing| shares.iter().map(|window| window[doing as usize]).sum::<u64>();
            assert_eq!(sum(Doing::Bubble), report.idle_ns);
            assert_eq!(sum(Doing::Communication), report.communication_ns);
            let all: u64 = Doing::ALL.into_iter().map(sum).sum();
            assert_eq!(all - report.idle_ns - report.communication_ns, report.compute_ns);
            let changes = changes(&judged.lowered, &judged.timeline, rank);
            let levels = levels(&changes, step, n);
            let most = levels.iter().map(|window| window.iter().sum::<u64>()).max();
            assert_eq!(most, Some(report.peak.bytes), "round {round}\n{grid}");
        }
    }
}
