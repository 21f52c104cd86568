//! Job configs of torchtitan in TOML (`torchtitan/config/job_config.py` of releases before 0.3).
//!
//! Every member is read as the flag of its name, refused where it changes what runs, or listed as one that
//! changes neither time nor memory of a step; others are refused by their names.

use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;

use super::super::flags::not_judged;

/// Members that change neither time nor memory of a step, a line each; `section.*` covers a section.
const IDLE: &str = include_str!("document.txt");

/// Sections whose members are flags that are read or refused.
const READ: [&str; 5] =
    ["parallelism", "training", "activation_checkpoint", "optimizer", "compile"];

/// Members of other sections that are flags.
const FLAGS: [&str; 3] =
    ["model.converters", "float8.recipe_name", "quantize.linear.float8.recipe_name"];

/// Switches that are read, of which none is on by default.
const SWITCHES: [&str; 8] = [
    "compile.enable",
    "training.compile",
    "training.enable_cpu_offload",
    "compile.enable_async_tensor_parallel",
    "parallelism.enable_async_tensor_parallel",
    "parallelism.disable_loss_parallel",
    "optimizer.early_step_in_backward",
    "model.converters",
];

/// Names that members had before.
const OLDER: [(&str, &str); 2] =
    [("training.batch_size", "training.local_batch_size"), ("training.compile", "compile.enable")];

/// Members that change what runs in a way that no plan has, where they are on.
const REFUSED: [(&str, &str); 3] = [
    ("memory_estimation.enabled", "it trains nothing"),
    ("fault_tolerance.enable", "replicas that come and go are in no plan of this launcher"),
    ("float8.emulate", "products run in the type that they are emulated in"),
];

/// Members that change time alone, where they are on and operands are converted.
const NOTED: [&str; 4] = [
    "enable_fsdp_float8_all_gather",
    "precompute_float8_dynamic_scale_for_fsdp",
    "force_recompute_fp8_weight_in_bwd",
    "filter_fqns",
];

/// Whether a text is a job config.
pub(crate) fn is(text: &str) -> bool {
    text.lines().any(|line| ["[parallelism]", "[training]"].contains(&line.trim()))
}

/// Whether a value leaves a member off.
fn is_off(value: &str) -> bool {
    ["false", "False", "[]", "\"\"", "''", "0", "\"disabled\""].contains(&value)
}

/// Refuses a member that is on and in no plan.
fn refuse(path: &str, is_off: bool) -> Result<(), Diagnostic> {
    match REFUSED.iter().find(|(refused, _)| *refused == path && !is_off) {
        Some((_, why)) => Err(not_judged(path, why)),
        None => Ok(()),
    }
}

/// Whether a flag that names a member beside those that are read is one without effect.
///
/// # Errors
/// `not-judged` for one that changes what runs, `unknown-flag`.
pub(super) fn check(path: &str, value: Option<&str>) -> Result<(), Diagnostic> {
    refuse(path, value.is_some_and(is_off))?;
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    let is_known = READ.contains(&section)
        || section.ends_with("float8")
        || IDLE.lines().any(|row| covers(row, path));
    if is_known { Ok(()) } else { Err(unknown(path)) }
}

/// Reads a job config.
///
/// # Errors
/// Those of the flags, `unknown-flag`, `not-judged`.
pub(crate) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let (mut flags, mut noted, mut idle) = (String::new(), Vec::new(), Vec::new());
    for Member { path, value } in members(text) {
        let is_off = is_off(&value);
        let (section, key) = path.rsplit_once('.').unwrap_or(("", &path));
        refuse(&path, is_off)?;
        match () {
            () if FLAGS.contains(&path.as_str()) || READ.contains(&section) => {
                let flag = flag(&path, &value);
                // Switches that are off, but those that are read.
                let is_silent = flag.trim().is_empty() && !SWITCHES.contains(&path.as_str());
                idle.extend(is_silent.then_some(path));
                flags.push_str(&flag);
            }
            () if NOTED.contains(&key) && section.ends_with("float8") => {
                // Heads stay in 16 bits under any stack, and routers are no products of blocks.
                let names = value.replace(['[', ']', '"', '\'', ' '], "");
                let is_usual =
                    names.split(',').all(|name| ["output", "router.gate", ""].contains(&name));
                noted.extend((!is_off && !is_usual).then_some(path));
            }
            () if IDLE.lines().any(|row| covers(row, &path)) => idle.push(path),
            () if is_off => idle.push(path),
            () => return Err(unknown(&path)),
        }
    }
    let mut settings = super::read(&flags)?;
    settings.not_planned.extend(idle);
    if settings.stack.scaling.is_none() {
        // Nothing is converted.
        settings.not_planned.append(&mut noted.drain(..).collect());
    }
    // What the file leaves out is as in its class.
    settings.stack.compiled = settings.stack.compiled.or(Some(false));
    settings.stack.overlaps_tensor = settings.stack.overlaps_tensor.or(Some(false));
    if settings.stack.scaling.is_some() && !noted.is_empty() {
        settings.not_judged.insert("operands in 8 bits are those of the stack", noted);
    }
    Ok(settings)
}

fn covers(row: &str, path: &str) -> bool {
    match row.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => row == path,
    }
}

fn unknown(path: &str) -> Diagnostic {
    let shown: String = path.chars().take(60).collect();
    let message = format!("`{shown}` is not among the members that are read of this launcher");
    Diagnostic::input("unknown-flag", message)
        .fact("flag", shown)
        .hint("correct it, or leave it out to judge the run without it")
}

/// A member as the flag of its name, and a line end.
fn flag(path: &str, value: &str) -> String {
    let older = OLDER.iter().find(|(older, _)| *older == path);
    let path = older.map_or(path, |(_, newer)| newer);
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let words = match value.trim_matches(['"', '\'']) {
        "true" => format!("--{path}"),
        "false" if key == "enable_sequence_parallel" => format!("--{section}.no_{key}"),
        "false" | "" => String::new(),
        list if list.starts_with('[') => {
            // Lists in it are parts, whose names a flag has between commas.
            let parts = list.trim_matches(['[', ']', ' ', ',']).split(']');
            let parts = parts.map(|part| part.replace(['[', '"', '\'', ' '], ""));
            let parts: Vec<String> = parts.map(|part| part.trim_matches(',').to_owned()).collect();
            format!("--{path} {}", parts.join(" "))
        }
        number if number.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("--{path} {}", number.replace('_', ""))
        }
        value => format!("--{path} {value}"),
    };
    format!("{words}\n")
}

/// A value under the path of its section and key.
struct Member {
    path: String,
    value: String,
}

/// The members of a document; a list may go over several lines.
fn members(text: &str) -> Vec<Member> {
    let (mut section, mut all) = (String::new(), Vec::<Member>::new());
    let mut open = 0i64;
    for line in text.lines().map(|line| uncommented(line).trim()) {
        let depth = line.matches('[').count() as i64 - line.matches(']').count() as i64;
        if open > 0 {
            if let Some(last) = all.last_mut() {
                last.value.push_str(line);
            }
            open += depth;
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim_matches(['[', ']', ' ']).to_owned();
            continue;
        }
        if let Some((key, value)) = line.split_once('=') {
            let path = format!("{section}.{}", key.trim().replace('-', "_"));
            all.push(Member { path, value: value.trim().to_owned() });
            open = depth;
        }
    }
    all
}

/// A line without its comment; `#` inside quotes begins none.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') => return &line[..at],
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[job]\ndump_folder = \"./a#b\" # c\n[model]\nname = \"llama3\"\n[training]\n\
        batch_size = 1_0\nseq_len = 2048\n[parallelism]\ntensor_parallel_degree = 8\n\
        enable_async_tensor_parallel = true\n[activation_checkpoint]\nmode = \"full\"\n";

    #[test]
    fn members_are_read_refused_or_idle() {
        let plain = read(CONFIG).unwrap();
        assert_eq!((plain.micro_batch, plain.tensor), (Some(10), Some(8)));
        assert_eq!((plain.stack.compiled, plain.stack.overlaps_tensor), (Some(false), Some(false)));
        assert!(plain.no_effect.contains_key("--parallelism.enable_async_tensor_parallel"));
        let compiled = read(&format!(
            "{CONFIG}[compile]\nenable = true\ncomponents = [\n\"model\",\n\"loss\"]\n"
        ));
        let compiled = compiled.unwrap().stack;
        assert_eq!((compiled.compiled, compiled.overlaps_tensor), (Some(true), Some(true)));
        let of_loss = read(&format!("{CONFIG}[compile]\nenable = true\ncomponents = [\"loss\"]\n"));
        assert_eq!(of_loss.unwrap().stack.compiled, Some(false));
        for (more, code) in [
            ("[fault_tolerance]\nenable = true\n", "not-judged"),
            ("[memory_estimation]\nenabled = true\n", "not-judged"),
            ("[experimental]\nwarp = 3\n", "unknown-flag"),
            ("[compile]\nbackend = \"aot_eager\"\n", "not-judged"),
            ("[compile]\nbackends = 3\n", "unknown-flag"),
        ] {
            assert_eq!(read(&format!("{CONFIG}{more}")).unwrap_err().code, code, "{more}");
        }
        let converted = format!("{CONFIG}[float8]\nfilter_fqns = [\"output\", \"wk\"]\n");
        assert!(read(&converted).unwrap().not_judged.is_empty());
        let converted = converted.replace("name =", "converters = [\"float8\"]\nname =");
        assert_eq!(read(&converted).unwrap().not_judged.len(), 1);
    }
}
