//! Reader of the table of collectives.

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::measured::{CollectiveOperation, CollectiveRow};

use super::{Fields, read_table};

/// Names of operations in the table.
const OPERATIONS: [(&str, CollectiveOperation); 6] = [
    ("send_recv", CollectiveOperation::PointToPoint),
    ("broadcast", CollectiveOperation::Broadcast),
    ("all_reduce", CollectiveOperation::AllReduce),
    ("all_gather", CollectiveOperation::AllGather),
    ("reduce_scatter", CollectiveOperation::ReduceScatter),
    ("alltoall", CollectiveOperation::AllToAll),
];

/// Reads the table: columns `gpu`, `op`, `library`, `gpus`, `gpus_per_node`, `message_bytes` and
/// `time_*`.
///
/// # Errors
/// Those of the table, see [`read_table`].
pub fn read(path: &Path) -> Result<Vec<CollectiveRow>, Diagnostic> {
    read_table(path, |fields| row(fields).map(Some))
}

pub(super) fn row(fields: &Fields) -> Result<CollectiveRow, Diagnostic> {
    let name = fields.text("op")?;
    let Some((_, operation)) = OPERATIONS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<String> = OPERATIONS.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(fields.bad("op", &format!("one of {}", known.join(", "))));
    };
    let (ranks, ranks_per_node) = (fields.count("gpus")?, fields.count("gpus_per_node")?);
    if ranks_per_node > ranks {
        return Err(fields.bad("gpus_per_node", "a count of at most `gpus`"));
    }
    Ok(CollectiveRow {
        system: fields.device()?,
        library: fields.name("library")?,
        operation: *operation,
        ranks,
        ranks_per_node,
        bytes: fields.bytes("message")?,
        time_s: fields.seconds("time")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse_table;
    use super::*;

    const HEADER: &str = "gpu,op,library,gpus,gpus_per_node,message_bytes,time_us";

    fn parse(line: &str) -> Result<Vec<CollectiveRow>, Diagnostic> {
        let text = format!("{HEADER}\n{line}\n");
        parse_table(text.as_bytes(), "collectives.csv", |fields| row(fields).map(Some))
    }

    #[test]
    fn a_row_by_hand() {
        let rows = parse("a,alltoall,nccl,8,4,512,9").unwrap();
        assert_eq!(rows[0].operation, CollectiveOperation::AllToAll);
        assert_eq!((rows[0].ranks, rows[0].ranks_per_node, rows[0].bytes), (8, 4, 512));
        assert_eq!(rows[0].time_s, 9.0 * 1e-6);
    }

    #[test]
    fn broken_cells_are_refused() {
        for line in [
            "a,gather,nccl,8,4,512,9",
            "a,alltoall,nccl,8,16,512,9",
            "a,alltoall,nccl,8,4,0,9",
            "a,alltoall,nccl,8,4,512,NaN",
            "a,alltoall,nccl,8,4,512,-1",
            "a,alltoall,nccl,8,4,512,0",
        ] {
            assert_eq!(parse(line).unwrap_err().code, "bad-cell", "{line}");
        }
    }
}
