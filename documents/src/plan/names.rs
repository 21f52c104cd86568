//! From names to ids.

use std::collections::HashMap;

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::nearest;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Unique(usize),
    /// Two things have this name, so it stands for neither.
    Ambiguous,
}

struct Index<'a> {
    what: &'static str,
    unknown: &'static str,
    entries: HashMap<&'a str, Entry>,
}

impl<'a> Index<'a> {
    fn new(
        what: &'static str,
        unknown: &'static str,
        names: impl Iterator<Item = &'a String>,
    ) -> Self {
        let mut entries = HashMap::new();
        for (position, name) in names.enumerate() {
            entries
                .entry(name.as_str())
                .and_modify(|entry| *entry = Entry::Ambiguous)
                .or_insert(Entry::Unique(position));
        }
        Self { what, unknown, entries }
    }

    fn get(&self, name: &str) -> Result<usize, Diagnostic> {
        let what = self.what;
        match self.entries.get(name) {
            Some(Entry::Unique(position)) => Ok(*position),
            Some(Entry::Ambiguous) => Err(Diagnostic::input(
                "ambiguous-name",
                format!("the plan names {what} `{name}`, and there are two of that name"),
            )
            .fact(what, name)),
            None => {
                let unknown = Diagnostic::input(
                    self.unknown,
                    format!("the plan names {what} `{name}`, which does not exist"),
                )
                .fact(what, name);
                Err(nearest::hint(unknown, name, self.entries.keys().copied()))
            }
        }
    }
}

/// All names of a graph and a cluster.
pub(super) struct Names<'a> {
    ops: Index<'a>,
    tensors: Index<'a>,
    devices: Index<'a>,
    channels: Index<'a>,
}

impl<'a> Names<'a> {
    pub(super) fn new(graph: &'a Graph, cluster: &'a Cluster) -> Self {
        Self {
            ops: Index::new("op", "unknown-op", graph.ops.iter().map(|op| &op.name)),
            tensors: Index::new(
                "tensor",
                "unknown-tensor",
                graph.tensors.iter().map(|tensor| &tensor.name),
            ),
            devices: Index::new(
                "device",
                "unknown-device",
                cluster.devices.iter().map(|device| &device.name),
            ),
            channels: Index::new(
                "channel",
                "unknown-channel",
                cluster.links.channels.iter().map(|channel| &channel.name),
            ),
        }
    }

    pub(super) fn op(&self, name: &str) -> Result<OpId, Diagnostic> {
        self.ops.get(name).map(OpId::new)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<TensorId, Diagnostic> {
        self.tensors.get(name).map(TensorId::new)
    }

    pub(super) fn device(&self, name: &str) -> Result<DeviceId, Diagnostic> {
        self.devices.get(name).map(DeviceId::new)
    }

    pub(super) fn channel(&self, name: &str) -> Result<ChannelId, Diagnostic> {
        self.channels.get(name).map(ChannelId::new)
    }
}
