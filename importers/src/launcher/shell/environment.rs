//! The variables that a command passes to the shell that it starts: those that are exported, what its launchers
//! set, and none where it starts elsewhere.

use std::collections::BTreeMap;

use super::values::is_known;
use super::words::{assignment, is_name, program};

/// Values by name; none where what is passed is not known.
pub(super) type Values = BTreeMap<String, Option<String>>;

/// What a shell gets.
#[derive(Default)]
pub(super) struct Environment {
    pub(super) values: Values,
    /// Whether it may have variables that the script does not state.
    pub(super) is_open: bool,
}

/// Variables that Slurm sets for each step.
const OF_STEPS: [&str; 8] = [
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_NTASKS",
    "SLURM_NPROCS",
    "SLURM_NNODES",
    "SLURM_STEP_NUM_NODES",
    "SLURM_STEP_NUM_TASKS",
];

/// Of these, those that differ between its tasks.
const N_OWN: usize = 3;

/// Options of `srun` that change the variables of its step.
const SIZES: [&str; 6] =
    ["-n", "-N", "--ntasks", "--nodes", "--ntasks-per-node", "--gpus-per-node"];

/// Variables that launchers of MPI set.
const OF_MPI: [&str; 6] = [
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "PMI_RANK",
    "PMI_SIZE",
];

#[derive(Clone, Copy, PartialEq)]
enum Program {
    /// Assignments before a program, and behind `env` and `sudo`.
    Env,
    Sudo,
    Docker,
    Apptainer,
    Mpi,
    Srun,
    Sbatch,
    Su,
    Terminal,
    /// On another host.
    Remote,
    Other,
}

impl Program {
    fn of(name: &str) -> Self {
        match name {
            "env" => Self::Env,
            "sudo" => Self::Sudo,
            "docker" | "podman" | "nerdctl" | "enroot" => Self::Docker,
            "apptainer" | "singularity" => Self::Apptainer,
            "mpirun" | "mpiexec" | "mpiexec.hydra" | "orterun" | "prterun" => Self::Mpi,
            "srun" => Self::Srun,
            "sbatch" | "salloc" => Self::Sbatch,
            "su" | "runuser" => Self::Su,
            "tmux" | "screen" => Self::Terminal,
            "ssh" | "pdsh" | "clush" | "kubectl" | "oc" => Self::Remote,
            _ => Self::Other,
        }
    }
}

/// What the shell gets that a command of these words starts, of a script that exports `exported`.
pub(super) fn environment(exported: Values, words: &[String]) -> Environment {
    let mut all = Environment { values: exported, is_open: false };
    let (mut now, mut outer) = (Program::Env, Values::new());
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map(String::as_str);
        let began = Program::of(program(word));
        if began != Program::Other {
            outer.clone_from(&all.values);
            now = began;
            all.begin(now);
            continue;
        }
        match now {
            Program::Env if assignment(word).is_some() => all.set(word, &outer),
            // Behind its own words a program begins.
            Program::Env
                if at == 0 || words[at - 1..at].iter().all(|word| assignment(word).is_some()) =>
            {
                now = Program::Other;
            }
            _ => {}
        }
        all.option(now, (word, next), &outer);
    }
    all
}

/// The value of a flag under one of its names.
fn of_flag<'a>((word, next): (&'a str, Option<&'a str>), names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| match word.strip_prefix(name)? {
        "" => next,
        rest if name.starts_with("--") => rest.strip_prefix('='),
        rest => Some(rest).filter(|_| !word.starts_with("--")),
    })
}

impl Environment {
    /// A program begins that passes variables in its own way.
    fn begin(&mut self, program: Program) {
        match program {
            Program::Sudo | Program::Docker | Program::Remote => self.values.clear(),
            // A server that runs already has variables of its own.
            Program::Terminal => self.values.values_mut().for_each(|value| *value = None),
            Program::Srun => {
                self.unknown(&OF_STEPS, false);
                self.unknown(&OF_STEPS[..N_OWN], true);
            }
            Program::Mpi => self.unknown(&OF_MPI, true),
            Program::Apptainer => self.set_prefixed(),
            _ => {}
        }
    }

    /// Sets what `APPTAINERENV_NAME` is for.
    fn set_prefixed(&mut self) {
        for prefix in ["SINGULARITYENV_", "APPTAINERENV_"] {
            let own = self.values.iter().filter_map(|(name, value)| {
                Some((name.strip_prefix(prefix)?.to_owned(), value.clone()))
            });
            let own: Values = own.collect();
            self.values.extend(own);
        }
    }

    /// Takes a word of a program, with the word behind it.
    fn option(&mut self, program: Program, pair: (&str, Option<&str>), outer: &Values) {
        let (word, _) = pair;
        match program {
            Program::Env if ["-i", "-", "--ignore-environment"].contains(&word) => {
                self.values.clear()
            }
            Program::Env => {
                let unset = of_flag(pair, &["-u", "--unset"]);
                unset.into_iter().for_each(|name| drop(self.values.remove(name)));
            }
            Program::Sudo if word == "-E" || word.starts_with("--preserve-env") => {
                self.values.clone_from(outer);
            }
            Program::Sudo if assignment(word).is_some() => self.set(word, outer),
            Program::Docker => {
                let given = of_flag(pair, &["-e", "--env"]);
                given.into_iter().for_each(|one| self.set(one, outer));
                self.is_open |= of_flag(pair, &["--env-file"]).is_some() || may_hold_flags(word);
            }
            Program::Apptainer if ["-e", "--cleanenv", "-C", "--containall"].contains(&word) => {
                self.values.retain(|name, _| name.contains("ENV_"));
                self.set_prefixed();
            }
            Program::Apptainer => {
                let given = of_flag(pair, &["--env"]).into_iter().flat_map(|all| all.split(','));
                given.for_each(|one| self.set(one, outer));
                self.is_open |= of_flag(pair, &["--env-file"]).is_some() || may_hold_flags(word);
            }
            Program::Mpi => {
                let given = of_flag(pair, &["-x"]).filter(|_| !word.starts_with("-x="));
                given.into_iter().for_each(|one| self.set(one, outer));
            }
            Program::Srun | Program::Sbatch => {
                of_flag(pair, &["--export"]).into_iter().for_each(|list| self.export(list, outer));
                if program == Program::Srun && of_flag(pair, &SIZES).is_some() {
                    self.unknown(&["SLURM_NTASKS_PER_NODE", "SLURM_GPUS_ON_NODE"], false);
                    self.unknown(&OF_STEPS, true);
                }
            }
            Program::Su if ["-", "-l", "--login"].contains(&word) => self.values.clear(),
            _ => {}
        }
    }

    /// The variables of `--export` of Slurm.
    fn export(&mut self, list: &str, outer: &Values) {
        if !list.split(',').any(|name| name == "ALL") {
            self.values.retain(|name, _| name.starts_with("SLURM_"));
        }
        list.split(',').for_each(|one| self.set(one, outer));
    }

    /// `NAME=value`, or a `NAME` with its value outside.
    fn set(&mut self, one: &str, outer: &Values) {
        if let Some((name, value)) = assignment(one) {
            self.values.insert(name.to_owned(), Some(value.to_owned()));
        } else if let Some(value) = outer.get(one).filter(|_| is_name(one)) {
            self.values.insert(one.to_owned(), value.clone());
        }
    }

    /// Variables have a value that is not known: all of these, or those that have none yet.
    fn unknown(&mut self, names: &[&str], has_all: bool) {
        for name in names {
            let value = self.values.entry((*name).to_owned()).or_default();
            *value = value.take().filter(|_| !has_all);
        }
    }
}

/// Whether a word is a variable without a value that is named after flags.
fn may_hold_flags(word: &str) -> bool {
    !is_known(word) && ["ARG", "OPT", "FLAG", "ENV"].iter().any(|part| word.contains(part))
}
