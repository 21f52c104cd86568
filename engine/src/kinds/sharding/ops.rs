//! The ops of a model that was exported as a graph, for any number of samples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use importers::Import;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::Splits;

use crate::inputs::run::model::imported;
use crate::request::ModelRequest;

/// Names of ops that a warning lists at most.
const LISTED: usize = 5;

/// Graphs by their number of samples.
type Made = BTreeMap<u64, Option<Arc<Graph>>>;

/// A model's ops.
#[derive(Clone)]
pub struct Ops {
    path: PathBuf,
    flags: ModelRequest,
    sequence: Option<u64>,
    made: Arc<Mutex<Made>>,
}

impl Ops {
    /// The ops of a graph for a number of samples; none where no op of the model has splits.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of(
        (path, flags): (&Path, ModelRequest),
        (samples, sequence): (u64, Option<u64>),
    ) -> Result<Option<(Self, Vec<Diagnostic>)>, Diagnostic> {
        let ops = Self { path: path.to_owned(), flags, sequence, made: Arc::default() };
        let (graph, read) = ops.import(samples)?;
        if graph.ops.iter().all(|op| op.splits == Splits::default()) {
            return Ok(None);
        }
        let is_scaled = |warning: &Diagnostic| warning.code == "batch-scaled";
        let warnings = whole(&graph).into_iter().chain(read.into_iter().filter(is_scaled));
        let warnings = warnings.collect();
        if let Ok(mut made) = ops.made.lock() {
            made.insert(samples, Some(graph));
        }
        Ok(Some((ops, warnings)))
    }

    fn import(&self, samples: u64) -> Result<(Arc<Graph>, Vec<Diagnostic>), Diagnostic> {
        let flags = ModelRequest { batch: Some(samples), micro_batch: None, ..self.flags.clone() };
        let Import { graph, warnings, .. } = imported(&self.path, &flags, self.sequence)?;
        Ok((Arc::new(graph.forward_part().into_owned()), warnings))
    }

    /// The graph for a number of samples; none where it cannot be read for that.
    pub fn read(&self, samples: u64) -> Option<Arc<Graph>> {
        let mut made = self.made.lock().ok()?;
        made.entry(samples).or_insert_with(|| self.import(samples).ok().map(|read| read.0)).clone()
    }
}

/// Warns of ops that are replicated because nothing is known of them.
fn whole(graph: &Graph) -> Vec<Diagnostic> {
    let unknown: Vec<_> = graph.ops.iter().filter(|op| op.is_replicated()).collect();
    if unknown.is_empty() {
        return Vec::new();
    }
    let types: BTreeSet<&str> = unknown.iter().map(|op| op.op_type.as_str()).collect();
    let names: Vec<&str> = unknown.iter().take(LISTED).map(|op| op.name.as_str()).collect();
    let message = format!(
        "{} of {} ops have no sharding rule and are replicated ({}), such as {}",
        unknown.len(),
        graph.ops.len(),
        types.into_iter().collect::<Vec<_>>().join(", "),
        names.join(", ")
    );
    vec![Diagnostic::warning("no-rule", message)]
}
