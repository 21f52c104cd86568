//! Extents of a program: numbers, and expressions over symbols that the caller binds or that keep
//! the value they were traced at.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use ir::diagnostic::Diagnostic;

use super::document::{Argument, Extent, Graph, Hint, InputSpec, Program, Range, TensorMeta};
use super::symbol::{Bindings, alone, evaluate, symbols};
use crate::import::ImportOptions;

/// The greatest extent: no tensor of whole bytes could hold more.
const EXTENT_LIMIT: u64 = 1 << 60;

/// Values of all symbols.
pub(super) struct Sizes {
    bindings: Bindings,
    /// Symbols of sizes that depend on data, at the most that they can be.
    at_most: BTreeSet<String>,
    /// Symbols that the caller gave a value of their own.
    bound: BTreeSet<String>,
    /// Values of expressions, and whether they are the most that the size can be.
    known: RefCell<HashMap<String, Option<(u64, bool)>>>,
    /// Whether a symbol stands for the batch.
    pub(super) has_batch: bool,
    pub(super) warnings: Vec<Diagnostic>,
}

/// User inputs of a program by name, in order.
pub(super) fn user_inputs(program: &Program) -> Vec<&str> {
    let specs = program.graph_module.signature.input_specs.iter();
    specs
        .filter_map(|spec| match spec {
            InputSpec::UserInput(input) => match &input.arg {
                Argument::AsTensor(name) => Some(name.name.as_str()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// Axis of the batch in an input.
pub(super) fn batch_axis(name: &str, options: &ImportOptions) -> usize {
    options.batch_axis.get(name).copied().unwrap_or(0)
}

impl Sizes {
    /// Binds the symbols of a program.
    ///
    /// # Errors
    /// `invalid-batch`, `unknown-input`, `batch-sizes`, `dimension-out-of-range`.
    pub(super) fn of(program: &Program, options: &ImportOptions) -> Result<Self, Diagnostic> {
        let graph = &program.graph_module.graph;
        check_axes(program, options)?;
        let (mut hints, mut used) = (Bindings::new(), BTreeSet::new());
        collect(graph, &mut hints, &mut used);
        let mut bindings: Bindings = options.dims.clone();
        let batches = batch_symbols(program, options);
        if let Some(batch) = options.batch {
            for symbol in &batches {
                let stated = *bindings.entry(symbol.clone()).or_insert(batch);
                if stated != batch {
                    return Err(Diagnostic::usage(
                        "batch-sizes",
                        format!("`--dim` makes the batch dimension `{symbol}` {stated}, but {batch} samples go through at once"),
                    )
                    .fact("dimension", symbol.clone())
                    .hint("state the batch once"));
                }
            }
        }
        check_ranges(&program.range_constraints, &bindings)?;
        let mut warnings = unused(options, &used);
        warnings.extend(traced(graph, program, &bindings, &hints));
        let bound: BTreeSet<String> = bindings.keys().cloned().collect();
        let mut at_most = BTreeSet::new();
        for symbol in used {
            let range = program.range_constraints.get(&symbol);
            let most = range.and_then(|range| u64::try_from(range.max_val?).ok());
            match hints.get(&symbol) {
                Some(hint) => drop(bindings.entry(symbol).or_insert(*hint)),
                None if bindings.contains_key(&symbol) || !symbol.starts_with('u') => {}
                // Unbacked: it depends on data.
                None => {
                    if let Some(most) = most.filter(|most| *most < i64::MAX as u64) {
                        bindings.insert(symbol.clone(), most);
                        at_most.insert(symbol);
                    }
                }
            }
        }
        let has_batch = !batches.is_empty();
        Ok(Self { bindings, at_most, bound, known: RefCell::default(), has_batch, warnings })
    }

    /// An extent, and whether it is the most that it can be; `None` if it is unknown.
    pub(super) fn extent(&self, extent: &Extent) -> Option<(u64, bool)> {
        let expression = match extent {
            Extent::Known(extent) => return Some((u64::try_from(*extent).ok()?, false)),
            Extent::Expression(expression) => expression,
        };
        let text = &expression.expr_str;
        if let Some(known) = self.known.borrow().get(text) {
            return *known;
        }
        let hint = || match expression.hint {
            // What cannot be evaluated keeps its value where each of its symbols does.
            Some(Hint::Int(hint)) if symbols(text).is_disjoint(&self.bound) => {
                u64::try_from(hint).ok()
            }
            _ => None,
        };
        let value = evaluate(text, &self.bindings).or_else(hint);
        let value = value.filter(|value| *value <= EXTENT_LIMIT);
        let found = value
            .map(|value| (value, symbols(text).iter().any(|symbol| self.at_most.contains(symbol))));
        self.known.borrow_mut().insert(text.clone(), found);
        found
    }

    /// The extents of a tensor, and whether one is the most that it can be.
    pub(super) fn shape(&self, meta: &TensorMeta) -> Option<(Vec<u64>, bool)> {
        let extents = meta.sizes.iter().map(|extent| self.extent(extent));
        let extents: Vec<(u64, bool)> = extents.collect::<Option<_>>()?;
        let at_most = extents.iter().any(|(_, at_most)| *at_most);
        Some((extents.into_iter().map(|(extent, _)| extent).collect(), at_most))
    }

    /// The strides of a tensor in elements.
    pub(super) fn strides(&self, meta: &TensorMeta) -> Option<Vec<u64>> {
        meta.strides.iter().map(|stride| Some(self.extent(stride)?.0)).collect()
    }
}

/// Symbols of a graph, with the values that plain ones were traced at.
fn collect(graph: &Graph, hints: &mut Bindings, used: &mut BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    let metas = graph.tensor_values.values().flat_map(|meta| &meta.sizes);
    for extent in metas.chain(graph.sym_int_values.values()) {
        let Extent::Expression(expression) = extent else { continue };
        if !seen.insert(expression.expr_str.as_str()) {
            continue;
        }
        used.extend(symbols(&expression.expr_str));
        if let (Some(symbol), Some(Hint::Int(hint))) =
            (alone(&expression.expr_str), &expression.hint)
            && let Ok(hint) = u64::try_from(*hint)
        {
            hints.insert(symbol, hint);
        }
    }
    let arguments = graph.nodes.iter().flat_map(|node| &node.inputs);
    for argument in arguments {
        if let Argument::AsGraph(inner) = &argument.arg {
            collect(&inner.graph, hints, used);
        }
    }
}

/// Symbols on the batch axes of the inputs.
fn batch_symbols(program: &Program, options: &ImportOptions) -> BTreeSet<String> {
    let values = &program.graph_module.graph.tensor_values;
    let on_axis = |name: &&str| {
        let extent = values.get(*name)?.sizes.get(batch_axis(name, options))?;
        match extent {
            Extent::Expression(expression) => alone(&expression.expr_str),
            Extent::Known(_) => None,
        }
    };
    user_inputs(program).iter().filter_map(on_axis).collect()
}

fn check_axes(program: &Program, options: &ImportOptions) -> Result<(), Diagnostic> {
    if options.batch == Some(0) {
        return Err(Diagnostic::usage("invalid-batch", "a batch of 0 samples has no work"));
    }
    let inputs = user_inputs(program);
    for (name, axis) in &options.batch_axis {
        if !inputs.contains(&name.as_str()) {
            let listed: Vec<String> = inputs.iter().map(|name| format!("`{name}`")).collect();
            return Err(Diagnostic::usage("unknown-input", format!("no input is named `{name}`"))
                .hint(format!("name one of {}", listed.join(", "))));
        }
        let meta = program.graph_module.graph.tensor_values.get(name);
        if meta.is_some_and(|meta| *axis >= meta.sizes.len()) {
            let message = format!("input `{name}` has no axis {axis}");
            return Err(Diagnostic::usage("invalid-batch", message));
        }
    }
    Ok(())
}

/// Refuses values that the program was not exported for.
fn check_ranges(ranges: &BTreeMap<String, Range>, bindings: &Bindings) -> Result<(), Diagnostic> {
    for (text, range) in ranges {
        // Bounds of expressions follow from those of their symbols.
        let Some(value) = bindings.get(text) else { continue };
        let value = i64::try_from(*value).unwrap_or(i64::MAX);
        let (least, most) = (range.min_val.unwrap_or(0), range.max_val.unwrap_or(i64::MAX));
        if value < least || value > most {
            let bounds = match range.max_val {
                Some(most) => format!("{least} to {most}"),
                None => format!("{least} and more"),
            };
            return Err(Diagnostic::usage(
                "dimension-out-of-range",
                format!("`{text}` is {value}, and the program was exported for {bounds}"),
            )
            .fact("dimension", text.clone())
            .hint("choose a value in that range, or export the program for a wider one"));
        }
    }
    Ok(())
}

/// Warns of values that bind nothing.
fn unused(options: &ImportOptions, used: &BTreeSet<String>) -> Vec<Diagnostic> {
    let spare = options.dims.keys().filter(|name| !used.contains(*name));
    let listed: Vec<String> = used.iter().take(8).map(|name| format!("`{name}`")).collect();
    let hint = match listed.as_slice() {
        [] => "every size of this program is a number".to_owned(),
        names => format!("it has {}: torch.export keeps no other names", names.join(", ")),
    };
    spare
        .map(|name| {
            let message = format!("no dimension is named `{name}`");
            Diagnostic::warning("unused-dimension", message).hint(hint.clone())
        })
        .collect()
}

/// Says which dimensions of the inputs keep the size that they were traced at.
fn traced(
    graph: &Graph,
    program: &Program,
    bindings: &Bindings,
    hints: &Bindings,
) -> Option<Diagnostic> {
    let inputs = user_inputs(program);
    let metas = inputs.iter().filter_map(|name| graph.tensor_values.get(*name));
    let mut hinted = BTreeMap::new();
    for extent in metas.flat_map(|meta| &meta.sizes) {
        let Extent::Expression(expression) = extent else { continue };
        for symbol in symbols(&expression.expr_str) {
            if let (None, Some(hint)) = (bindings.get(&symbol), hints.get(&symbol)) {
                hinted.insert(symbol, *hint);
            }
        }
    }
    let (first, _) = hinted.first_key_value()?;
    let hint = format!("state others, such as `--dim {first}=8`");
    let listed: Vec<String> =
        hinted.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let message =
        format!("dimensions keep the sizes that they were traced at: {}", listed.join(", "));
    Some(Diagnostic::warning("traced-dimensions", message).fact("dimensions", listed).hint(hint))
}
