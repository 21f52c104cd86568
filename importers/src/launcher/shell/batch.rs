//! Variables that Slurm sets for a batch script, by its `#SBATCH` lines.

use super::super::flags::{Flags, batch_lines, parted};
use super::environment::Values;

/// Variables of every job.
const OF_JOBS: [&str; 11] = [
    "SLURM_JOB_ID",
    "SLURM_JOBID",
    "SLURM_JOB_NODELIST",
    "SLURM_NODELIST",
    "SLURM_SUBMIT_DIR",
    "SLURM_CPUS_ON_NODE",
    "SLURM_JOB_CPUS_PER_NODE",
    "SLURM_JOB_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_USER",
    "SLURM_CLUSTER_NAME",
];
/// Short names of options.
const SHORT: [(&str, &str); 6] = [
    ("-N", "--nodes"),
    ("-n", "--ntasks"),
    ("-c", "--cpus-per-task"),
    ("-G", "--gpus"),
    ("-a", "--array"),
    ("-J", "--job-name"),
];
/// Those that are 0 in the batch script itself.
const OF_FIRST: [&str; 3] = ["SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID"];
/// Those of arrays.
const OF_ARRAYS: [&str; 5] = [
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_ARRAY_TASK_COUNT",
    "SLURM_ARRAY_TASK_MIN",
    "SLURM_ARRAY_TASK_MAX",
];

/// The variables of a script that is started with `options`, which go before its own lines; none where it is no batch
/// script. Those that are set to what is not known have no value.
pub(super) fn variables(script: &str, options: &[String]) -> Values {
    let lines = batch_lines(script);
    let options = options.iter().map(String::as_str);
    let words: Vec<&str> =
        lines.flat_map(str::split_whitespace).chain(options).flat_map(parted).collect();
    if words.is_empty() {
        return Values::new();
    }
    let long = |word: &&str| SHORT.iter().find(|(short, _)| short == word).map(|(_, long)| *long);
    let words: Vec<&str> = words.iter().map(|word| long(word).unwrap_or(word)).collect();
    let text = words.join("\n");
    let flags = Flags::new(&text);
    let stated = |name: &str| flags.text(name).ok().flatten();
    let number = |name: &str| stated(name).map(|text| text.parse::<u64>().ok());
    let [tasks, each] = [number("--ntasks"), number("--ntasks-per-node")];
    let nodes = match (number("--nodes"), tasks) {
        (Some(nodes), _) => nodes,
        // A job has one node, unless its tasks need more.
        (None, None | Some(Some(1))) => Some(1),
        (None, _) => None,
    };
    let per_gpu = stated("--ntasks-per-gpu").map(|_| None);
    let product = each.map(|each| each?.checked_mul(nodes?));
    let mut all = Values::new();
    let mut set = |names: &[&str], value: Option<Option<u64>>| {
        let value = value.map(|value| value.map(|value| value.to_string()));
        all.extend(names.iter().filter_map(|name| Some(((*name).to_owned(), value.clone()?))));
    };
    set(&OF_JOBS, Some(None));
    set(&OF_FIRST, Some(Some(0)));
    set(&["SLURM_NNODES", "SLURM_JOB_NUM_NODES"], Some(nodes));
    set(&["SLURM_NTASKS", "SLURM_NPROCS"], tasks.or(product).or(per_gpu));
    set(&["SLURM_NTASKS_PER_NODE"], each);
    set(&["SLURM_CPUS_PER_TASK"], number("--cpus-per-task"));
    let total = stated("--gpus");
    let of_node = stated("--gpus-per-node").or_else(|| stated("--gres")).map(devices);
    let of_one = total.map(|text| devices(text).filter(|_| nodes == Some(1)));
    let of_task = stated("--gpus-per-task").map(|text| devices(text)?.checked_mul(each??));
    set(&["SLURM_GPUS_ON_NODE"], of_node.or(of_one).or(of_task));
    if let Some(array) = stated("--array") {
        set(&OF_ARRAYS, Some(None));
        set(&["SLURM_ARRAY_TASK_ID"], Some(array.parse().ok()));
    }
    let per_node = match (nodes, each.or(tasks.or(Some(nodes)).filter(|_| nodes == Some(1)))) {
        (Some(1), Some(Some(each))) => Some(each.to_string()),
        (Some(nodes), Some(Some(each))) => Some(format!("{each}(x{nodes})")),
        _ => None,
    };
    all.insert("SLURM_TASKS_PER_NODE".to_owned(), per_node);
    let texts = [("SLURM_GPUS_PER_NODE", "--gpus-per-node"), ("SLURM_GPUS", "--gpus")];
    let texts = texts.into_iter().chain([("SLURM_JOB_NAME", "--job-name")]);
    all.extend(
        texts.filter_map(|(name, flag)| Some((name.to_owned(), Some(stated(flag)?.to_owned())))),
    );
    all
}

/// Devices of `--gres=gpu:a100:8` or `--gpus-per-node=8`; `None` where they are not stated so.
fn devices(text: &str) -> Option<u64> {
    let own = text.split(',').find(|part| part.starts_with("gpu")).unwrap_or(text);
    let last = own.rsplit(':').next().unwrap_or(own);
    if last == "gpu" { Some(1) } else { last.parse().ok() }
}
