//! The servers that a script starts: vLLM and SGLang, a worker for each start.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::launch::{LaunchSettings, ServerRole, ServerStart};

use super::flags::{Flags, quoted};
use super::limits::bad;
use super::{serving, shell};

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
pub(super) fn starts(is_vllm: bool, text: &str) -> Result<Vec<ServerStart>, Diagnostic> {
    check_loops(is_vllm, &quoted(text))?;
    let shell::Expanded { text, mut unset } = shell::expanded(text)?;
    let words = quoted(&text);
    let starts: Vec<usize> = (0..words.len()).filter(|at| begins(is_vllm, &words, *at)).collect();
    if starts.len() > MOST_STARTS {
        let message = format!("a script of {} starts, more than {MOST_STARTS}", starts.len());
        return Err(Diagnostic::input("file-too-large", message).hint("give fewer"));
    }
    let mut ends: Vec<usize> = starts.iter().skip(1).map(|at| first(&words, *at)).collect();
    ends.push(words.len());
    let segments: Vec<String> = match starts.is_empty() {
        true => vec![text.clone()],
        false => starts
            .iter()
            .zip(ends)
            .map(|(at, end)| words[first(&words, *at)..end].join("\n"))
            .collect(),
    };
    let mut found = Vec::new();
    for segment in &segments {
        let mut start = one(is_vllm, segment)?;
        start.unpriced.append(&mut unset);
        found.push(start);
    }
    Ok(found)
}

/// Refuses starts in loops, which are of a number that the script does not write down.
fn check_loops(is_vllm: bool, words: &[&str]) -> Result<(), Diagnostic> {
    let mut depth = 0_usize;
    for at in 0..words.len() {
        match words[at].trim_end_matches(';') {
            "do" => depth += 1,
            "done" => depth = depth.saturating_sub(1),
            _ if depth > 0 && begins(is_vllm, words, at) => {
                let message = "the script starts servers in a loop";
                return Err(Diagnostic::input("bad-settings", message)
                    .hint("write each start on a line of its own"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a word is the program that serves.
fn begins(is_vllm: bool, words: &[&str], at: usize) -> bool {
    let word = words[at];
    let is_after = |program: &str| at > 0 && words[at - 1].rsplit('/').next() == Some(program);
    match is_vllm {
        true => word.starts_with("vllm.entrypoints") || word == "serve" && is_after("vllm"),
        false => word == "sglang.launch_server" || word == "serve" && is_after("sglang"),
    }
}

/// The first word of a start: variables that are set before it, then its program.
fn first(words: &[&str], at: usize) -> usize {
    let is_before = |word: &&&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let is_program = ["exec", "nohup", "env", "-m", "vllm", "sglang"].contains(&name);
        is_program || name.starts_with("python") || word.contains('=') && !word.starts_with('-')
    };
    at - words[..at].iter().rev().take_while(is_before).count()
}

fn one(is_vllm: bool, text: &str) -> Result<ServerStart, Diagnostic> {
    let settings = if is_vllm { serving::vllm(text, text) } else { serving::sglang(text, text) }?;
    let flags = Flags::new(text);
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
    let LaunchSettings { not_judged, no_effect, .. } = &settings;
    let unpriced = UNPRICED.into_iter().filter(|flag| flags.has(flag)).map(str::to_owned);
    let unpriced = unpriced.chain(not_judged.values().flatten().cloned());
    let unpriced: BTreeSet<String> = unpriced.chain(no_effect.keys().cloned()).collect();
    let is_read = |flag: &String| {
        names.contains(&flag.as_str())
            || ["--enable-dp-attention", "--kv-transfer-config", "--disaggregation-mode"]
                .contains(&flag.as_str())
    };
    Ok(ServerStart {
        max_num_seqs: flags.count(names[0])?,
        max_num_batched_tokens: flags.tokens(names[1])?,
        shares_attention: flags.has("--enable-dp-attention"),
        unpriced: unpriced.into_iter().filter(|flag| !is_read(flag)).collect(),
        role,
        settings,
    })
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
        let found = starts(true, script).unwrap();
        let of = |start: &ServerStart| {
            let LaunchSettings { tensor, devices, .. } = &start.settings;
            (*tensor, devices.clone(), start.max_num_seqs, start.max_num_batched_tokens)
        };
        assert_eq!(of(&found[0]), (Some(4), Some(vec![0, 1, 2, 3]), Some(64), None));
        assert_eq!(of(&found[1]), (Some(2), Some(vec![4, 5]), None, Some(4096)));
        assert_eq!(found[1].unpriced, ["--gpu-memory-utilization"]);
        assert_eq!(found.len(), 2);
        let flags = starts(false, "--tp-size 8 --dp-size 8 --enable-dp-attention");
        assert!(flags.unwrap()[0].shares_attention);
        let looped = "for p in 1 2; do\nvllm serve m -tp 4 --port 800$p &\ndone";
        assert_eq!(starts(true, looped).unwrap_err().code, "bad-settings");
        let split = "python -m sglang.launch_server --tp 4 --disaggregation-mode decode";
        assert_eq!(starts(false, split).unwrap()[0].role, Some(ServerRole::Decode));
        let config = r#"vllm serve m --kv-transfer-config '{"kv_role":"kv_producer"}'"#;
        assert_eq!(starts(true, config).unwrap()[0].role, Some(ServerRole::Prefill));
    }
}
