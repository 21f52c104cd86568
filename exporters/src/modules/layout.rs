//! Which ops and parameters belong to which block of the model.

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::module::unit_of;
use ir::op::{Phase, Work};
use ir::tensor::{DType, Role, Tensor};

use super::refusal;

/// What the PyTorch exporter writes for ops that it traced outside of any module.
const NO_MODULE: &str = "_empty_nn_module_stack_from_metadata_hook";

/// Up to this many elements the PyTorch exporter merges initializers of equal values (fresh biases
/// and norms), which is no tie of the model.
const MERGED_ELEMENTS: u64 = 1024;

/// Deeper module paths are refused: no model nests so.
const MAX_DEPTH: usize = 64;

/// Who has a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A unit.
    Unit(usize),
    /// A container that may be split: the parameter gets a key of its own.
    Container,
}

/// A parameter whose name says which module it belongs to.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// Its name without wrappers.
    pub(crate) name: String,
    pub(crate) owner: Owner,
    /// Ops that read it, through views or not.
    pub(crate) readers: Vec<OpId>,
    /// Whether all who read it must share a device (it is no merged constant).
    pub(crate) binds: bool,
}

/// What an op of a container works on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    /// The output of an op.
    Op(OpId),
    /// A parameter (position in [`Layout::parameters`]).
    Parameter(usize),
}

/// The blocks of a model.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Module names without wrappers, in order of first use.
    pub(crate) units: Vec<String>,
    /// By op: the path of its module without wrappers.
    pub(crate) modules: Vec<Option<String>>,
    /// By op: its unit; `None` for ops of containers.
    pub(crate) unit: Vec<Option<usize>>,
    /// Parameters with telling names.
    pub(crate) parameters: Vec<Parameter>,
    /// Forward ops of containers with what they work on.
    pub(crate) glue: Vec<(OpId, Vec<Operand>)>,
    /// What was cut off every name, such as `m.`.
    wrapper: String,
}

impl Layout {
    /// # Errors
    /// `cannot-express` where no op has a module, or a path nests past 64 levels.
    pub(crate) fn new(graph: &Graph, target: &'static str) -> Result<Self, Diagnostic> {
        let modules: Vec<Option<&str>> =
            graph.ops.iter().map(|op| op.module.as_deref().filter(|m| is_path(m))).collect();
        let deep = modules.iter().flatten().find(|path| path.split('.').count() > MAX_DEPTH);
        if let Some(path) = deep {
            let shown: String = path.chars().take(80).collect();
            let message = format!("module `{shown}...` nests past {MAX_DEPTH} levels");
            return Err(refusal(target, message));
        }
        if modules.iter().all(Option::is_none) {
            let message = format!("`{}` does not name the modules of its ops", graph.name);
            let hint =
                "export the model with torch.onnx.export(..., dynamo=True), which keeps them";
            return Err(refusal(target, message).hint(hint));
        }
        let wrapper = wrapper(&modules);
        let modules: Vec<Option<&str>> =
            modules.into_iter().map(|path| path.map(|path| unwrapped(path, &wrapper))).collect();
        let roots = graph.roots();
        let named = named_parameters(graph, &wrapper);
        let paths = modules.iter().flatten().copied().chain(named.iter().map(|p| p.1));
        let mut layout = Self {
            units: Vec::new(),
            modules: modules.iter().map(|path| path.map(str::to_owned)).collect(),
            unit: vec![None; graph.ops.len()],
            parameters: Vec::new(),
            glue: Vec::new(),
            wrapper,
        };
        let mut blocks = Blocks { open: containers(paths), ids: BTreeMap::new() };
        let producers = graph.producers();
        for (index, path) in modules.iter().enumerate() {
            let unit = match path {
                Some(path) => blocks.unit(path, &mut layout.units),
                None => layout.inherited(graph, OpId::new(index), &roots, &producers),
            };
            if let Some(slot) = layout.unit.get_mut(index) {
                *slot = unit;
            }
        }
        let positions = layout.read_parameters(graph, &named, &mut blocks, &roots);
        layout.read_glue(graph, &modules, &roots, &producers, &positions);
        Ok(layout)
    }

    /// An op without a module belongs to the unit that made its first operand: the exporter drops
    /// the module of ops that it rewrites.
    fn inherited(
        &self,
        graph: &Graph,
        op: OpId,
        roots: &[TensorId],
        producers: &[Option<OpId>],
    ) -> Option<usize> {
        graph.op(op).inputs.iter().find_map(|tensor| {
            let producer = producers.get(roots.get(tensor.index())?.index()).copied().flatten()?;
            self.unit.get(producer.index()).copied().flatten()
        })
    }

    fn read_parameters(
        &mut self,
        graph: &Graph,
        named: &[(TensorId, &str, &str)],
        blocks: &mut Blocks,
        roots: &[TensorId],
    ) -> BTreeMap<TensorId, usize> {
        let mut readers: BTreeMap<TensorId, Vec<OpId>> = BTreeMap::new();
        for op in graph.op_ids().filter(|op| graph.op(*op).work != Work::View) {
            let node = graph.op(op);
            for tensor in node.inputs.iter().chain(&node.parameters) {
                if let Some(root) = roots.get(tensor.index()) {
                    readers.entry(*root).or_default().push(op);
                }
            }
        }
        let mut positions = BTreeMap::new();
        for &(tensor, owner, name) in named {
            let Some(readers) = readers.remove(&tensor) else {
                continue;
            };
            positions.insert(tensor, self.parameters.len());
            self.parameters.push(Parameter {
                name: name.to_owned(),
                owner: blocks.unit(owner, &mut self.units).map_or(Owner::Container, Owner::Unit),
                readers,
                binds: binds(graph.tensor(tensor)),
            });
        }
        positions
    }

    fn read_glue(
        &mut self,
        graph: &Graph,
        modules: &[Option<&str>],
        roots: &[TensorId],
        producers: &[Option<OpId>],
        positions: &BTreeMap<TensorId, usize>,
    ) {
        for op in graph.op_ids() {
            let node = graph.op(op);
            let in_unit = self.unit.get(op.index()).copied().flatten().is_some();
            let anonymous = modules.get(op.index()).copied().flatten().is_none();
            let plays = node.work != Work::View && node.phase == Phase::Forward;
            if in_unit || anonymous || !plays {
                continue;
            }
            let operands = node.inputs.iter().chain(&node.parameters).filter_map(|tensor| {
                let root = *roots.get(tensor.index())?;
                match producers.get(root.index()).copied().flatten() {
                    Some(_) if is_shape_arithmetic(graph.tensor(*tensor)) => None,
                    Some(producer) => Some(Operand::Op(producer)),
                    None => {
                        let position = *positions.get(&root)?;
                        self.parameters.get(position)?.binds.then_some(Operand::Parameter(position))
                    }
                }
            });
            let operands: Vec<Operand> = operands.collect();
            self.glue.push((op, operands));
        }
    }

    /// What was cut off the names, for those that write them.
    pub(crate) fn warnings(&self, graph: &Graph) -> Vec<Diagnostic> {
        if self.wrapper.is_empty() {
            return Vec::new();
        }
        let wrapper = self.wrapper.trim_end_matches('.');
        vec![
            Diagnostic::warning(
                "wrapper-stripped",
                format!(
                    "every module of `{}` is inside `{wrapper}`, which is taken for the wrapper of \
                     the export and left out of the keys",
                    graph.name
                ),
            )
            .fact("wrapper", wrapper),
        ]
    }
}

/// Units by name.
struct Blocks {
    open: BTreeSet<String>,
    ids: BTreeMap<String, usize>,
}

impl Blocks {
    /// The shortest prefix that is no open container; `None` if there is none.
    fn unit(&mut self, path: &str, units: &mut Vec<String>) -> Option<usize> {
        let name = prefixes(path).find(|prefix| !self.open.contains(*prefix))?;
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        self.ids.insert(name.to_owned(), units.len());
        units.push(name.to_owned());
        Some(units.len() - 1)
    }
}

/// The path's prefixes, shortest first, itself included; none of an empty path.
pub(crate) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('.').map(|(at, _)| at);
    ends.chain((!path.is_empty()).then_some(path.len())).filter_map(|end| path.get(..end))
}

/// Modules that may be split: all that contain a numbered block.
fn containers<'a>(paths: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    for path in paths {
        let unit = unit_of(path);
        let last = unit.rsplit('.').next().unwrap_or_default();
        if !last.bytes().all(|byte| byte.is_ascii_digit()) || last.is_empty() {
            continue;
        }
        for prefix in prefixes(unit).filter(|prefix| prefix.len() < unit.len()) {
            if !open.contains(prefix) {
                open.insert(prefix.to_owned());
            }
        }
    }
    open
}

fn is_path(path: &str) -> bool {
    path != NO_MODULE && !path.is_empty() && path.split('.').all(|part| !part.is_empty())
}

/// The first components that every path shares and that name a wrapper of the export, not a part
/// of the model: a single letter, or what PyTorch's own wrappers call their child. What numbered
/// blocks hang from is a list of them, however short its name.
fn wrapper(modules: &[Option<&str>]) -> String {
    let mut wrapper = String::new();
    while let Some(head) = shared_head(modules, &wrapper) {
        wrapper.push_str(&head);
        wrapper.push('.');
    }
    wrapper
}

fn shared_head(modules: &[Option<&str>], wrapper: &str) -> Option<String> {
    let mut shared: Option<&str> = None;
    let mut nests = false;
    for path in modules.iter().flatten().map(|path| unwrapped(path, wrapper)) {
        let mut parts = path.split('.');
        let head = parts.next().filter(|head| !head.is_empty());
        let next = parts.next();
        let is_list = next.is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        match (shared, head) {
            (_, None) => {}
            (Some(known), Some(head)) if known != head => return None,
            (_, Some(_)) if is_list => return None,
            (_, Some(head)) => {
                shared = Some(head);
                nests |= next.is_some();
            }
        }
    }
    let head = shared.filter(|_| nests)?;
    let letter = head.len() == 1 && head.bytes().all(|byte| byte.is_ascii_alphabetic());
    (letter || ["module", "_orig_mod"].contains(&head)).then(|| head.to_owned())
}

fn unwrapped<'a>(path: &'a str, wrapper: &str) -> &'a str {
    match path.strip_prefix(wrapper) {
        Some(rest) => rest,
        // An op of the wrapper itself.
        None if wrapper.strip_suffix('.').is_some_and(|w| w.starts_with(path)) => "",
        None => path,
    }
}

/// Parameters whose names are `module.path.parameter`: id, module and name, without wrappers.
fn named_parameters<'a>(graph: &'a Graph, wrapper: &str) -> Vec<(TensorId, &'a str, &'a str)> {
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    graph
        .tensors
        .iter()
        .enumerate()
        .filter(|(_, tensor)| tensor.role == Role::Parameter)
        .filter(|(_, tensor)| tensor.name.split('.').take(MAX_DEPTH + 1).all(word))
        .filter_map(|(index, tensor)| {
            let name = tensor.name.strip_prefix(wrapper)?;
            let owner = match name.rsplit_once('.') {
                Some((owner, _)) => owner,
                // Directly on the model; without a wrapper such a name can't be told from a
                // constant of the exporter.
                None if !wrapper.is_empty() => "",
                None => return None,
            };
            (owner.split('.').count() <= MAX_DEPTH).then_some((TensorId::new(index), owner, name))
        })
        .collect()
}

fn binds(tensor: &Tensor) -> bool {
    let elements = tensor.shape.iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
    let is_matrix = tensor.shape.iter().filter(|extent| **extent > 1).count() >= 2;
    is_matrix || elements > MERGED_ELEMENTS
}

/// Sizes are Python integers when the model runs, and lie on no device.
fn is_shape_arithmetic(tensor: &Tensor) -> bool {
    tensor.shape.len() <= 1 && matches!(tensor.dtype, DType::I64 | DType::I32)
}
