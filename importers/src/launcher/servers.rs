//! The servers that a script starts: vLLM and SGLang, a worker for each start.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::launch::{LaunchSettings, ServerRole, ServerStart};

use serde_json::Value;

use super::flags::{Flags, QUOTES, ends_line, quoted, spelled};
use super::keys::Keys;
use super::launchers::Launcher;
use super::limits::bad;
use super::script::{may_add, substituted};
use super::{serving, shell};

/// Variables that are read.
const VARIABLES: [&str; 3] =
    ["CUDA_VISIBLE_DEVICES", "VLLM_PP_LAYER_PARTITION", "SGLANG_PP_LAYER_PARTITION"];

/// Starts of a script at most.
const MOST_STARTS: usize = 4_096;

/// Flags that change what a server does or holds and that no price counts, as both engines and one of them have
/// them.
const UNPRICED: [&str; 15] = [
    "--config",
    "--cpu-offload-gb",
    "--disable-cuda-graph",
    "--dtype",
    "--enforce-eager",
    "--gpu-memory-utilization",
    "--kv-cache-dtype",
    "--max-total-tokens",
    "--mem-fraction-static",
    "--no-enable-chunked-prefill",
    "--num-gpu-blocks-override",
    "--quantization",
    "--speculative-algorithm",
    "--speculative-config",
    "--torchao-config",
];

/// Reads the starts of a script of vLLM, or of SGLang, in order; flags alone are one.
///
/// # Errors
/// `bad-settings`, `unknown-flag`, `file-too-large`.
pub(super) fn starts(launcher: Launcher, text: &str) -> Result<Vec<ServerStart>, Diagnostic> {
    let is_vllm = launcher == Launcher::Vllm;
    if let Some(keys) = config(text) {
        return Ok(vec![one(is_vllm, &flags(&keys))?]);
    }
    // A script that its arguments choose a start of, as exported ones are: each choice is one.
    let chosen = shell::choices(text);
    let mut found = Vec::new();
    if chosen.is_empty() {
        found = of_script(is_vllm, substituted(launcher, text)?, true)?;
    }
    for arguments in &chosen {
        let expanded = shell::expanded(text, arguments)?;
        expanded.check()?;
        found.extend(of_script(is_vllm, expanded, false)?);
        check_number(found.len())?;
    }
    if let Some(first) = found.first_mut() {
        first.unpriced.extend(shell::behind_ends(text));
    }
    Ok(found)
}

/// The settings of the servers of a script, which are of the same degrees.
///
/// # Errors
/// Those of [`starts`], and `bad-settings` for different ones.
pub(super) fn only(launcher: Launcher, text: &str) -> Result<LaunchSettings, Diagnostic> {
    let found = starts(launcher, text)?;
    let of = |start: &ServerStart| {
        let LaunchSettings { tensor, pipeline, blocks, .. } = &start.settings;
        (*tensor, *pipeline, blocks.clone())
    };
    let n_starts = found.len();
    let is_same = found.iter().all(|start| of(start) == of(&found[0]));
    match found.into_iter().next() {
        Some(start) if is_same => Ok(start.settings),
        _ => {
            let message = match n_starts {
                0 => "the script starts no server with known arguments".to_owned(),
                _ => format!("the script starts {n_starts} servers of different degrees"),
            };
            Err(Diagnostic::input("bad-settings", message)
                .hint("give the command of one of them alone"))
        }
    }
}

/// The keys of a file of `--config`, flags in YAML; `None` = it is another text.
fn config(text: &str) -> Option<Keys> {
    let is_key = |line: &str| Launcher::SERVER_KEYS.iter().any(|(key, _)| line.starts_with(key));
    text.lines().any(is_key).then(|| Keys::read(text).ok()).flatten()
}

/// Keys as flags; vLLM and SGLang leave out switches that are off.
fn flags(keys: &Keys) -> String {
    let word = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let quote = if text.contains('\'') { '"' } else { '\'' };
        format!("{quote}{text}{quote}")
    };
    let mut words = Vec::new();
    for (key, value) in &keys.values {
        let (flag, values) = (
            format!("--{key}"),
            match value {
                Value::Null | Value::Bool(false) => continue,
                Value::Bool(true) => Vec::new(),
                Value::Array(items) => items.iter().map(word).collect(),
                value => vec![word(value)],
            },
        );
        words.push(flag);
        words.extend(values);
    }
    words.join(" ")
}

fn check_number(n: usize) -> Result<(), Diagnostic> {
    if n > MOST_STARTS {
        let message = format!("a script of {n} starts, more than {MOST_STARTS}");
        return Err(Diagnostic::input("file-too-large", message).hint("give fewer"));
    }
    Ok(())
}

/// Starts of a script; one that names no server is flags alone where `may_be_flags`.
fn of_script(
    is_vllm: bool,
    expanded: shell::Expanded,
    may_be_flags: bool,
) -> Result<Vec<ServerStart>, Diagnostic> {
    let shell::Expanded { text, mut unset, undecided_servers, looped_servers, .. } = expanded;
    if looped_servers {
        let message = "the script starts servers in a loop";
        return Err(Diagnostic::input("bad-settings", message)
            .hint("write each start on a line of its own"));
    }
    let words = quoted(&text);
    let is_start =
        |at: &usize| begins((is_vllm, &text), &words, *at) && !is_printed(&text, &words[..=*at]);
    let starts: Vec<usize> = (0..words.len()).filter(is_start).collect();
    check_number(starts.len())?;
    let mut ends: Vec<usize> = starts.iter().skip(1).map(|at| first(&words, *at)).collect();
    ends.push(words.len());
    let segments: Vec<String> = match starts.is_empty() {
        true if may_be_flags => vec![text.clone()],
        true => Vec::new(),
        false => {
            starts.iter().zip(ends).map(|(at, end)| command((&text, &words), *at, end)).collect()
        }
    };
    let mut found = Vec::new();
    let is_first = |segment: &&String| !is_of_later_host(segment);
    let has_first = segments.iter().any(|segment| is_first(&segment));
    for segment in segments.iter().filter(|segment| !has_first || is_first(segment)) {
        let mut start = one(is_vllm, segment)?;
        check_unset(&start, segment, &unset)?;
        if !unset.is_empty() {
            start.settings.not_judged.insert(shell::UNSET, unset.clone());
        }
        found.push(start);
    }
    if let Some(first) = found.first_mut() {
        first.unpriced.append(&mut unset);
    }
    if found.len() > 1 && undecided_servers {
        let message =
            "the script chooses between servers by a condition that the file does not decide";
        return Err(Diagnostic::input("bad-settings", message)
            .hint("give the commands of the servers that run"));
    }
    Ok(found)
}

/// The words of a start up to the end of its command, behind the variables that the script exports before it or
/// gives to its container.
fn command((text, words): (&str, &[&str]), at: usize, end: usize) -> String {
    let from = first(words, at);
    let runs = |word: &&str| ["docker", "podman", "nerdctl"].contains(word);
    let container = words[..from].iter().rposition(runs).unwrap_or(from);
    let is_set = |at: &usize| {
        let mut before = words[..*at].iter().rev().skip_while(|word| word.contains('='));
        match before.next() {
            Some(&"export") => true,
            Some(&"-e" | &"--env") => *at > container,
            _ => false,
        }
    };
    let is_read = |word: &str| {
        VARIABLES
            .iter()
            .any(|name| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    };
    let set = (0..from).filter(|at| is_read(words[*at]) && is_set(at));
    let mut all: Vec<&str> = set.map(|at| words[at].trim_end_matches(';')).collect();
    for n in from..end {
        let (word, next) = (words[n], words.get(n + 1));
        let plain = word.trim_end_matches([';', '&', '|']);
        all.extend((!plain.is_empty()).then_some(plain));
        if n >= at && (plain != word || next.is_some_and(|next| ends_line(text, word, next))) {
            break;
        }
    }
    all.join("\n")
}

/// Whether the last of these words is one that a command prints.
fn is_printed(text: &str, words: &[&str]) -> bool {
    let is_before = |at: &usize| {
        let (word, next) = (words[*at], words[*at + 1]);
        let ends = word.ends_with(';') || ["&&", "||", "|", "&"].contains(&word);
        !ends && !ends_line(text, word, next)
    };
    let earlier = (0..words.len().saturating_sub(1)).rev().take_while(is_before);
    earlier.last().is_some_and(|first| ["echo", "printf"].contains(&words[first]))
}

/// Refuses a start with an unset variable in its command, where that may add the degrees.
fn check_unset(start: &ServerStart, segment: &str, unset: &[String]) -> Result<(), Diagnostic> {
    let words: Vec<&str> = segment.lines().map(|word| word.trim_matches(QUOTES)).collect();
    let is_open = start.settings.tensor.is_none();
    match unset.iter().find(|word| is_open && words.contains(&word.as_str())) {
        None => Ok(()),
        Some(word) => Err(may_add(word)),
    }
}

/// Whether a start is the part on a later host of a server that another one begins.
fn is_of_later_host(segment: &str) -> bool {
    let segment = spelled(segment, '_', "-");
    let flags = Flags::new(&segment);
    let rank = flags.text("--node-rank").ok().flatten().map(str::parse::<u32>);
    matches!(rank, Some(Ok(1..))) || flags.has("--headless")
}

/// The vLLM image; its entrypoint is the server.
const IMAGE: &str = "vllm/vllm-openai";

/// Whether a container runs the image's entrypoint: no `docker pull`, no other command after the image.
fn is_run(text: &str, words: &[&str], at: usize) -> bool {
    let earlier = (1..=at).rev().take_while(|at| !ends_line(text, words[at - 1], words[*at]));
    let mut earlier = earlier.map(|at| words[at - 1]);
    let mut later = words[at..].iter().zip(&words[at + 1..]);
    let mut later = later.by_ref().take_while(|(word, next)| !ends_line(text, word, next));
    earlier.all(|word| word != "pull" && word != "--entrypoint")
        && !later.any(|(word, next)| {
            let name = word.rsplit('/').next().unwrap_or(word);
            name == "vllm" && *next == "serve" || next.starts_with("vllm.entrypoints")
        })
}

/// Whether a word is the program that serves.
fn begins((is_vllm, text): (bool, &str), words: &[&str], at: usize) -> bool {
    let word = words[at];
    if word.starts_with(IMAGE) {
        return is_vllm && is_run(text, words, at);
    }
    let is_after = |program: &str| at > 0 && words[at - 1].rsplit('/').next() == Some(program);
    match is_vllm {
        true => word.starts_with("vllm.entrypoints") || word == "serve" && is_after("vllm"),
        false => word == "sglang.launch_server" || word == "serve" && is_after("sglang"),
    }
}

/// The first word of a start: variables that are set before it, then its program.
fn first(words: &[&str], at: usize) -> usize {
    if words[at].starts_with(IMAGE) {
        return at;
    }
    let is_before = |word: &&&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let is_program = ["exec", "nohup", "env", "-m", "vllm", "sglang"].contains(&name);
        is_program || name.starts_with("python") || word.contains('=') && !word.starts_with('-')
    };
    at - words[..at].iter().rev().take_while(is_before).count()
}

fn one(is_vllm: bool, text: &str) -> Result<ServerStart, Diagnostic> {
    let mut settings = if is_vllm { serving::vllm(text) } else { serving::sglang(text) }?;
    let text = if is_vllm { spelled(text, '_', "-") } else { text.to_owned() };
    let flags = Flags::new(&text);
    let names = match is_vllm {
        true => ["--max-num-seqs", "--max-num-batched-tokens"],
        false => ["--max-running-requests", "--chunked-prefill-size"],
    };
    let role = match is_vllm {
        true => flags.text("--kv-transfer-config")?.and_then(|config| {
            let roles = [("kv_producer", ServerRole::Prefill), ("kv_consumer", ServerRole::Decode)];
            roles.into_iter().find(|(word, _)| config.contains(word)).map(|(_, role)| role)
        }),
        false => match flags.text("--disaggregation-mode")? {
            None | Some("null") => None,
            Some("prefill") => Some(ServerRole::Prefill),
            Some("decode") => Some(ServerRole::Decode),
            Some(other) => {
                return Err(bad("--disaggregation-mode", other, "give `prefill` or `decode`"));
            }
        },
    };
    settings.not_planned.retain(|flag| !flags.was_read(flag));
    let LaunchSettings { not_judged, no_effect, .. } = &settings;
    let unpriced = UNPRICED.into_iter().filter(|flag| flags.has(flag)).map(str::to_owned);
    let unpriced = unpriced.chain(not_judged.values().flatten().cloned());
    let is_read = |flag: &String| {
        names.contains(&flag.as_str())
            || ["--enable-dp-attention", "--kv-transfer-config", "--disaggregation-mode"]
                .contains(&flag.as_str())
    };
    let unpriced = unpriced.filter(|flag| !is_read(flag)).chain(no_effect.keys().cloned());
    let unpriced: BTreeSet<String> = unpriced.collect();
    Ok(ServerStart {
        n_hosts: hosts(is_vllm, &flags, &settings)?,
        max_num_seqs: flags.count(names[0])?,
        max_num_batched_tokens: flags.tokens(names[1])?,
        shares_attention: flags.has("--enable-dp-attention"),
        unpriced: unpriced.into_iter().collect(),
        role,
        settings,
    })
}

/// Hosts of a start; `None` = as many as it takes, which Ray finds.
fn hosts(
    is_vllm: bool,
    flags: &Flags<'_>,
    settings: &LaunchSettings,
) -> Result<Option<u32>, Diagnostic> {
    let [executor, local] = ["--distributed-executor-backend", "--data-parallel-size-local"];
    if is_vllm && flags.text(executor)?.or(flags.text("--data-parallel-backend")?) == Some("ray") {
        return Ok(None);
    }
    let of_ranks = match is_vllm {
        true => flags.degree(&[local, "-dpl"])?.zip(settings.data),
        false => None,
    };
    let of_ranks = of_ranks.map(|(local, all)| all.div_ceil(local));
    Ok(Some(flags.degree(&["--nnodes", "-n"])?.unwrap_or(1).max(of_ranks.unwrap_or(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_of_a_script_is_a_worker() {
        let script = "TP=4\nfor port in 8000 8001; do :; done\n\
            CUDA_VISIBLE_DEVICES=0,1,2,3 vllm serve m --tensor-parallel-size $TP --max-num-seqs 64 --port 8000 &\n\
            CUDA_VISIBLE_DEVICES=4,5 python3 -m vllm.entrypoints.openai.api_server --model m -tp 2 \\\n\
            --max-num-batched-tokens=4096 --gpu-memory-utilization 0.95";
        let found = starts(Launcher::Vllm, script).unwrap();
        let of = |start: &ServerStart| {
            let LaunchSettings { tensor, devices, .. } = &start.settings;
            (*tensor, devices.clone(), start.max_num_seqs, start.max_num_batched_tokens)
        };
        assert_eq!(of(&found[0]), (Some(4), Some(vec![0, 1, 2, 3]), Some(64), None));
        assert_eq!(of(&found[1]), (Some(2), Some(vec![4, 5]), None, Some(4096)));
        assert_eq!(found[1].unpriced, ["--gpu-memory-utilization"]);
        assert_eq!(found.len(), 2);
        let flags = starts(Launcher::Sglang, "--tp-size 8 --dp-size 8 --enable-dp-attention");
        assert!(flags.unwrap()[0].shares_attention);
        let looped = "for p in 1 2; do\nvllm serve m -tp 4 --port 800$p &\ndone";
        assert_eq!(starts(Launcher::Vllm, looped).unwrap().len(), 2);
        let looped = looped.replace("1 2", "$PORTS");
        let looped = looped.as_str();
        assert_eq!(starts(Launcher::Vllm, looped).unwrap_err().code, "bad-settings");
        let config = "# vllm serve --config\nmax-num-seqs: 32\ntensor-parallel-size: 8\nenforce-eager: false\n\
                      no-enable-prefix-caching: true\ncompilation-config: {mode: 3}\n";
        let found = starts(Launcher::Vllm, config).unwrap();
        assert_eq!(
            (found.len(), found[0].settings.tensor, found[0].max_num_seqs),
            (1, Some(8), Some(32))
        );
        assert_eq!(found[0].unpriced, ["--compilation-config", "--no-enable-prefix-caching"]);
        let split = "python -m sglang.launch_server --tp 4 --disaggregation-mode decode";
        assert_eq!(starts(Launcher::Sglang, split).unwrap()[0].role, Some(ServerRole::Decode));
        let config = r#"vllm serve m --kv-transfer-config '{"kv_role":"kv_producer"}'"#;
        assert_eq!(starts(Launcher::Vllm, config).unwrap()[0].role, Some(ServerRole::Prefill));
    }

    #[test]
    fn a_start_ends_with_its_command_and_takes_what_is_exported() {
        let script = "export CUDA_VISIBLE_DEVICES=4,5\necho up\nif true; then vllm serve m -tp 2; fi\n\
            docker run -e CUDA_VISIBLE_DEVICES=0 --gpus all vllm/vllm-openai:latest --model m &\n\
            docker run --gpus all vllm/vllm-openai:latest --model m -tp 4 --nnodes 2 | tee log";
        let found = starts(Launcher::Vllm, script).unwrap();
        let of = |start: &ServerStart| {
            (start.settings.tensor, start.settings.devices.clone(), start.n_hosts)
        };
        assert_eq!(of(&found[0]), (Some(2), Some(vec![4, 5]), Some(1)));
        assert_eq!(of(&found[1]), (None, Some(vec![0]), Some(1)));
        // A container gets no variable that is not given to it.
        assert_eq!(of(&found[2]), (Some(4), None, Some(2)));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_script_that_its_arguments_choose_from_starts_all_choices() {
        let script = "case \"$1/$2/${NODE_RANK-}\" in\na/0/*) devices=0,1 ;;\na/1/*) devices=2,3 ;;\n\
            b/0/0) devices=4,5 hosts=(--nnodes 2) ;;\nb/0/1) devices=4,5 hosts=(--nnodes 2) ;;\n\
            *) exit 1 ;;\nesac\ncase \"$1\" in\na) flags=(-tp 2) ;;\nb) flags=(-tp 4) ;;\nesac\n\
            export CUDA_VISIBLE_DEVICES=$devices\nexec vllm serve \"$3\" \"${flags[@]}\" \"${hosts[@]}\" \"${@:4}\"";
        let found = starts(Launcher::Vllm, script).unwrap();
        let of = |start: &ServerStart| {
            (start.settings.tensor, start.settings.devices.clone().unwrap(), start.n_hosts)
        };
        let all: Vec<_> = found.iter().map(of).collect();
        let two = |devices: [u32; 2]| (Some(2), devices.to_vec(), Some(1));
        assert_eq!(all[..2], [two([0, 1]), two([2, 3])]);
        assert_eq!(all[2], (Some(4), vec![4, 5], Some(2)));
        assert_eq!(all.len(), 3);
        let options = "D=4\nwhile [[ $# -gt 0 ]]; do\ncase $1 in\n--dp) D=\"$2\"; shift 2 ;;\n--re) R=1 ;;\n\
                       esac\ndone\nvllm serve m -dp \"$D\"";
        let found = starts(Launcher::Vllm, options).unwrap();
        assert_eq!((found.len(), found[0].settings.data), (1, Some(4)));
        for (script, degrees) in [
            (
                "case \"$1\" in\nbig) TP=8 ;;\n*) TP=4 ;;\nesac\nvllm serve m -tp $TP",
                &[Some(4)][..],
            ),
            (
                "case \"$1\" in\na) PORT=1 ;;\nb) PORT=2 ;;\nesac\nvllm serve m -tp 2 --port $PORT",
                &[Some(2)],
            ),
            ("case $1 in\nbig) vllm serve m -tp 8 ;;\n*) vllm serve m -tp 4 ;;\nesac", &[Some(4)]),
            (
                "case $1 in\np) vllm serve m -tp 8 ;;\nd) vllm serve m -tp 4 ;;\nesac",
                &[Some(8), Some(4)],
            ),
            (
                "vllm serve m -tp 4 -dp 4 -dpl 2\nvllm serve m --headless -dp 4 -dpl 2 -tp 4",
                &[Some(4)],
            ),
            ("vllm serve m --headless -dp 4 -dpl 2 -tp 4", &[Some(4)]),
            ("vllm serve $MODEL -tp 4 \"$@\" &\nkill $!", &[Some(4)]),
            ("F=\"-tp 4\"\nvllm serve m $F $EXTRA", &[Some(4)]),
            ("f() { echo --tensor-parallel-size 8; }\nvllm serve m $(f)", &[Some(8)]),
            ("vllm serve m --tensor-parallel-size 4 -tp 2", &[Some(2)]),
            ("vllm serve m -tp 2 --tensor-parallel-size 4", &[Some(4)]),
        ] {
            let found = starts(Launcher::Vllm, script).unwrap();
            let of: Vec<Option<u32>> = found.iter().map(|start| start.settings.tensor).collect();
            assert_eq!(of, degrees, "{script}");
        }
        for script in [
            "A=\"-tp 2\"; if [ -n \"$Q\" ]; then A=\"--tensor-parallel-size 4\"; fi; vllm serve m $A",
            "A=\"--tensor-parallel-size 2\"\n[ -n \"$Q\" ] && A=\"-tp 4\"\nvllm serve m -tp 1 $A",
            "case $GPU in h100) A=\"--tensor-parallel-size 8\" ;; esac\nvllm serve m $A",
            "case \"$1\" in\nbig) F=\"-tp 8\" ;;\nsmall) F=\"-tp 4\" ;;\nesac\nvllm serve m $F",
            "A=$(cat args.txt)\nvllm serve m $A",
            "vllm serve m $(python flags.py) --port 1",
            "vllm serve m `flags` --port 1",
            "vllm serve a -tp 2 &\nvllm serve b $ARGS",
            "if x; then P=\"--pipeline-parallel-size 2\"; fi\nvllm serve m -tp 8 $P",
        ] {
            assert!(starts(Launcher::Vllm, script).is_err(), "{script}");
        }
        let control = "case $1 in start) vllm serve m -tp 8 ;; stop) kill 1 ;; esac";
        assert_eq!(starts(Launcher::Vllm, control).unwrap().len(), 1);
    }
}
