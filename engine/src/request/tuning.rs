//! What a run trains of a model, as people write it.

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::tuning::{Adapter, AdapterKind, BaseWeights, Module, Modules, Tuning};

use super::value::Written;

/// Greatest rank of adapters; those that people train have 4 to 512.
const MOST_RANK: u32 = 1 << 14;
/// Rank where none is stated: that of PEFT and of torchtune's recipes.
const RANK: u32 = 8;
/// Names of several modules.
const GROUPS: [(&str, Modules); 3] =
    [("all", Modules::LINEAR), ("attention", Modules::ATTENTION), ("mlp", Modules::FEED_FORWARD)];

/// Frozen parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Modules that are frozen in every block, and ends.
    pub modules: Modules,
    /// The first so many blocks.
    pub blocks: u32,
}

/// Adapters as a flag states them: `lora:rank=16,targets=q+v`, `dora:..`, `qlora:..`, or the
/// `adapter_config.json` of PEFT, with options behind a comma.
///
/// # Errors
/// What is needed, in words.
pub fn adapter_of_flag(text: &str) -> Result<Adapter, String> {
    let (file, options) = text.split_once(',').unwrap_or((text, ""));
    let is_file = Path::new(file).extension().is_some_and(|extension| extension == "json");
    match is_file {
        true => {
            let words = |error: Diagnostic| {
                [error.message].into_iter().chain(error.hints).collect::<Vec<_>>().join("; ")
            };
            let adapter = importers::launcher::adapter(Path::new(file)).map_err(words)?;
            with_options(adapter, options)
        }
        false => Adapter::read(text),
    }
}

impl Written for Adapter {
    fn read(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let plain = Self {
            kind: AdapterKind::Lora,
            rank: RANK,
            targets: Modules::LINEAR,
            whole: Modules::default(),
            base: BaseWeights::Wide,
            is_wide: false,
        };
        let adapter = match name {
            "lora" => plain,
            "qlora" => Self { base: BaseWeights::Nf4, ..plain },
            "dora" => Self { kind: AdapterKind::Dora, ..plain },
            "qdora" => Self { kind: AdapterKind::Dora, base: BaseWeights::Nf4, ..plain },
            _ => {
                return Err(
                    "needs lora, qlora, dora or qdora, such as lora:rank=16,targets=q+v, or an \
                            adapter_config.json of PEFT"
                        .to_owned(),
                );
            }
        };
        with_options(adapter, options)
    }

    fn text(&self) -> String {
        let quantised = if self.base == BaseWeights::Nf4 { "q" } else { "" };
        let name = match self.kind {
            AdapterKind::Lora => "lora",
            AdapterKind::Dora => "dora",
        };
        let mut text =
            format!("{quantised}{name}:rank={},targets={}", self.rank, modules_text(self.targets));
        if !self.whole.is_empty() {
            text += &format!(",whole={}", modules_text(self.whole));
        }
        if let Some((name, _)) = BASES.iter().skip(2).find(|(_, base)| *base == self.base) {
            text += &format!(",base={name}");
        }
        if self.is_wide {
            text += ",dtype=fp32";
        }
        text
    }
}

/// Types of frozen weights by their names; the first two are those of `lora` and `qlora`.
const BASES: [(&str, BaseWeights); 4] = [
    ("16bit", BaseWeights::Wide),
    ("nf4", BaseWeights::Nf4),
    ("nf4-single", BaseWeights::Nf4Single),
    ("int8", BaseWeights::Int8),
];

/// An adapter with the options of a text, `rank=16,targets=q+v,base=nf4,whole=head,dtype=fp32`.
fn with_options(mut adapter: Adapter, options: &str) -> Result<Adapter, String> {
    let mut seen: Vec<&str> = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| format!("`{option}` needs a value, such as rank=16"))?;
        if seen.contains(&name) {
            return Err(format!("states `{name}` twice"));
        }
        seen.push(name);
        match name {
            "rank" => {
                let rank = value.parse().ok().filter(|rank| (1..=MOST_RANK).contains(rank));
                adapter.rank = rank.ok_or_else(|| {
                    format!("`rank={value}` needs a whole number, 1 to {MOST_RANK}")
                })?;
            }
            "targets" => adapter.targets = modules(value, Modules::LINEAR.with(Module::Head))?,
            "whole" => {
                let ends = Modules::default().with(Module::Embedding).with(Module::Head);
                adapter.whole = modules(value, ends.with(Module::Norms))?;
            }
            "base" => {
                let base = BASES.iter().find(|(name, _)| *name == value);
                adapter.base = base.map(|(_, base)| *base).ok_or_else(|| {
                    format!("`base={value}` needs {}", BASES.map(|(name, _)| name).join(", "))
                })?;
            }
            "dtype" => {
                adapter.is_wide = match value {
                    "fp32" => true,
                    "16bit" => false,
                    _ => return Err(format!("`dtype={value}` needs fp32 or 16bit")),
                };
            }
            other => {
                return Err(format!(
                    "has no option `{other}`: it has rank, targets, base, whole and dtype"
                ));
            }
        }
    }
    match adapter.targets.iter().find(|module| adapter.whole.has(*module)) {
        Some(module) => Err(format!("`{}` has an adapter and is trained whole", module.name())),
        None => Ok(adapter),
    }
}

/// Modules joined by `+`, of those that may be named.
fn modules(text: &str, known: Modules) -> Result<Modules, String> {
    let mut modules = Modules::default();
    for name in text.split('+') {
        let group = GROUPS.iter().find(|(group, set)| *group == name && known.has_all(*set));
        let one = known.iter().find(|module| module.name() == name);
        modules = match (group, one) {
            (Some((_, group)), _) => modules.and(*group),
            (None, Some(module)) => modules.with(module),
            (None, None) => {
                let groups = GROUPS.iter().filter(|(_, set)| known.has_all(*set));
                let names: Vec<&str> =
                    groups.map(|(name, _)| *name).chain(known.iter().map(Module::name)).collect();
                let shown: String = name.chars().take(40).collect();
                return Err(format!("has no module `{shown}`: join {} by +", names.join(", ")));
            }
        };
    }
    Ok(modules)
}

fn modules_text(modules: Modules) -> String {
    if let Some((name, _)) = GROUPS.iter().find(|(_, group)| *group == modules) {
        return (*name).to_owned();
    }
    modules.iter().map(Module::name).collect::<Vec<_>>().join("+")
}

impl Written for Frozen {
    fn read(text: &str) -> Result<Self, String> {
        let mut frozen = Self::default();
        for part in text.split(',') {
            match part.strip_prefix("layers=") {
                Some(_) if frozen.blocks > 0 => return Err("states `layers` twice".to_owned()),
                Some(number) => {
                    let blocks = number.parse().ok().filter(|blocks| *blocks > 0);
                    frozen.blocks = blocks.ok_or_else(|| {
                        format!(
                            "`layers={number}` needs the number of the first layers that are frozen"
                        )
                    })?;
                }
                None => {
                    let all =
                        Module::ALL.iter().fold(Modules::default(), |all, one| all.with(*one));
                    frozen.modules = frozen.modules.and(modules(part, all)?);
                }
            }
        }
        Ok(frozen)
    }

    fn text(&self) -> String {
        let modules = (!self.modules.is_empty()).then(|| modules_text(self.modules));
        let blocks = (self.blocks > 0).then(|| format!("layers={}", self.blocks));
        modules.into_iter().chain(blocks).collect::<Vec<_>>().join(",")
    }
}

/// What is trained, by the texts of a plan's request.
///
/// # Errors
/// `bad-plan` for a text that is none; `adapter` where both are stated.
pub fn stated(adapter: Option<&str>, frozen: Option<&str>) -> Result<Tuning, Diagnostic> {
    let wrong = |member: &'static str, text: &str, why: String| {
        let shown: String = text.chars().take(80).collect();
        Diagnostic::input("bad-plan", format!("member `{member}` of the plan, `{shown}`: it {why}"))
            .fact("member", member)
    };
    let read = |text: &str| Adapter::read(text).map_err(|why| wrong("request.adapter", text, why));
    let adapter = adapter.map(read).transpose()?;
    let read = |text: &str| Frozen::read(text).map_err(|why| wrong("request.freeze", text, why));
    let frozen = frozen.map(read).transpose()?.unwrap_or_default();
    if adapter.is_some() && frozen != Frozen::default() {
        let message = "`--adapter` freezes all weights itself, so that `--freeze` means nothing";
        return Err(Diagnostic::usage("adapter", message).hint("leave out --freeze"));
    }
    Ok(Tuning { adapter, frozen: frozen.modules, frozen_blocks: frozen.blocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_read_as_they_are_written() {
        for text in [
            "lora:rank=16,targets=q+v",
            "qlora:rank=8,targets=all",
            "dora:rank=4,targets=mlp,whole=embedding+head,dtype=fp32",
            "lora:rank=8,targets=all,base=int8,dtype=fp32",
            "dora:rank=8,targets=all,base=nf4-single",
        ] {
            assert_eq!(Adapter::read(text).unwrap().text(), text);
        }
        let short = Adapter::read("lora:targets=attention,base=nf4").unwrap();
        assert_eq!(short.text(), "qlora:rank=8,targets=attention");
        for (text, named) in [
            ("ia3", "qlora"),
            ("lora:rank=0", "rank=0"),
            ("lora:rank=-1", "rank=-1"),
            ("lora:targets=query", "query"),
            ("lora:targets=embedding", "embedding"),
            ("lora:base=nf5", "nf5"),
            ("lora:alpha=16", "alpha"),
            ("lora:rank=8,rank=9", "twice"),
            ("lora:targets=head,whole=head", "head"),
        ] {
            let why = Adapter::read(text).unwrap_err();
            assert!(why.contains(named), "{text}: {why}");
        }
    }

    #[test]
    fn frozen_parts_are_read_as_they_are_written() {
        for text in ["embedding+head", "layers=24", "q+norms,layers=2"] {
            assert_eq!(Frozen::read(text).map(|frozen| frozen.text()), Ok(text.to_owned()));
        }
        assert!(
            Frozen::read("layers=0").is_err()
                && Frozen::read("layers=2,layers=3").is_err()
                && Frozen::read("tail").is_err()
        );
        assert_eq!(Frozen::read("gate+up+down").unwrap().text(), "mlp");
        assert!(stated(Some("lora"), Some("head")).is_err());
    }
}
