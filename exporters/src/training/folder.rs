//! A folder that starts a plan: the target's file, environment, hosts, what each rank is, and scripts.

use documents::shell::quoted;
use std::fmt::Write;

use ir::diagnostic::Diagnostic;
use ir::plan::{Mesh, Parallelism, Stage};
use serde_json::{Value, json};

pub use super::program::Place;
use super::program::{Agent, Program, SCHEDULE, Start, agents};
use super::target::{TrainingSource, TrainingTarget, refused};
use crate::format::Export;

/// Files that folders of every target may hold.
pub(crate) const NAMES: [&str; 8] = [
    "env",
    "launch.sh",
    "hostfile",
    "ranks.csv",
    "README.md",
    SCHEDULE,
    "job.sbatch",
    "jobset.json",
];

/// What the script of every folder says of itself.
pub const MARK: &str = "# meshwright plan ";

/// Who starts the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Starter {
    /// `torchrun` on every host, by hand.
    #[default]
    Torchrun,
    /// `sbatch`.
    Slurm,
    /// A JobSet of Kubernetes.
    Kubernetes,
}

impl Agent<'_> {
    /// Whether its ranks have the first devices of the host in order, as processes take them.
    fn takes_the_first(&self) -> bool {
        self.slots.iter().zip(0..).all(|(slot, at)| *slot == at)
    }
}

/// A plan that is to be started.
pub struct Job<'a> {
    /// The plan and what it was made for.
    pub source: &'a TrainingSource<'a>,
    /// Its digest.
    pub digest: &'a str,
    /// Whether each rank is meant for its own host, as hosts differ.
    pub hosts_differ: bool,
    /// Who starts it.
    pub starter: Starter,
}

/// Files by name.
pub type Files = Vec<(String, Vec<u8>)>;

/// All files of a folder.
///
/// # Errors
/// `cannot-express` for targets that start no processes, and for hosts of unequal numbers of ranks.
pub(crate) fn files(
    job: &Job<'_>,
    (row, version): (&TrainingTarget, &str),
    export: &Export,
) -> Result<Files, Diagnostic> {
    let Some(program) = &row.program else {
        let why = "its file is read by a program of yours";
        return Err(refused(row.name, "a folder that starts it", why, "write a file with -o"));
    };
    let agents = agents(job.source.places);
    let each = agents.first().map_or(1, |agent| agent.slots.len());
    check_hosts(job, (row.name, program.start), &agents)?;
    check_names(job, row)?;
    let text = String::from_utf8_lossy(&export.bytes);
    let mut environment = String::new();
    for (name, value) in (program.environment)(job.source) {
        let _ = writeln!(environment, "{name}={}", quoted(&value));
    }
    let head = head((job, row.name, version), &agents);
    let mut files: Files = vec![
        (row.file_name.to_owned(), export.bytes.clone()),
        ("env".to_owned(), format!("# {head}\n{environment}").into_bytes()),
        ("launch.sh".to_owned(), script(&head, program, &text, &agents).into_bytes()),
        ("hostfile".to_owned(), hostfile(&head, (job, program), &agents)?.into_bytes()),
        ("ranks.csv".to_owned(), ranks(job).into_bytes()),
        ("README.md".to_owned(), readme(&head, (job.starter, agents.len()), program).into_bytes()),
    ];
    for member in program.members {
        let whole: Value = serde_json::from_str(&text).unwrap_or_default();
        files.push((format!("{member}.json"), format!("{:#}\n", whole[member]).into_bytes()));
    }
    if text.contains(SCHEDULE) {
        let grid = job.source.plan.schedule.grid.as_ref();
        let csv = grid.map(super::torch_pipelining::text).transpose()?;
        files.push((SCHEDULE.to_owned(), csv.unwrap_or_default().into_bytes()));
    }
    let name = format!("meshwright-{}", &job.digest[..job.digest.len().min(8)]);
    match job.starter {
        Starter::Torchrun => {}
        Starter::Slurm => {
            let text = sbatch(&head, &name, agents.len(), each);
            files.push(("job.sbatch".to_owned(), text.into_bytes()));
        }
        Starter::Kubernetes => {
            let document = job_set(&name, agents.len(), each);
            files.push(("jobset.json".to_owned(), format!("{document:#}\n").into_bytes()));
        }
    }
    Ok(files)
}

/// What every file says of itself: plan, target, hosts and processes.
fn head((job, target, version): (&Job<'_>, &str, &str), agents: &[Agent<'_>]) -> String {
    let each = agents.first().map_or(1, |agent| agent.slots.len());
    let n_processes = match agents.iter().all(|agent| agent.slots.len() == each) {
        true if each == 1 => "1 process".to_owned(),
        true => format!("{each} processes"),
        false => "unequal numbers of processes".to_owned(),
    };
    let n_hosts = agents.len();
    let hosts = if n_hosts == 1 { "host" } else { "hosts" };
    format!(
        "meshwright plan {} for {target}@{version}: {n_hosts} {hosts} of {n_processes}",
        job.digest
    )
}

/// Refuses hosts that what starts the processes can't tell apart.
fn check_hosts(
    job: &Job<'_>,
    (target, start): (&str, Start),
    agents: &[Agent<'_>],
) -> Result<(), Diagnostic> {
    let first = agents.first().map_or(&[][..], |agent| &agent.slots);
    let is_unequal = agents.iter().any(|agent| agent.slots.len() != first.len());
    if start == Start::Hydra {
        return match job.starter {
            Starter::Torchrun => Ok(()),
            _ => {
                let why = "its runner starts the processes of all hosts by ssh";
                Err(refused(target, "another launcher", why, "leave out --launcher"))
            }
        };
    }
    if is_unequal && (start, job.starter) != (Start::Torchrun, Starter::Torchrun) {
        let why = "as many processes are started on each host";
        let hint = "plan with --devices on whole hosts, or use --launcher torchrun";
        return Err(refused(target, "hosts of unequal numbers of ranks", why, hint));
    }
    let differ = job.hosts_differ || agents.iter().any(|agent| agent.slots != first);
    if differ && job.starter != Starter::Torchrun {
        let why = "it numbers hosts as it likes";
        let part = "stages or devices that are meant for certain hosts";
        return Err(refused(target, part, why, "use --launcher torchrun"));
    }
    Ok(())
}

/// Refuses names that a hostfile, a table or a shell would take apart.
fn check_names(job: &Job<'_>, row: &TrainingTarget) -> Result<(), Diagnostic> {
    let is_strange = |c: char| c.is_control() || c.is_whitespace() || c == ',' || c == '"';
    let mut names = job.source.places.iter().flat_map(|place| [place.host, place.device]);
    // `#` begins a comment there.
    if let Some(name) = names.find(|name| name.starts_with('#') || name.contains(is_strange)) {
        let why = format!("`{}`", name.escape_debug());
        let hint = "name hosts and devices in the cluster's file without blanks, commas, quotes and a \
                    `#` before them";
        return Err(refused(row.name, "such a name in a hostfile", &why, hint));
    }
    Ok(())
}

/// An array of the shell with one word by agent.
fn array(agents: &[Agent<'_>], word: impl Fn(&Agent<'_>) -> String) -> String {
    format!("({})", agents.iter().map(word).collect::<Vec<_>>().join(" "))
}

fn script(head: &str, program: &Program, args: &str, agents: &[Agent<'_>]) -> String {
    let lines = args.lines().filter(|_| program.start == Start::Torchrun).map(|line| {
        let words = line.split_whitespace().map(|word| match word {
            // It lies beside the script.
            SCHEDULE => format!("\"$here/{SCHEDULE}\""),
            word => quoted(word),
        });
        format!("  {}\n", words.collect::<Vec<_>>().join(" "))
    });
    let args: String = lines.collect();
    let n = agents.len();
    let first = agents.first().filter(|_| n > 1).map_or("localhost", |agent| agent.host);
    let (n_processes, by_host) = told_by_host(agents);
    let each = agents.first().map_or(1, |agent| agent.slots.len());
    let start = match program.start {
        Start::Torchrun => format!(
            r#"args=(
{args})
exec torchrun --nnodes {n} --nproc-per-node {n_processes} --node-rank "${{NODE_RANK:-0}}" \
  --master-addr "${{MASTER_ADDR:-$first}}" --master-port "${{MASTER_PORT:-29500}}" \
  {program} "$@" "${{args[@]}}""#,
            program = program.words,
        ),
        Start::Accelerate => format!(
            r#"exec accelerate launch --config_file "$here/accelerate.json" --num_machines {n} \
  --num_processes {all} --machine_rank "${{NODE_RANK:-0}}" \
  --main_process_ip "${{MASTER_ADDR:-$first}}" --main_process_port "${{MASTER_PORT:-29500}}" \
  {program} "$@""#,
            all = n * each,
            program = program.words,
        ),
        Start::Hydra => format!(
            r#"exec python {program} --config-path "$here" --config-name flagscale \
  experiment.runner.hostfile="$here/hostfile" "$@""#,
            program = program.words,
        ),
    };
    if program.start == Start::Hydra {
        return format!(
            "{}\n{start}\n",
            opening(head, "Run it on one host; words after it go to hydra")
        );
    }
    let names = match n {
        0 | 1 => "",
        _ => "# The cluster file's name of the first host; MASTER_ADDR overrides it.\n",
    };
    format!(
        r#"{opening}
{names}first={first}
{by_host}{start}
"#,
        opening = opening(
            head,
            "Run it on every host with NODE_RANK set; words after it go to the program"
        ),
        first = quoted(first),
    )
}

/// Lines that every script begins with.
fn opening(head: &str, how: &str) -> String {
    format!(
        r#"#!/usr/bin/env bash
# {head}.
# {how}.
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
set -a
# shellcheck source=/dev/null
. "$here/env"
set +a"#
    )
}

/// Processes of each host, and lines of the script that say which devices they have where these are not
/// the first ones.
fn told_by_host(agents: &[Agent<'_>]) -> (String, String) {
    let count = |agent: &Agent<'_>| agent.slots.len();
    let each = agents.first().map_or(1, count);
    let mut by_host = String::new();
    let n_processes = match agents.iter().all(|agent| count(agent) == each) {
        true => each.to_string(),
        false => {
            let counts = array(agents, |agent| count(agent).to_string());
            by_host = format!("processes={counts}\n");
            "\"${processes[${NODE_RANK:-0}]}\"".to_owned()
        }
    };
    if !agents.iter().all(Agent::takes_the_first) {
        let slots = |agent: &Agent<'_>| {
            agent.slots.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
        };
        let _ = writeln!(
            by_host,
            "devices={}\nexport CUDA_DEVICE_ORDER=PCI_BUS_ID \
             CUDA_VISIBLE_DEVICES=\"${{devices[${{NODE_RANK:-0}}]}}\"",
            array(agents, slots)
        );
    }
    (n_processes, by_host)
}

fn hostfile(
    head: &str,
    (job, program): (&Job<'_>, &Program),
    agents: &[Agent<'_>],
) -> Result<String, Diagnostic> {
    let line = |agent: &Agent<'_>| format!("{} slots={}\n", agent.host, agent.slots.len());
    let lines = match program.start {
        Start::Hydra => super::flagscale::hostfile(job.source)?,
        Start::Torchrun | Start::Accelerate => agents.iter().map(line).collect(),
    };
    Ok(format!("# {head}\n{lines}"))
}

/// What each rank is, by the rule of the plan's mesh.
fn ranks(job: &Job<'_>) -> String {
    let mut text = "rank,host,device,tensor,context,data,pipeline\n".to_owned();
    let plan = job.source.plan;
    let positions: Vec<[u64; 4]> = match plan.partition.has_own_devices() {
        true => plan.partition.stages.iter().zip(0..).flat_map(in_stage).collect(),
        false => (0..job.source.places.len() as u64)
            .map(|rank| coordinates(&plan.parallelism, rank))
            .collect(),
    };
    for (rank, (Place { host, device, .. }, [t, c, d, p])) in
        job.source.places.iter().zip(positions).enumerate()
    {
        let _ = writeln!(text, "{rank},{host},{device},{t},{c},{d},{p}");
    }
    text
}

/// The same of the processes of a stage that has devices of its own.
fn in_stage((stage, at): (&Stage, u64)) -> impl Iterator<Item = [u64; 4]> {
    let mesh = stage.mesh.as_ref();
    let tensor = mesh.map_or(1, |mesh| u64::from(mesh.tensor.max(1)));
    let n = mesh.map_or(0, |mesh| mesh.devices.len() as u64);
    (0..n).map(move |rank| [rank % tensor, 0, rank / tensor, at])
}

/// Tensor, context, data and pipeline rank of a process.
fn coordinates(degrees: &Parallelism, rank: u64) -> [u64; 4] {
    let sizes = [degrees.tensor, degrees.context, degrees.data, degrees.pipeline].map(u64::from);
    let order = match degrees.mesh {
        Mesh::TpCpDpPp => [0, 1, 2, 3],
        Mesh::TpCpPpDp => [0, 1, 3, 2],
    };
    let (mut at, mut left) = ([0; 4], rank);
    for axis in order {
        let size = sizes[axis].max(1);
        at[axis] = left % size;
        left /= size;
    }
    at
}

fn sbatch(head: &str, name: &str, n_hosts: usize, each: usize) -> String {
    format!(
        r#"#!/usr/bin/env bash
#SBATCH --job-name={name}
#SBATCH --nodes={n_hosts}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={each}
#SBATCH --exclusive
# {head}.
# Submit it in its folder; words after it go to the program.
set -euo pipefail
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
# shellcheck disable=SC2016
srun bash -c 'NODE_RANK=$SLURM_NODEID exec bash "$0" "$@"' "$SLURM_SUBMIT_DIR/launch.sh" "$@"
"#
    )
}

fn job_set(name: &str, n_hosts: usize, each: usize) -> Value {
    let index = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
    let container = json!({
        "name": "train",
        "image": "YOUR_IMAGE",
        "command": ["bash", "/plan/launch.sh"],
        "env": [
            { "name": "NODE_RANK", "valueFrom": { "fieldRef": { "fieldPath": index } } },
            { "name": "MASTER_ADDR", "value": format!("{name}-workers-0-0.{name}") },
        ],
        "resources": { "limits": { "nvidia.com/gpu": each } },
        "volumeMounts": [{ "name": "plan", "mountPath": "/plan" }],
    });
    let pod = json!({
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{ "name": "plan", "configMap": { "name": name } }],
    });
    json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": { "name": name },
        "spec": {
            "network": { "enableDNSHostnames": true },
            "replicatedJobs": [{
                "name": "workers",
                "replicas": 1,
                "template": { "spec": {
                    "parallelism": n_hosts,
                    "completions": n_hosts,
                    "completionMode": "Indexed",
                    "backoffLimit": 0,
                    "template": { "spec": pod },
                } },
            }],
        },
    })
}

fn readme(head: &str, (starter, n_hosts): (Starter, usize), program: &Program) -> String {
    let names = match n_hosts {
        0 | 1 => "",
        _ => "* Host names are those of the cluster file; `MASTER_ADDR` overrides the first.\n",
    };
    let how = match starter {
        _ if program.start == Start::Hydra => "On one host: `FLAGSCALE=FOLDER ./launch.sh`",
        Starter::Torchrun => "On host number I of `hostfile`, from 0: `NODE_RANK=I ./launch.sh`",
        Starter::Slurm => "Here: `sbatch job.sbatch`",
        Starter::Kubernetes => {
            "`kubectl create configmap NAME --from-file=.` with the name in `jobset.json`, put your \
             image into that file, then `kubectl apply -f jobset.json`"
        }
    };
    format!(
        "# A planned training run\n\n{head}.\n\n* {how}; what you add behind goes to the program.\n\
         * Yours to add: {yours}.\n\
         * `env` holds variables that the prediction rests on.\n\
         * `ranks.csv` says where each rank runs and what it is; devices of a host in its own order.\n{names}",
        yours = program.yours
    )
}
