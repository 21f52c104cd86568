//! Flags of servers that say nothing about where layers are: known ones without effect, those that a price
//! leaves out, and those that place layers in a way that no plan has. Others are refused by their names.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;

use super::super::flags::{Flags, not_judged};

/// Most flags that a warning names.
const MOST_NAMED: usize = 12;

/// The flags of a server, `CLASS NAME,NAME`, a line each: `idle`, `noted`, `model` for what changes it, or
/// `refused>N` for values above; `NAME*` for all that begin so.
pub(super) struct Known(pub(super) &'static str);

impl Known {
    /// The class of a flag.
    fn class(&self, flag: &str) -> Option<&'static str> {
        let of = |flag: &str| {
            let is_it = |name: &str| match name.strip_suffix('*') {
                Some(begins) => flag.starts_with(begins),
                None => name == flag,
            };
            let mut rows = self.0.lines().filter_map(|row| row.split_once(' '));
            rows.find(|(_, names)| names.split(',').any(is_it)).map(|(class, _)| class)
        };
        // Switches of argparse's `BooleanOptionalAction` have a second name.
        of(flag).or_else(|| of(&flag.replacen("--no-", "--", 1)))
    }

    /// Settings with what the other flags of a script mean.
    ///
    /// # Errors
    /// `not-judged` for flags that place layers otherwise, `unknown-flag`.
    pub(super) fn judged(
        &self,
        flags: &Flags<'_>,
        mut settings: LaunchSettings,
    ) -> Result<LaunchSettings, Diagnostic> {
        let (mut noted, mut known) = (BTreeSet::new(), Vec::new());
        for (word, value) in flags.unread() {
            let plain = plain(word);
            match self.class(&plain) {
                Some("idle") => known.push(word),
                Some("noted") => {
                    known.push(word);
                    noted.extend([plain]);
                }
                Some(class) => {
                    known.push(word);
                    refuse(class, &plain, value)?;
                }
                None => {}
            }
        }
        flags.finish("--", &known)?;
        settings.not_planned = flags.not_planned();
        settings.not_planned.retain(|flag| !noted.contains(&plain(flag)));
        let more = noted.len().saturating_sub(MOST_NAMED);
        let mut named: Vec<String> = noted.into_iter().take(MOST_NAMED).collect();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        if !named.is_empty() {
            settings.not_judged.insert("the server is priced with the engine's defaults", named);
        }
        Ok(settings)
    }
}

/// A flag with hyphens, without the members of an object that it names.
fn plain(word: &str) -> String {
    let name = word.split('.').next().unwrap_or(word);
    name.replace('_', "-")
}

/// Refuses flags that change the model, and values above the limit of a `refused>N` row.
fn refuse(class: &str, flag: &str, value: Option<&str>) -> Result<(), Diagnostic> {
    if class == "model" {
        return Err(not_judged(flag, "it changes the model; give a config with the change"));
    }
    let most: f64 = class.trim_start_matches("refused>").parse().unwrap_or(0.0);
    let is_off = match value {
        Some(value) => match value.parse::<f64>() {
            Ok(number) => number <= most,
            Err(_) => ["none", "false", "null"].contains(&value.to_lowercase().as_str()),
        },
        None => false,
    };
    match is_off {
        true => Ok(()),
        false => Err(not_judged(flag, "it places weights or layers in a way that no plan has")),
    }
}

#[cfg(test)]
mod tests {
    use crate::launcher::{Launcher, read};

    #[test]
    fn no_flag_of_a_server_is_passed_over() {
        let script = "docker run --gpus all img vllm serve m -tp 2 --host 0.0.0.0 \\\n \
            --max_num_seqs 64 --cpu-offload-gb 0 --compilation-config.mode=3\ncurl --silent host\n";
        let found = read(Launcher::Vllm, script).unwrap();
        assert_eq!(found.tensor, Some(2));
        let noted: Vec<&String> = found.not_judged.values().flatten().collect();
        assert_eq!(noted, ["--compilation-config", "--max-num-seqs"]);
        for (launcher, text, code) in [
            (Launcher::Vllm, "vllm serve m --cpu-offload-gb 4", "not-judged"),
            (Launcher::Vllm, "vllm serve m -dcp 2", "not-judged"),
            (Launcher::Vllm, "vllm serve m --warp-drive 3", "unknown-flag"),
            (Launcher::Sglang, "python -m sglang.launch_server --attn-cp-size 2", "not-judged"),
            (Launcher::Sglang, "python -m sglang.launch_server --warp 2", "unknown-flag"),
        ] {
            assert_eq!(read(launcher, text).unwrap_err().code, code, "{text}");
        }
        let plain = "python -m sglang.launch_server --attn-cp-size 1 --mem-fraction-static 0.9";
        assert_eq!(read(Launcher::Sglang, plain).unwrap().not_judged.len(), 1);
    }
}
