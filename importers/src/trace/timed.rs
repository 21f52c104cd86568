//! A profile read as a trace of its own: calls with shapes, nested by time.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Kernel, Op, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;
use serde_json::Value;

use super::calls::{Call, Operand, Scope, Shared, dtype};
use super::execution::{MAX_NODES, WITH_PLAIN};
use super::flow::Flow;
use super::forest::{Forest, Unit, of_backend};
use super::kineto::{self, Category, Event, Profile, Span, nanoseconds};
use super::steps;
use super::work;
use crate::aten::Effect;
use crate::source::{self, Source};

/// Memory of a result, which a profile does not name.
const RESULT: u64 = 1 << 40;

/// A call and when it ran.
struct Timed {
    call: Call,
    span: Span,
}

/// Reads the calls of one step, with their times in place of those of the whole profile; of several
/// steps that the profiler marked, the median of the complete ones. Says which it is, and what is
/// left out.
///
/// # Errors
/// `too-many-nodes`, and those of [`steps::pick`] and [`kineto::each`].
pub(super) fn read(
    source: &dyn Source,
    mut profile: Profile,
) -> Result<(Vec<Call>, Profile, steps::Read), Diagnostic> {
    let read = steps::pick(&profile)?;
    profile.spans = Vec::new();
    let mut shared = Shared::default();
    let mut timed: Vec<Timed> = Vec::new();
    kineto::each::<Value>(source::text(source)?, &mut |_, event| {
        let Some(entry) = self::timed(&event, &mut profile, &mut shared) else { return Ok(()) };
        if read.has(&entry.span) {
            timed.push(entry);
        }
        if timed.len() as u64 > MAX_NODES {
            let what = format!("a step of the trace has more than {MAX_NODES} calls");
            return Err(Diagnostic::input("too-many-nodes", what)
                .hint("record fewer steps: torch.profiler.schedule(active=1)"));
        }
        Ok(())
    })?;
    if read.is_part() {
        let known: HashSet<u64> = timed.iter().map(|entry| entry.span.external).collect();
        profile.runs.retain(|run| run.external != 0 && known.contains(&run.external));
    }
    profile.spans = nest(&mut timed);
    Ok((timed.into_iter().map(|entry| entry.call).collect(), profile, read))
}

/// The call of an event, if it is one.
fn timed(event: &Event<'_, Value>, profile: &mut Profile, shared: &mut Shared) -> Option<Timed> {
    let (name, cat) = (event.name.text(), event.cat.as_deref()?);
    let message = of_backend(name).filter(|_| !profile.has_collectives);
    let scope = match Category::of(cat) {
        Some(Category::Annotation) if message.is_some() => Scope::Operator,
        Some(Category::Operator) => Scope::Operator,
        Some(Category::Annotation) => Scope::Annotation,
        None if cat == "python_function" && name.starts_with("nn.Module: ") => Scope::Annotation,
        _ => return None,
    };
    let (ts, duration) = (event.ts?, event.dur?);
    let args = event.args.as_ref();
    let is_backward = scope == Scope::Operator
        && !name.contains("::")
        && args.is_some_and(|args| args.forward_thread.is_some_and(|thread| thread != 0));
    let thread = profile.thread(&event.pid, &event.tid);
    let called = message.map_or(name.to_owned(), |message| format!("c10d::{message}"));
    let call = Call {
        name: shared.text(&called),
        sequence: args.and_then(|args| u64::try_from(args.sequence?).ok()),
        scope: if is_backward { Scope::Backward } else { scope },
        // Threads of autograd name those of PyTorch, which a profile does not number alike.
        thread: 0,
        forward_thread: 0,
        inputs: args
            .map(|args| operands(args.dims.as_ref(), args.types.as_ref()))
            .unwrap_or_default(),
        plain: args.and_then(|args| plain(name, args.concrete.as_ref())).unwrap_or_default(),
        ..Call::default()
    };
    let span = Span {
        start: nanoseconds(ts),
        duration: nanoseconds(duration).unsigned_abs(),
        record: 0,
        external: args.and_then(|args| args.external).unwrap_or(0),
        thread,
        name: kineto::mark(&called),
        is_operator: scope == Scope::Operator,
    };
    Some(Timed { call, span })
}

/// The tensors among an event's arguments.
fn operands(dims: Option<&Value>, types: Option<&Value>) -> Vec<Operand> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut found = Vec::new();
    for (position, (dims, of)) in list(dims).iter().zip(list(types)).enumerate() {
        let of = of.as_str().unwrap_or_default();
        let members = if of == "TensorList" { list(Some(dims)) } else { vec![dims.clone()] };
        let element = if of == "TensorList" { Some(DType::F32) } else { dtype(of) };
        let Some(element) = element else { continue };
        for (member, dims) in members.iter().enumerate() {
            let storage = (position * 1_000 + member + 1) as u64;
            found.extend(operand(
                position,
                storage,
                element,
                list(Some(dims)).iter().map(Value::as_u64).collect::<Option<_>>(),
            ));
        }
    }
    found
}

fn operand(
    position: usize,
    storage: u64,
    dtype: DType,
    shape: Option<Vec<u64>>,
) -> Option<Operand> {
    let shape = shape?;
    let elements = shape.iter().try_fold(1u64, |volume, extent| volume.checked_mul(*extent))?;
    dtype.size_of(elements)?;
    Some(Operand { position, tensor: storage, storage, offset: 0, elements, dtype, shape })
}

/// The plain arguments of operators whose work depends on them.
fn plain(name: &str, concrete: Option<&Value>) -> Option<Vec<(usize, String)>> {
    let concrete = concrete.filter(|_| WITH_PLAIN.contains(&name))?.as_array()?;
    let texts = concrete.iter().enumerate();
    Some(texts.filter_map(|(at, text)| Some((at, text.as_str()?.to_owned()))).collect())
}

/// Numbers calls by their starts, and puts each into the call of its thread that it is inside of.
fn nest(timed: &mut [Timed]) -> Vec<Span> {
    timed.sort_by_key(|entry| (entry.span.start, Reverse(entry.span.duration), entry.span.thread));
    let mut around: HashMap<u32, Vec<(i64, u64)>> = HashMap::new();
    for (at, entry) in timed.iter_mut().enumerate() {
        let id = at as u64 + 1;
        let stack = around.entry(entry.span.thread).or_default();
        while stack
            .last()
            .is_some_and(|(end, _)| *end <= entry.span.start && *end < entry.span.end())
        {
            stack.pop();
        }
        entry.call.id = id;
        entry.call.record = id;
        entry.call.parent = stack.last().map_or(id, |(_, parent)| *parent);
        entry.span.record = id;
        stack.push((entry.span.end(), id));
    }
    timed.iter().map(|entry| entry.span).collect()
}

/// Ops one after another, as a profile does not say what they wait for.
pub(super) fn chain(forest: &Forest, units: &[Unit], name: &str) -> Flow {
    let (phases, modules) = (forest.phases(), forest.modules());
    let mut graph = Graph { name: name.to_owned(), ..Graph::default() };
    let mut of = Vec::new();
    let mut last: Option<TensorId> = None;
    for (position, unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_view) {
        let call = &forest.calls[unit.call];
        let (kernel, result) = work_of(call, unit);
        let name = format!("{}#{}", call.short_name(), call.id);
        let tensor = TensorId::new(graph.tensors.len());
        graph.tensors.push(Tensor {
            name: format!("{name}:0"),
            dtype: result.dtype,
            shape: result.shape.clone(),
            bytes: Bytes(result.bytes()),
            state_bytes: Bytes::ZERO,
            role: Role::Activation,
            trainable: false,
        });
        of.push(position);
        graph.ops.push(Op {
            name,
            op_type: work::op_type(call, unit),
            module: modules[unit.call].clone(),
            phase: phases[unit.call],
            inputs: last.into_iter().collect(),
            parameters: Vec::new(),
            outputs: vec![tensor],
            work: Work::Kernel(kernel),
            group: None,
            splits: ir::op::Splits::default(),
        });
        last = Some(tensor);
    }
    graph.outputs.extend(last);
    Flow { graph, units: of, is_trained: true, collectives: Vec::new() }
}

/// A convolution with its result: `(in + 2 padding - dilation (kernel - 1) - 1) / stride + 1` along
/// each axis. `None` for anything else.
fn convolved(call: &Call) -> Option<Call> {
    if !["conv1d", "conv2d", "conv3d", "convolution"].contains(&call.short_name()) {
        return None;
    }
    let [input, weight] =
        [0, 1].map(|at| call.inputs.iter().find(|operand| operand.position == at));
    let (input, weight) = (input?, weight?);
    let list = |at: usize, default: u64| -> Vec<u64> {
        let text = call.plain.iter().find(|(position, _)| *position == at);
        let numbers = text.map_or("", |(_, text)| text.trim_matches(['[', ']'])).split(',');
        let numbers: Vec<u64> = numbers.filter_map(|number| number.trim().parse().ok()).collect();
        if numbers.is_empty() { vec![default] } else { numbers }
    };
    let (stride, padding, dilation) = (list(3, 1), list(4, 0), list(5, 1));
    let at = |list: &[u64], axis: usize| list.get(axis).or(list.first()).copied().unwrap_or(1);
    let (&[batch, _, ref extents @ ..], &[channels, _, ref taps @ ..]) =
        (input.shape.as_slice(), weight.shape.as_slice())
    else {
        return None;
    };
    let mut shape = vec![batch, channels];
    for (axis, (extent, taps)) in extents.iter().zip(taps).enumerate() {
        let reach = at(&dilation, axis).checked_mul(taps.checked_sub(1)?)?.checked_add(1)?;
        let padded = at(&padding, axis).checked_mul(2)?.checked_add(*extent)?;
        shape.push(padded.checked_sub(reach)?.checked_div(at(&stride, axis))?.checked_add(1)?);
    }
    let outputs = vec![operand(0, RESULT, input.dtype, Some(shape))?];
    Some(Call { outputs, ..call.clone() })
}

/// The work of a call whose result is not recorded: that of a product has its rows and columns, any
/// other the extents of its greatest argument.
fn work_of(call: &Call, unit: &Unit) -> (Kernel, Operand) {
    let call = &convolved(call).unwrap_or_else(|| call.clone());
    let mut kernel = work::kernel(call, unit);
    let greatest = call.inputs.iter().max_by_key(|operand| operand.elements);
    let mut result = greatest.cloned().unwrap_or(Operand {
        position: 0,
        tensor: 0,
        storage: RESULT,
        offset: 0,
        elements: 0,
        dtype: DType::F32,
        shape: vec![0],
    });
    if let Some(output) = call.outputs.first() {
        result = output.clone();
    } else if let [product] = kernel.products[..] {
        let shape = vec![product.count, product.m, product.n];
        result = operand(0, RESULT, result.dtype, Some(shape)).unwrap_or(result);
    }
    let picks = matches!(unit.rule.map(|rule| rule.effect), Some(Effect::Picks));
    if kernel.bytes_written == Bytes::ZERO && !picks {
        kernel.bytes_written = Bytes(result.bytes());
    }
    (kernel, result)
}
