//! The launch command of a training script, and how many processes it starts.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;

use super::flags::{Flags, QUOTES, batch_lines, ends_line, parted, quoted};
use super::limits::{MOST_DEGREE, bad};
use super::shell::DECISIVE;

/// Flags of launchers that take no value.
const SWITCHES: [&str; 11] = [
    "--standalone",
    "--no-python",
    "--no_python",
    // Those of Python itself.
    "-u",
    "-B",
    "-E",
    "-I",
    "-O",
    "-OO",
    "-s",
    "-S",
];

/// Words between which a shell finds commands.
const BETWEEN: [&str; 15] =
    [";", ";;", "&", "&&", "|", "||", "(", ")", "{", "}", "then", "do", "else", "fi", "done"];

/// Parts of names of flags that change what runs, beside those that a plan hangs on.
const ALSO: [&str; 6] = ["overlap", "attention", "graph", "dispatcher", "nproc", "nnodes"];

/// Parts of names of programs that prepare data or checkpoints.
const TOOLS: [&str; 4] = ["preprocess", "convert", "tools/", "merge_"];

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

/// The launch command of a script: the one that starts a program with flags of parallelism, batch or types;
/// `None` where there is none.
///
/// # Errors
/// `bad-settings` for several launch commands with different flags.
pub(super) fn command(text: &str) -> Result<Option<String>, Diagnostic> {
    let all = commands(text);
    let is_launch = |words: &&Vec<&str>| {
        program(words).is_some_and(|at| !has(words[at], &TOOLS))
            && !stated(words, &|flag| has(flag, &DECISIVE)).is_empty()
    };
    let runs: Vec<&Vec<&str>> = all.iter().filter(is_launch).collect();
    let compared = |flag: &str| has(flag, &DECISIVE) || has(flag, &ALSO);
    let flags: Vec<Stated<'_>> = runs.iter().map(|words| stated(words, &compared)).collect();
    let differ = flags.iter().flat_map(|flags_of_run| flags_of_run.symmetric_difference(&flags[0]));
    match (runs.last(), differ.map(|(flag, _)| *flag).min()) {
        (Some(words), None) => Ok(Some(words.join("\n"))),
        (None, _) => Ok(None),
        (Some(_), Some(flag)) => {
            let shown: String = flag.chars().take(60).collect();
            let n = runs.len();
            let message = format!("the script has {n} launch commands, with different `{shown}`");
            Err(Diagnostic::input("bad-settings", message)
                .fact("flag", shown)
                .hint("give one launch command alone"))
        }
    }
}

type Stated<'a> = BTreeSet<(&'a str, &'a str)>;

fn has(flag: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| flag.contains(part))
}

/// Where the program stands that a command starts behind all launchers.
fn program(words: &[&str]) -> Option<usize> {
    let name =
        |word: &str| word.split_once('=').map_or(word.to_owned(), |(name, _)| name.to_owned());
    let is_decisive = |word: &&str| word.starts_with("--") && has(&name(word), &DECISIVE);
    let end = words.iter().position(is_decisive).unwrap_or(words.len());
    (0..end).rev().find(|at| {
        let before = at.checked_sub(1).map_or("", |at| words[at]);
        let is_switch = SWITCHES.contains(&before);
        let is_value = before.starts_with('-') && !before.contains('=') && !is_switch;
        let word = words[*at].trim_matches(QUOTES);
        before == "-m" || word.ends_with(".py") && !word.contains('=') && !is_value
    })
}

/// A command from its program on, without the flags of `srun` or `torchrun`.
pub(super) fn own(command: &str) -> String {
    let words = quoted(command);
    words[program(&words).unwrap_or(0)..].join("\n")
}

/// Flags of a command by name, with their values.
fn stated<'a>(words: &[&'a str], is_wanted: &dyn Fn(&str) -> bool) -> Stated<'a> {
    let flags = words.iter().enumerate().filter(|(_, word)| word.starts_with("--"));
    let stated = flags.map(|(at, word)| {
        let next = words.get(at + 1).filter(|next| !next.starts_with("--"));
        let (flag, value) = word.split_once('=').unwrap_or((word, next.map_or("", |next| next)));
        (flag, value.trim_matches(QUOTES))
    });
    stated.filter(|(flag, _)| is_wanted(flag)).collect()
}

/// The flags by which a process launcher takes the number of processes.
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

/// The innermost first: under `srun torchrun` the number is that of `torchrun`.
const STARTERS: [Starter; 5] = [
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
        names: &["accelerate"],
        each: &[],
        hosts: &[],
        all: &["--num_processes", "--num-processes"],
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
        each: &["--ntasks-per-node", "--tasks-per-node"],
        hosts: &["--nodes", "-N"],
        all: &["--ntasks", "-n"],
        usual: None,
    },
];

/// Processes that a command starts, by its flags, the text that it is in, and the `#SBATCH` lines of the script; `None` where the number is
/// found when the script runs.
///
/// # Errors
/// `bad-settings` for what is no number of processes.
pub(super) fn processes(
    (command, text): (&str, &str),
    script: &str,
) -> Result<Option<u64>, Diagnostic> {
    let words = quoted(command);
    let Some((starter, at)) = starter(&words) else { return Ok(None) };
    let batch = of_batch(script);
    let batch = Flags::new(&batch);
    let n_hosts = ["--nodes", "-N"].iter().find_map(|name| batch.text(name).ok().flatten());
    let stated = own_flags(&words[at + 1..], n_hosts);
    let flags = Flags::new(&stated);
    if starter.names == ["deepspeed"]
        && let Some(n) = of_filter(&flags)
    {
        return Ok(n);
    }
    let devices = || visible(&words[..at], text);
    let number = |names: &[&'static str]| {
        let own = |name: &'static str| Some((name, Cow::Borrowed(flags.text(name).ok()??)));
        let found = flags.last_of(names).and_then(own).or_else(|| {
            let (_, variable) = VARIABLES.iter().find(|(flag, _)| names.contains(flag))?;
            Some((*variable, Cow::Owned(environment((&words[..at], text), variable)?)))
        });
        // Under `srun` the batch states what the command leaves open.
        let of_batch = batch
            .last_of(names)
            .and_then(|name| Some((name, Cow::Borrowed(batch.text(name).ok()??))));
        let of_batch = of_batch.filter(|_| starter.names == ["srun"]);
        let number = |(name, text): (&'static str, Cow<'_, str>)| match &*text {
            "gpu" | "auto" => Ok(devices()),
            text => number(name, text),
        };
        let found = found.map(|stated| (stated, true));
        let found = found.or(of_batch.map(|stated| (stated, false)));
        found.map(|(stated, is_own)| Ok((number(stated)?, is_own))).transpose()
    };
    if let Some((all, _)) = number(starter.all)? {
        return Ok(all);
    }
    let [each, hosts] = [number(starter.each)?, number(starter.hosts)?];
    Ok(match (each, hosts) {
        // The tasks of all nodes of the batch, on other nodes.
        (Some((_, false)), Some((n, true))) if n != n_hosts.and_then(|n| n.parse().ok()) => None,
        (None, None) if starter.names == ["deepspeed"] && !flags.is_there("--hostfile") => {
            devices()
        }
        (None, None) if starter.usual.is_none() => None,
        _ => {
            let of = |stated: Option<(Option<u64>, bool)>, usual| {
                stated.map_or(usual, |(number, _)| number)
            };
            of(each, starter.usual)
                .zip(of(hosts, Some(1)))
                .and_then(|(each, hosts)| each.checked_mul(hosts))
        }
    })
}

/// The launcher of a command's processes, and where it is.
fn starter(words: &[&str]) -> Option<(&'static Starter, usize)> {
    STARTERS.iter().find_map(|starter| {
        let is_it = |word: &&str| {
            let word = word.trim_matches(QUOTES);
            starter.names.contains(&word.rsplit('/').next().unwrap_or(word))
        };
        Some((starter, words.iter().position(is_it)?))
    })
}

/// Whether a launcher starts the processes of a command.
pub(super) fn is_launched(command: &str) -> bool {
    starter(&quoted(command)).is_some()
}

/// The words of the `#SBATCH` lines of a script: those before its first command, or of a script that it submits.
fn of_batch(script: &str) -> String {
    let head = batch_lines(script).collect::<Vec<_>>();
    let is_other = head.is_empty() && script.contains("sbatch");
    let all = script.lines().filter(|_| is_other);
    let lines = all.filter_map(|line| line.trim().strip_prefix("#SBATCH")).chain(head);
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).flat_map(parted).collect();
    words.join("\n")
}

/// The words of a process launcher before its program, with the hosts of the batch where it takes those.
fn own_flags(words: &[&str], n_hosts: Option<&str>) -> String {
    let mut stated = String::new();
    // Flags of its program may have the same names: its own are up to that.
    let own = words.iter().take_while(|word| !is_started(word));
    for word in own.flat_map(|word| parted(word)) {
        let of_hosts =
            ["SLURM_NNODES", "SLURM_JOB_NUM_NODES"].iter().any(|name| word.contains(name));
        let flag = word.split_once('=').map_or("", |(flag, _)| flag);
        match n_hosts.filter(|_| of_hosts) {
            Some(n) => stated.extend([flag, "\n", n, "\n"]),
            None => stated.extend([word, "\n"]),
        }
    }
    stated
}

/// Devices that `deepspeed` starts a process on each by `--include host:0,1@other:0`; `None` in it where they are those of
/// a file of hosts. `None` where it has no such flag.
fn of_filter(flags: &Flags<'_>) -> Option<Option<u64>> {
    let text = |name: &str| flags.text(name).ok().flatten();
    let Some(include) = text("--include").or_else(|| text("-i")) else {
        return text("--exclude").or_else(|| text("-e")).map(|_| None);
    };
    let of_host = |host: &str| {
        let (_, slots) = host.split_once(':')?;
        let slots = slots.split(',').map(|slot| slot.trim().parse::<u64>().ok());
        let slots: Option<BTreeSet<u64>> = slots.collect();
        u64::try_from(slots?.len()).ok()
    };
    Some(include.split('@').map(of_host).sum())
}

/// Devices of `CUDA_VISIBLE_DEVICES`.
fn visible(before: &[&str], script: &str) -> Option<u64> {
    let all = environment((before, script), "CUDA_VISIBLE_DEVICES");
    let all = all.filter(|all| !all.contains(['$', '`']))?;
    let n = all.split(',').take_while(|one| !["", "-1"].contains(&one.trim())).count();
    u64::try_from(n).ok().filter(|n| *n > 0)
}

/// Variables by which `torchrun` takes flags.
const VARIABLES: [(&str, &str); 2] =
    [("--nproc-per-node", "PET_NPROC_PER_NODE"), ("--nnodes", "PET_NNODES")];

/// A variable of the environment, as a command has it before its program, or as its script exports it.
fn environment((before, script): (&[&str], &str), variable: &str) -> Option<String> {
    let value = |word: &str| {
        let value = word.trim_matches(QUOTES).strip_prefix(variable)?.strip_prefix('=')?;
        Some(value.trim_matches(QUOTES).to_owned())
    };
    let is_export = |words: &&Vec<&str>| {
        words.first() == Some(&"export") && words.iter().any(|word| word.starts_with(variable))
    };
    let exported = || {
        commands(script).iter().find(is_export)?;
        Flags::new(script).variable(variable).map(str::to_owned)
    };
    before.iter().rev().find_map(|word| value(word)).or_else(exported)
}

/// A number of processes or hosts; `None` for one that is found when the script runs, and for a range of hosts.
fn number(name: &str, text: &str) -> Result<Option<u64>, Diagnostic> {
    let is_range = text.trim_start_matches('-').contains([':', '-']);
    let is_open = is_range || ["gpu", "cpu", "auto"].contains(&text) || text.contains(['$', '`']);
    match text.parse::<u64>() {
        Ok(n) if (1..=MOST_DEGREE).contains(&n) => Ok(Some(n)),
        _ if is_open => Ok(None),
        _ => Err(bad(name, text, &format!("give a whole number from 1 to {MOST_DEGREE}"))),
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
        let unbuffered = "srun -l --output=a.log sh -c python -u a.py --bf16\n";
        assert_eq!(
            command(unbuffered).unwrap().map(|all| super::own(&all)).unwrap(),
            "a.py\n--bf16"
        );
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
            ("torchrun a.py", Some(1)),
            ("torchrun --nproc-per-node 4 --nproc_per_node 8 a.py", Some(8)),
            ("PET_NPROC_PER_NODE=8 PET_NNODES=2 torchrun a.py", Some(16)),
            ("export PET_NPROC_PER_NODE=8\ntorchrun a.py", Some(8)),
            ("srun --nodes=2 --tasks-per-node=8 python a.py", Some(16)),
            ("torchrun --nproc-per-node gpu a.py", None),
            ("torchrun --nproc-per-node 8 --nnodes 1:4 a.py", None),
            ("torchrun --nproc-per-node 8 --nnodes $N a.py", None),
            ("python -u a.py --nnodes 2", None),
            ("deepspeed --num_gpus 4 a.py", Some(4)),
            ("mpirun -np 8 python a.py -n 3", Some(8)),
            ("srun --ntasks-per-node=8 python a.py", Some(8)),
            ("srun -n 6 python a.py", Some(6)),
            ("deepspeed --include localhost:0,1,2,3 a.py", Some(4)),
            ("deepspeed --include=a:0,2@b:0,2,3 a.py", Some(5)),
            ("deepspeed --include a@b:0 a.py", None),
            ("deepspeed --exclude a:0 a.py", None),
            ("CUDA_VISIBLE_DEVICES=0,1 deepspeed a.py", Some(2)),
            ("CUDA_VISIBLE_DEVICES=0,1 deepspeed --num_gpus 4 a.py", Some(4)),
            ("CUDA_VISIBLE_DEVICES=0,1,2,5 torchrun --nproc_per_node gpu a.py", Some(4)),
            ("CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc_per_node=auto --nnodes 2 a.py", Some(4)),
            ("export CUDA_VISIBLE_DEVICES=0,1\ntorchrun --nproc_per_node gpu a.py", Some(2)),
            ("CUDA_VISIBLE_DEVICES=0,1\ntorchrun --nproc_per_node $N a.py", None),
            ("CUDA_VISIBLE_DEVICES=$D torchrun --nproc_per_node gpu a.py", None),
        ] {
            assert_eq!(processes((text, text), text).unwrap(), n, "{text}");
        }
        let batch = "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=8\nsrun python a.py";
        assert_eq!(processes(("srun python a.py", ""), batch).unwrap(), Some(16));
        let batch = "#SBATCH -N2 --ntasks-per-node=1";
        let command = "srun torchrun --nproc_per_node=4 --nnodes=$SLURM_NNODES a.py";
        assert_eq!(processes((command, ""), batch).unwrap(), Some(8));
        let batch = "#SBATCH --nodes=2 --ntasks-per-node=8";
        for (command, n) in [
            ("srun -N1 --ntasks-per-node=4 python a.py", Some(4)),
            ("srun --nodes=1 --ntasks-per-node 8 python a.py", Some(8)),
            ("srun -N2 python a.py", Some(16)),
            ("srun --nodes=1 python a.py", None),
            ("srun -n 3 python a.py", Some(3)),
        ] {
            assert_eq!(processes((command, ""), batch).unwrap(), n, "{command}");
        }
        let late = "#SBATCH --nodes=1\n#SBATCH --ntasks-per-node=8\necho a\n#SBATCH --nodes=2";
        assert_eq!(processes(("srun python a.py", ""), late).unwrap(), Some(8));
        for n in ["0", "-1", "99999999999999999999", "four"] {
            let text = format!("torchrun --nproc-per-node {n} a.py");
            assert_eq!(processes((&text, &text), &text).unwrap_err().code, "bad-settings", "{n}");
        }
    }
}
