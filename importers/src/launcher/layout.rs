//! The layout string of Megatron-Core's `--pipeline-model-parallel-layout`
//! (`core/transformer/pipeline_parallel_layer_layout.py`).

use ir::diagnostic::Diagnostic;

/// Layers of a layout, by stage in model order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Layers of each stage.
    pub layers: Vec<u32>,
    /// Layers that predict a later token, of each stage.
    pub predicting: Vec<u32>,
}

impl Layout {
    /// All layers, those that predict a later token aside.
    #[must_use]
    pub fn n_layers(&self) -> u64 {
        self.layers.iter().map(|count| u64::from(*count)).sum()
    }

    /// Layers that predict a later token.
    #[must_use]
    pub fn n_predicting(&self) -> u64 {
        self.predicting.iter().map(|count| u64::from(*count)).sum()
    }
}

/// Most letters of an expanded layout.
const MOST_LETTERS: usize = 1 << 16;

/// Reads a layout for so many pipeline ranks.
///
/// Commas are for the eye; `(X)*n` repeats X (parentheses don't nest), `c*n` a letter; `|` ends a
/// stage. Stage i runs on rank `i mod ranks`.
///
/// # Errors
/// `bad-layout`: other characters, nested parentheses, no embedding at the start or head at the end,
/// layers after one that predicts a later token or such layers on two stages or on no last chunk,
/// and stages that ranks do not divide.
pub fn parse(text: &str, n_ranks: u32) -> Result<Layout, Diagnostic> {
    let expanded = expand_letters(&expand_groups(&text.replace(',', ""))?)?;
    let stages: Vec<&str> = expanded.split('|').collect();
    let n_ranks = n_ranks as usize;
    if n_ranks == 0 || !stages.len().is_multiple_of(n_ranks) {
        let why = format!("{} stages for {n_ranks} ranks", stages.len());
        return Err(bad(text, &why));
    }
    let flat: String = stages.concat();
    if let Some(letter) = flat.chars().find(|letter| !"EtmL".contains(*letter)) {
        return Err(bad(text, &format!("`{letter}` is none of E, t, m, L")));
    }
    let ends = [('E', flat.starts_with('E')), ('L', flat.ends_with('L'))];
    for (letter, is_there) in ends {
        if !is_there || flat.matches(letter).count() != 1 {
            return Err(bad(text, "it needs one E at the start and one L at the end"));
        }
    }
    if flat.find('m').is_some_and(|first| flat[first..].contains('t')) {
        return Err(bad(text, "a layer stands after one that predicts a later token"));
    }
    let count = |letter: char| {
        stages.iter().map(|stage| stage.matches(letter).count() as u32).collect::<Vec<u32>>()
    };
    let (layers, predicting) = (count('t'), count('m'));
    let mut holders = predicting.iter().enumerate().filter(|(_, count)| **count > 0);
    let holder = holders.next().map(|(stage, _)| stage);
    let is_early = holder.is_some_and(|stage| stage + n_ranks < stages.len());
    if holders.next().is_some() || is_early {
        return Err(bad(text, "layers that predict a later token share the last chunk of a rank"));
    }
    Ok(Layout { layers, predicting })
}

/// `(X)*n` becomes X, n times.
fn expand_groups(text: &str) -> Result<String, Diagnostic> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('(') {
        expanded.push_str(&rest[..open]);
        let inside = &rest[open + 1..];
        let close = inside.find(')').ok_or_else(|| bad(text, "a parenthesis is not closed"))?;
        let (body, after) = (&inside[..close], &inside[close + 1..]);
        if body.contains('(') {
            return Err(bad(text, "parentheses don't nest"));
        }
        let (n, after) = times(after).ok_or_else(|| bad(text, "`*n` is missing after `)`"))?;
        if body.len().saturating_mul(n) > MOST_LETTERS - expanded.len().min(MOST_LETTERS) {
            return Err(bad(text, "it is too long"));
        }
        expanded.push_str(&body.repeat(n));
        rest = after;
    }
    expanded.push_str(rest);
    if expanded.contains(')') {
        return Err(bad(text, "a parenthesis is not opened"));
    }
    Ok(expanded)
}

/// `c*n` becomes c, n times.
fn expand_letters(text: &str) -> Result<String, Diagnostic> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        let (n, after) = times(after).unwrap_or((1, after));
        if n > MOST_LETTERS - expanded.len().min(MOST_LETTERS) {
            return Err(bad(text, "it is too long"));
        }
        expanded.extend(std::iter::repeat_n(letter, n));
        rest = after;
    }
    Ok(expanded)
}

/// `*n` at the start, and what follows.
fn times(text: &str) -> Option<(usize, &str)> {
    let digits = text.strip_prefix('*')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let n = digits[..end].parse().ok()?;
    Some((n, &digits[end..]))
}

fn bad(text: &str, why: &str) -> Diagnostic {
    const LONGEST: usize = 80;
    let shown: String = text.chars().take(LONGEST).collect();
    Diagnostic::input("bad-layout", format!("the layout `{shown}` is none: {why}"))
        .hint("write stages of E, t, m and L between `|`, such as `Et*3|(tt|)*2,L`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Megatron-Core's own parser says (commit d98e8a64).
    #[test]
    fn layouts_that_megatron_takes() {
        let by_rank = |text: &str, n_ranks: usize| {
            let layout = parse(text, n_ranks as u32).unwrap();
            let mut ranks = vec![0; n_ranks];
            for (stage, count) in layout.layers.iter().enumerate() {
                ranks[stage % n_ranks] += count;
            }
            (ranks, layout)
        };
        let (ranks, layout) = by_rank("Et*3|(tt|)*29,m|L", 16);
        assert_eq!(ranks, [&[5][..], &[4; 13], &[2, 2]].concat());
        assert_eq!((layout.layers.len(), layout.n_layers(), layout.n_predicting()), (32, 61, 1));
        assert_eq!(by_rank("Et|t|t|tL", 4).0, [1, 1, 1, 1]);
        assert_eq!(by_rank("E(t*2|)*3L", 4).0, [2, 2, 2, 0]);
        assert_eq!(by_rank("E|*3tL", 4).0, [0, 0, 0, 1]);
        assert_eq!(by_rank("E||t|L", 4).0, [0, 0, 1, 0]);
        assert_eq!(by_rank("Et|tL|", 3).0, [1, 1, 0]);
        assert_eq!(by_rank("Et*0|tL", 2).0, [0, 1]);
    }

    #[test]
    fn layouts_that_megatron_refuses() {
        let wrong = [
            ("Et | tL", 2),
            ("E((t|)*2t|)*2L", 2),
            ("et|tL", 2),
            ("tE|L", 2),
            ("E|(t|)*3,m|m||L", 8),
            ("E|(t|)*3,m|m||L", 2),
            ("Et|tL", 3),
            ("Et|tL", 0),
            ("", 1),
            ("EtLt", 1),
            ("Et*99999999999L", 1),
            ("E(tt)*60000|L", 1),
            ("E(tL", 1),
            ("Et)L", 1),
            ("EmtL", 1),
        ];
        for (text, n_ranks) in wrong {
            assert_eq!(parse(text, n_ranks).unwrap_err().code, "bad-layout", "{text}");
        }
    }
}
