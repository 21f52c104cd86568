//! Where an op runs, why it takes as long as it does, and what moving it would cost.

use cost_model::explain::Explanation;
use cost_model::kernels::price::kind::KindCosts;
use cost_model::ops::judge::replay::Span;
use cost_model::ops::problem::Problem;
use cost_model::ops::workload::fusion::pass::priced;
use documents::quantity::Duration;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::op::{Kernel, Work};
use ir::units::{Bytes, Nanos};
use serde_json::{Value, json};

use super::formula::{self, Sources};
use super::{device_name, position_of, transfer};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::kinds::placement::alternatives::{self, Alternative};
use crate::kinds::placement::replay::Replayed;

/// A tensor that reaches the op, or leaves it.
struct Flow {
    tensor: String,
    bytes: u64,
    from: Option<DeviceId>,
    to: DeviceId,
    /// When it travels; `None` where it stays on the device.
    span: Option<Span>,
    /// Why that takes as long.
    why: Option<Explanation>,
}

/// Why an op runs where and when it does, and why it takes as long.
pub(super) fn explain(
    replayed: &Replayed,
    name: &str,
    rows: Rows,
    page: &Page,
) -> Result<Value, Diagnostic> {
    let problem = &replayed.on.loaded.problem;
    let names = problem.graph.ops.iter().map(|op| op.name.as_str());
    let op = OpId::new(position_of("unknown-op", "op", name, names)?);
    let Some((device, span)) = placed(replayed, op) else {
        return Err(Diagnostic::usage("is-a-view", format!("op `{name}` is a view"))
            .hint("it renames a tensor and runs nowhere; ask for the op that reads or writes it"));
    };
    let (inputs, outputs) = (inputs(replayed, op, device), outputs(replayed, op, device));
    let reasons = reasons(replayed, op, device, span, &inputs);
    let others = alternatives::of(replayed, op, device, rows);
    let why = cost_of(replayed, op, device);
    let mut sources = Sources::default();
    text(replayed, (op, device, span), &reasons, page);
    if let Some(why) = &why {
        formula::print(why, &problem.cluster.kind_of(device).name, &mut sources, page);
    }
    flows("receives", replayed, &inputs, &mut sources, page);
    flows("sends", replayed, &outputs, &mut sources, page);
    print_alternatives(problem, replayed, &others, rows, page);
    page.text("\n");
    sources.print(page);
    let node = problem.graph.op(op);
    Ok(json!({
        "op": node.name,
        "op_type": node.op_type,
        "module": node.module,
        "device": device_name(replayed, device),
        "start": Duration::from_ns(span.start),
        "end": Duration::from_ns(span.end),
        "cost": cost(problem, op),
        "time": why.as_ref().map(formula::document),
        "why": reasons,
        "inputs": inputs.iter().map(|f| flow(replayed, f)).collect::<Vec<_>>(),
        "outputs": outputs.iter().map(|f| flow(replayed, f)).collect::<Vec<_>>(),
        "step_time": Duration::from_ns(replayed.timeline.step_time.get()),
        "elsewhere": others.iter().map(|a| a.document(problem)).collect::<Vec<_>>(),
    }))
}

/// Why the op takes as long as it does on its device.
fn cost_of(replayed: &Replayed, op: OpId, device: DeviceId) -> Option<Explanation> {
    let problem = &replayed.on.loaded.problem;
    let mode = problem.workload.mode;
    let kind = problem.cluster.kind_of(device);
    let fused = priced(&problem.graph, mode);
    let costs =
        KindCosts::of_workload(&problem.cluster, kind, &replayed.on.loaded.profile, (&fused, mode));
    let graph = if costs.step().is_some() { &*fused } else { &problem.graph };
    let node = graph.op(op);
    match &node.work {
        Work::View => None,
        Work::Given(_) => Some(cost_model::explain::given(Nanos(problem.time_ns(op, device)))),
        Work::Kernel(kernel) => {
            if let Some(time) = kernel.measured.get(&kind.name) {
                return Some(cost_model::explain::recorded(*time));
            }
            cost_model::explain::op((op, node), kernel, &costs).ok()
        }
    }
}

fn placed(replayed: &Replayed, op: OpId) -> Option<(DeviceId, Span)> {
    let device = replayed.on.plan.placement.of(op)?;
    Some((device, replayed.timeline.ops.get(op.index()).copied().flatten()?))
}

fn name(problem: &Problem, device: DeviceId) -> &str {
    &problem.cluster.devices[device.index()].name
}

fn inputs(replayed: &Replayed, op: OpId, device: DeviceId) -> Vec<Flow> {
    let problem = &replayed.on.loaded.problem;
    let flow = |tensor: &ir::id::TensorId| {
        let from = problem.producer(*tensor).and_then(|p| replayed.on.plan.placement.of(p));
        let sent = replayed.timeline.transfers.iter();
        let span = sent
            .filter(|t| t.transfer.tensor == *tensor && t.transfer.to == device)
            .map(|t| t.span)
            .next();
        let why = span.and_then(|_| transfer::why(replayed, *tensor, from?, device));
        Flow {
            tensor: problem.graph.tensor(*tensor).name.clone(),
            bytes: problem.bytes(*tensor),
            from,
            to: device,
            span,
            why,
        }
    };
    problem.inputs(op).iter().map(flow).collect()
}

fn outputs(replayed: &Replayed, op: OpId, device: DeviceId) -> Vec<Flow> {
    let problem = &replayed.on.loaded.problem;
    let outputs = problem.outputs(op);
    let sent = replayed.timeline.transfers.iter();
    sent.filter(|t| outputs.contains(&t.transfer.tensor))
        .map(|t| Flow {
            tensor: problem.graph.tensor(t.transfer.tensor).name.clone(),
            bytes: problem.bytes(t.transfer.tensor),
            from: Some(device),
            to: t.transfer.to,
            span: Some(t.span),
            why: transfer::why(replayed, t.transfer.tensor, t.from, t.transfer.to),
        })
        .collect()
}

/// What decided where and when: constraints on the device, then whatever ended last before it.
fn reasons(
    replayed: &Replayed,
    op: OpId,
    device: DeviceId,
    span: Span,
    inputs: &[Flow],
) -> Vec<String> {
    let problem = &replayed.on.loaded.problem;
    let mut reasons = Vec::new();
    let allowed: Vec<&str> = problem.placeable(op).iter().map(|d| name(problem, d)).collect();
    if allowed.len() < problem.cluster.n_devices() {
        reasons.push(format!("it can run on {} only", allowed.join(", ")));
    }
    if let Some(group) = problem.group_of(op) {
        let n = problem.groups[group.index()].len();
        reasons.push(format!("it shares its device with the {n} ops of its colocation group"));
    }
    if span.start == 0 {
        reasons.push("nothing comes before it".to_owned());
        return reasons;
    }
    for input in inputs.iter().filter(|f| f.span.is_some_and(|s| s.end == span.start)) {
        reasons.push(format!("it starts when `{}` has arrived", input.tensor));
    }
    let ends_now = |other: &OpId| {
        replayed.timeline.ops[other.index()].is_some_and(|s| s.end == span.start)
            && replayed.on.plan.placement.of(*other) == Some(device)
            && *other != op
    };
    if let Some(other) = problem.actions.iter().find(|other| ends_now(other)) {
        let name = &problem.graph.op(*other).name;
        reasons.push(format!("it starts when op `{name}` on the same device has ended"));
    }
    if reasons.iter().all(|reason| !reason.starts_with("it starts")) {
        reasons.push("the plan makes it wait, for memory".to_owned());
    }
    reasons
}

fn text(
    replayed: &Replayed,
    (op, device, span): (OpId, DeviceId, Span),
    reasons: &[String],
    page: &Page,
) {
    let problem = &replayed.on.loaded.problem;
    let node = problem.graph.op(op);
    page.line(&format!("{} ({}) on {}", node.name, node.op_type, name(problem, device)));
    page.line(&format!(
        "  {} from {} to {} of {}",
        Nanos(span.end - span.start),
        Nanos(span.start),
        Nanos(span.end),
        replayed.timeline.step_time
    ));
    if let Work::Kernel(kernel) = &node.work {
        page.line(&format!("  {}", work(kernel)));
    }
    let parameters = problem.parameters(op).iter().map(|t| Bytes(problem.persistent_bytes(*t)));
    let parameters: Bytes = parameters.sum();
    if parameters > Bytes::ZERO {
        page.line(&format!("  holds {parameters} of parameters and their state all step long"));
    }
    for reason in reasons {
        page.line(&format!("  {reason}"));
    }
}

fn work(kernel: &Kernel) -> String {
    let products: Vec<String> = kernel
        .products
        .iter()
        .take(3)
        .map(|p| match p.count {
            1 => format!("{} x {} x {}", p.m, p.k, p.n),
            n => format!("{n} times {} x {} x {}", p.m, p.k, p.n),
        })
        .collect();
    let more = match kernel.products.len() {
        n if n > 3 => format!(" and {} more", n - 3),
        _ => String::new(),
    };
    let products = match products.is_empty() {
        true => "no matrix product".to_owned(),
        false => format!("product {}{more} ({})", products.join(", "), kernel.flops()),
    };
    let dtype = kernel.dtype.map_or(String::new(), |d| format!(" in {}", d.name()));
    format!(
        "{products}{dtype}, reads {}, writes {}, scratch {}",
        kernel.bytes_read, kernel.bytes_written, kernel.temporary
    )
}

fn cost(problem: &Problem, op: OpId) -> Value {
    let times: serde_json::Map<String, Value> = problem
        .cluster
        .kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| (kind.name.clone(), problem.time_on_kind_ns(op, at)))
        .filter(|(_, time)| *time != cost_model::ops::problem::UNSUPPORTED)
        .map(|(kind, time)| (kind, json!(Duration::from_ns(time))))
        .collect();
    let (flops, read, written) = match &problem.graph.op(op).work {
        Work::Kernel(k) => (k.flops().get(), Some(k.bytes_read.get()), Some(k.bytes_written.get())),
        Work::View | Work::Given(_) => (0, None, None),
    };
    json!({
        "by_device_kind": times,
        "flops": flops,
        "read_bytes": read,
        "written_bytes": written,
        "temporary_bytes": problem.temporary(op),
    })
}

fn flows(
    title: &'static str,
    replayed: &Replayed,
    flows: &[Flow],
    sources: &mut Sources,
    page: &Page,
) {
    if flows.is_empty() {
        return;
    }
    let columns = [
        Column::Name(title),
        Column::Number("size"),
        Column::Name("from"),
        Column::Name("to"),
        Column::Number("takes"),
        Column::Number("until"),
    ];
    let row = |flow: &Flow| {
        vec![
            flow.tensor.clone(),
            Bytes(flow.bytes).to_string(),
            flow.from.map_or("host", |device| device_name(replayed, device)).to_owned(),
            device_name(replayed, flow.to).to_owned(),
            flow.span.map_or("stays".to_owned(), |s| Nanos(s.end - s.start).to_string()),
            flow.span.map_or(String::new(), |s| Nanos(s.end).to_string()),
        ]
    };
    page.text("\n");
    page.table(&columns, flows.iter().map(row).collect());
    for flow in flows {
        let (Some(from), Some(why)) = (flow.from, &flow.why) else { continue };
        let link = transfer::link(replayed, from, flow.to);
        let sent = why.formulas.iter().map(|f| f.text.as_str()).collect::<Vec<_>>().join(", ");
        let marks = sources.marks(&why.figures);
        page.line(&format!(
            "  {}: {} = {} ({sent}) over {link} {marks}",
            flow.tensor, why.total, why.sum
        ));
    }
}

fn flow(replayed: &Replayed, flow: &Flow) -> Value {
    json!({
        "tensor": flow.tensor,
        "bytes": flow.bytes,
        "from": flow.from.map(|device| device_name(replayed, device)),
        "to": device_name(replayed, flow.to),
        "start": flow.span.map(|s| Duration::from_ns(s.start)),
        "end": flow.span.map(|s| Duration::from_ns(s.end)),
        "time": flow.why.as_ref().map(formula::document),
    })
}

fn print_alternatives(
    problem: &Problem,
    replayed: &Replayed,
    others: &[Alternative],
    rows: Rows,
    page: &Page,
) {
    if problem.cluster.n_devices() < 2 {
        return;
    }
    let columns = [
        Column::Name("moved to"),
        Column::Number("it takes"),
        Column::Number("step time"),
        Column::Number("change"),
        Column::Text(""),
    ];
    let step = replayed.timeline.step_time;
    let lines = others.iter().map(|other| other.row(problem, step)).collect();
    page.text("\n");
    page.table(&columns, lines);
    let all = problem.cluster.n_devices() - 1;
    if rows == Rows::Few && others.len() < all {
        page.line(&format!("... and {} more (--all)", all - others.len()));
    }
}
