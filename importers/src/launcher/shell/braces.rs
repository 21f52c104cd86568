//! Words in braces: `{a,b}` and `{1..4}`.

use super::tree::{Part, Word};
use super::values::{Doubt, counted, unknown};

/// Words that one is at most, times its letters.
const MOST: usize = 1 << 18;
/// Braces of a word at most.
const MOST_BRACES: usize = 256;
/// Letters between braces at most.
const LONGEST: usize = 4_096;
/// Deepest nesting.
const DEEPEST: u32 = 16;

/// A part of a word in braces.
pub(super) enum Found<'w> {
    Own(Part),
    Given(&'w Part),
}

impl Found<'_> {
    pub(super) const fn part(&self) -> &Part {
        match self {
            Self::Own(part) => part,
            Self::Given(part) => part,
        }
    }
}

#[derive(Clone, Copy)]
enum Unit<'w> {
    Letter(char),
    Other(&'w Part),
}

/// The words that one with braces is; `None` where it has none.
pub(super) fn braces(word: &Word) -> Option<Vec<Vec<Found<'_>>>> {
    let braces = |part: &Part| match part {
        Part::Text(text) => text.matches('{').count(),
        _ => 0,
    };
    let n: usize = word.iter().map(braces).sum();
    if n == 0 {
        return None;
    }
    let mut units = Vec::new();
    for part in word {
        match part {
            Part::Text(text) => units.extend(text.chars().map(Unit::Letter)),
            part => units.push(Unit::Other(part)),
        }
    }
    let all = if n > MOST_BRACES { None } else { expand(&units, DEEPEST) };
    let Some(all) = all else {
        let open = counted(&unknown(Doubt::Plain, "{..}"), true);
        return Some(vec![vec![Found::Own(Part::Text(open))]]);
    };
    Some(all.iter().map(|units| joined(units)).collect())
}

fn joined<'w>(units: &[Unit<'w>]) -> Vec<Found<'w>> {
    let mut all = Vec::new();
    for unit in units {
        match (unit, all.last_mut()) {
            (Unit::Letter(letter), Some(Found::Own(Part::Text(text)))) => text.push(*letter),
            (Unit::Letter(letter), _) => all.push(Found::Own(Part::Text(letter.to_string()))),
            (Unit::Other(part), _) => all.push(Found::Given(part)),
        }
    }
    all
}

/// `None` where there are too many.
fn expand<'w>(units: &[Unit<'w>], depth: u32) -> Option<Vec<Vec<Unit<'w>>>> {
    let (mut all, mut at) = (vec![Vec::new()], 0);
    while let Some(unit) = units.get(at) {
        let members = matches!(unit, Unit::Letter('{')).then(|| members(&units[at..])).flatten();
        let Some((members, n)) = members else {
            all.iter_mut().for_each(|word| word.push(*unit));
            at += 1;
            continue;
        };
        let mut inner = Vec::new();
        for member in members? {
            inner.extend(expand(&member, depth.checked_sub(1)?)?);
        }
        if all.len().saturating_mul(inner.len()).saturating_mul(units.len()) > MOST {
            return None;
        }
        let both = |word: &Vec<Unit<'w>>| {
            let of = |more: &Vec<Unit<'w>>| word.iter().chain(more).copied().collect();
            inner.iter().map(of).collect::<Vec<Vec<Unit<'w>>>>()
        };
        all = all.iter().flat_map(both).collect();
        at += n;
    }
    Some(all)
}

/// What is between the braces that units begin with, and the units up to their end; `Some(None)` where there are too many.
fn members<'w>(units: &[Unit<'w>]) -> Option<(Option<Vec<Vec<Unit<'w>>>>, usize)> {
    let (mut depth, mut commas, mut end) = (0_usize, Vec::new(), None);
    for (at, unit) in units.iter().enumerate().take(LONGEST) {
        match unit {
            Unit::Letter('{') => depth += 1,
            Unit::Letter('}') => depth -= 1,
            Unit::Letter(',') if depth == 1 => commas.push(at),
            _ => {}
        }
        if depth == 0 {
            end = Some(at);
            break;
        }
    }
    let end = end?;
    if commas.is_empty() {
        return Some((sequence(&units[1..end])?, end + 1));
    }
    let mut starts = vec![1];
    starts.extend(commas.iter().map(|at| at + 1));
    commas.push(end);
    let all = starts.iter().zip(&commas).map(|(from, to)| units[*from..*to].to_vec());
    Some((Some(all.collect()), end + 1))
}

/// `1..4`, `a..d` or `8..1..2`.
#[expect(clippy::option_option, reason = "none, or too many, or those")]
fn sequence<'w>(units: &[Unit<'w>]) -> Option<Option<Vec<Vec<Unit<'w>>>>> {
    let letter = |unit: &Unit<'w>| match unit {
        Unit::Letter(letter) => Some(*letter),
        Unit::Other(_) => None,
    };
    let text: Option<String> = units.iter().map(letter).collect();
    let text = text?;
    let parts: Vec<&str> = text.split("..").collect();
    let (from, to, step) = match parts.as_slice() {
        [from, to] => (*from, *to, "1"),
        [from, to, step] => (*from, *to, *step),
        _ => return None,
    };
    let step = step.parse::<i64>().ok()?.checked_abs()?.max(1);
    let one = |text: &str| text.parse::<char>().ok().filter(char::is_ascii_alphabetic);
    let (first, last, is_number) = match (from.parse::<i64>(), to.parse::<i64>()) {
        (Ok(from), Ok(to)) => (from, to, true),
        _ => (i64::from(u32::from(one(from)?)), i64::from(u32::from(one(to)?)), false),
    };
    let n = first.abs_diff(last) / step.unsigned_abs();
    if n > MOST as u64 {
        return Some(None);
    }
    let is_padded = [from, to]
        .iter()
        .any(|text| text.trim_start_matches('-').starts_with('0') && text.len() > 1);
    let width = if is_padded { from.len().max(to.len()) } else { 0 };
    let value = |at: u64| {
        let moved = step.checked_mul(i64::try_from(at).ok()?)?;
        let value = if first <= last { first + moved } else { first - moved };
        let text = match is_number {
            true => format!("{value:0width$}"),
            false => char::from_u32(u32::try_from(value).ok()?)?.to_string(),
        };
        Some(text.chars().map(Unit::Letter).collect())
    };
    Some((0..=n).map(value).collect())
}
