//! Programs of training that a script starts, of which one is read.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;

use super::flags::{Flags, QUOTES, ends_line, quoted};
use super::shell::DECISIVE;

/// Flags of launchers that take no value.
const SWITCHES: [&str; 3] = ["--standalone", "--no-python", "--no_python"];

/// Words between which a shell finds commands.
const BETWEEN: [&str; 15] =
    [";", ";;", "&", "&&", "|", "||", "(", ")", "{", "}", "then", "do", "else", "fi", "done"];

/// Parts of names of flags that change what runs, beside those that a plan hangs on.
const ALSO: [&str; 6] = ["overlap", "attention", "graph", "dispatcher", "nproc", "nnodes"];

/// Commands of a text by their words. Lines that begin with a flag go on the command before them.
pub(super) fn commands(text: &str) -> Vec<Vec<&str>> {
    let mut all = vec![Vec::new()];
    let mut before: Option<&str> = None;
    for word in quoted(text) {
        let starts = before.is_some_and(|before| ends_line(text, before, word));
        before = Some(word);
        let plain = word.trim_end_matches(';');
        // Parentheses around commands stick to words; those of a list are closed in it.
        let plain = if plain.contains('(') { plain } else { plain.trim_end_matches(')') };
        let plain = if plain.contains(')') { plain } else { plain.trim_start_matches('(') };
        if starts && !word.starts_with('-') || BETWEEN.contains(&word) {
            all.push(Vec::new());
        }
        let last = all.len() - 1;
        if !BETWEEN.contains(&word) && !plain.is_empty() {
            all[last].push(plain);
        }
        if !word.ends_with(plain) {
            all.push(Vec::new());
        }
    }
    all
}

/// The command of a script that starts a program with flags that a plan hangs on; `None` where no program of
/// such flags is known.
///
/// # Errors
/// `bad-settings` for several whose flags differ.
pub(super) fn command(text: &str) -> Result<Option<String>, Diagnostic> {
    let all = commands(text);
    let runs = all.iter().filter(|words| has_program(words));
    let runs: Vec<_> = runs.map(|words| (words, decisive(words))).collect();
    let runs: Vec<_> = runs.into_iter().filter(|(_, flags)| !flags.is_empty()).collect();
    let Some((words, _)) = runs.last() else { return Ok(None) };
    let all: Vec<_> = runs.iter().map(|(words, _)| stated(words, &[&DECISIVE, &ALSO])).collect();
    match all.iter().find(|flags| **flags != all[0]) {
        None => Ok(Some(words.join("\n"))),
        Some(other) => Err(several(all.len(), &all[0], other)),
    }
}

type Stated<'a> = BTreeSet<(&'a str, &'a str)>;

fn several(n: usize, first: &Stated<'_>, other: &Stated<'_>) -> Diagnostic {
    let differ: Vec<&str> = first.symmetric_difference(other).map(|(flag, _)| *flag).collect();
    let shown: String = differ.first().map_or("", |flag| flag).chars().take(60).collect();
    let message = format!("the script starts {n} programs, whose `{shown}` differ");
    Diagnostic::input("bad-settings", message)
        .fact("flag", shown)
        .hint("give the command of one of them alone")
}

fn has_program(words: &[&str]) -> bool {
    program(words).is_some()
}

/// Where the program stands that a command starts behind all launchers.
fn program(words: &[&str]) -> Option<usize> {
    let is_decisive = |word: &&str| {
        word.starts_with("--") && DECISIVE.iter().any(|part| name(word).contains(part))
    };
    let end = words.iter().position(is_decisive).unwrap_or(words.len());
    (0..end).rev().find(|at| {
        let at = *at;
        let before = at.checked_sub(1).map_or("", |at| words[at]);
        let is_switch = SWITCHES.contains(&before);
        let is_value = before.starts_with('-') && !before.contains('=') && !is_switch;
        let word = words[at].trim_matches(QUOTES);
        before == "-m" || word.ends_with(".py") && !word.contains('=') && !is_value
    })
}

fn name<'a>(word: &'a str) -> &'a str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

/// A command from its program on, without what launchers take.
pub(super) fn own(command: &str) -> String {
    let words = quoted(command);
    words[program(&words).unwrap_or(0)..].join("\n")
}

/// Flags of a command that a plan hangs on, with their values.
fn decisive<'a>(words: &[&'a str]) -> Stated<'a> {
    stated(words, &[&DECISIVE])
}

/// Flags of a command whose names have some of these parts, with their values.
fn stated<'a>(words: &[&'a str], parts: &[&[&str]]) -> Stated<'a> {
    let flags = words.iter().enumerate().filter(|(_, word)| word.starts_with("--"));
    let stated = flags.map(|(at, word)| {
        let next = words.get(at + 1).filter(|next| !next.starts_with("--"));
        let (flag, value) = word.split_once('=').unwrap_or((word, next.map_or("", |next| next)));
        (flag, value.trim_matches(QUOTES))
    });
    let mut parts = parts.iter().copied().flatten();
    let parts: Vec<&str> = parts.by_ref().copied().collect();
    stated.filter(|(flag, _)| parts.iter().any(|part| flag.contains(part))).collect()
}

/// How a launcher of processes is told their number.
struct Starter {
    /// Its programs.
    names: &'static [&'static str],
    /// Processes of a host.
    each: &'static [&'static str],
    hosts: &'static [&'static str],
    /// Processes of all hosts.
    all: &'static [&'static str],
    /// Processes of a host where only the hosts are stated.
    usual: Option<u64>,
}

/// The innermost first: one that another starts says how many processes there are.
const STARTERS: [Starter; 4] = [
    Starter {
        names: &["torchrun", "torch.distributed.run", "torch.distributed.launch"],
        each: &["--nproc-per-node", "--nproc_per_node"],
        hosts: &["--nnodes"],
        all: &[],
        usual: Some(1),
    },
    Starter {
        names: &["deepspeed"],
        each: &["--num_gpus", "--num-gpus"],
        hosts: &["--num_nodes", "--num-nodes"],
        all: &[],
        usual: None,
    },
    Starter {
        names: &["mpirun", "mpiexec", "mpiexec.hydra"],
        each: &[],
        hosts: &[],
        all: &["-np", "--np", "-n"],
        usual: None,
    },
    Starter {
        names: &["srun"],
        each: &["--ntasks-per-node"],
        hosts: &["--nodes", "-N"],
        all: &["--ntasks", "-n"],
        usual: None,
    },
];

/// Processes that a command starts, with what its script states for SLURM; `None` where it does not state
/// them as numbers.
pub(super) fn processes(command: &str, script: &str) -> Option<u64> {
    let words = quoted(command);
    let runs = |starter: &Starter| {
        let is_it = |word: &&str| {
            let word = word.trim_matches(QUOTES);
            starter.names.contains(&word.rsplit('/').next().unwrap_or(word))
        };
        words.iter().position(is_it)
    };
    let (starter, at) = STARTERS.iter().find_map(|starter| Some((starter, runs(starter)?)))?;
    let of_batch = script.lines().filter_map(|line| line.trim().strip_prefix("#SBATCH"));
    let of_batch = of_batch.filter(|_| starter.names == ["srun"]);
    // What the command says is behind what the batch does: the last counts.
    let mut stated: String = of_batch.flat_map(|line| [line, "\n"]).collect();
    // Flags of its program may have the same names: its own are up to that.
    let own = words[at + 1..].iter().take_while(|word| !is_started(word));
    stated.extend(own.flat_map(|word| [*word, "\n"]));
    let flags = Flags::new(&stated);
    let number = |names: &[&str]| {
        let stated = names.iter().find_map(|name| flags.text(name).ok().flatten());
        stated.map(|value| value.parse::<u32>().ok().filter(|n| *n > 0).map(u64::from))
    };
    if let Some(all) = number(starter.all) {
        return all;
    }
    match (number(starter.each), number(starter.hosts)) {
        (None, None) => None,
        (each, hosts) => each.unwrap_or(starter.usual)?.checked_mul(hosts.unwrap_or(Some(1))?),
    }
}

/// Whether a word is what a launcher starts.
fn is_started(word: &str) -> bool {
    let word = word.trim_matches(QUOTES);
    let name = word.rsplit('/').next().unwrap_or(word);
    word.ends_with(".py") || name.starts_with("python") || ["bash", "sh"].contains(&name)
}

/// Whether a flag states processes.
pub(super) fn is_of_processes(flag: &str) -> bool {
    let of = |starter: &Starter| [starter.each, starter.hosts, starter.all].concat();
    STARTERS.iter().any(|starter| of(starter).contains(&flag))
}

#[cfg(test)]
mod tests {
    use super::{command, processes};

    #[test]
    fn of_programs_with_other_flags_none_is_taken() {
        let both = |second: &str| {
            command(&format!(
                "torchrun --nproc_per_node 8 a.py --micro-batch-size 1 \\\n --lr 1 --bf16\n\
                 if x; then torchrun --nproc_per_node 8 -m b {second}; fi"
            ))
        };
        for second in
            ["", "--lr 2", "--bf16 --micro-batch-size=1 --save x", "--micro-batch-size 1 --bf16"]
        {
            assert!(both(second).is_ok(), "{second}");
        }
        for second in ["--micro-batch-size 2 --bf16", "--micro-batch-size 1", "--zero-stage 1"] {
            assert_eq!(both(second).unwrap_err().code, "bad-settings", "{second}");
        }
        assert!(command("a.py --bf16 --spec b.py --fp8-format hybrid").is_ok());
    }

    #[test]
    fn other_commands_of_a_script_are_left_out() {
        let script = "pip install --upgrade x\npython a.py --bf16 \\\n  --lr 1 | tee --append log\n\
                      docker run --gpus all";
        assert_eq!(command(script).unwrap().unwrap(), "python\na.py\n--bf16\n--lr\n1");
        assert_eq!(command("--bf16\n--lr 1").unwrap(), None);
        // As people paste them.
        assert_eq!(command("a.py\n--bf16\n--lr 1").unwrap().unwrap(), "a.py\n--bf16\n--lr\n1");
    }

    #[test]
    fn processes_are_those_of_all_hosts() {
        for (text, n) in [
            ("torchrun --nproc_per_node 8 --nnodes 2 a.py", Some(16)),
            ("torchrun --nproc-per-node=4 a.py", Some(4)),
            ("srun -N 2 torchrun --nproc-per-node=4 --nnodes 2 a.py", Some(8)),
            ("torchrun --nnodes 2 a.py", Some(2)),
            ("torchrun --nproc-per-node gpu a.py", None),
            ("torchrun --nproc-per-node 8 --nnodes 1:4 a.py", None),
            ("torchrun --nproc-per-node 8 --nnodes $N a.py", None),
            ("python a.py --nnodes 2", None),
            ("deepspeed --num_gpus 4 a.py", Some(4)),
            ("mpirun -np 8 python a.py -n 3", Some(8)),
            ("srun --ntasks-per-node=8 python a.py", Some(8)),
            ("srun -n 6 python a.py", Some(6)),
        ] {
            assert_eq!(processes(text, text), n, "{text}");
        }
        let batch = "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=8\nsrun python a.py";
        assert_eq!(processes("srun python a.py", batch), Some(16));
    }
}
