//! From an exported program to the operator graph: one op for each node that does work or renames
//! memory, with the subgraphs of wrappers in the place of their node.

use std::collections::{BTreeSet, HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::graph::{Gradient, Graph};
use ir::id::TensorId;
use ir::op::{Op, Origin, Phase, Work};
use ir::tensor::{Role, Tensor};
use ir::units::Bytes;

use super::aliasing::{Memory, Writes, for_effect};
use super::document::{self, InputSpec, Node, OutputSpec};
use super::effort::{chance, splits};
use super::modules;
use super::phases::{phases, reads, tensors};
use super::program::Loaded;
use super::sizes::{Sizes, batch_axis, user_inputs};
use super::values::{Growth, Measure, Value, Values, shown};
use crate::aten::{self, Effect};
use crate::import::{Import, ImportOptions, Summary, listed};
use crate::sound;

/// Builds the graph of a program.
///
/// With `options.dtype` every float of 16 bits and more takes that type before bytes are computed.
/// Nodes whose results only checks read are dropped.
///
/// # Errors
/// As [`super::read`], from `unknown-dtype` on.
pub(super) fn build(
    loaded: &Loaded,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let program = &loaded.program;
    let sizes = Sizes::of(program, options)?;
    let growth = growth(program, &sizes, options)?;
    let mut builder = Builder::new(
        Measure { sizes: &sizes, dtype: options.dtype, growth },
        Graph { name: name.to_owned(), ..Graph::default() },
    );
    let module = &program.graph_module;
    builder.drops = module.graph.nodes.iter().any(|node| chance(node) > Some(0.0));
    if options.trains && builder.drops && module.graph.nodes.iter().any(|n| chance(n) == Some(0.0))
    {
        builder.counts.warnings.push(Diagnostic::warning(
            "dropout-assumed",
            "the program was exported in evaluation mode: dropouts with a chance of 0 are taken as \
             active in training, because others of the model are",
        ));
    }
    builder.trains = options.trains;
    let values = builder.inputs(loaded, options)?;
    let phases = phases(&module.graph, &module.signature);
    let is_joint = phases.iter().any(|phase| *phase != Phase::Forward);
    let mut values = builder.nodes(&module.graph, values, &phases)?;
    builder.renew(None, module.graph.outputs.iter().flat_map(tensors), &mut values);
    builder.outputs(&module.signature, &values)?;
    builder.fill_outputs();
    let Builder { mut graph, notes, counts, kept: roots, .. } = builder;
    drop_unread(&mut graph, &roots);
    if graph.ops.is_empty() {
        return Err(sound::no_ops());
    }
    if is_joint {
        graph.ops.sort_by_key(|op| op.phase != Phase::Forward);
        modules::name(&mut graph);
    }
    let mut warnings = sizes.warnings.clone();
    warnings.extend(counts.warnings);
    warnings.extend(notes.warnings(growth));
    let summary = Summary {
        n_parameters: counts.parameters,
        initializer_elements: counts.elements,
        parameter_bytes: counts.bytes,
        buffer_bytes: counts.buffer_bytes,
        ..Summary::of("torch.export", &graph)
    };
    Ok(Import { graph, cluster: None, summary, warnings })
}

/// The batch asked for, where the program holds its own as a number on the first axis of an input.
fn growth(
    program: &document::Program,
    sizes: &Sizes,
    options: &ImportOptions,
) -> Result<Option<Growth>, Diagnostic> {
    let (Some(to), false) = (options.batch, sizes.has_batch) else { return Ok(None) };
    let values = &program.graph_module.graph.tensor_values;
    let extent = |name: &&str| {
        let meta = values.get(*name)?;
        Some(sizes.extent(meta.sizes.get(batch_axis(name, options))?)?.0)
    };
    let inputs = user_inputs(program);
    let is_named = |name: &&&str| options.batch_axis.contains_key(**name);
    let from = inputs.iter().filter(is_named).chain(&inputs).find_map(extent);
    match from {
        Some(0) => Err(Diagnostic::usage("invalid-batch", "the batch of the file is 0")),
        Some(from) if from != to => Ok(Some(Growth { from, to })),
        _ => Ok(None),
    }
}

/// Names of ops to warn of.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) unknown: BTreeSet<String>,
    pub(super) unsized_ops: Vec<String>,
    pub(super) bounded: Vec<String>,
    pub(super) endless: Vec<String>,
    pub(super) rebound: BTreeSet<String>,
    scaled: Vec<String>,
}

impl Notes {
    fn warnings(self, growth: Option<Growth>) -> impl Iterator<Item = Diagnostic> {
        let Growth { from, to } = growth.unwrap_or(Growth { from: 1, to: 1 });
        let scaled = format!(
            "the program was exported for a batch of {from}: the work of these ops is taken as \
             {to}/{from} of that"
        );
        let all = [
            listed(
                "unknown-op",
                "operators without a rule count only their bytes, and what they read is taken as \
                 unchanged unless their name ends with `_` or nobody reads their results",
                self.unknown,
            ),
            listed(
                "unknown-shape",
                "ops on tensors of unknown size count only known bytes",
                self.unsized_ops,
            ),
            listed(
                "data-dependent-size",
                "sizes that depend on data are taken as the most that the program allows in",
                self.bounded,
            ),
            listed(
                "guessed-trip-count",
                "loops without a constant count run their body once",
                self.endless,
            ),
            listed("batch-scaled", &scaled, self.scaled),
            listed(
                "rebound-memory",
                "operators that change which memory a tensor names are taken as writes over what it \
                 named before",
                self.rebound,
            ),
        ];
        all.into_iter().flatten()
    }
}

/// Totals of parameters and buffers, used or not, tied ones once.
#[derive(Default)]
pub(super) struct Counts {
    parameters: u64,
    elements: u64,
    bytes: u64,
    buffer_bytes: u64,
    warnings: Vec<Diagnostic>,
}

/// A graph under construction.
pub(super) struct Builder<'a> {
    pub(super) measure: Measure<'a>,
    pub(super) graph: Graph,
    pub(super) notes: Notes,
    counts: Counts,
    /// Names of tensors so far, and how often each was asked for.
    taken: HashMap<String, u32>,
    /// Phase of the node that is being added.
    pub(super) phase: Phase,
    /// Whether the model drops anything in training. Of a model that does, places with a chance of 0
    /// count too: modules that are evaluated pass 0 where they pass their chance in training.
    pub(super) drops: bool,
    /// How deep the graph lies that is being added.
    pub(super) depth: usize,
    /// Tensors that count as read though no op reads them: gradients and what buffers become.
    kept: Vec<TensorId>,
    /// By parameter's name: its tensor.
    parameters: HashMap<String, TensorId>,
    /// Whether the graph is read to be trained.
    pub(super) trains: bool,
    pub(super) memories: Vec<Memory>,
    /// Memory that the graphs of the operator write over that is being added.
    pub(super) overwritten: Vec<usize>,
}

impl<'a> Builder<'a> {
    fn new(measure: Measure<'a>, graph: Graph) -> Self {
        Self {
            measure,
            graph,
            notes: Notes::default(),
            counts: Counts::default(),
            taken: HashMap::new(),
            phase: Phase::Forward,
            drops: false,
            kept: Vec::new(),
            depth: 0,
            parameters: HashMap::new(),
            trains: false,
            memories: Vec::new(),
            overwritten: Vec::new(),
        }
    }

    /// An empty graph measured alike, for a subgraph whose work is summed.
    pub(super) fn aside(&self) -> Builder<'a> {
        let Measure { sizes, dtype, growth } = self.measure;
        let measure = Measure { sizes, dtype, growth };
        Builder { depth: self.depth, ..Builder::new(measure, Graph::default()) }
    }

    /// A name that nothing has yet.
    pub(super) fn fresh(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        while self.taken.contains_key(&unique) {
            let number = self.taken.entry(name.to_owned()).or_insert(1);
            *number += 1;
            unique = format!("{name}/{number}");
        }
        self.taken.insert(unique.clone(), 1);
        unique
    }

    /// A tensor that nothing has written yet.
    pub(super) fn place(
        &mut self,
        graph: &document::Graph,
        name: &str,
        (role, grows): (Role, bool),
    ) -> Result<Value, Diagnostic> {
        let facts = self.measure.facts(graph, name, grows)?;
        let bytes = facts.bytes(name)?;
        let tensor = TensorId::new(self.graph.tensors.len());
        let unique = self.fresh(name);
        self.graph.tensors.push(Tensor {
            name: unique,
            dtype: facts.dtype,
            shape: facts.shape.clone().unwrap_or_default(),
            bytes,
            state_bytes: Bytes::ZERO,
            role,
            trainable: false,
        });
        Ok(self.value(tensor, facts))
    }

    /// Places what the program is fed: parameters, buffers, constants and the user's inputs.
    fn inputs<'p>(
        &mut self,
        loaded: &'p Loaded,
        options: &ImportOptions,
    ) -> Result<Values<'p>, Diagnostic> {
        let program = &loaded.program;
        let graph = &program.graph_module.graph;
        let ties = loaded.ties();
        if ties.is_none() {
            self.counts.warnings.push(
                Diagnostic::warning(
                    "unknown-ties",
                    "the archive does not tell which weights are tied: each is counted on its own",
                )
                .hint("export the model with its values, not under FakeTensorMode or on `meta`"),
            );
        }
        let mut values = Values::new();
        let mut owners: HashMap<&str, Value> = HashMap::new();
        for spec in &program.graph_module.signature.input_specs {
            let (name, fqn, is_parameter) = match spec {
                InputSpec::UserInput(input) => {
                    for name in tensors(&input.arg) {
                        let grows = self.has_batch(graph, name, options);
                        let value = self.place(graph, name, (Role::Input, grows))?;
                        self.graph.inputs.push(value.tensor);
                        values.insert(name, value);
                    }
                    continue;
                }
                InputSpec::Parameter(input) => (&input.arg.name, &input.parameter_name, true),
                InputSpec::Buffer(input) => (&input.arg.name, &input.buffer_name, false),
                InputSpec::TensorConstant(input) => {
                    (&input.arg.name, &input.tensor_constant_name, false)
                }
                InputSpec::ConstantInput(_) | InputSpec::CustomObj(_) | InputSpec::Token(_) => {
                    continue;
                }
            };
            let tied = ties.as_ref().and_then(|ties| ties.get(fqn.as_str()).copied());
            let owner = tied.unwrap_or(fqn);
            let value = match owners.get(owner) {
                Some(value) => value.clone(),
                None => self.weight(graph, (name, fqn), is_parameter)?,
            };
            self.parameters.insert(fqn.clone(), value.tensor);
            owners.insert(owner, value.clone());
            values.insert(name, value);
        }
        Ok(values)
    }

    /// Places a parameter, a buffer or a constant under its own name.
    fn weight(
        &mut self,
        graph: &document::Graph,
        (name, fqn): (&str, &str),
        is_parameter: bool,
    ) -> Result<Value, Diagnostic> {
        let value = self.place(graph, name, (Role::Parameter, false))?;
        let unique = self.fresh(fqn);
        let requires = graph.tensor_values.get(name).is_some_and(|meta| meta.requires_grad);
        let tensor = &mut self.graph.tensors[value.tensor.index()];
        tensor.name = unique;
        // Frozen parameters are exported as such.
        tensor.trainable = is_parameter && requires && tensor.dtype.is_wide_float();
        let elements = value.facts.shape.iter().flatten().fold(1u64, |n, d| n.saturating_mul(*d));
        let bytes = tensor.bytes.get();
        if is_parameter {
            self.counts.parameters += 1;
            self.counts.elements = self.counts.elements.saturating_add(elements);
            self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        } else {
            self.counts.buffer_bytes = self.counts.buffer_bytes.saturating_add(bytes);
        }
        Ok(value)
    }

    /// Whether an input holds the file's batch as a number.
    fn has_batch(&self, graph: &document::Graph, name: &str, options: &ImportOptions) -> bool {
        let Some(growth) = self.measure.growth else { return false };
        let extent = graph
            .tensor_values
            .get(name)
            .and_then(|meta| self.measure.sizes.extent(meta.sizes.get(batch_axis(name, options))?));
        extent.is_some_and(|(extent, _)| extent == growth.from)
            || options.batch_axis.contains_key(name)
    }

    /// Adds the nodes of a graph, whose phases are given or all those of the node that holds it.
    pub(super) fn nodes<'p>(
        &mut self,
        graph: &'p document::Graph,
        mut values: Values<'p>,
        phases: &[Phase],
    ) -> Result<Values<'p>, Diagnostic> {
        let for_effect = for_effect(graph);
        for (index, node) in graph.nodes.iter().enumerate() {
            if let Some(phase) = phases.get(index) {
                self.phase = *phase;
            }
            if node.target.starts_with("torch.ops.higher_order.") {
                self.higher_order(graph, node, &mut values)?;
            } else {
                self.node(graph, (node, for_effect.contains(&index)), &mut values)?;
            }
        }
        Ok(values)
    }

    /// What a node reads, in order.
    ///
    /// # Errors
    /// `undefined-tensor`.
    pub(super) fn operands<'v, 'n>(
        &self,
        node: &'n Node,
        values: &'v Values<'_>,
    ) -> Result<Vec<(&'n str, &'v Value)>, Diagnostic> {
        let named = node.inputs.iter().flat_map(|input| {
            tensors(&input.arg).into_iter().map(|tensor| (input.name.as_str(), tensor))
        });
        named
            .map(|(name, tensor)| match values.get(tensor) {
                Some(value) => Ok((name, value)),
                None => Err(undefined(node, tensor)),
            })
            .collect()
    }

    fn node<'p>(
        &mut self,
        graph: &'p document::Graph,
        (node, is_for_effect): (&'p Node, bool),
        values: &mut Values<'p>,
    ) -> Result<(), Diagnostic> {
        let written: Vec<&str> = node.outputs.iter().flat_map(tensors).collect();
        let rule = aten::find(&node.target);
        let is_nothing = rule.is_some_and(|rule| matches!(rule.effect, Effect::Nothing));
        let writes = Writes::of(node, is_for_effect);
        // Numbers that Python computes, and checks.
        if is_nothing || (written.is_empty() && writes.is_empty()) {
            return Ok(());
        }
        self.renew(Some(node), reads(node), values);
        let operands = self.operands(node, values)?;
        let grows = operands.iter().any(|(_, value)| value.facts.grows);
        // Gradients of weights are sums over the batch.
        let sums = rule.is_some_and(|rule| rule.is_sum()) && self.phase == Phase::BackwardWeight;
        let only_first = rule.is_some_and(|rule| rule.has_weight_gradients());
        let mut operands: Vec<(&str, Value)> =
            operands.into_iter().map(|(name, value)| (name, value.clone())).collect();
        let mut outputs = Vec::with_capacity(written.len());
        for (at, name) in written.iter().enumerate() {
            let grows = grows && !sums && !(only_first && at > 0);
            outputs.push(self.place(graph, name, (Role::Activation, grows))?);
        }
        let read = writes.read(&operands);
        let (op_type, work) = self.work(node, rule, &read, &outputs)?;
        operands.extend(self.scalar(node, &op_type, &read));
        if work == Work::View {
            let is_each = rule.is_some_and(|rule| matches!(rule.effect, Effect::Views));
            let n = if is_each && operands.len() == outputs.len() { 1 } else { usize::MAX };
            for (operands, outputs) in operands.chunks(n).zip(outputs.chunks_mut(n)) {
                self.share(node, operands, outputs);
                self.add(node, op_type.clone(), Work::View, (operands, outputs));
            }
        } else if writes.is_empty() {
            self.add(node, op_type, work, (&operands, &outputs));
        } else {
            outputs = self.overwrite(node, (op_type, work), &writes, (&operands, outputs));
        }
        for (name, value) in written.into_iter().zip(outputs) {
            define(values, name, value)?;
        }
        Ok(())
    }

    /// Adds an op that reads and writes these.
    pub(super) fn add(
        &mut self,
        node: &Node,
        op_type: String,
        work: Work,
        (operands, outputs): (&[(&str, Value)], &[Value]),
    ) {
        let (mut inputs, mut parameters): (Vec<TensorId>, Vec<TensorId>) = Default::default();
        let mut seen = HashSet::new();
        // A view renames its first tensor and reads no other.
        let is_view = work == Work::View;
        for (_, value) in operands.iter().take(if is_view { 1 } else { usize::MAX }) {
            let beside = self.beside(value).filter(|_| !is_view);
            for tensor in [Some(value.tensor), beside].into_iter().flatten() {
                let is_parameter = self.graph.tensor(tensor).role == Role::Parameter;
                if seen.insert(tensor) {
                    if is_parameter { &mut parameters } else { &mut inputs }.push(tensor);
                }
            }
        }
        let first = outputs.first().map(|value| self.graph.tensor(value.tensor).name.clone());
        let name = first.or_else(|| node.name.clone()).unwrap_or_default();
        let written: Vec<TensorId> = outputs.iter().map(|value| value.tensor).collect();
        let named = [&inputs[..], &parameters, &written].concat();
        let splits = splits(node, (operands, outputs), &named);
        self.note(&name, &work, operands, outputs);
        self.graph.ops.push(Op {
            name,
            op_type,
            module: module(node),
            phase: self.phase,
            inputs,
            parameters,
            outputs: written,
            work,
            group: None,
            splits,
        });
    }

    fn note(&mut self, name: &str, work: &Work, operands: &[(&str, Value)], outputs: &[Value]) {
        let Work::Kernel(kernel) = work else { return };
        let mut touched = operands.iter().map(|(_, value)| value).chain(outputs);
        match kernel.origin {
            Origin::Scaled => self.notes.scaled.push(name.to_owned()),
            Origin::Guessed if touched.clone().any(|value| value.facts.shape.is_none()) => {
                self.notes.unsized_ops.push(name.to_owned());
            }
            Origin::Bounded | Origin::Guessed if touched.any(|value| value.facts.at_most) => {
                self.notes.bounded.push(name.to_owned());
            }
            Origin::Guessed | Origin::Bounded | Origin::Rule => {}
        }
    }

    fn outputs(
        &mut self,
        signature: &document::Signature,
        values: &Values<'_>,
    ) -> Result<(), Diagnostic> {
        let find = |name: &str| match values.get(name) {
            Some(value) => Ok(value.tensor),
            None => Err(Diagnostic::input(
                "undefined-tensor",
                format!("no node writes the output `{}`", shown(name)),
            )),
        };
        for spec in &signature.output_specs {
            match spec {
                OutputSpec::UserOutput(output) => {
                    for name in tensors(&output.arg) {
                        self.graph.outputs.push(find(name)?);
                    }
                }
                OutputSpec::LossOutput(output) | OutputSpec::GradientToUserInput(output) => {
                    self.graph.outputs.push(find(&output.arg.name)?);
                }
                OutputSpec::GradientToParameter(output) => {
                    let tensor = find(&output.arg.name)?;
                    self.kept.push(tensor);
                    if let Some(parameter) = self.parameters.get(&output.parameter_name) {
                        self.graph.gradients.push(Gradient { parameter: *parameter, tensor });
                    }
                }
                OutputSpec::BufferMutation(output)
                | OutputSpec::ParameterMutation(output)
                | OutputSpec::UserInputMutation(output) => self.kept.push(find(&output.arg.name)?),
                OutputSpec::Token(_) => {}
            }
        }
        self.kept.extend(self.mutated());
        Ok(())
    }
}

/// Takes out ops whose results nobody reads, and what only they read.
fn drop_unread(graph: &mut Graph, roots: &[TensorId]) {
    let mut is_read = vec![false; graph.tensors.len()];
    graph.outputs.iter().chain(roots).for_each(|tensor| is_read[tensor.index()] = true);
    let mut lives = vec![false; graph.ops.len()];
    for (op, lives) in graph.ops.iter().zip(&mut lives).rev() {
        *lives = op.outputs.iter().any(|output| is_read[output.index()]);
        if *lives {
            op.inputs.iter().chain(&op.parameters).for_each(|t| is_read[t.index()] = true);
        }
    }
    let mut lives = lives.into_iter();
    graph.ops.retain(|_| lives.next() == Some(true));
}

/// Binds a name that must be new in its graph.
pub(super) fn define<'p>(
    values: &mut Values<'p>,
    name: &'p str,
    value: Value,
) -> Result<(), Diagnostic> {
    match values.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(Diagnostic::input(
            "duplicate-tensor",
            format!("the tensor `{}` is written twice", shown(name)),
        )
        .hint("export the model again: each tensor of an exported program is written once")),
    }
}

pub(super) fn undefined(node: &Node, tensor: &str) -> Diagnostic {
    Diagnostic::input(
        "undefined-tensor",
        format!(
            "node `{}` reads `{}`, which nothing before it writes",
            shown(node.name.as_deref().unwrap_or(&node.target)),
            shown(tensor)
        ),
    )
    .hint("export the model again: the nodes of an exported program stand in order")
}

/// The module that owns a node: the path of the last entry of its stack.
pub(super) fn module(node: &Node) -> Option<String> {
    let stack = node.metadata.get("nn_module_stack")?;
    let last = stack.rsplit(';').next()?;
    // `key,path,type`; the type may hold commas.
    let path = last.split(',').nth(1)?;
    if path.is_empty() || path.starts_with("_empty_nn_module_stack") {
        return None;
    }
    // A module that is called again is `name@1`.
    let parts = path.split('.').map(|part| part.split('@').next().unwrap_or(part));
    Some(parts.collect::<Vec<_>>().join("."))
}
