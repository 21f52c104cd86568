//! `--costs`: measured seconds of operators and modules by kind of device, from a table.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::OpId;
use ir::op::{Kernel, Op, Phase, Work};
use ir::units::{Bytes, Nanos};

use crate::answer::files::input_file;
use crate::answer::suggest;
use crate::inputs::pattern::Pattern;

/// Longest table, in bytes.
const LONGEST_FILE: u64 = 16 << 20;
/// Most rows, and most of them with wildcards.
const MOST_ROWS: usize = 100_000;
const MOST_GLOBS: usize = 200;
/// Longest time of a row: a day.
const MOST_SECONDS: f64 = 86_400.0;
/// Names that a hint shows.
const SHOWN: usize = 8;
/// Rates by which a module's time is divided over its operators: operations and bytes a second, and seconds of
/// a start.
const RATES: (f64, f64, f64) = (1e14, 1e12, 1e-6);
/// Name of the column of bytes.
const BYTES: &str = "bytes";
/// The pattern that prices each operator that no row before it does.
const ALL: &str = "*";
/// Names that the first column may have.
const FIRST: [&str; 3] = ["op", "module", "pattern"];

/// A row of the table.
struct Row {
    line: usize,
    pattern: Pattern,
    /// Seconds by kind of device.
    seconds: BTreeMap<String, f64>,
    /// Scratch bytes of each operator that it covers.
    bytes: Option<u64>,
}

/// The rows of a table, each as a plan states it: line, pattern, `KIND=SECONDS` and `bytes=N`, between tabs.
///
/// # Errors
/// `costs` with the number of the line.
pub(super) fn list(path: &Path) -> Result<Vec<String>, Diagnostic> {
    let file = path.display().to_string();
    let unreadable = |why: String| {
        Diagnostic::input("costs", format!("`{file}` can not be read: {why}"))
            .hint("give a CSV table: op,KIND,..,bytes")
    };
    let bytes = input_file::read(path, LONGEST_FILE).map_err(unreadable)?;
    let text =
        String::from_utf8(bytes.to_vec()).map_err(|_| unreadable("it is no UTF-8".to_owned()))?;
    rows(&text).map_err(|error| error.fact("file", file.clone()))
}

fn wrong(line: usize, message: &str, hint: &str) -> Diagnostic {
    Diagnostic::input("costs", format!("line {line} of the costs: {message}"))
        .fact("line", line)
        .hint(hint.to_owned())
}

fn rows(text: &str) -> Result<Vec<String>, Diagnostic> {
    let lines = text.trim_start_matches('\u{feff}').lines().zip(1_usize..);
    let mut lines = lines.filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let example = "begin with a line such as `op,a100_sxm4_80gb,bytes`";
    let (header, first) = lines.next().ok_or_else(|| wrong(1, "the table is empty", example))?;
    let columns = cells(header, first)?;
    let is_named = columns.first().is_some_and(|name| FIRST.contains(&name.as_str()));
    if !is_named || columns.len() < 2 {
        return Err(wrong(first, "its columns are not op and kinds of devices", example));
    }
    if let Some(twice) = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name))
    {
        return Err(wrong(first, &format!("column `{}` is there twice", shown(twice.1)), example));
    }
    let mut found = Vec::new();
    for (line, at) in lines {
        if found.len() >= MOST_ROWS {
            return Err(wrong(
                at,
                &format!("more than {MOST_ROWS} rows"),
                "cover modules by patterns",
            ));
        }
        let cells = cells(line, at)?;
        if cells.len() != columns.len() {
            let message = format!("{} cells under {} columns", cells.len(), columns.len());
            return Err(wrong(
                at,
                &message,
                "give a cell for each column, empty where nothing is known",
            ));
        }
        found.push(row(at, &columns, &cells)?);
    }
    if found.is_empty() {
        return Err(wrong(first, "no row is under the columns", "give a row: PATTERN,SECONDS"));
    }
    Ok(found)
}

/// Cells of a line; quotes hold commas.
fn cells(line: &str, at: usize) -> Result<Vec<String>, Diagnostic> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            other => {
                if let Some(cell) = cells.last_mut() {
                    cell.push(other);
                }
            }
        }
    }
    if is_quoted {
        return Err(wrong(at, "a quote is not closed", "close it on the same line"));
    }
    Ok(cells.into_iter().map(|cell| cell.trim().to_owned()).collect())
}

/// A row as a plan states it.
fn row(at: usize, columns: &[String], cells: &[String]) -> Result<String, Diagnostic> {
    let pattern = cells.first().map_or("", String::as_str);
    if pattern.is_empty() || pattern.contains('\t') {
        return Err(wrong(
            at,
            "no operator or module is named",
            "name one, or a pattern: h.*.attn",
        ));
    }
    let mut text = format!("{at}\t{pattern}");
    let stated = columns.iter().zip(cells).skip(1).filter(|(_, cell)| !cell.is_empty());
    let before = text.len();
    for (column, cell) in stated {
        let value = match column == BYTES {
            true => bytes(cell).map(|value| value.to_string()),
            false => seconds(cell).map(|value| value.to_string()),
        };
        let value = value.map_err(|needs| {
            let message = format!("`{}` under `{}`: it {needs}", shown(cell), shown(column));
            wrong(at, &message, "correct the cell, or leave it empty")
        })?;
        text += &format!("\t{column}={value}");
    }
    match text.len() == before {
        true => Err(wrong(at, "it states neither seconds nor bytes", "leave the row out")),
        false => Ok(text),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=MOST_SECONDS).contains(value));
    value.ok_or_else(|| format!("needs seconds, a number from 0 to {MOST_SECONDS}"))
}

fn bytes(text: &str) -> Result<u64, String> {
    let value = text.parse().ok().filter(|value| *value <= 1 << 50);
    value.ok_or_else(|| "needs a whole number of bytes".to_owned())
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A row that a plan states.
fn stated(text: &str) -> Result<Row, Diagnostic> {
    let wrong = || {
        let message = format!("member `request.costs` of the plan: `{}` is no row", shown(text));
        Diagnostic::input("bad-plan", message).fact("member", "request.costs")
    };
    let mut parts = text.split('\t');
    let line = parts.next().and_then(|line| line.parse().ok()).ok_or_else(wrong)?;
    let pattern = parts.next().filter(|pattern| !pattern.is_empty()).ok_or_else(wrong)?;
    let mut row =
        Row { line, pattern: Pattern::new(pattern), seconds: BTreeMap::new(), bytes: None };
    for part in parts {
        let (name, value) = part.rsplit_once('=').ok_or_else(wrong)?;
        match name == BYTES {
            true => row.bytes = Some(bytes(value).map_err(|_| wrong())?),
            false => {
                row.seconds.insert(name.to_owned(), seconds(value).map_err(|_| wrong())?);
            }
        }
    }
    Ok(row)
}

/// Puts the costs of a table on the operators of a graph's forward pass; those of a module are divided over its
/// operators by their work. Of several rows the first that covers an operator counts.
///
/// # Errors
/// `costs` for a kind of device that the cluster has not, `bad-plan` for what is no row.
pub(super) fn apply(
    texts: &[String],
    graph: &mut Graph,
    cluster: &Cluster,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let rows = texts.iter().map(|text| stated(text)).collect::<Result<Vec<_>, _>>()?;
    check_kinds(&rows, cluster)?;
    let covered = covered(&rows, graph)?;
    let mut has_matched = vec![false; rows.len()];
    for ((at, _), ops) in &covered {
        has_matched[*at] = true;
        price(&rows[*at], ops, graph);
    }
    let names = names(graph);
    let unmatched = rows.iter().zip(&has_matched).filter(|(_, has)| !**has);
    let unmatched = unmatched.map(|(row, _)| {
        let (line, pattern) = (row.line, shown(row.pattern.text()));
        let message = format!(
            "line {line} of the costs, `{pattern}`, matches no operator that no row before it prices"
        );
        Diagnostic::warning("costs-unmatched", message).hint(names.clone())
    });
    Ok(unmatched.chain(left(graph, cluster)).collect())
}

/// Some modules and operators of a graph.
fn names(graph: &Graph) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in graph.ops.iter().flat_map(|op| op.module.as_deref().or(Some(&op.name))) {
        if names.len() < SHOWN && !names.contains(&name) {
            names.push(name);
        }
    }
    format!("names of this model begin with {}", names.join(", "))
}

fn check_kinds(rows: &[Row], cluster: &Cluster) -> Result<(), Diagnostic> {
    let kinds = cluster.kind_names();
    for row in rows {
        if let Some(other) = row.seconds.keys().find(|name| !kinds.contains(&name.as_str())) {
            let message = format!("no device of the cluster is a `{}`", shown(other));
            let hint = suggest::hint(other, kinds.iter().copied());
            return Err(wrong(row.line, &message, &hint));
        }
    }
    Ok(())
}

/// By row and what it matched, the operators that it prices.
fn covered(
    rows: &[Row],
    graph: &Graph,
) -> Result<BTreeMap<(usize, String), Vec<OpId>>, Diagnostic> {
    let has_wildcard = |row: &Row| row.pattern.text().contains(['*', '?']);
    let globs: Vec<usize> = (0..rows.len()).filter(|at| has_wildcard(&rows[*at])).collect();
    if let Some(at) = globs.get(MOST_GLOBS) {
        let message = format!("more than {MOST_GLOBS} patterns with wildcards");
        return Err(wrong(rows[*at].line, &message, "name operators or modules in full"));
    }
    let mut exact: HashMap<&str, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate().rev() {
        exact.insert(row.pattern.text(), at);
    }
    let mut covered: BTreeMap<(usize, String), Vec<OpId>> = BTreeMap::new();
    for id in graph.op_ids() {
        let op = graph.op(id);
        if !matches!(op.work, Work::Kernel(_)) || op.phase != Phase::Forward {
            continue;
        }
        let named = paths(op)
            .flat_map(prefixes)
            .filter_map(|path| exact.get(path).map(|at| (*at, path.to_owned())));
        let matched = globs.iter().filter_map(|at| {
            let pattern = &rows[*at].pattern;
            match pattern.text() == ALL {
                true => Some((*at, op.name.clone())),
                false => Some((*at, paths(op).find_map(|path| pattern.matched(path))?)),
            }
        });
        if let Some(found) = named.chain(matched).min() {
            covered.entry(found).or_default().push(id);
        }
    }
    Ok(covered)
}

/// The path of an operator's module, with and without the wrapper of the export in front, and its name.
fn paths(op: &Op) -> impl Iterator<Item = &str> {
    let module = op.module.as_deref();
    let inner = module.and_then(|path| path.split_once('.')).map(|(_, inner)| inner);
    module.into_iter().chain(inner).chain([op.name.as_str()])
}

/// A path, and those above it.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.char_indices().filter(|(at, letter)| *at > 0 && matches!(letter, '.' | '/'));
    ends.map(|(at, _)| &path[..at]).chain([path])
}

/// Divides a row's seconds over operators by their work.
fn price(row: &Row, ops: &[OpId], graph: &mut Graph) {
    let weights: Vec<f64> = ops.iter().map(|op| work(graph.op(*op))).collect();
    let all: f64 = weights.iter().sum();
    for (op, weight) in ops.iter().zip(weights) {
        let Work::Kernel(kernel) = &mut graph.ops[op.index()].work else { continue };
        for (kind, seconds) in &row.seconds {
            let nanos = (seconds * weight / all.max(f64::MIN_POSITIVE) * 1e9).round();
            kernel.measured.insert(kind.clone(), Nanos(nanos as u64));
        }
        if let Some(bytes) = row.bytes {
            kernel.temporary = Bytes(bytes);
        }
    }
}

/// Seconds of an operator at rates of no device in particular.
fn work(op: &Op) -> f64 {
    let Work::Kernel(Kernel { products, bytes_read, bytes_written, .. }) = &op.work else {
        return 0.0;
    };
    let flops: f64 =
        products.iter().filter_map(|product| product.flops()).map(|flops| flops.as_f64()).sum();
    let (operations, bytes, start) = RATES;
    flops / operations + (bytes_read.as_f64() + bytes_written.as_f64()) / bytes + start
}

/// What the model prices still, by kind of device.
fn left(graph: &Graph, cluster: &Cluster) -> Vec<Diagnostic> {
    let kernels = graph.ops.iter().filter_map(|op| match &op.work {
        Work::Kernel(kernel) if op.phase == Phase::Forward => Some((op, kernel)),
        Work::Kernel(_) | Work::View | Work::Given(_) => None,
    });
    let kernels: Vec<(&Op, &Kernel)> = kernels.collect();
    let of = |kind: &str| {
        let open: Vec<&Op> = kernels
            .iter()
            .filter(|(_, kernel)| !kernel.measured.contains_key(kind))
            .map(|(op, _)| *op)
            .collect();
        let first = open.first()?;
        let message = format!(
            "no row of the costs prices {} of {} operators on `{kind}`, `{}` first: the cost model does",
            open.len(),
            kernels.len(),
            shown(&first.name)
        );
        Some(Diagnostic::warning("costs-left", message).hint("a last row `*` covers all others"))
    };
    cluster.kind_names().into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_line_by_line() {
        let text = "op,t4,bytes\n# a comment\nh.*.attn,1e-3,\n\"a,b\",,64\n";
        assert_eq!(rows(text).unwrap(), ["3\th.*.attn\tt4=0.001", "4\ta,b\tbytes=64"]);
    }

    #[test]
    fn slips_are_refused_by_line() {
        for (text, line, named) in [
            ("", 1, "empty"),
            ("t4,op\n", 1, "columns"),
            ("op,t4,t4\nx,1,1\n", 1, "twice"),
            ("op,t4\n", 1, "no row"),
            ("op,t4\nx,1\ny,-1\n", 3, "`-1`"),
            ("op,t4\nx,NaN\n", 2, "`NaN`"),
            ("op,t4\nx,inf\n", 2, "`inf`"),
            ("op,t4\nx,1e300\n", 2, "`1e300`"),
            ("op,t4,bytes\nx,1,-4\n", 2, "`-4`"),
            ("op,t4\nx,1,2\n", 2, "3 cells"),
            ("op,t4\n,1\n", 2, "named"),
            ("op,t4\nx,\n", 2, "neither"),
            ("op,t4\n\"x,1\n", 2, "quote"),
        ] {
            let error = rows(text).unwrap_err();
            assert!(
                error.message.contains(&format!("line {line} ")),
                "{text:?}: {}",
                error.message
            );
            assert!(error.message.contains(named), "{text:?}: {}", error.message);
        }
        assert!(stated("x").is_err() && stated("1\tx\tt4=-1").is_err());
    }
}
