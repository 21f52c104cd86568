//! Modules of a model with what they hold and do.

use std::collections::BTreeMap;
use std::collections::HashSet;

use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Phase, Work};
use ir::tensor::Role;
use ir::units::{Bytes, Flops};
use serde_json::{Value, json};

use crate::answer::page::{Column, Page};

/// Sums over the forward ops of a module and of those inside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    n_ops: u64,
    flops: u64,
    parameters: u64,
    parameter_bytes: u64,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.n_ops += other.n_ops;
        self.flops = self.flops.saturating_add(other.flops);
        self.parameters = self.parameters.saturating_add(other.parameters);
        self.parameter_bytes = self.parameter_bytes.saturating_add(other.parameter_bytes);
    }
}

/// A module; those inside it in the order in which they first run.
#[derive(Debug, Default)]
struct Module {
    all: Figures,
    names: Vec<String>,
    inside: BTreeMap<String, Self>,
}

/// The modules of a graph. A parameter belongs to the first op that reads it.
pub struct Tree(Module);

/// A line: a module, or several numbered ones in a row that are alike.
struct Row {
    depth: usize,
    name: String,
    n_alike: usize,
    all: Figures,
}

impl Tree {
    /// Sorts the forward ops of a graph by their modules.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let roots = graph.roots();
        let mut seen: HashSet<TensorId> = HashSet::new();
        let mut tree = Module::default();
        for op in graph.ops.iter().filter(|op| op.phase == Phase::Forward) {
            let mut figures = Figures { n_ops: 1, ..Figures::default() };
            if let Work::Kernel(kernel) = &op.work {
                figures.flops = kernel.flops().get();
            }
            // A view of a parameter reads nothing yet: who reads it by that name owns it.
            let read = op.inputs.iter().chain(&op.parameters).filter(|_| op.work != Work::View);
            for root in read.map(|tensor| roots[tensor.index()]) {
                let tensor = graph.tensor(root);
                let is_constant = tensor.role == Role::Parameter && !tensor.shape.is_empty();
                if is_constant && seen.insert(root) {
                    let n = tensor.shape.iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
                    figures.parameters = figures.parameters.saturating_add(n);
                    figures.parameter_bytes += tensor.bytes.get();
                }
            }
            let mut module = &mut tree;
            module.all.add(figures);
            for part in op.module.iter().flat_map(|path| path.split('.')).take(64) {
                if !module.inside.contains_key(part) {
                    module.names.push(part.to_owned());
                }
                module = module.inside.entry(part.to_owned()).or_default();
                module.all.add(figures);
            }
        }
        Self(tree)
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        inside(&self.0, 0, &mut rows);
        rows
    }

    /// Prints the modules, numbered ones in a row that are alike as one.
    pub fn print(&self, page: &Page) {
        let columns = Column::row("@module | #ops | #parameters | #bytes | #work");
        let cells = |row: &Row| {
            let times =
                if row.n_alike > 1 { format!(" ({} alike)", row.n_alike) } else { String::new() };
            let some = |n: u64, text: String| if n == 0 { "-".to_owned() } else { text };
            vec![
                format!("{}{}{times}", "  ".repeat(row.depth), row.name),
                row.all.n_ops.to_string(),
                some(row.all.parameters, row.all.parameters.to_string()),
                some(row.all.parameter_bytes, Bytes(row.all.parameter_bytes).to_string()),
                some(row.all.flops, Flops(row.all.flops).to_string()),
            ]
        };
        page.table(&columns, self.rows().iter().map(cells).collect());
    }

    /// As a document.
    #[must_use]
    pub fn document(&self) -> Value {
        let rows = self.rows();
        let row = |row: &Row| {
            json!({
                "depth": row.depth,
                "module": row.name,
                "n_alike": row.n_alike,
                "n_ops": row.all.n_ops,
                "parameters": row.all.parameters,
                "parameter_bytes": row.all.parameter_bytes,
                "flops": row.all.flops,
            })
        };
        rows.iter().map(row).collect()
    }
}

fn inside(module: &Module, depth: usize, rows: &mut Vec<Row>) {
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let mut at = 0;
    while let Some(name) = module.names.get(at) {
        let child = &module.inside[name];
        let alike = |other: &&String| {
            is_number(other) && is_number(name) && module.inside[*other].all == child.all
        };
        let n_alike = 1 + module.names[at + 1..].iter().take_while(alike).count();
        let name = match n_alike {
            1 => name.clone(),
            n => format!("{name}..{}", module.names[at + n - 1]),
        };
        rows.push(Row { depth, name, n_alike, all: child.all });
        inside(child, depth + 1, rows);
        at += n_alike;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::op::{Kernel, Op, Product};

    #[test]
    fn numbered_modules_that_are_alike_stand_together() {
        let op = |module: &str, m: u64| Op {
            name: module.to_owned(),
            op_type: "MatMul".to_owned(),
            module: Some(module.to_owned()),
            phase: Phase::Forward,
            inputs: Vec::new(),
            parameters: Vec::new(),
            outputs: Vec::new(),
            work: Work::Kernel(Kernel {
                products: vec![Product { count: 1, m, k: 1, n: 1 }],
                ..Kernel::default()
            }),
            group: None,
            splits: ir::op::Splits::default(),
        };
        let ops = [("h.0.a", 1), ("h.1.a", 1), ("h.2.a", 5), ("head", 2)];
        let ops = ops.map(|(module, m)| op(module, m)).to_vec();
        let tree = Tree::of(&Graph { ops, ..Graph::default() });
        let rows: Vec<(usize, String, usize, u64)> = tree
            .rows()
            .into_iter()
            .map(|row| (row.depth, row.name, row.n_alike, row.all.flops))
            .collect();
        let row = |depth, name: &str, n, flops| (depth, name.to_owned(), n, flops);
        assert_eq!(
            rows,
            [
                row(0, "h", 1, 14),
                row(1, "0..1", 2, 2),
                row(2, "a", 1, 2),
                row(1, "2", 1, 10),
                row(2, "a", 1, 10),
                row(0, "head", 1, 4),
            ]
        );
    }
}
