//! Iterations by AIConfigurator's measured tables: `--profile aic:SYSTEM/ENGINE[@VERSION][,compose=aic]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cost_model::serving::IterationTime;
use cost_model::serving::aic::{Composition, Lengths, Memo, Prices, Worker as Degrees};
use cost_model::serving::arrivals::Length;
use cost_model::serving::worker::Shape;
use documents::digest;
use documents::plan::Reference;
use importers::aiconfigurator::{Named, PREFIX, read, root};
use ir::card::stored::{CacheType, Stored};
use ir::card::{Attention, TransformerCard};
use ir::diagnostic::Diagnostic;
use ir::engine_tables::{EngineTables, NumberFormat};
use ir::tensor::DType;
use planner::serving::serving_fleet::Reason;

use crate::inputs::run::setting::Setting as Run;

/// What names AIConfigurator's own composition, at the end of a profile.
const COMPOSED: &str = ",compose=aic";
/// Names the folder of the installed package.
const FOLDER: &str = "MESHWRIGHT_AIC";
/// Distribution of routed tokens in AIConfigurator's default.
const LOAD: &str = "power_law_1.2";
/// And of DeepSeek's models.
const LOAD_OF_LATENT: &str = "power_law_1.01";

/// Measured kernels of one system under one engine.
#[derive(Clone)]
pub struct Tables {
    tables: Arc<EngineTables>,
    /// What is known of the prices of shapes.
    memos: Arc<Mutex<BTreeMap<Shape, Memo>>>,
    /// Whether steps are composed as AIConfigurator does, from requests of the mean length.
    pub is_aic: bool,
    /// What plans state as their profile.
    pub reference: Reference,
}

impl Tables {
    /// The tables that a profile names, where it names some.
    ///
    /// # Errors
    /// `no-aiconfigurator`, and those of [`read`].
    pub fn named(profile: Option<&Path>) -> Result<Option<Self>, Diagnostic> {
        let name = profile.and_then(Path::to_str).and_then(|text| text.strip_prefix(PREFIX));
        let Some(name) = name else { return Ok(None) };
        let tables = name.strip_suffix(COMPOSED);
        let is_aic = tables.is_some();
        let named = Named::parse(tables.unwrap_or(name)).map_err(|error| {
            error.hint(format!("`{COMPOSED}` behind it takes AIConfigurator's composition"))
        })?;
        let folder = std::env::var_os(FOLDER).map(PathBuf::from).ok_or_else(|| {
            let message = format!("`{FOLDER}` names no folder with AIConfigurator's tables");
            Diagnostic::usage("no-aiconfigurator", message).hint(format!(
                "pip install aiconfigurator-core, then set {FOLDER} to its site-packages folder"
            ))
        })?;
        let tables = read(&root(&folder)?, &named)?;
        let files: String = tables.sources.iter().map(|source| source.sha256.as_str()).collect();
        let EngineTables { system, engine, version, .. } = &tables;
        let composed = if is_aic { COMPOSED } else { "" };
        let name = format!("{PREFIX}{system}/{engine}@{version}{composed}");
        let reference = Reference::new(&name, digest::bytes(files.as_bytes()));
        let memos = Arc::default();
        Ok(Some(Self { tables: Arc::new(tables), memos, is_aic, reference }))
    }

    /// The engine that was measured.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.tables.engine
    }

    /// The system that was measured, such as `h200_sxm`.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.tables.system
    }

    /// The price of iterations of a worker.
    ///
    /// # Errors
    /// [`Reason::Unpriced`] for what AIConfigurator's composition has no kernels of.
    pub fn price(
        &self,
        (run, lengths): (&Run, &[Length]),
        shape: &Shape,
    ) -> Result<Box<dyn IterationTime + '_>, Reason> {
        let composition = self.composition(run, shape)?;
        let mut memos = self.memos.lock().unwrap_or_else(PoisonError::into_inner);
        let memo = memos.entry(shape.clone()).or_default().clone();
        Ok(Box::new(match self.is_aic {
            true => Prices::aic(composition, memo, mean(lengths)),
            false => Prices::own(composition, memo),
        }))
    }

    /// Kernels of a worker.
    ///
    /// # Errors
    /// [`Reason::Unpriced`] for what AIConfigurator's composition has none of.
    pub fn composition(&self, run: &Run, shape: &Shape) -> Result<Composition<'_>, Reason> {
        let unpriced = |what: &str| Err(Reason::Unpriced(what.to_owned()));
        let card = match run.model.groups.as_slice() {
            [group] => &group.card,
            // AIConfigurator takes the first, dense layers of DeepSeek for layers with experts.
            [first, group] if self.is_aic && first.card.experts.is_none() => &group.card,
            _ => return unpriced("the tables price models of equal layers"),
        };
        // Cards of groups count the layers of the whole model.
        let n_layers = run.model.groups.iter().map(|group| group.n_blocks).sum();
        let card = TransformerCard { n_layers, ..card.clone() };
        if run.numbers.dtype != DType::Bf16 {
            return unpriced("the tables are looked up in bf16");
        }
        let [weights, expert_weights] = self.formats(run.model.stored.as_deref())?;
        let cache = match run.model.stored.as_ref().and_then(|of| of.cache) {
            None | Some(CacheType::Bf16) => NumberFormat::Bf16,
            Some(CacheType::F8) => NumberFormat::Fp8,
            Some(_) => return unpriced("the tables have KV caches of bf16 and fp8"),
        };
        if shape.stages.windows(2).any(|two| two[0] != two[1]) {
            return unpriced("stages of unequal length");
        }
        let has_experts = run.model.has_experts();
        let is_latent = matches!(card.attention, Attention::Latent { .. });
        let degrees = Degrees {
            norms_heads: run.hyperparameters.as_ref().is_some_and(|of| of.normalises_heads),
            pipeline: shape.stages.len() as u32,
            data: shape.data,
            expert: shape.expert,
            expert_tensor: if has_experts { shape.expert_tensor } else { shape.tensor },
            load: if is_latent { LOAD_OF_LATENT } else { LOAD }.to_owned(),
            weights,
            expert_weights,
            cache,
            ..Degrees::dense(NumberFormat::Bf16, shape.tensor)
        };
        // Some kernels were measured with a cache of 8 bits and attention that computes in 8 bits alone.
        let narrow = Degrees { attention: cache, ..degrees.clone() };
        let of = |degrees: &Degrees| Composition::new(&self.tables, &card, degrees);
        of(&degrees).or_else(|_| of(&narrow)).map_err(|error| Reason::Unpriced(error.message))
    }

    /// Types of the weights of products and of experts.
    fn formats(&self, stored: Option<&Stored>) -> Result<[NumberFormat; 2], Reason> {
        let Some((stored, method)) = stored.and_then(|of| Some((of, of.method.as_deref()?))) else {
            return Ok([NumberFormat::Bf16; 2]);
        };
        let of = |bytes: Option<f64>| -> Option<NumberFormat> {
            let is_float = method.contains("fp8") || method.starts_with("modelopt");
            Some(match bytes.unwrap_or(2.0) {
                1.99.. => NumberFormat::Bf16,
                1.0..1.02 if is_float && stored.scale_block > 0 => NumberFormat::Fp8Block,
                1.0..1.02 if is_float => NumberFormat::Fp8,
                0.5..0.6 if method.starts_with("modelopt") => NumberFormat::Nvfp4,
                0.5..0.6 if method == "mxfp4" => NumberFormat::Mxfp4Weights,
                0.5..0.6 if ["awq", "gptq"].contains(&method) => NumberFormat::Int4Weights,
                _ => return None,
            })
        };
        let held = stored.held(stored.blocks.len().saturating_sub(1));
        let unpriced = || {
            let message = format!("the tables are not looked up for weights of {method}");
            Reason::Unpriced(message)
        };
        let [weights, experts] = [of(held.weight), of(held.expert)];
        let [weights, experts] = [weights.ok_or_else(unpriced)?, experts.ok_or_else(unpriced)?];
        let has_experts = self.tables.moe.keys().any(|key| key.number == experts);
        match self.tables.gemm.contains_key(&weights) && (held.expert.is_none() || has_experts) {
            true => Ok([weights, experts]),
            false => Err(Reason::Unpriced(format!("no kernels of {method} weights were measured"))),
        }
    }
}

/// The mean request.
#[must_use]
pub fn mean(lengths: &[Length]) -> Lengths {
    let share: f64 = lengths.iter().map(|of| of.share).sum();
    let of = |tokens: fn(&Length) -> u32| {
        let sum: f64 = lengths.iter().map(|of| of.share * f64::from(tokens(of))).sum();
        (sum / share).round() as u64
    };
    Lengths { prompt: of(|length| length.n_input), generated: of(|length| length.n_output) }
}
