//! Scripts of Bash, run on paper: the commands that they start, with their variables in place. What the file does not
//! state is unknown: both sides of a condition on it are followed, and what hangs on it is named.

mod arithmetic;
mod assigned;
mod batch;
mod braces;
mod builtins;
mod choices;
mod conditions;
mod declared;
mod environment;
mod expand;
mod files;
mod filters;
mod grammar;
mod letters;
mod lines;
mod loops;
mod parameters;
mod patterns;
mod programs;
mod reads;
mod regular;
mod run;
mod tree;
mod unset;
mod values;
mod words;

use ir::diagnostic::{Blame, Diagnostic};

pub(super) use choices::choices;
use files::Files;
use grammar::{Fault, parse};
use run::{Flow, Frame};
pub(super) use unset::{BEHIND_ENDS, UNSET, behind_ends};
use values::{Doubt, State, Value, counted, plain, unknown};
use words::has_decisive;
pub(super) use words::{DECISIVE, is_assignment, nesting};

use super::limits::{MAX_BYTES, MAX_NESTING};

/// What running a script may cost, in bytes that it makes.
const MOST_SPENT: usize = 24 * MAX_BYTES;
/// What a command costs beside them.
const COST: usize = 64;
/// Arguments of a script at most that are given.
const MOST_ARGUMENTS: usize = 64;
/// The stack of a run, in bytes: it is as deep as [`MAX_NESTING`] allows.
const STACK: usize = 256 << 20;

/// What runs, or why a script is refused.
type Ran<T> = Result<T, Diagnostic>;

/// A script with its variables in place.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// Its commands, a line each.
    pub(super) text: String,
    /// Variables where flags may be, and that it does not set.
    pub(super) unset: Vec<String>,
    /// Variables with decisive flags, set in an undecided branch.
    pub(super) undecided: Vec<String>,
    /// Whether a server is started in an undecided branch.
    pub(super) undecided_servers: bool,
    /// Whether one is in a loop of a number of turns that the script does not state.
    pub(super) looped_servers: bool,
    /// Why a shell does not run all of it, if flags are behind that.
    broken: Option<String>,
}

impl Expanded {
    /// Refuses a script with decisive flags in an undecided branch, or behind what is no script.
    ///
    /// # Errors
    /// `bad-settings`.
    pub(super) fn check(&self) -> Result<(), Diagnostic> {
        let hint = "give the flags as the program gets them, such as `bash -x` prints them";
        let message = match (self.undecided.first(), &self.broken) {
            (Some(name), _) => {
                let name: String = name.chars().take(60).collect();
                format!(
                    "the script sets the flags of `{name}` in a branch that the file does not decide"
                )
            }
            (None, Some(why)) => why.clone(),
            (None, None) => return Ok(()),
        };
        Err(Diagnostic::input("bad-settings", message).hint(hint))
    }
}

/// Puts values in place of variables, of which `arguments` are given by their names. Scripts that the script writes
/// and that nobody runs are left out, unless all decisive flags are in them.
///
/// # Errors
/// `file-too-large` where the values are longer than a file of settings may be, or the script runs too long.
pub(super) fn expanded(text: &str, arguments: &[(String, String)]) -> Result<Expanded, Diagnostic> {
    run_apart(text, arguments, false)
}

/// The same with all scripts that it writes.
///
/// # Errors
/// Those of [`expanded`].
pub(super) fn with_written(text: &str) -> Result<Expanded, Diagnostic> {
    run_apart(text, &[], true)
}

/// Runs a script on a stack of its own.
fn run_apart(text: &str, arguments: &[(String, String)], has_all: bool) -> Ran<Expanded> {
    let has_returns = text.contains("\r\n");
    let text = plain(text);
    if is_flags_alone(&text) {
        return Ok(Expanded { text, ..Expanded::default() });
    }
    let run = || {
        let mut first = run_once(&text, arguments, has_all, true)?;
        if has_returns {
            first.broken =
                Some("lines of the script end in `\\r\\n`, and a shell passes `\\r` on".to_owned());
            return Ok(first);
        }
        let takes_arguments = arguments.is_empty() && has_argument(&text);
        if has_decisive(&first.text) || !takes_arguments {
            return Ok(first);
        }
        // Without arguments it starts nothing: it is read with what may be.
        let second = run_once(&text, arguments, has_all, false)?;
        Ok(if has_decisive(&second.text) { second } else { first })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        let failed = |error: std::io::Error| {
            Diagnostic::error(
                Blame::Internal,
                "internal",
                format!("a script needs a stack: {error}"),
            )
        };
        thread.map_err(failed)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether a text is flags and no script, so that signs of a shell in it are letters.
fn is_flags_alone(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !(line.is_empty() || line.starts_with('#')));
    first.is_some_and(|line| line.starts_with('-')) && !text.contains(['$', '`'])
}

/// Whether a script reads its arguments.
fn has_argument(text: &str) -> bool {
    ["$1", "${1", "$#", "$@", "$*", "${#"].iter().any(|mark| text.contains(mark))
}

fn run_once(
    text: &str,
    arguments: &[(String, String)],
    has_all: bool,
    is_bare: bool,
) -> Ran<Expanded> {
    let mut out = Expanded::default();
    let mut shell = Shell::new(&mut out);
    shell.state.is_bare = is_bare;
    if !is_bare {
        let rest = counted(&unknown(Doubt::Argument, "$@"), true);
        shell.state.arguments = vec![rest].into();
    }
    for (name, value) in arguments {
        match name.parse::<usize>() {
            Ok(at) if (1..=MOST_ARGUMENTS).contains(&at) => {
                let mut all = shell.state.arguments.to_vec();
                for n in all.len() + 1..=at {
                    all.push(unknown(Doubt::Argument, &format!("${n}")));
                }
                all[at - 1].clone_from(value);
                shell.state.arguments = all.into();
            }
            Ok(_) => {}
            Err(_) => shell.set(name, Value::Text(value.clone())),
        }
    }
    shell.begin_batch(text, &[]);
    shell.run_text(text)?;
    shell.end()?;
    let is_excerpt = parse(text).0.iter().all(grammar::is_assignment);
    if has_all || !has_decisive(&shell.out.text) {
        shell.run_rest()?;
    }
    if shell.out.text.trim().is_empty() {
        shell.out.text = match shell.out.broken.take() {
            // Flags alone with signs of a shell among them.
            Some(_) if !text.contains('$') => text.to_owned(),
            broken => {
                shell.out.broken = broken;
                if is_excerpt { shell.excerpt() } else { String::new() }
            }
        };
    }
    Ok(out)
}

fn too_long() -> Diagnostic {
    let message = format!("settings with more than {MAX_BYTES} bytes in variables");
    Diagnostic::input("file-too-large", message).hint("give the flags alone")
}

fn too_deep() -> Diagnostic {
    let message = format!("a script nested deeper than {MAX_NESTING}");
    Diagnostic::input("file-too-large", message).hint("give the flags alone")
}

/// A shell that runs a script.
struct Shell<'o> {
    state: State,
    out: &'o mut Expanded,
    files: Files,
    frames: Vec<Frame>,
    /// Whether the last command was true; `None` where that is unknown.
    status: Option<bool>,
    /// The code with which one failed.
    code: i64,
    /// Whether the present command takes the output of another one.
    has_substituted: bool,
    n_processes: usize,
    /// Words of the programs that start the shell.
    wrappers: Vec<String>,
    /// Functions that other shells get.
    shared: Vec<String>,
    depth: usize,
    spent: usize,
    /// Undecided branches around.
    n_choices: u32,
    /// Loops around of a number of turns that is unknown.
    n_loops: u32,
    /// Conditions around, in which a command may fail.
    n_conditions: u32,
    n_substituted: u32,
    /// Sides of sums around that may not run.
    n_doubts: u32,
}

impl<'o> Shell<'o> {
    fn new(out: &'o mut Expanded) -> Self {
        Self {
            state: State::default(),
            out,
            files: Files::default(),
            frames: Vec::new(),
            status: Some(true),
            code: 1,
            has_substituted: false,
            n_processes: 0,
            wrappers: Vec::new(),
            shared: Vec::new(),
            depth: 0,
            spent: 0,
            n_choices: 0,
            n_loops: 0,
            n_conditions: 0,
            n_substituted: 0,
            n_doubts: 0,
        }
    }

    /// Runs the commands of a text.
    fn run_text(&mut self, text: &str) -> Ran<Flow> {
        self.enter()?;
        self.spend(text.len())?;
        let (list, fault) = parse(text);
        let flow = self.list(&list)?;
        match fault {
            Some((Fault::Deep, _)) => return Err(too_deep()),
            Some((Fault::Syntax, at)) if flow == Flow::Next && has_decisive(&text[at..]) => {
                let line = text[at..].lines().next().unwrap_or_default();
                let line: String = values::derived_flags(line).chars().take(60).collect();
                let why = format!("a shell can not parse the script from `{line}` on");
                self.out.broken.get_or_insert(why);
            }
            _ => {}
        }
        self.depth -= 1;
        Ok(flow)
    }

    /// Notes a sum that ends the commands around it with an error.
    fn fail(&mut self, sum: &str) {
        if self.n_choices + self.n_loops == 0 {
            let sum: String = sum.chars().take(60).collect();
            self.out.broken.get_or_insert(format!("`{sum}` in the script has no value"));
        }
    }

    fn enter(&mut self) -> Ran<()> {
        self.depth += 1;
        self.spend(COST)?;
        if self.depth > MAX_NESTING { Err(too_deep()) } else { Ok(()) }
    }

    fn spend(&mut self, n_bytes: usize) -> Ran<()> {
        self.spent = self.spent.saturating_add(n_bytes);
        if self.spent > MOST_SPENT { Err(too_long()) } else { Ok(()) }
    }

    fn copy(&mut self) -> Ran<State> {
        self.spend(self.state.size())?;
        Ok(self.state.clone())
    }

    /// Prints a text where it is taken.
    fn print(&mut self, text: &str) -> Ran<()> {
        if let Some(output) = &mut self.state.output {
            output.push_str(text);
            let n = output.len();
            self.spend(text.len())?;
            if n > MAX_BYTES {
                return Err(too_long());
            }
        }
        Ok(())
    }
}
#[cfg(test)]
mod tests {
    use super::super::flags::quoted;
    use super::*;

    #[test]
    fn quotes_octal_numbers_and_empty_values_are_read_as_bash_does() {
        // What bash 5.2 prints for each.
        for (script, last) in [
            ("TP=$'4'\na.py --tp $TP", "--tp 4"),
            ("TP=010\na.py --tp $((TP/2))", "--tp 4"),
            ("TP=\"\"\na.py --tp ${TP:-4}", "--tp 4"),
            ("TP=\na.py --tp 2${TP-4}", "--tp 2"),
            ("SP=\na.py ${SP+--tp 4}", "--tp 4"),
            ("SP=\na.py --tp 2${SP:+4}", "--tp 2"),
        ] {
            let text = expanded(script, &[]).unwrap().text;
            assert!(text.trim_end().ends_with(last), "{script}: {text}");
        }
        let parted = expanded("N=\"8 \"\n[ $N = 8 ] && TP=4\na.py --tp $TP", &[]).unwrap();
        assert!(parted.text.trim_end().ends_with("--tp 4"), "{}", parted.text);
        let added = expanded("echo --tp 4 | xargs torchrun a.py --b 1", &[]).unwrap();
        assert!(added.unset.is_empty() && added.text.trim_end().ends_with("--b 1 --tp 4"));
        let added = expanded("cat f | xargs torchrun a.py --b 1", &[]).unwrap();
        assert_eq!(added.unset, ["xargs torchrun"]);
        assert!(expanded("ps x | xargs kill", &[]).unwrap().unset.is_empty());
    }

    #[test]
    fn a_value_has_no_comments() {
        let script = "A=\"--b 1 # two\n#--c 3\n--d 4\"\nrun a.py $A # --e 5";
        let expanded = expanded(script, &[]).unwrap();
        assert_eq!(quoted(&expanded.text).last(), Some(&"4"), "{}", expanded.text);
        assert!(!expanded.text.contains("--e"));
    }

    #[test]
    fn what_a_test_decides_is_added_or_left() {
        for (test, more) in [
            ("[ $PP -gt 1 ] &&", true),
            ("[ $PP -gt 4 ] &&", false),
            ("[[ $PP = 1 ]] ||", true),
            ("[ -n \"$PP\" ] && [ $PP -eq 2 ] &&", true),
            ("[ $PP -gt 4 ] && export", false),
        ] {
            let script = format!(
                "PP=2\nA=(--b 1)\n{test} A+=(--layers-per-chunk 4);\nrun a.py \"${{A[@]}}\""
            );
            let expanded = expanded(&script, &[]).unwrap();
            assert_eq!(expanded.text.contains("--layers-per-chunk"), more, "{test}");
            assert!(expanded.text.contains("--b 1") && expanded.check().is_ok(), "{test}");
        }
    }

    #[test]
    fn flags_of_an_undecided_branch_are_named_or_refused() {
        let script = |flags: &str| {
            format!(
                "A=(--b 1)\nif [ -n \"$KEY\" ]; then A=(\"${{A[@]}}\" {flags}); fi\nrun a.py ${{A[@]}}"
            )
        };
        let idle = expanded(&script("--wandb-project x"), &[]).unwrap();
        assert_eq!(idle.unset, ["A+=(--wandb-project x)"]);
        assert!(idle.text.contains("--b 1") && idle.check().is_ok());
        let decisive = expanded(&script("--micro-batch-size 4"), &[]).unwrap();
        assert_eq!(decisive.check().unwrap_err().code, "bad-settings");
        let either = "if [ $K ]; then A=(--fp8 x); else A=(--bf16); fi\nrun a.py ${A[@]}";
        assert_eq!(expanded(either, &[]).unwrap().check().unwrap_err().code, "bad-settings");
    }
}
