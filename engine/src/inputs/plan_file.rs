//! Plan files, and what runs today instead of a plan, as they are read.

use std::path::Path;
use std::sync::Arc;

use cost_model::ops::objective;
use cost_model::ops::problem::Objective;
use documents::plan::{ModeDocument, PlanDocument, WorkloadDocument};
use importers::launcher::{Launcher, device_map};
use ir::diagnostic::Diagnostic;
use ir::launch::DeviceMap;
use ir::plan_kind::PlanKind;
use ir::workload::{Mode, Optimizer, Workload};
use planner::recipe::Ingredient;
use planner::registry;

use crate::answer::energy::{COST, ENERGY};
use crate::answer::files::input_file;
use crate::inputs::kept;
use crate::request::element_type;

/// Longest plan file that is read, in bytes.
pub const LONGEST_FILE: u64 = 1 << 30;

/// What the solution of an instance with given costs holds, and no plan.
pub(crate) const SOLUTION: &[u8] = b"\"meshwright.solution/";

/// Marks of exported files that are not read back, with the program that each is for.
pub(crate) const UNREAD: [(&[u8], &str); 6] = [
    (b"fsdp_config:", ACCELERATE),
    (b"distributed_type:", ACCELERATE),
    (b"model.tensor_model_parallel_size=", "overrides of Megatron Bridge"),
    (b"\"training_arguments\"", "files of Hugging Face's Trainer"),
    (b"\"meshwright.jax/", "files for JAX"),
    (b"trtllm-serve", "scripts of TensorRT-LLM"),
];

const ACCELERATE: &str = "configs of Hugging Face Accelerate";

/// Longest file of a launcher's settings that is looked at, in bytes.
pub(crate) const LONGEST_SETTINGS: u64 = 1 << 20;

/// What stands for the recipe in a plan that a person wrote.
pub const BY_HAND: &str = "by-hand";

/// Reads a plan file.
///
/// # Errors
/// `unreadable-file` and those of [`PlanDocument::parse`], with the file named.
pub fn document(path: &Path) -> Result<Arc<PlanDocument>, Diagnostic> {
    kept::made(&path.to_string_lossy(), || read(path))
}

pub(crate) fn read(path: &Path) -> Result<PlanDocument, Diagnostic> {
    let file = path.display().to_string();
    let unreadable = |why: String| {
        Diagnostic::input("unreadable-file", format!("`{file}` can not be read"))
            .fact("reason", why)
            .hint("give a plan that `-o plan.json` wrote")
    };
    let text = input_file::read(path, LONGEST_FILE).map_err(unreadable)?;
    let document = PlanDocument::parse(&text).and_then(|mut document| {
        check(&document)?;
        // One spelling of each type, so that two of the same are equal.
        let dtype = workload(&document.workload)?.dtype;
        // No verb opens a file that only a plan names: who calls it states them.
        document.inputs = None;
        document.workload.dtype = dtype.map(|dtype| dtype.name().to_owned());
        Ok(document)
    });
    document.map_err(|error| {
        let error = error.fact("file", file.clone());
        let holds = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
        if holds(SOLUTION) {
            return error.hint("this is a solution of an instance: add --model INSTANCE");
        }
        match UNREAD.iter().find(|(mark, _)| holds(mark)) {
            None if text.trim_ascii_start().first() != Some(&b'{') => no_settings(&file, &text),
            None => error,
            Some((_, settings)) => {
                let message = format!("`{file}` is no plan: {settings} are not read back");
                let error = Diagnostic::input("not-read-back", message);
                match *settings == ACCELERATE {
                    // Accelerate shards or copies a model over all of its processes.
                    true => error.hint(
                        "plan what it runs, and compare that plan: meshwright train MODEL --cluster FILE \
                         --global-batch N --pin tensor=1 --pin pipeline=1 --pin zero=3 -o now.json",
                    ),
                    false => error
                        .hint("compare the plan itself, or the settings of another launcher"),
                }
            }
        }
    })
}

/// Refuses a file that is neither a plan nor settings that are read.
fn no_settings(file: &str, text: &[u8]) -> Diagnostic {
    let message = match text.trim_ascii().is_empty() {
        true => format!("`{file}` is empty"),
        false => format!("`{file}` is neither a plan nor settings of a launcher"),
    };
    let starts = [
        ("accelerate launch", "give the file of its `--config_file`, or the recipe of the program"),
        ("deepspeed ", "give the file of its `--deepspeed` or `--deepspeed_config`"),
    ];
    let holds = |words: &str| text.windows(words.len()).any(|part| part == words.as_bytes());
    let hint = starts.into_iter().find(|(words, _)| holds(words)).map_or(
        "give a plan that `-o plan.json` wrote, or to `compare` a script that starts vLLM or SGLang",
        |(_, hint)| hint,
    );
    Diagnostic::input("bad-plan", message).hint(hint)
}

/// The text of a file that holds a launcher's settings and no plan; whatever can't be read is left
/// to [`document`].
pub fn settings(path: &Path) -> Option<(Launcher, String)> {
    let text = String::from_utf8(input_file::read(path, LONGEST_SETTINGS).ok()?).ok()?;
    let is_plan = text.contains("\"format\"") && text.contains("\"parallelism\"");
    let launcher = Launcher::guess(&text).filter(|_| !is_plan)?;
    Some((launcher, text))
}

/// The device map that a file holds; whatever is no map is left to [`document`].
///
/// # Errors
/// Those of reading a map.
pub fn map(path: &Path) -> Option<Result<DeviceMap, Diagnostic>> {
    let text = String::from_utf8(input_file::read(path, LONGEST_SETTINGS).ok()?).ok()?;
    device_map::is_device_map(&text).then(|| {
        device_map::read(&text).map_err(|error| error.fact("file", path.display().to_string()))
    })
}

/// What the form of the document does not rule out and no plan has.
pub(crate) fn check(document: &PlanDocument) -> Result<(), Diagnostic> {
    // Kinds with an objective of their own hold it against what is derived.
    let kind = document.kind();
    if [PlanKind::Placement, PlanKind::Training, PlanKind::Gradients, PlanKind::Sharding]
        .contains(&kind)
    {
        objective(document)?;
    }
    let WorkloadDocument { batch, micro_batch, .. } = &document.workload;
    if [batch, micro_batch].contains(&&Some(0)) {
        return Err(Diagnostic::input("bad-plan", "the plan states a batch of 0 samples"));
    }
    // Who made a plan can't be derived from it, but it is a recipe that exists.
    if kind != PlanKind::Training && document.algorithm != BY_HAND {
        let read = match kind == PlanKind::Placement {
            true => registry::recipe(&document.algorithm).map(|_| ()),
            false => Ingredient::parse(&document.algorithm, registry::entries()).map(|_| ()),
        };
        read.map_err(|error| {
            let message = format!("member `algorithm` of the plan: {}", error.message);
            Diagnostic::input("bad-plan", message)
                .fact("member", "algorithm")
                .hint(format!("a plan that no recipe made says `{BY_HAND}`"))
        })?;
    }
    Ok(())
}

/// What the plan minimises.
pub(crate) fn objective(document: &PlanDocument) -> Result<Objective, Diagnostic> {
    // Energy and cost are looked for beside the search, which has a step time.
    if document.request.least.as_ref() == Some(&document.objective)
        && [ENERGY, COST].contains(&document.objective.as_str())
    {
        return Ok(Objective::default());
    }
    let name = &document.objective;
    objective::named(name).map(|row| row.objective).ok_or_else(|| {
        let known: Vec<&str> = objective::rows().iter().map(|row| row.objective.name()).collect();
        let shown: String = name.chars().take(80).collect();
        let known = known.join(" and ");
        let message =
            format!("member `objective` of the plan is `{shown}`; this version knows {known}");
        Diagnostic::input("bad-plan", message)
            .fact("member", "objective")
            .hint("plan again, or correct the member")
    })
}

/// What a plan was made for.
///
/// # Errors
/// `bad-plan` for an element type that does not exist.
pub fn workload(document: &WorkloadDocument) -> Result<Workload, Diagnostic> {
    let dtype = |name: &String| {
        element_type::named(name).map_err(|needs| {
            let message = format!("the plan names an unknown float type `{name}`: it {needs}");
            Diagnostic::input("bad-plan", message).fact("member", "workload.dtype")
        })
    };
    Ok(Workload {
        mode: match document.mode {
            ModeDocument::Inference => Mode::Inference,
            ModeDocument::Training => Mode::Training,
        },
        optimizer: document.optimizer.map_or(Optimizer::default(), Optimizer::from),
        dtype: document.dtype.as_ref().map(dtype).transpose()?,
        batch: document.batch,
        micro_batch: document.micro_batch,
    })
}
