//! What ops do to each other on a device: lines `op,beside,mode,factor` under this header. Empty lines and
//! those that begin with `#` say nothing.

use std::collections::BTreeMap;
use std::path::Path;

use documents::plan::nano_batches::InterferenceDocument;
use ir::diagnostic::Diagnostic;

use crate::json::MAX_BYTES;
use crate::{located, source};

/// The first line.
const HEADER: &str = "op,beside,mode,factor";

/// What a table may say.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Ops, and whether they run on links.
    pub ops: &'a [(&'a str, bool)],
    /// Modes, and whether a row of it is of both ops.
    pub modes: &'a [(&'a str, bool)],
}

/// Reads a table.
///
/// # Errors
/// `bad-interference` with the number of the line: what is no such row, unknown ops and modes, ops of one
/// stream, factors under 1, rows that are there twice or for one of two ops alone; `unreadable-file`.
pub fn read(path: &Path, known: Known<'_>) -> Result<Vec<InterferenceDocument>, Diagnostic> {
    let read = || {
        let (source, _) = located::open(path)?;
        let bytes = source::read_all(&source, MAX_BYTES)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| bad("the file is no text".to_owned(), HEADER))?;
        of_text(text, known)
    };
    read().map_err(|error| error.fact("file", path.display().to_string()))
}

/// As [`read`], from the text of a file.
///
/// # Errors
/// As [`read`].
pub fn of_text(text: &str, known: Known<'_>) -> Result<Vec<InterferenceDocument>, Diagnostic> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1_u64..).zip(text.lines().map(str::trim));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    match lines.next() {
        None => return Ok(Vec::new()),
        Some((_, line)) if cells(line).join(",") == HEADER => {}
        Some((number, line)) => {
            let message = format!("line {number} is `{}`, and no header", short(line));
            return Err(bad(message, "begin with `op,beside,mode,factor`"));
        }
    }
    let mut found: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    let mut rows = Vec::new();
    for (number, line) in lines {
        let row = row(line, known).map_err(|(why, hint)| {
            bad(format!("line {number} {why}"), &hint).fact("line", number)
        })?;
        let key = |a: &str, b: &str| (a.to_owned(), b.to_owned(), row.mode.clone());
        let is_of_both = known.modes.iter().any(|(mode, both)| *mode == row.mode && *both);
        let other = is_of_both.then(|| found.get(&key(&row.beside, &row.op))).flatten();
        if let Some(first) = found.get(&key(&row.op, &row.beside)).or(other) {
            let message = format!("line {number} says again what line {first} says");
            return Err(bad(message, "leave one of both out").fact("line", number));
        }
        found.insert(key(&row.op, &row.beside), number);
        rows.push(row);
    }
    for ((op, beside, mode), number) in &found {
        let is_of_both = known.modes.iter().any(|(name, both)| name == mode && *both);
        if !is_of_both && !found.contains_key(&(beside.clone(), op.clone(), mode.clone())) {
            let message = format!(
                "line {number} says what {op} takes beside {beside}, and no line what {beside} takes"
            );
            let hint = format!("add `{beside},{op},{mode},FACTOR`");
            return Err(bad(message, &hint).fact("line", *number));
        }
    }
    Ok(rows)
}

fn cells(line: &str) -> Vec<&str> {
    line.split(',').map(str::trim).collect()
}

/// A line in words that stay readable.
fn short(line: &str) -> String {
    line.chars().take(60).collect()
}

/// A row; else what is wrong, and a hint.
fn row(line: &str, known: Known<'_>) -> Result<InterferenceDocument, (String, String)> {
    let usual = || "give lines such as `attention,all-reduce,complementary,1.2`".to_owned();
    let [op, beside, mode, factor] = cells(line)[..] else {
        return Err((format!("is `{}`, and no four members", short(line)), usual()));
    };
    let names =
        |all: &[(&str, bool)]| all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let of = |name: &str| known.ops.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
    for name in [op, beside] {
        if of(name).is_none() {
            let why = format!("names `{}`, which is no op", short(name));
            return Err((why, format!("ops are {}", names(known.ops))));
        }
    }
    if of(op) == of(beside) {
        let why = format!("puts {op} beside {beside}, and both run on the same stream");
        return Err((why, "leave it out: a stream runs one piece after the other".to_owned()));
    }
    if !known.modes.iter().any(|entry| entry.0 == mode) {
        let why = format!("names `{}`, which is no mode", short(mode));
        return Err((why, format!("modes are {}", names(known.modes))));
    }
    let factor: f64 = match factor.parse() {
        Ok(factor) => factor,
        Err(_) => return Err((format!("has the factor `{}`", short(factor)), usual())),
    };
    if !(1.0..=1e6).contains(&factor) {
        let why = format!("has the factor {factor}, and none is under 1 or above a million");
        let hint = "a slowdown is the time beside the other op over the time alone, a gain the time of \
                    both one after the other over that of both together";
        return Err((why, hint.to_owned()));
    }
    let [op, beside, mode] = [op, beside, mode].map(str::to_owned);
    Ok(InterferenceDocument { op, beside, mode, factor })
}

fn bad(message: String, hint: &str) -> Diagnostic {
    Diagnostic::input("bad-interference", message).hint(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known<'_> = Known {
        ops: &[("attention", false), ("experts", false), ("dispatch", true)],
        modes: &[("two-streams", false), ("complementary", true)],
    };

    #[test]
    fn rows_are_read_and_what_is_wrong_has_its_line() {
        let read = |text: &str| of_text(text, KNOWN);
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("# nothing\nop,beside,mode,factor\n\n").unwrap(), []);
        let rows = read(
            "\u{feff}op, beside, mode, factor\r\nattention,dispatch,two-streams,1.5\r\n\
             dispatch,attention,two-streams,1\ndispatch,experts,complementary,1.24\n",
        );
        let rows = rows.unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[2].op.as_str(), rows[2].factor), ("dispatch", 1.24));
        let header = "op,beside,mode,factor\n";
        for (text, expected) in [
            ("attention,dispatch,two-streams,1", "line 1 is"),
            ("attention,dispatch,complementary", "line 2 is"),
            ("attention,sum,complementary,1", "line 2 names `sum`, which is no op"),
            ("attention,experts,complementary,1", "line 2 puts attention beside experts"),
            ("attention,dispatch,beside,1", "line 2 names `beside`, which is no mode"),
            ("attention,dispatch,complementary,0.99", "line 2 has the factor 0.99"),
            ("attention,dispatch,complementary,inf", "line 2 has the factor inf"),
            ("attention,dispatch,complementary,NaN", "line 2 has the factor NaN"),
            ("attention,dispatch,complementary,x", "line 2 has the factor `x`"),
            ("attention,dispatch,two-streams,1", "line 2 says what attention takes"),
            (
                "attention,dispatch,complementary,1\n\ndispatch,attention,complementary,2",
                "line 4 says again what line 2 says",
            ),
        ] {
            let text =
                if expected == "line 1 is" { text.to_owned() } else { format!("{header}{text}") };
            let error = read(&text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }
}
