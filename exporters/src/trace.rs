//! Trace events as Perfetto and `chrome://tracing` read them.
//!
//! A process per host, a thread per device and one per channel, a complete event (`X`) per op and
//! per transfer on each channel that it occupies, a memory counter (`C`) per device, and a flow
//! (`s` to `f`) from each transfer to its first reader. Times are in microseconds with three
//! digits: whole nanoseconds.

pub mod pipeline;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cost_model::ops::judge::memory::curves;
use cost_model::ops::judge::replay::{Span, TransferSpan};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::{ChannelId, DeviceId, OpId};
use ir::op::Phase;
use ir::schedule::Action;
use serde_json::json;

use crate::format::{Export, Source};

/// The trace.
///
/// # Errors
/// None: every plan has a trace.
pub fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    let mut trace = Trace { source, text: String::new() };
    trace.text.push_str("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    trace.names();
    trace.ops();
    trace.transfers();
    trace.memory();
    trace.text.push_str("\n]}\n");
    Ok(documents::json::escaped(trace.text).into())
}

struct Trace<'a> {
    source: &'a Source<'a>,
    text: String,
}

/// Nanoseconds as microseconds, exactly.
fn micros(ns: u64) -> String {
    format!("{}.{:03}", ns / 1000, ns % 1000)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::BackwardInput => "backward-input",
        Phase::BackwardWeight => "backward-weight",
        Phase::Optimizer => "optimizer",
    }
}

impl Trace<'_> {
    fn cluster(&self) -> &Cluster {
        &self.source.problem.cluster
    }

    /// Process of a device: its host, or one process for all devices without a host.
    fn process(&self, device: DeviceId) -> usize {
        let cluster = self.cluster();
        let node = cluster.devices.get(device.index()).and_then(|device| device.node);
        node.map_or(cluster.nodes.len(), |node| node.index())
    }

    fn channel_thread(&self, channel: ChannelId) -> usize {
        self.cluster().n_devices() + channel.index()
    }

    /// Appends `fields`, which are the inside of a JSON object.
    fn event(&mut self, fields: &str) {
        let comma = if self.text.ends_with('[') { "" } else { "," };
        // Writing to a string can't fail.
        let _ = write!(self.text, "{comma}\n{{{fields}}}");
    }

    fn name(&mut self, what: &str, process: usize, thread: usize, name: &str) {
        self.event(&format!(
            "\"name\":\"{what}\",\"ph\":\"M\",\"pid\":{process},\"tid\":{thread},\"args\":{}",
            json!({ "name": name })
        ));
    }

    fn names(&mut self) {
        let source = self.source;
        let cluster = &source.problem.cluster;
        let mut processes: Vec<&str> =
            cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        processes.push(&cluster.name);
        let mut used = vec![false; processes.len()];
        for device in cluster.device_ids() {
            let process = self.process(device);
            if let (Some(first @ false), Some(name)) =
                (used.get_mut(process), processes.get(process))
            {
                *first = true;
                self.name("process_name", process, 0, name);
            }
            let name = &cluster.devices[device.index()].name;
            self.name("thread_name", process, device.index(), name);
            self.sort_index(process, device.index());
        }
        let mut homes: BTreeMap<ChannelId, DeviceId> = BTreeMap::new();
        for sent in &source.timeline.transfers {
            for (channel, device) in self.channels(sent) {
                homes.entry(channel).or_insert(device);
            }
        }
        for (channel, device) in homes {
            let Some(entry) = cluster.links.channels.get(channel.index()) else {
                continue;
            };
            let (process, thread) = (self.channel_process(device), self.channel_thread(channel));
            self.name("thread_name", process, thread, &entry.name);
            self.sort_index(process, thread);
        }
    }

    fn sort_index(&mut self, process: usize, thread: usize) {
        self.event(&format!(
            "\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":{process},\"tid\":{thread},\
             \"args\":{{\"sort_index\":{thread}}}"
        ));
    }

    /// Devices that share a channel share a host too, so any of them names the process.
    fn channel_process(&self, device: DeviceId) -> usize {
        self.process(device)
    }

    /// The channels that a transfer occupies, with the device at that end.
    fn channels(&self, sent: &TransferSpan) -> Vec<(ChannelId, DeviceId)> {
        let to = sent.transfer.to;
        let Some(route) = self.cluster().route(sent.from, to) else {
            return Vec::new();
        };
        let mut channels = vec![(route.send, sent.from)];
        if route.receive != route.send {
            channels.push((route.receive, to));
        }
        channels
    }

    fn slice(
        &mut self,
        name: &str,
        category: &str,
        span: Span,
        place: (usize, usize),
        args: &serde_json::Value,
    ) {
        self.event(&format!(
            "\"name\":{},\"cat\":\"{category}\",\"ph\":\"X\",\"ts\":{},\"dur\":{},\"pid\":{},\
             \"tid\":{},\"args\":{args}",
            json!(name),
            micros(span.start),
            micros(span.end.saturating_sub(span.start)),
            place.0,
            place.1,
        ));
    }

    fn ops(&mut self) {
        let source = self.source;
        for (index, actions) in source.plan.schedule.actions.iter().enumerate() {
            let place = (self.process(DeviceId::new(index)), index);
            for Action::Op(op) in actions {
                let Some(span) = source.timeline.ops.get(op.index()).copied().flatten() else {
                    continue;
                };
                let Some(node) = source.problem.graph.ops.get(op.index()) else {
                    continue;
                };
                let args = match &node.module {
                    Some(module) => json!({ "type": node.op_type, "module": module }),
                    None => json!({ "type": node.op_type }),
                };
                self.slice(&node.name, phase(node.phase), span, place, &args);
            }
        }
    }

    fn transfers(&mut self) {
        let source = self.source;
        for (id, sent) in source.timeline.transfers.iter().enumerate() {
            let tensor = sent.transfer.tensor;
            let Some(node) = source.problem.graph.tensors.get(tensor.index()) else {
                continue;
            };
            let args = json!({ "bytes": node.bytes.get() });
            let channels = self.channels(sent);
            for (channel, device) in &channels {
                let place = (self.channel_process(*device), self.channel_thread(*channel));
                self.slice(&node.name, "transfer", sent.span, place, &args);
            }
            let (Some((channel, device)), Some(reader)) =
                (channels.first(), self.first_reader(sent))
            else {
                continue;
            };
            let from = (self.channel_process(*device), self.channel_thread(*channel));
            let to = (self.process(sent.transfer.to), sent.transfer.to.index());
            let flow = [("s", sent.span.start, from, ""), ("f", reader, to, ",\"bp\":\"e\"")];
            for (phase, at, (process, thread), binding) in flow {
                self.event(&format!(
                    "\"name\":\"transfer\",\"cat\":\"transfer\",\"ph\":\"{phase}\",\"id\":{id},\
                     \"ts\":{},\"pid\":{process},\"tid\":{thread}{binding}",
                    micros(at)
                ));
            }
        }
    }

    /// When the first reader at the destination starts.
    fn first_reader(&self, sent: &TransferSpan) -> Option<u64> {
        let starts = |op: &OpId| {
            (self.source.plan.placement.of(*op) == Some(sent.transfer.to))
                .then(|| self.source.timeline.ops.get(op.index()).copied().flatten())?
                .map(|span| span.start)
        };
        self.source.problem.consumers(sent.transfer.tensor).iter().filter_map(starts).min()
    }

    fn memory(&mut self) {
        let Source { problem, plan, timeline, .. } = self.source;
        for (index, curve) in curves(problem, plan, timeline).into_iter().enumerate() {
            let Some(device) = self.cluster().devices.get(index) else {
                continue;
            };
            let name = json!(format!("memory {}", device.name));
            let process = self.process(DeviceId::new(index));
            for level in curve {
                self.event(&format!(
                    "\"name\":{name},\"ph\":\"C\",\"ts\":{},\"pid\":{process},\
                     \"args\":{{\"bytes\":{}}}",
                    micros(level.at),
                    level.bytes
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample::{Case, EVIL};
    use serde_json::Value;

    fn events(case: &Case) -> Vec<Value> {
        let bytes = export(&case.source()).unwrap().bytes;
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        value["traceEvents"].as_array().unwrap().clone()
    }

    fn ns(value: &Value) -> u64 {
        (value.as_f64().unwrap() * 1000.0).round() as u64
    }

    #[test]
    fn slices_of_a_thread_are_disjoint_and_sum_to_the_timeline() {
        for case in [Case::pair(), Case::chain(9), Case::blocks(&[0, 1, 1])] {
            let mut threads: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
            for event in events(&case).iter().filter(|event| event["ph"] == "X") {
                let start = ns(&event["ts"]);
                let slices = threads.entry(event["tid"].as_u64().unwrap()).or_default();
                slices.push((start, start + ns(&event["dur"])));
            }
            let n_devices = case.problem.cluster.n_devices();
            for (thread, slices) in &mut threads {
                slices.sort_unstable();
                assert!(slices.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{thread}");
                let total: u64 = slices.iter().map(|(start, end)| end - start).sum();
                let thread = *thread as usize;
                if thread < n_devices {
                    assert_eq!(total, case.report.devices[thread].compute_ns);
                } else {
                    let channel = thread - n_devices;
                    let mut links = case.report.links.iter();
                    let link = links.find(|link| link.channel.index() == channel).unwrap();
                    assert_eq!(total, link.busy_ns);
                }
            }
            let end = threads.values().flatten().map(|slice| slice.1).max();
            assert_eq!(end, Some(case.timeline.step_time.get()));
        }
    }

    #[test]
    fn flows_come_in_pairs_and_end_inside_a_slice() {
        let case = Case::pair();
        let events = events(&case);
        let by = |phase: &str| events.iter().filter(|e| e["ph"] == phase).collect::<Vec<_>>();
        let (starts, ends) = (by("s"), by("f"));
        assert_eq!(starts.len(), case.timeline.transfers.len());
        assert!(!starts.is_empty() && starts.len() == ends.len());
        for (start, end) in starts.iter().zip(ends) {
            assert_eq!(start["id"], end["id"]);
            assert_eq!(end["bp"], "e");
            assert!(ns(&start["ts"]) <= ns(&end["ts"]));
            for flow in [start, &end] {
                assert!(by("X").iter().any(|x| x["tid"] == flow["tid"]
                    && ns(&x["ts"]) <= ns(&flow["ts"])
                    && ns(&flow["ts"]) < ns(&x["ts"]) + ns(&x["dur"])));
            }
        }
    }

    #[test]
    fn names_come_through_unharmed() {
        let case = Case::pair();
        assert!(events(&case).iter().any(|event| event["name"] == EVIL));
        let text = String::from_utf8(export(&case.source()).unwrap().bytes).unwrap();
        assert!(!text.contains(|c| documents::json::is_hidden(c) && c != '\n'));
    }

    #[test]
    fn microseconds_are_exact() {
        assert_eq!(micros(1_234_567), "1234.567");
        assert_eq!(micros(5), "0.005");
    }
}
