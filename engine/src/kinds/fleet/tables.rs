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
        let [group] = run.model.groups.as_slice() else {
            return unpriced("the tables price models of equal layers");
        };
        if run.numbers.dtype != DType::Bf16 {
            return unpriced("the tables are looked up in bf16");
        }
        let stored = run.model.stored.as_ref();
        if stored.is_some_and(|stored| stored.method.is_some() || stored.cache.is_some()) {
            return unpriced("the tables are looked up for bf16 weights and KV cache");
        }
        if shape.stages.windows(2).any(|two| two[0] != two[1]) {
            return unpriced("stages of unequal length");
        }
        let has_experts = run.model.has_experts();
        let degrees = Degrees {
            norms_heads: run.hyperparameters.as_ref().is_some_and(|of| of.normalises_heads),
            pipeline: shape.stages.len() as u32,
            data: shape.data,
            expert: shape.expert,
            expert_tensor: if has_experts { shape.expert_tensor } else { shape.tensor },
            load: LOAD.to_owned(),
            ..Degrees::dense(NumberFormat::Bf16, shape.tensor)
        };
        Composition::new(&self.tables, &group.card, &degrees)
            .map_err(|error| Reason::Unpriced(error.message))
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
