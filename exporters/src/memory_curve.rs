//! Bytes on each device over time, for pictures. The peaks of the report are the judge's
//! (`docs/conventions.md`, M1, M2 and M4); a test holds this curve against them.

use std::collections::BTreeMap;

use cost_model::judge::Span;
use ir::id::{DeviceId, OpId, TensorId};
use ir::tensor::Role;

use crate::Source;

/// Bytes from an instant (nanoseconds) on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

/// The levels of each device, by id, in order of time; the first is at 0.
pub(crate) fn curves(source: &Source<'_>) -> Vec<Vec<Level>> {
    let mut changes = Changes {
        source,
        end: source.timeline.step_time.get(),
        by_device: vec![BTreeMap::new(); source.problem.cluster.n_devices()],
    };
    changes.collect();
    changes.by_device.into_iter().map(levels).collect()
}

fn levels(changes: BTreeMap<u64, i128>) -> Vec<Level> {
    let mut level = 0i128;
    let mut levels = vec![Level { at: 0, bytes: 0 }];
    for (at, change) in changes {
        level += change;
        let bytes = u64::try_from(level.max(0)).unwrap_or(u64::MAX);
        match levels.last_mut() {
            Some(last) if last.at == at => last.bytes = bytes,
            _ => levels.push(Level { at, bytes }),
        }
    }
    levels
}

struct Changes<'a> {
    source: &'a Source<'a>,
    end: u64,
    by_device: Vec<BTreeMap<u64, i128>>,
}

impl Changes<'_> {
    fn hold(&mut self, device: DeviceId, bytes: u64, from: u64, to: u64) {
        let Some(changes) = self.by_device.get_mut(device.index()) else {
            return;
        };
        if bytes == 0 || from >= to {
            return;
        }
        *changes.entry(from).or_default() += i128::from(bytes);
        if to < self.end {
            *changes.entry(to).or_default() -= i128::from(bytes);
        }
    }

    fn placed(&self, op: OpId) -> Option<(DeviceId, Span)> {
        let span = self.source.timeline.ops.get(op.index()).copied().flatten()?;
        Some((self.source.plan.placement.of(op)?, span))
    }

    fn collect(&mut self) {
        let problem = self.source.problem;
        let mut sent: BTreeMap<TensorId, Vec<(DeviceId, Span)>> = BTreeMap::new();
        for transfer in &self.source.timeline.transfers {
            let to = (transfer.transfer.to, transfer.span);
            sent.entry(transfer.transfer.tensor).or_default().push(to);
        }
        for tensor in (0..problem.n_tensors()).map(TensorId::new) {
            let mut last: BTreeMap<DeviceId, u64> = BTreeMap::new();
            for (device, span) in problem.consumers(tensor).iter().filter_map(|op| self.placed(*op))
            {
                let end = last.entry(device).or_default();
                *end = (*end).max(span.end);
            }
            let bytes = problem.bytes(tensor);
            let transfers = sent.get(&tensor).map_or(&[][..], Vec::as_slice);
            match problem.producer(tensor) {
                Some(op) => self.output(op, tensor, &last, transfers),
                None => match problem.graph.tensor(tensor).role {
                    Role::Parameter => last.keys().for_each(|device| {
                        self.hold(*device, problem.persistent_bytes(tensor), 0, u64::MAX);
                    }),
                    Role::Input => {
                        last.iter().for_each(|(device, end)| self.hold(*device, bytes, 0, *end));
                    }
                    Role::Activation => {}
                },
            }
        }
        for &op in &problem.actions {
            if let Some((device, span)) = self.placed(op) {
                self.hold(device, problem.temporary(op), span.start, span.end);
            }
        }
    }

    fn output(
        &mut self,
        op: OpId,
        tensor: TensorId,
        last: &BTreeMap<DeviceId, u64>,
        transfers: &[(DeviceId, Span)],
    ) {
        let problem = self.source.problem;
        let bytes = problem.bytes(tensor);
        let Some((home, span)) = self.placed(op) else {
            return;
        };
        let mut end = last.get(&home).copied().unwrap_or(0).max(span.end);
        for (to, sent) in transfers {
            end = end.max(sent.end);
            self.hold(*to, bytes, sent.start, last.get(to).copied().unwrap_or(sent.end));
        }
        if problem.is_output(tensor) {
            end = u64::MAX;
        }
        self.hold(home, bytes, span.start, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Case;

    #[test]
    fn the_curve_peaks_where_the_judge_says() {
        for case in [Case::pair(), Case::chain(7), Case::blocks(&[0, 1, 0])] {
            let source = case.source();
            for (curve, device) in curves(&source).iter().zip(&source.report.devices) {
                let most = curve.iter().map(|level| level.bytes).max();
                assert_eq!(most, Some(device.peak.bytes));
                let first = curve.iter().find(|level| Some(level.bytes) == most);
                assert_eq!(first.map(|level| level.at), Some(device.peak.at));
            }
        }
    }
}
