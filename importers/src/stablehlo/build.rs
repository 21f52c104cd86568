//! From a program to the operator graph: functions inlined, bodies summed up, results that nobody
//! reads left out.

mod arguments;
mod batch;
mod bound;
mod call;
mod control;
mod emit;
mod finish;
mod layout;
mod loops;
mod step;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;

use super::fault::{fault, shown};
use super::location::Path;
use super::sharding::Stated;
use super::syntax::{Function, Program, ValueId};
use super::types::TensorType;
use crate::import::{Import, ImportOptions};
use crate::sound;
use bound::{Bound, Constant, Spread};

/// Most operations that are run through, functions inlined.
const MAX_STEPS: usize = 500_000;

/// What is worth knowing: names of ops by code of the warning.
type Notes = BTreeMap<&'static str, BTreeSet<String>>;

/// A graph under construction.
struct Builder<'p, 't> {
    text: &'t [u8],
    program: &'p Program<'t>,
    functions: HashMap<&'t [u8], &'p Function<'t>>,
    graph: Graph,
    /// By value: what it stands for in the function that is run through now.
    bound: Vec<Bound>,
    constants: Vec<Constant>,
    spreads: Vec<Spread>,
    /// Views of parameters.
    renamed: HashSet<TensorId>,
    /// Names of tensors that are taken, each with the last number that it was told apart by.
    taken: HashMap<String, u32>,
    /// In front of the names in an inlined function.
    prefix: String,
    /// Module of the call that is inlined, and whether it is of a backward pass.
    module: Option<String>,
    is_backward: bool,
    /// By loop around, outermost first, which run it is in where it is unfolded.
    runs: Vec<Option<u64>>,
    /// How many of these lie around the function that is inlined.
    n_outer: usize,
    /// Whether loops over stacked parameters are unfolded.
    unfolds: bool,
    /// Bodies around that are summed up.
    n_summed: usize,
    /// Layers of stacked parameters.
    layers: HashMap<(TensorId, i64), TensorId>,
    is_layer: HashSet<TensorId>,
    /// Functions that are being inlined.
    calls: Vec<&'t [u8]>,
    n_steps: usize,
    depth: usize,
    n_loops: u32,
    notes: Notes,
    /// By tensor.
    shardings: BTreeMap<String, Stated>,
    /// By text of a location.
    paths: HashMap<&'t [u8], Path>,
}

/// Builds the graph of a program.
///
/// # Errors
/// `missing-graph`, `duplicate-name`, `recursive-function`, `inline-budget`, `shape-mismatch`,
/// `type-mismatch`, `size-overflow`, `undefined-tensor`, `no-ops`, `invalid-batch`.
pub(super) fn build(
    text: &[u8],
    mut program: Program<'_>,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    if let Some(dtype) = options.dtype {
        program.types.retype(dtype);
    }
    let mut functions = HashMap::new();
    for function in &program.functions {
        if functions.insert(function.name, function).is_some() {
            let message = format!("two functions are called `{}`", shown(function.name));
            return Err(fault(text, function.at as usize, "duplicate-name", message));
        }
    }
    let main = entry(&program)?;
    let name = if name.is_empty() { shown(program.name) } else { name.to_owned() };
    let graph = Graph { name, is_compiled: true, ..Graph::default() };
    // A stacked parameter that something reads as a whole is not taken apart.
    for unfolds in [true, false] {
        let mut builder = Builder::new(text, &program, functions.clone(), graph.clone(), unfolds);
        builder.calls.push(main.name);
        builder.enter(main, options)?;
        let results = builder.run(&main.body)?;
        builder.leave(main, &results);
        if builder.graph.ops.is_empty() {
            return Err(sound::no_ops());
        }
        if let Some(import) = builder.finish(options)? {
            return Ok(import);
        }
    }
    Err(sound::no_ops())
}

/// The function that is run: `main`, or else the first public one.
fn entry<'p, 't>(program: &'p Program<'t>) -> Result<&'p Function<'t>, Diagnostic> {
    let all = || program.functions.iter().filter(|function| !function.body.operations.is_empty());
    let main = all()
        .find(|function| function.name == b"main")
        .or_else(|| all().find(|function| function.is_public));
    main.ok_or_else(|| {
        Diagnostic::input("missing-graph", "the program has no function with a body")
            .hint(super::fault::AGAIN)
    })
}

impl<'p, 't> Builder<'p, 't> {
    fn new(
        text: &'t [u8],
        program: &'p Program<'t>,
        functions: HashMap<&'t [u8], &'p Function<'t>>,
        graph: Graph,
        unfolds: bool,
    ) -> Self {
        Self {
            text,
            program,
            functions,
            graph,
            bound: vec![Bound::default(); program.types_of.len()],
            constants: Vec::new(),
            spreads: Vec::new(),
            renamed: HashSet::new(),
            taken: HashMap::new(),
            prefix: String::new(),
            module: None,
            is_backward: false,
            runs: Vec::new(),
            n_outer: 0,
            unfolds,
            n_summed: 0,
            layers: HashMap::new(),
            is_layer: HashSet::new(),
            calls: Vec::new(),
            n_steps: 0,
            depth: 0,
            n_loops: 0,
            notes: Notes::new(),
            shardings: BTreeMap::new(),
            paths: HashMap::new(),
        }
    }

    fn fault(&self, at: u32, code: &'static str, message: impl Into<String>) -> Diagnostic {
        fault(self.text, at as usize, code, message)
    }

    /// The type of a value, where it is a tensor.
    fn tensor_type(&self, value: ValueId) -> Option<&'p TensorType> {
        let program: &'p Program<'t> = self.program;
        program.types.tensor(*program.types_of.get(value as usize)?)
    }

    /// Extents of a value, where all are known.
    fn shape(&self, value: ValueId) -> Option<Vec<u64>> {
        self.tensor_type(value)?.shape()
    }

    fn note(&mut self, code: &'static str, name: impl Into<String>) {
        self.notes.entry(code).or_default().insert(name.into());
    }

    /// A name that nothing has yet.
    fn fresh(&mut self, wanted: String) -> String {
        let Some(number) = self.taken.get(&wanted).copied() else {
            self.taken.insert(wanted.clone(), 1);
            return wanted;
        };
        // What was handed out before is not tried again.
        let mut number = number;
        loop {
            number += 1;
            let name = format!("{wanted}~{number}");
            if !self.taken.contains_key(&name) {
                self.taken.insert(name.clone(), 1);
                self.taken.insert(wanted, number);
                return name;
            }
        }
    }
}
