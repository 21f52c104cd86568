//! When requests arrived and how long they were: a table of commas with a header, a request a line, in order
//! of arrival. Columns by name, whatever else there is: seconds (`arrival_s`, or a date and time), prompt
//! tokens (`input_tokens`) and answer tokens (`output_tokens`), or the names of Azure's traces of 2023 and
//! 2024 (`TIMESTAMP`, `ContextTokens`, `GeneratedTokens`).
//!
//! A line is read and forgotten, so that a file of any size takes little memory: lengths are counted in
//! classes, and only the first requests are kept.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ir::diagnostic::Diagnostic;

use crate::source::{self, FileSource, unreadable};

/// Longest line, in bytes.
const LONGEST: u64 = 1 << 16;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 18;
/// Requests that are kept.
pub const MOST_KEPT: usize = 1_000_000;
/// Lengths are told apart by so many parts of a power of two (9 %).
const PARTS: f64 = 8.0;
/// Classes of lengths: groups by prompt, each of groups by answer.
const GROUPS: [usize; 2] = [5, 5];
/// Tokens of a prompt or an answer at most.
const MOST_TOKENS: u64 = 1 << 24;
/// Seconds since 1970 to beyond the year 9999.
const MOST_SECONDS: f64 = 1e12;
/// Names of columns.
const COLUMNS: [(&str, &[&str]); 3] = [
    ("arrival_s", &["arrival_s", "arrival", "arrival_time", "timestamp"]),
    ("input_tokens", &["input_tokens", "contexttokens", "prompt_tokens", "input_length"]),
    ("output_tokens", &["output_tokens", "generatedtokens", "completion_tokens", "output_length"]),
];

/// A request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logged {
    /// Seconds after the first one.
    pub arrival_s: f64,
    /// Tokens of the prompt.
    pub n_input: u32,
    /// Tokens of the answer.
    pub n_output: u32,
}

/// Requests of about one length: means, rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// Tokens of the prompt.
    pub n_input: u32,
    /// Tokens of the answer.
    pub n_output: u32,
    /// Requests.
    pub n: u64,
}

/// All requests of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestLog {
    /// Requests.
    pub n: u64,
    /// The first ones, [`MOST_KEPT`] at most.
    pub first: Vec<Logged>,
    /// Lengths of all; the longest request is a class of its own.
    pub classes: Vec<Class>,
    /// Seconds from the first to the last arrival.
    pub span_s: f64,
}

impl RequestLog {
    /// Requests per second; none where all arrive at once.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.span_s > 0.0).then(|| (self.n - 1) as f64 / self.span_s)
    }
}

/// Sums of requests.
#[derive(Clone, Copy, Default)]
struct Sum {
    n: u64,
    n_input: u64,
    n_output: u64,
}

impl Sum {
    fn add(self, other: Self) -> Self {
        Self {
            n: self.n + other.n,
            n_input: self.n_input + other.n_input,
            n_output: self.n_output + other.n_output,
        }
    }

    fn class(self) -> Class {
        let mean = |sum: u64| (sum as f64 / self.n as f64).round().max(1.0) as u32;
        Class { n_input: mean(self.n_input), n_output: mean(self.n_output), n: self.n }
    }
}

/// Reads a file, gzip too.
///
/// # Errors
/// `bad-requests` with the number of the line: no header with the three columns, no requests, what is no
/// number, tokens below 1, arrivals before 0 or before those of the line above; `unreadable-file`.
pub fn read(path: &Path) -> Result<RequestLog, Diagnostic> {
    let read = || of_text(source::text(&FileSource::open(path)?)?);
    read().map_err(|error| error.fact("file", path.display().to_string()))
}

/// As [`read`], from text.
///
/// # Errors
/// As [`read`].
pub fn of_text(text: impl Read) -> Result<RequestLog, Diagnostic> {
    let mut reader = BufReader::with_capacity(BLOCK, text);
    let (mut line, mut columns) = (Vec::new(), None);
    let mut counted = Counted::default();
    for number in 1_u64.. {
        line.clear();
        let n = reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line);
        let located = |error: Diagnostic| error.fact("line", number);
        if n.map_err(|error| located(unreadable(&error)))? == 0 {
            break;
        }
        let text = text_of(&line).map_err(located)?;
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match &columns {
            None => columns = Some(header(text).map_err(located)?),
            Some(columns) => counted.take(text, columns).map_err(located)?,
        }
    }
    counted.log()
}

fn text_of(line: &[u8]) -> Result<&str, Diagnostic> {
    if line.len() as u64 > LONGEST {
        return Err(bad(format!("a line is longer than {LONGEST} bytes")));
    }
    let text = std::str::from_utf8(line).map_err(|_| bad("a line is no text".to_owned()))?;
    Ok(text.trim_start_matches('\u{feff}').trim())
}

/// Positions of the three columns.
fn header(line: &str) -> Result<[usize; 3], Diagnostic> {
    let names: Vec<String> = cells(line).map(str::to_ascii_lowercase).collect();
    let mut found = [0; 3];
    for (at, (name, spellings)) in found.iter_mut().zip(COLUMNS) {
        let is_it = |column: &String| spellings.contains(&column.as_str());
        let mut here = names.iter().enumerate().filter(|(_, column)| is_it(column));
        let first = here.next();
        (*at, _) = first.ok_or_else(|| bad(format!("the first line names no column `{name}`")))?;
        if let Some((_, other)) = here.next() {
            return Err(bad(format!("the first line names `{name}` twice: also `{other}`")));
        }
    }
    Ok(found)
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"'))
}

/// What was read.
#[derive(Default)]
struct Counted {
    n: u64,
    start_s: f64,
    last_s: f64,
    first: Vec<Logged>,
    by_length: BTreeMap<[u16; 2], Sum>,
    longest: Option<[u32; 2]>,
}

impl Counted {
    fn take(&mut self, line: &str, columns: &[usize; 3]) -> Result<(), Diagnostic> {
        let mut row = [""; 3];
        for (at, cell) in cells(line).enumerate() {
            for (to, column) in row.iter_mut().zip(columns) {
                if *column == at {
                    *to = cell;
                }
            }
        }
        let wrong = |at: usize, what: &str| {
            let cell: String = row[at].chars().take(40).collect();
            bad(format!("`{}` is `{cell}`: needs {what}", COLUMNS[at].0))
        };
        let arrival_s = seconds(row[0])
            .filter(|seconds| (0.0..=MOST_SECONDS).contains(seconds))
            .ok_or_else(|| wrong(0, "seconds from 0 to 1e12, or a date and time"))?;
        let tokens = |at: usize| -> Result<u32, Diagnostic> {
            let n: Option<u64> = row[at].parse().ok().filter(|n| (1..=MOST_TOKENS).contains(n));
            n.map(|n| n as u32).ok_or_else(|| wrong(at, "a whole number from 1 on"))
        };
        let (n_input, n_output) = (tokens(1)?, tokens(2)?);
        if self.n == 0 {
            self.start_s = arrival_s;
        } else if arrival_s < self.last_s {
            return Err(wrong(0, "an arrival no earlier than that of the line above")
                .hint("sort the lines by arrival"));
        }
        self.last_s = arrival_s;
        self.n += 1;
        if self.first.len() < MOST_KEPT {
            self.first.push(Logged { arrival_s: arrival_s - self.start_s, n_input, n_output });
        }
        let total = |of: [u32; 2]| u64::from(of[0]) + u64::from(of[1]);
        let this = [n_input, n_output];
        if self.longest.is_none_or(|longest| total(longest) < total(this)) {
            self.longest = Some(this);
        }
        let key = this.map(|n| (PARTS * f64::from(n).log2()).round() as u16);
        let one = Sum { n: 1, n_input: n_input.into(), n_output: n_output.into() };
        let sum = self.by_length.entry(key).or_default();
        *sum = sum.add(one);
        Ok(())
    }

    fn log(mut self) -> Result<RequestLog, Diagnostic> {
        let Some(longest) = self.longest else {
            return Err(bad("the file has no request".to_owned()));
        };
        // The longest one is apart, so that what it needs is known.
        let key = longest.map(|n| (PARTS * f64::from(n).log2()).round() as u16);
        let one = Sum { n: 1, n_input: longest[0].into(), n_output: longest[1].into() };
        if let Some(sum) = self.by_length.get_mut(&key) {
            *sum = Sum {
                n: sum.n - 1,
                n_input: sum.n_input - one.n_input,
                n_output: sum.n_output - one.n_output,
            };
        }
        self.by_length.retain(|_, sum| sum.n > 0);
        let mut sums: Vec<Sum> = self.by_length.into_values().collect();
        let mut classes = vec![one.class()];
        for group in grouped(&mut sums, GROUPS[0], |sum| sum.n_input) {
            let mut group = group.to_vec();
            let parts = grouped(&mut group, GROUPS[1], |sum| sum.n_output);
            let merged = |part: &[Sum]| {
                part.iter().fold(Sum::default(), |sum, other| sum.add(*other)).class()
            };
            classes.extend(parts.into_iter().map(merged));
        }
        let span_s = self.last_s - self.start_s;
        Ok(RequestLog { n: self.n, first: self.first, classes, span_s })
    }
}

/// Sums in order of a mean, in groups of about as many of its tokens.
fn grouped(sums: &mut [Sum], n_groups: usize, of: fn(&Sum) -> u64) -> Vec<&[Sum]> {
    sums.sort_by(|one, other| {
        let mean = |sum: &Sum| of(sum) as f64 / sum.n as f64;
        mean(one).total_cmp(&mean(other))
    });
    let total: u64 = sums.iter().map(of).sum();
    let (mut groups, mut start, mut before) = (Vec::new(), 0, 0);
    for at in 0..sums.len() {
        before += of(&sums[at]);
        let due = (groups.len() as u64 + 1) * total / n_groups as u64;
        if before >= due || at + 1 == sums.len() {
            groups.push(&sums[start..=at]);
            start = at + 1;
        }
    }
    groups
}

/// Seconds: a number, or a date and time (`2023-11-16 18:17:03.9799600`) since 1970.
fn seconds(cell: &str) -> Option<f64> {
    if let Ok(seconds) = cell.parse() {
        return Some(seconds);
    }
    let (date, time) = cell.split_once([' ', 'T'])?;
    let time = time.trim_end_matches('Z').trim_end_matches("+00:00");
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days of the proleptic Gregorian calendar, years from March on.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    Some((days - 719_469) as f64 * 86_400.0 + hour * 3_600.0 + minute * 60.0 + second)
}

fn bad(message: String) -> Diagnostic {
    Diagnostic::input("bad-requests", message)
        .hint("begin with a line `arrival_s,input_tokens,output_tokens`, then a request a line")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RequestLog, Diagnostic> {
        of_text(text.as_bytes())
    }

    #[test]
    fn classes_keep_requests_and_tokens() {
        let mut text = "arrival_s,input_tokens,output_tokens\n".to_owned();
        let mut totals = [0_u64; 2];
        for at in 0..5_000_u64 {
            let (input, output) = (1 + at * 7_919 % 9_000, 1 + at * 104_729 % 1_300);
            totals = [totals[0] + input, totals[1] + output];
            text.push_str(&format!("{},{input},{output}\n", at as f64 / 4.0));
        }
        let log = read(&text).unwrap();
        let classes = &log.classes;
        assert!(classes.len() <= 26, "{}", classes.len());
        assert_eq!(classes.iter().map(|class| class.n).sum::<u64>(), 5_000);
        let sum = |of: fn(&Class) -> u32| -> f64 {
            classes.iter().map(|class| f64::from(of(class)) * class.n as f64).sum()
        };
        // Means are rounded to whole tokens.
        assert!((sum(|class| class.n_input) - totals[0] as f64).abs() <= 0.5 * 5_000.0);
        assert!((sum(|class| class.n_output) - totals[1] as f64).abs() <= 0.5 * 5_000.0);
        assert_eq!(log.rate(), Some(4.0));
        let longest = log.first.iter().map(|of| of.n_input + of.n_output).max();
        assert_eq!(classes.iter().map(|of| of.n_input + of.n_output).max(), longest);
    }

    #[test]
    fn dates_are_seconds() {
        // date -u -d '2023-11-16 18:17:03' +%s
        assert_eq!(seconds("2023-11-16 18:17:03"), Some(1_700_158_623.0));
        assert_eq!(seconds("2024-02-29T00:00:00Z"), Some(1_709_164_800.0));
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
            2023-11-16 18:17:03.5,4808,10\n2023-11-16 18:17:04.0,3180,8\n";
        let log = read(text).unwrap();
        assert_eq!(log.first[1], Logged { arrival_s: 0.5, n_input: 3_180, n_output: 8 });
    }

    #[test]
    fn what_is_no_request_is_named_by_its_line() {
        let header = "arrival_s,input_tokens,output_tokens\n";
        for (rows, told) in [
            ("", "no request"),
            ("0,1", "output_tokens"),
            ("0,0,5", "input_tokens"),
            ("0,5,-1", "output_tokens"),
            ("-1,5,1", "arrival_s"),
            ("nan,5,1", "arrival_s"),
            ("1,5,1\n0.5,5,1", "no earlier"),
            ("1,5,99999999999", "output_tokens"),
        ] {
            let error = read(&format!("{header}{rows}")).unwrap_err();
            assert!(error.message.contains(told), "{rows}: {}", error.message);
        }
        assert!(read("a,b,c\n1,2,3").unwrap_err().message.contains("arrival_s"));
        let doubled = "arrival_s,input_tokens,output_tokens,timestamp\n0,1,1,0";
        assert!(read(doubled).unwrap_err().message.contains("twice"));
        assert!(read("").is_err());
    }
}
