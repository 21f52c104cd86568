//! The servers that a script starts: vLLM and SGLang, a worker for each start.

use ir::diagnostic::Diagnostic;
use ir::launch::{LaunchSettings, ServerRole, ServerStart};

use super::flags::{Flags, quoted};
use super::{Launcher, limits::bad, shell};

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

/// Reads the starts of a script, in order; flags alone are one.
///
/// # Errors
/// Those of [`super::read`]; `bad-settings` where the script states no start that it decides.
pub fn servers(launcher: Launcher, text: &str) -> Result<Vec<ServerStart>, Diagnostic> {
    super::check_length(text)?;
    let shell::Expanded { text, mut unset } = shell::expanded(text)?;
    let words = quoted(&text);
    let starts: Vec<usize> = (0..words.len()).filter(|at| begins(launcher, &words, *at)).collect();
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
        let mut start = one(launcher, segment)?;
        start.unpriced.append(&mut unset);
        found.push(start);
    }
    Ok(found)
}

/// Whether a word is the program that serves.
fn begins(launcher: Launcher, words: &[&str], at: usize) -> bool {
    let word = words[at];
    let is_after = |program: &str| at > 0 && words[at - 1].rsplit('/').next() == Some(program);
    match launcher {
        Launcher::Vllm => {
            word.starts_with("vllm.entrypoints") || word == "serve" && is_after("vllm")
        }
        _ => word == "sglang.launch_server" || word == "serve" && is_after("sglang"),
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

fn one(launcher: Launcher, text: &str) -> Result<ServerStart, Diagnostic> {
    let settings = super::read(launcher, text)?;
    let flags = Flags::new(text);
    let names = match launcher {
        Launcher::Vllm => ["--max-num-seqs", "--max-num-batched-tokens"],
        _ => ["--max-running-requests", "--chunked-prefill-size"],
    };
    let role = match launcher {
        Launcher::Vllm => flags.text("--kv-transfer-config")?.and_then(|config| {
            let roles = [("kv_producer", ServerRole::Prefill), ("kv_consumer", ServerRole::Decode)];
            roles.into_iter().find(|(word, _)| config.contains(word)).map(|(_, role)| role)
        }),
        _ => match flags.text("--disaggregation-mode")? {
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
    Ok(ServerStart {
        max_num_seqs: flags.count(names[0])?,
        max_num_batched_tokens: flags.tokens(names[1])?,
        shares_attention: flags.has("--enable-dp-attention"),
        unpriced: unpriced.chain(no_effect.keys().cloned()).collect(),
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
        let found = servers(Launcher::Vllm, script).unwrap();
        let of = |start: &ServerStart| {
            let LaunchSettings { tensor, devices, .. } = &start.settings;
            (*tensor, devices.clone(), start.max_num_seqs, start.max_num_batched_tokens)
        };
        assert_eq!(of(&found[0]), (Some(4), Some(vec![0, 1, 2, 3]), Some(64), None));
        assert_eq!(of(&found[1]), (Some(2), Some(vec![4, 5]), None, Some(4096)));
        assert_eq!(found[1].unpriced, ["--gpu-memory-utilization"]);
        assert_eq!(found.len(), 2);
        let flags = servers(Launcher::Sglang, "--tp-size 8 --dp-size 8 --enable-dp-attention");
        assert!(flags.unwrap()[0].shares_attention);
        let split = "python -m sglang.launch_server --tp 4 --disaggregation-mode decode";
        assert_eq!(servers(Launcher::Sglang, split).unwrap()[0].role, Some(ServerRole::Decode));
        let config = r#"vllm serve m --kv-transfer-config '{"kv_role":"kv_producer"}'"#;
        assert_eq!(servers(Launcher::Vllm, config).unwrap()[0].role, Some(ServerRole::Prefill));
    }
}
