//! What a model is made of, for people: runs of equal blocks and what stands around them.

use cost_model::ops::workload::passes::Passes;
use ir::graph::Graph;
use ir::op::Work;
use ir::tensor::{DType, Role, Tensor};
use ir::threads::beside;
use ir::units::{Bytes, Flops};
use planner::training::structure::figures::{self, Figures, Sums};
use planner::training::structure::{Line, Structure, template};
use serde_json::{Value, json};

use crate::answer::page::Column;
use crate::answer::page::Page;

/// Segments that are told of a weight that several read.
const TOLD: usize = 16;

/// The structure of a graph with its figures.
pub struct Found {
    structure: Structure,
    sums: Sums,
    /// What template the blocks match, or why none does.
    template: Result<ir::card::ModelCard, String>,
}

/// One line of the table: segments that stand together.
struct Row {
    what: String,
    n: usize,
    segments: std::ops::Range<usize>,
}

/// Finds it. Parameters are those that training updates, where the graph can be trained: not with weights
/// in packed integers.
pub fn find(graph: &Graph) -> Found {
    let line = Line::of(graph);
    let trained = || match graph.tensors.iter().any(is_packed) {
        true => None,
        false => Passes::of(graph.clone()).ok().map(|(passes, _)| passes),
    };
    let (passes, structure) = beside(trained, || planner::training::structure::find(&line));
    let sums = figures::of(graph, &structure, passes.as_ref());
    let template = template::model(&line, &structure, &sums);
    let template = template.map(|(card, _)| card).map_err(|mismatch| mismatch.0);
    Found { structure, sums, template }
}

fn is_packed(tensor: &Tensor) -> bool {
    let is_narrow = matches!(tensor.dtype, DType::I2 | DType::I4 | DType::I8);
    tensor.role == Role::Parameter && is_narrow && tensor.shape.len() > 1
}

impl Found {
    /// Blocks of the same run that stand together, and what is before, between and behind them.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let mut of: Option<Option<usize>> = None;
        for (at, segment) in self.structure.segments.iter().enumerate() {
            match rows.last_mut().filter(|_| of == Some(segment.run)) {
                Some(row) => {
                    row.n += 1;
                    row.segments.end = at + 1;
                }
                None => rows.push(Row { what: String::new(), n: 1, segments: at..at + 1 }),
            }
            of = Some(segment.run);
        }
        for row in &mut rows {
            row.what = match self.structure.segments[row.segments.start].run {
                Some(run) => format!("{} equal blocks, run {run}", row.n),
                None if row.n == 1 => "1 part".to_owned(),
                None => format!("{} parts", row.n),
            };
        }
        rows
    }

    fn sum(&self, row: &Row) -> Figures {
        let segments = &self.sums.segments[row.segments.clone()];
        let bytes =
            |of: &dyn Fn(&Figures) -> Option<Bytes>| segments.iter().map(of).sum::<Option<Bytes>>();
        let count =
            |of: &dyn Fn(&Figures) -> u64| segments.iter().map(of).fold(0, u64::saturating_add);
        Figures {
            flops: segments.iter().map(|figures| figures.flops).sum(),
            n_parameters: count(&|figures| figures.n_parameters),
            n_lines: count(&|figures| figures.n_lines),
            n_tied: count(&|figures| figures.n_tied),
            before: segments.first().map(|figures| figures.before).unwrap_or_default(),
            behind: segments.last().map(|figures| figures.behind).unwrap_or_default(),
            input: segments.first().map(|figures| figures.input).unwrap_or_default(),
            stash: bytes(&|figures| figures.stash),
        }
    }

    /// Prints runs and what is around them, a row each; nothing of a graph without runs.
    pub fn print(&self, graph: &Graph, page: &Page) {
        if self.structure.runs.is_empty() {
            return;
        }
        let columns =
            Column::row("@chain | #ops | #work | #parameters | #kept for backward | #passes on");
        let row = |row: &Row| {
            let sum = self.sum(row);
            let n_ops: usize = self.structure.segments[row.segments.clone()]
                .iter()
                .flat_map(|segment| &segment.ops)
                .filter(|op| graph.op(**op).work != Work::View)
                .count();
            vec![
                row.what.clone(),
                n_ops.to_string(),
                Flops(sum.flops.get()).to_string(),
                sum.n_parameters.to_string(),
                sum.stash.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
                sum.behind.to_string(),
            ]
        };
        page.table(&columns, self.rows().iter().map(row).collect());
        for tied in &self.sums.tied {
            if tied.n_elements > 1 {
                let numbers = tied.segments.iter().take(TOLD).map(usize::to_string);
                let more = tied.segments.len().saturating_sub(TOLD);
                page.line(&format!(
                    "`{}` is read in segments {}{}: counted once, {} parameters",
                    graph.tensor(tied.tensor).name,
                    numbers.collect::<Vec<_>>().join(", "),
                    if more > 0 { format!(" and {more} more") } else { String::new() },
                    tied.n_elements
                ));
            }
        }
        page.line(&self.kind());
    }

    /// What the blocks are.
    fn kind(&self) -> String {
        match &self.template {
            Ok(model) => template::sentence(model),
            Err(why) => format!("no transformer template: {why}"),
        }
    }

    /// The same as a document: every segment.
    pub fn document(&self) -> Value {
        let segments = self.structure.segments.iter().zip(&self.sums.segments);
        let segments: Vec<Value> = segments
            .map(|(segment, figures)| {
                json!({
                    "run": segment.run,
                    "n_ops": segment.ops.len(),
                    "flops": figures.flops.get(),
                    "n_parameters": figures.n_parameters,
                    "n_tied": figures.n_tied,
                    "input_bytes": figures.input.get(),
                    "stash_bytes": figures.stash.map(|bytes| bytes.get()),
                    "behind_bytes": figures.behind.get(),
                })
            })
            .collect();
        let runs: Vec<&Vec<usize>> = self.structure.runs.iter().map(|run| &run.segments).collect();
        let mut document = json!({
            "runs": runs,
            "n_parameters": self.sums.n_parameters(),
            "template": self.template.is_ok().then(|| self.kind()),
            "no_template": self.template.as_ref().err(),
        });
        document["segments"] = Value::Array(segments);
        document
    }
}
