//! Traces of PyTorch's profiler (Kineto, in the Chrome trace form): matrix products from the shapes
//! of operators and the durations of their kernels, collectives from what NCCL kernels state.
//!
//! A kernel belongs to the operator with the same `External id`. A trace without device kernels
//! was recorded on a processor: there the operators' own durations count.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::measured::{CollectiveOperation, CollectiveRow, Measurements, ProductRow};
use ir::tensor::DType;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::TIMES;
use crate::trace;
use crate::trace::kineto::slug;

/// Seconds of the unit of `dur`.
const MICROSECOND: f64 = 1e-6;
/// Names of operators that are one product, and the first of their two matrix inputs.
const PRODUCTS: [(&str, usize); 4] =
    [("aten::mm", 0), ("aten::addmm", 1), ("aten::bmm", 0), ("aten::baddbmm", 1)];
/// How PyTorch names collectives, and which count of elements is that of the nccl-tests.
const COLLECTIVES: [(&str, CollectiveOperation, &str); 8] = [
    ("allreduce", CollectiveOperation::AllReduce, "In msg nelems"),
    ("_allgather_base", CollectiveOperation::AllGather, "Out msg nelems"),
    ("all_gather_into_tensor_coalesced", CollectiveOperation::AllGather, "Out msg nelems"),
    ("_reduce_scatter_base", CollectiveOperation::ReduceScatter, "In msg nelems"),
    ("reduce_scatter_tensor_coalesced", CollectiveOperation::ReduceScatter, "In msg nelems"),
    ("all_to_all", CollectiveOperation::AllToAll, "In msg nelems"),
    ("all_to_allv", CollectiveOperation::AllToAll, "In msg nelems"),
    ("broadcast", CollectiveOperation::Broadcast, "In msg nelems"),
];
/// One event as recorded.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    cat: Option<String>,
    #[serde(default)]
    name: Value,
    dur: Option<f64>,
    args: Option<Map<String, Value>>,
}

/// A device as recorded.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DeviceProperties {
    #[serde(default)]
    name: String,
}

/// What a trace says of kernels.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) devices: Vec<DeviceProperties>,
    n_events: u64,
    /// Operators that are one product, by external id: event, shape and duration.
    operators: BTreeMap<u64, (u64, Shape, Option<f64>)>,
    /// Durations of kernels by external id; an operator may launch several.
    kernels: BTreeMap<u64, f64>,
    n_kernels: u64,
    collectives: Vec<(u64, Collective, Option<f64>)>,
    /// Products and collectives that the event does not describe.
    n_unclear: u64,
    /// The first event whose duration is no time.
    bad: Option<u64>,
}

#[derive(Debug)]
struct Shape {
    dtype: DType,
    m: u64,
    n: u64,
    k: u64,
}

#[derive(Debug)]
struct Collective {
    operation: CollectiveOperation,
    ranks: u64,
    bytes: u64,
}

impl Trace {
    /// Keeps what an event measures.
    pub(super) fn push(&mut self, event: Event) {
        self.n_events += 1;
        let Event { cat: Some(cat), name: Value::String(name), dur, args: Some(args) } = event
        else {
            return;
        };
        let is_time = |dur: f64| dur.is_finite() && dur >= 0.0;
        match cat.as_str() {
            "cpu_op" => {
                let Some((_, first)) = PRODUCTS.iter().find(|(known, _)| *known == name) else {
                    return;
                };
                match (id(&args), shape(&args, *first)) {
                    (Some(id), Some(shape)) => {
                        self.operators.insert(id, (self.n_events, shape, dur));
                    }
                    _ => self.n_unclear += 1,
                }
            }
            "kernel" => {
                self.n_kernels += 1;
                if dur.is_some_and(|dur| !is_time(dur)) {
                    self.bad.get_or_insert(self.n_events);
                }
                if args.contains_key("Collective name") {
                    match collective(&args) {
                        Some(found) => self.collectives.push((self.n_events, found, dur)),
                        None => self.n_unclear += 1,
                    }
                } else if let (Some(id), Some(dur)) = (id(&args), dur) {
                    *self.kernels.entry(id).or_default() += dur;
                }
            }
            _ => return,
        }
        if dur.is_some_and(|dur| !is_time(dur)) {
            self.bad.get_or_insert(self.n_events);
        }
    }

    /// The rows of the trace, and what was left out. `kind` names the device; else the trace does.
    ///
    /// # Errors
    /// `bad-cell` for a duration that is no time, `empty-table` where nothing can be used.
    pub(super) fn rows(
        self,
        file: &str,
        kind: Option<&str>,
        rows: &mut Measurements,
    ) -> Result<(String, Vec<Diagnostic>), Diagnostic> {
        if let Some(row) = self.bad {
            return Err(Diagnostic::input("bad-cell", "the duration of an event is no time")
                .fact("file", file)
                .fact("row", row)
                .fact("column", "dur"));
        }
        let name = self.devices.first().map_or("cpu", |device| device.name.as_str());
        let device = kind.map_or_else(|| slug(name), str::to_owned);
        let before = rows.n_rows();
        let mut n_idle = 0_u64;
        let is_time = |s: &f64| (TIMES.0..=TIMES.1).contains(s);
        for (id, (_, shape, duration)) in self.operators {
            let dur = if self.n_kernels > 0 { self.kernels.get(&id).copied() } else { duration };
            let Some(time_s) = dur.map(|dur| dur * MICROSECOND).filter(is_time) else {
                n_idle += 1;
                continue;
            };
            let Shape { dtype, m, n, k } = shape;
            rows.products.push(ProductRow { device: device.clone(), dtype, m, n, k, time_s });
        }
        for (_, collective, dur) in self.collectives {
            let Some(time_s) = dur.map(|dur| dur * MICROSECOND).filter(is_time) else {
                n_idle += 1;
                continue;
            };
            rows.collectives.push(CollectiveRow {
                system: device.clone(),
                library: "nccl".to_owned(),
                operation: collective.operation,
                ranks: collective.ranks,
                // The trace does not say; one host is what most traces are of.
                ranks_per_node: collective.ranks,
                bytes: collective.bytes,
                time_s,
            });
        }
        if rows.n_rows() == before {
            let message = format!("`{file}` has no product or collective with shape and duration");
            return Err(Diagnostic::input("empty-table", message)
                .fact("file", file)
                .fact("events", self.n_events)
                .hint("record the trace with `record_shapes=True`"));
        }
        let left_out = self.n_unclear + n_idle;
        let warning = (left_out > 0).then(|| {
            let message = format!(
                "{left_out} products or collectives of the trace state no shape, type or duration \
                 and are left out"
            );
            Diagnostic::warning("unclear-events", message).fact("file", file)
        });
        Ok((device, warning.into_iter().collect()))
    }
}

fn id(args: &Map<String, Value>) -> Option<u64> {
    args.get("External id")?.as_u64()
}

/// The product of an operator whose matrices stand at `first` and after it. Batched products count
/// where the batch is 1.
fn shape(args: &Map<String, Value>, first: usize) -> Option<Shape> {
    let extents = |at: usize| -> Option<Vec<u64>> {
        args.get("Input Dims")?.get(at)?.as_array()?.iter().map(Value::as_u64).collect()
    };
    let (left, right) = (extents(first)?, extents(first + 1)?);
    let (m, k, inner, n) = match (&left[..], &right[..]) {
        ([m, k], [inner, n]) | ([1, m, k], [1, inner, n]) => (*m, *k, *inner, *n),
        _ => return None,
    };
    let dtype = dtype(args.get("Input type")?.get(first)?)?;
    let legal = |extent: &u64| (1..=super::MAX_COUNT).contains(extent);
    (k == inner && [m, n, k].iter().all(legal)).then_some(Shape { dtype, m, n, k })
}

fn dtype(name: &Value) -> Option<DType> {
    trace::dtype(name.as_str()?)
}

fn collective(args: &Map<String, Value>) -> Option<Collective> {
    let name = args.get("Collective name")?.as_str()?;
    let (_, operation, elements) = COLLECTIVES.iter().find(|(known, ..)| *known == name)?;
    let bytes = dtype(args.get("dtype")?)?.size_of(args.get(*elements)?.as_u64()?)?.get();
    let ranks = args.get("Group size")?.as_u64()?;
    let legal = |count: u64| (1..=super::MAX_COUNT).contains(&count);
    (legal(ranks) && legal(bytes)).then_some(Collective { operation: *operation, ranks, bytes })
}
