//! Patterns of names and `case`: `*`, `?` and `[..]`.

/// One sign of a pattern.
#[derive(Clone, Debug)]
enum Sign {
    Letter(char),
    One,
    Any,
    Set { is_not: bool, ranges: Vec<(char, char)> },
}

/// Steps of a pattern that cost as much as a byte.
pub(super) const STEPS: usize = 32;
/// Signs of a pattern at most.
const LONGEST: usize = 512;

/// `None` for patterns that are not followed.
fn signs(pattern: &str) -> Option<Vec<Sign>> {
    let letters: Vec<char> = pattern.chars().collect();
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(letter) = letters.get(at) {
        at += 1;
        if letters.get(at) == Some(&'(') && "?*+@!".contains(*letter) {
            return None;
        }
        all.push(match letter {
            '\\' => {
                at += 1;
                Sign::Letter(*letters.get(at - 1)?)
            }
            '?' => Sign::One,
            '*' => Sign::Any,
            '[' => match set(&letters[at..]) {
                Some((sign, n)) => {
                    at += n;
                    sign?
                }
                None => Sign::Letter('['),
            },
            letter => Sign::Letter(*letter),
        });
        if all.len() > LONGEST {
            return None;
        }
    }
    Some(all)
}

/// What is between brackets, and how many letters it has; `Some(None)` for one that is not followed.
fn set(letters: &[char]) -> Option<(Option<Sign>, usize)> {
    let is_not = letters.first().is_some_and(|first| "!^".contains(*first));
    let start = usize::from(is_not);
    let (mut at, mut ranges) = (start, Vec::new());
    let take = |at: &mut usize| {
        let is_escaped = letters.get(*at) == Some(&'\\');
        *at += usize::from(is_escaped);
        let letter = letters.get(*at).copied();
        *at += 1;
        letter.map(|letter| (letter, is_escaped))
    };
    let mut is_class = false;
    loop {
        let is_first = at == start;
        let (letter, is_escaped) = take(&mut at)?;
        if letter == ']' && !is_first && !is_escaped {
            break;
        }
        is_class |= letter == '[' && !is_escaped && letters.get(at) == Some(&':');
        let is_range = letters.get(at) == Some(&'-') && letters.get(at + 1) != Some(&']');
        let mut last = letter;
        if is_range {
            at += 1;
            last = take(&mut at)?.0;
        }
        ranges.push((letter, last));
    }
    Some(((!is_class).then_some(Sign::Set { is_not, ranges }), at))
}

impl Sign {
    fn is(&self, letter: char) -> bool {
        match self {
            Self::Letter(own) => *own == letter,
            Self::One | Self::Any => true,
            Self::Set { is_not, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&letter)) != *is_not
            }
        }
    }
}

/// The lengths of all beginnings of a text that a pattern matches, the shortest first; `None` for a pattern that is
/// not followed.
pub(super) fn lengths(pattern: &str, text: &[char]) -> Option<Vec<usize>> {
    let signs = signs(pattern)?;
    let n = signs.len();
    // Where in the pattern a text so far may be.
    let mut places = vec![false; n + 1];
    places[0] = true;
    let skip = |places: &mut Vec<bool>| {
        for at in 0..n {
            if places[at] && matches!(signs[at], Sign::Any) {
                places[at + 1] = true;
            }
        }
    };
    skip(&mut places);
    let mut found = Vec::new();
    for at in 0..=text.len() {
        if places[n] {
            found.push(at);
        }
        let Some(letter) = text.get(at) else { break };
        let mut next = vec![false; n + 1];
        for place in 0..n {
            if places[place] && signs[place].is(*letter) {
                let stays = matches!(signs[place], Sign::Any);
                next[if stays { place } else { place + 1 }] = true;
            }
        }
        skip(&mut next);
        if !next.contains(&true) {
            break;
        }
        places = next;
    }
    Some(found)
}

/// A pattern for the reversed text.
pub(super) fn reversed(pattern: &str) -> Option<String> {
    let mut all = String::new();
    for sign in signs(pattern)?.iter().rev() {
        match sign {
            Sign::Letter(letter) => all.extend(['\\', *letter]),
            Sign::One => all.push('?'),
            Sign::Any => all.push('*'),
            Sign::Set { is_not, ranges } => {
                all.push_str(if *is_not { "[!" } else { "[" });
                for (from, to) in ranges {
                    all.extend(['\\', *from, '-', '\\', *to]);
                }
                all.push(']');
            }
        }
    }
    Some(all)
}

/// Whether a pattern matches all of a text; `None` for one that is not followed.
pub(super) fn matches(pattern: &str, text: &str, ignores_case: bool) -> Option<bool> {
    let of = |text: &str| if ignores_case { text.to_lowercase() } else { text.to_owned() };
    let letters: Vec<char> = of(text).chars().collect();
    Some(lengths(&of(pattern), &letters)?.last() == Some(&letters.len()))
}

#[cfg(test)]
mod tests {
    use super::{lengths, matches, reversed};

    #[test]
    fn patterns_match_as_in_bash() {
        for (pattern, text, is_match) in [
            ("*70b", "llama-70b", true),
            ("llama-70?", "llama-70b", true),
            ("llama-[78]0b", "llama-70b", true),
            ("llama-[!7]0b", "llama-70b", false),
            ("[a-c]*", "b1", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[", "[", true),
            ("[]a]", "]", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text, false), Some(is_match), "{pattern} {text}");
        }
        assert_eq!(matches("@(a|b)", "a", false), None);
        assert_eq!(matches("[[:digit:]]", "1", false), None);
        let text: Vec<char> = "a-b-c".chars().collect();
        assert_eq!(lengths("*-", &text), Some(vec![2, 4]));
        assert_eq!(reversed("a[b-c]*").as_deref(), Some("*[\\b-\\c]\\a"));
    }
}
