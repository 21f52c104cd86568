//! Traces of runs: what PyTorch called, with which tensors, and for how long.

mod align;
mod calls;
mod chakra;
mod chakra_json;
mod counterparts;
mod dag;
mod execution;
mod flow;
mod forest;
mod joined;
pub(crate) mod kineto;
mod launches;
mod literal;
mod onto;
mod pairing;
mod passes;
mod ranks;
mod steps;
mod storages;
mod timed;
mod timing;
mod work;

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Op, Origin, Work};
use ir::tensor::Role;

use crate::import::{Import, ImportOptions, Summary};
use crate::instance::{devices, without_effect};
use crate::sound;
use crate::source::{self, FileSource, Source};

pub(crate) use calls::dtype;
use forest::{Forest, Unit};
use joined::Beside;
use kineto::Profile;
use ranks::Rank;

/// Reads the operator graph of a step from an ExecutionTrace of PyTorch, with the durations of the
/// profiles among `options.traces`, and joined with the traces of other ranks among them.
///
/// # Errors
/// Those of [`execution::read`], [`Forest::grow`], [`Beside::read`] and [`ranks::join`]; `no-ops`.
pub(crate) fn read_execution(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    Ok(executions(source, name, options)?.import)
}

/// What the only rank did, or all of them joined.
fn executions(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Rank, Diagnostic> {
    let mut executions = vec![execution::read(source::text(source)?)?];
    let mut beside = Beside::read(&options.traces)?;
    beside.refuse_nodes()?;
    executions.append(&mut beside.executions);
    let mut ranks = Vec::new();
    for (position, execution) in executions.into_iter().enumerate() {
        let profile = beside.take(execution.process)?;
        let rank = rank(execution, name, options, profile.as_ref())?;
        let number =
            profile.and_then(|profile| profile.rank).map_or(position as u64, |rank| rank.0);
        ranks.push(Rank { number, ..rank });
    }
    beside.refuse_rest()?;
    join(ranks)
}

/// Lays the durations of `options.traces` on the graph of a model from another file: of a profile,
/// of an ExecutionTrace and its profile, or of a Chakra trace.
///
/// # Errors
/// Those of [`read_execution`], [`read_profile`], [`read_chakra`] and [`onto::land`], with the file's
/// name.
pub(crate) fn onto(import: &mut Import, options: &ImportOptions) -> Result<(), Diagnostic> {
    let mut traces = options.traces.clone();
    let mut formats = Vec::new();
    for path in &traces {
        formats.push(joined::format(path, &FileSource::open(path)?)?);
    }
    let first = formats.iter().position(|format| *format == "execution-trace").unwrap_or(0);
    let path = traces.remove(first);
    let of_traces = ImportOptions { traces, ..ImportOptions::default() };
    let name = path.display().to_string();
    let read = || {
        let source = FileSource::open(&path)?;
        match formats[first] {
            "execution-trace" => executions(&source, &name, &of_traces),
            "kineto" => profile(&source, &name, &of_traces),
            "chakra" => read_chakra(&source, &name, &of_traces).map(Rank::of),
            _ => Err(Diagnostic::input("unknown-format", "this is no profile of a run")
                .hint("give a trace of PyTorch's profiler: export_chrome_trace writes one")),
        }
    };
    let traced = read().map_err(|error| error.fact("trace", name.clone()))?;
    onto::land(import, traced, options.trains).map_err(|error| error.fact("trace", name))
}

/// One graph of all ranks, or that of the only one.
fn join(mut ranks: Vec<Rank>) -> Result<Rank, Diagnostic> {
    let n = ranks.len() as u64;
    if n > 1 {
        let mut import = ranks::join(ranks)?;
        let format = import.summary.format;
        let Summary { recorded, step, .. } = std::mem::take(&mut import.summary);
        import.summary = Summary { recorded, step, ..Summary::of(format, &import.graph) };
        count_parameters(&mut import.summary, &import.graph);
        if let Some(kind) = import.cluster.as_ref().and_then(|cluster| cluster.kinds.first()) {
            let limit = kind.memory.map(ir::units::Bytes::get);
            import.cluster = Some(devices::alike(&kind.name, limit, n)?);
        }
        return Ok(Rank::of(import));
    }
    ranks.pop().ok_or_else(sound::no_ops)
}

/// What one rank did.
fn rank(
    execution: execution::Execution,
    name: &str,
    options: &ImportOptions,
    profile: Option<&Profile>,
) -> Result<Rank, Diagnostic> {
    let forest = Forest::grow(execution.calls)?;
    let units = forest.units();
    let flow = flow::flow(&forest, &units, name.strip_suffix(".et").unwrap_or(name));
    let mut warnings: Vec<Diagnostic> = forest.orphans().into_iter().collect();
    if !flow.is_trained {
        warnings.push(Diagnostic::warning(
            "guessed-parameters",
            "no optimizer updates anything in this trace: what it reads from outside and is no \
             operator's input counts as parameters",
        ));
    }
    warnings.extend(passes::several(&forest, &flow.graph));
    let import = import("execution-trace", flow.graph, options, warnings)?;
    let mut rank = Rank { collectives: flow.collectives, ..Rank::of(import) };
    if let Some(profile) = profile {
        rank.idle = apply(&mut rank.import, (&forest, &units), &flow.units, profile)?;
    }
    Ok(rank)
}

/// Reads a step from a profile alone: shapes and durations, ops in the order in which they ran.
///
/// # Errors
/// Those of [`timed::read`] and [`Forest::grow`]; `no-ops`.
pub(crate) fn read_profile(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    Ok(profile(source, name, options)?.import)
}

fn profile(source: &dyn Source, name: &str, options: &ImportOptions) -> Result<Rank, Diagnostic> {
    if !options.traces.is_empty() {
        let what = "a profile is read alone, or beside what it is a profile of";
        return Err(Diagnostic::usage("trace-beside-profile", what)
            .hint("give the model or the ExecutionTrace first, and this file with --trace"));
    }
    let profile = kineto::profile(source::text(source)?)?;
    let (calls, profile, read) = timed::read(source, profile)?;
    let mut warnings = read.warnings;
    let has_shapes = calls.iter().any(|call| !call.inputs.is_empty());
    let forest = Forest::grow(calls)?;
    let units = forest.units();
    let flow = timed::chain(&forest, &units, name.strip_suffix(".kineto").unwrap_or(name));
    warnings.push(
        Diagnostic::warning(
            "no-data-flow",
            "a profile does not say which op reads what another wrote: ops wait for the one before \
             them, and no parameters are known",
        )
        .hint("record an ExecutionTrace of the same run, and give this file with --trace"),
    );
    let mut import = import("kineto", flow.graph, options, warnings)?;
    import.summary.step = Some(read.step);
    if !has_shapes {
        import.warnings.retain(|warning| warning.code != "unknown-op");
        let what =
            "the profile has no sizes of arguments: ops have durations, no FLOPs and no bytes";
        import
            .warnings
            .push(Diagnostic::warning("no-shapes", what).hint("record with record_shapes=True"));
    }
    let mut rank = Rank::of(import);
    rank.idle = apply(&mut rank.import, (&forest, &units), &flow.units, &profile)?;
    Ok(rank)
}

/// Reads the nodes of an MLCommons Chakra trace, joined with those of other ranks among
/// `options.traces`.
///
/// # Errors
/// Those of [`chakra::read`], [`dag::graph`], [`Beside::read`] and [`ranks::join`]; `no-ops`.
pub(crate) fn read_chakra(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let name = name.strip_suffix(".chakra").unwrap_or(name);
    let mut beside = Beside::read(&options.traces)?;
    let mut traces = vec![chakra::read(source)?];
    traces.append(&mut beside.nodes);
    beside.refuse_rest()?;
    let ranks = traces.iter().enumerate().map(|(position, nodes)| {
        let (graph, collectives, warnings) = dag::graph(nodes, name)?;
        let mut import = import("chakra", graph, options, warnings)?;
        import.cluster = Some(devices::alike(dag::KIND, None, 1)?);
        Ok(Rank { number: position as u64, collectives, ..Rank::of(import) })
    });
    Ok(join(ranks.collect::<Result<_, Diagnostic>>()?)?.import)
}

/// What is known of a graph before anything is said of time.
fn import(
    format: &'static str,
    graph: Graph,
    options: &ImportOptions,
    mut warnings: Vec<Diagnostic>,
) -> Result<Import, Diagnostic> {
    if graph.ops.iter().all(|op| op.work == Work::View) {
        return Err(sound::no_ops());
    }
    warnings.extend(without_effect(options, "a trace: its sizes are those of the run"));
    warnings.extend(unknown(&graph));
    let mut summary = Summary::of(format, &graph);
    summary.step = Some("the whole trace".to_owned());
    count_parameters(&mut summary, &graph);
    Ok(Import { graph, cluster: None, summary, warnings })
}

/// Lays the times of a profile on a graph: `of` gives the unit of each op. Returns how much of each
/// op's time nothing ran in.
fn apply(
    import: &mut Import,
    (forest, units): (&Forest, &[Unit]),
    of: &[usize],
    profile: &Profile,
) -> Result<Vec<u64>, Diagnostic> {
    let timing = timing::land(forest, units, profile)?;
    for (op, unit) in import.graph.ops.iter_mut().zip(of) {
        if let (Work::Kernel(kernel), Some(time)) = (&mut op.work, timing.times[*unit]) {
            let time = ir::units::Nanos(time.saturating_add(timing.idle[*unit]));
            kernel.measured.insert(profile.kind.clone(), time);
        }
    }
    joined::note(import, profile, &timing)?;
    Ok(of.iter().map(|unit| timing.idle[*unit]).collect())
}

/// One warning for operators without a row in the table.
fn unknown(graph: &Graph) -> Option<Diagnostic> {
    let is_guess =
        |op: &&Op| matches!(&op.work, Work::Kernel(kernel) if kernel.origin == Origin::Guessed);
    let names: BTreeSet<&str> =
        graph.ops.iter().filter(is_guess).map(|op| op.op_type.as_str()).collect();
    let first: Vec<String> = names.iter().take(5).map(|name| (*name).to_owned()).collect();
    let quoted: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
    let more = if names.len() > first.len() { ", ..." } else { "" };
    let what =
        format!("operators without a rule count only their bytes: {}{more}", quoted.join(", "));
    (!names.is_empty()).then(|| {
        Diagnostic::warning("unknown-op", what).fact("names", first).fact("count", names.len())
    })
}

/// Counts parameters as PyTorch does: running statistics and states of the optimizer left out.
fn count_parameters(summary: &mut Summary, graph: &Graph) {
    let parameters = graph.tensors.iter().filter(|tensor| tensor.role == Role::Parameter);
    let (mut count, mut elements, mut bytes) = (0, 0u64, 0u64);
    for tensor in parameters.filter(|tensor| tensor.trainable) {
        count += 1;
        let volume = tensor.shape.iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
        elements = elements.saturating_add(volume);
        bytes = bytes.saturating_add(tensor.bytes.get());
    }
    summary.n_parameters = count;
    summary.initializer_elements = elements;
    summary.parameter_bytes = bytes;
}
