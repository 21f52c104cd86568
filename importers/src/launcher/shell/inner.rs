//! Commands that a script gives to another shell in quotes: `bash -c "..."`, `eval "..."`.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use super::super::flags::{QUOTES, quoted};
use super::documents::{ends as ends_of, whole};
use super::words::{DECISIVE, assignment, has_decisive, program};

/// Deepest nesting of such commands.
const DEEPEST: usize = 4;
/// Programs that give a command in quotes to a shell elsewhere.
pub(super) const REMOTE: [&str; 7] = ["ssh", "pdsh", "clush", "tmux", "screen", "su", "runuser"];
/// Words of such a program before the command, at most.
const FARTHEST: usize = 32;
/// Options of a shell by their names.
const SET: [&str; 6] = ["pipefail", "errexit", "nounset", "xtrace", "--login", "--norc"];
pub(super) const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];

/// A script with the commands of nested shells unquoted. Here-documents are left out, unless all decisive flags are
/// in them: a script that another one writes and starts.
pub(crate) fn unwrapped(text: &str) -> Cow<'_, str> {
    let all = without_documents(text);
    if !has_decisive(&all) && has_decisive(text) {
        return without_quotes(Cow::Owned(text.replace("\\$", "$")));
    }
    without_quotes(all)
}

/// Whether a text may have commands for another shell.
pub(super) fn may_nest(text: &str) -> bool {
    let is_shell = |name: &str| SHELLS.contains(&name) || REMOTE.contains(&name) || name == "eval";
    text.split_whitespace().any(|word| is_shell(program(word)))
}

fn without_quotes(mut all: Cow<'_, str>) -> Cow<'_, str> {
    for _ in 0..DEEPEST {
        match once(&all) {
            Some(next) => all = Cow::Owned(next),
            None => break,
        }
    }
    all
}

/// A script without here-documents, except those that a shell reads.
fn without_documents(text: &str) -> Cow<'_, str> {
    if !text.contains("<<") {
        return Cow::Borrowed(text);
    }
    let lines: BTreeSet<&str> = text.lines().map(whole).collect();
    let reads = |name: &str| SHELLS.contains(&name) || REMOTE.contains(&name);
    let (mut all, mut ends) = (String::new(), VecDeque::new());
    for line in text.split_inclusive('\n') {
        if let Some(end) = ends.front() {
            if whole(line) == *end {
                ends.pop_front();
            }
            continue;
        }
        all.push_str(line);
        // Without an end line it is no here-document.
        ends.extend(ends_of(line, &reads).into_iter().filter(|end| lines.contains(end)));
    }
    Cow::Owned(all)
}

/// `None` where there is no such command.
fn once(text: &str) -> Option<String> {
    let words = quoted(text);
    let offset = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    let (mut all, mut end) = (String::new(), 0);
    for (at, word) in words.iter().enumerate() {
        let start = offset(word);
        if let Some(inner) = output_of(word).filter(|_| start >= end) {
            all.extend([&text[end..start], inner]);
            end = start + word.len();
            continue;
        }
        if start < end || !word.starts_with(QUOTES) {
            continue;
        }
        let is_command = word.contains(char::is_whitespace);
        if !(is_given(&words[..at]) || is_command && is_remote(&words[..at])) {
            continue;
        }
        let (inner, length) = string(&text[start..]);
        all.push_str(&text[end..start]);
        // Variables of a nested shell stay local; double quotes are expanded before it starts.
        let is_early = word.starts_with('"');
        let mut sets = false;
        let plain = if is_early { inner.replace("\\$", "$") } else { inner.clone() };
        for part in plain.split_inclusive(char::is_whitespace) {
            match assignment(part.trim()).filter(|_| words[at - 1] != "eval") {
                Some((name, _)) if is_early && has_early(&inner, name) => {}
                Some(_) if !sets => {
                    sets = true;
                    all.extend(["( ", part]);
                }
                _ => all.push_str(part),
            }
        }
        all.push_str(if sets { "\n)" } else { "" });
        end = start + length;
    }
    (end > 0).then(|| all + &text[end..])
}

/// The command whose output a word is, where it has flags that a plan hangs on: `OUT=$(a --b)`.
pub(super) fn output_of(word: &str) -> Option<&str> {
    let (before, rest) = word.split_once("$(")?;
    let is_whole =
        before.trim_end_matches('"').is_empty() || before.trim_end_matches('"').ends_with('=');
    let inner = rest.trim_end_matches([';', '"']).strip_suffix(')')?;
    let is_decisive =
        |flag: &str| flag.starts_with("--") && DECISIVE.iter().any(|part| flag.contains(part));
    (is_whole && !inner.starts_with('(') && inner.split_whitespace().any(is_decisive))
        .then_some(inner)
}

/// Whether a word behind these, in quotes and of several words, is a command for a shell elsewhere.
pub(super) fn is_remote(before: &[&str]) -> bool {
    let own = before.iter().rev().take(FARTHEST);
    let mut own =
        own.take_while(|word| !word.ends_with(';') && !["&&", "||", "|", "&"].contains(word));
    own.any(|word| REMOTE.contains(&word.rsplit('/').next().unwrap_or(word)))
}

/// Whether the word behind these is a command for another shell.
pub(super) fn is_given(before: &[&str]) -> bool {
    let Some((last, before)) = before.split_last() else { return false };
    let is_option = |word: &&&str| word.starts_with('-') && !word.starts_with("--");
    if *last == "eval" || !is_option(&last) || !last.ends_with('c') {
        return *last == "eval";
    }
    // Options of a shell with values, and long ones.
    let passed = |word: &&&str| is_option(word) || SET.contains(word);
    let shell = before.iter().rev().take(FARTHEST).find(|word| !passed(word));
    let program = shell.map_or("", |word| word.rsplit('/').next().unwrap_or(word));
    // With a shell as entrypoint, the command follows the image.
    let mut pairs = before.iter().zip(before.iter().skip(1)).rev().take(FARTHEST);
    let is_entry = pairs.any(|(flag, shell)| {
        *flag == "--entrypoint" && SHELLS.contains(&shell.rsplit('/').next().unwrap_or(shell))
    });
    if is_entry && *last == "-c" {
        return true;
    }
    SHELLS.contains(&program)
}

/// Whether the outer shell expands a variable in a double-quoted string.
fn has_early(text: &str, name: &str) -> bool {
    let after = text.split('$').zip(text.split('$').skip(1));
    let mut early = after.filter(|(before, _)| !before.ends_with('\\'));
    early.any(|(_, after)| after.trim_start_matches('{').starts_with(name))
}

/// What a string in quotes holds, and its bytes with them; all of it where nothing closes it.
fn string(text: &str) -> (String, usize) {
    let mut letters = text.char_indices();
    let quote = letters.next().map_or('"', |(_, quote)| quote);
    let mut inner = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if quote == '"' => match letters.next() {
                Some((_, next @ ('"' | '\\' | '`'))) => inner.push(next),
                Some((_, next)) => inner.extend(['\\', next]),
                None => inner.push('\\'),
            },
            _ if letter == quote => return (inner, at + letter.len_utf8()),
            _ => inner.push(letter),
        }
    }
    (inner, text.len())
}

/// How deep substitutions are nested, those that nothing closes included.
pub(crate) fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let after = at.checked_sub(1).map(|at| bytes[at]);
        match byte {
            b'{' | b'(' if after == Some(b'$') || after == Some(b'(') => depth += 1,
            b'}' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn commands_for_other_shells_are_commands() {
        for (text, inner) in [
            ("srun bash -c \"python a.py --b 1\" x", "srun bash -c python a.py --b 1 x"),
            ("eval 'a \"b c\"'", "eval a \"b c\""),
            ("bash -x -c 'a b'", "bash -x -c a b"),
            ("/bin/sh -lc \"sh -c \\\"a \\$B\\\"\"", "/bin/sh -lc sh -c a $B"),
            ("echo \"a --b\"", "echo \"a --b\""),
            ("bash -c \"a", "bash -c a"),
            ("ssh host \"a --b\"", "ssh host a --b"),
            ("OUT=$(a.py --bf16 --b 1); x", "a.py --bf16 --b 1 x"),
            ("bash -o pipefail -c \"a --b\"", "bash -o pipefail -c a --b"),
            ("cat > f <<EOF\na --b\nEOF\nc", "cat > f <<EOF\nc"),
            ("bash <<'EOF'\na --b\nEOF\nc", "bash <<'EOF'\na --b\nEOF\nc"),
            ("x <<< a\nb", "x <<< a\nb"),
            ("echo \"<<EOF\"\na\nEOF", "echo \"<<EOF\"\na\nEOF"),
            ("(( y = x << z ))\na\nz", "(( y = x << z ))\na\nz"),
            ("a <<E\nb", "a <<E\nb"),
            ("a <<E\n1\n E\n2\nE\nb", "a <<E\nb"),
            ("a <<-E\n1\n\tE\nb", "a <<-E\nb"),
            ("a <<A <<\"B C\"\n1\nA\n2\nB C\nb", "a <<A <<\"B C\"\nb"),
            ("sbatch <<E\nb --bf16 \\$A\nE", "sbatch <<E\nb --bf16 $A\nE"),
            ("bash -c \"A=1; a $A\"", "bash -c a $A"),
            ("bash -c \"A=1; a \\$A\"", "bash -c ( A=1; a $A\n)"),
            ("bash -c 'A=1; a $A'", "bash -c ( A=1; a $A\n)"),
            (
                "docker run --entrypoint bash i -c \"a --b\"",
                "docker run --entrypoint bash i -c a --b",
            ),
            ("OUT=\"$(date --utc)\"", "OUT=\"$(date --utc)\""),
            ("pdsh -w h[1-2] \"cd /w; a --b\"", "pdsh -w h[1-2] cd /w; a --b"),
            ("ssh host; echo \"a --b\"", "ssh host; echo \"a --b\""),
        ] {
            assert_eq!(unwrapped(text), inner);
        }
    }
}
