//! Iterations by AIConfigurator's measured tables: `--profile aic:SYSTEM/ENGINE[@VERSION]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cost_model::serving::IterationTime;
use cost_model::serving::aic::{Composition, Worker as Degrees};
use cost_model::serving::worker::Shape;
use documents::digest;
use documents::plan::Reference;
use importers::aiconfigurator::{Named, read, root};
use ir::diagnostic::Diagnostic;
use ir::engine_tables::{EngineTables, NumberFormat};
use ir::tensor::DType;
use planner::serving::serving_fleet::Reason;

use crate::inputs::run::setting::Setting as Run;

/// What profiles of AIConfigurator's tables begin with.
const PREFIX: &str = "aic:";
/// Names the folder of the installed package.
const FOLDER: &str = "MESHWRIGHT_AIC";
/// Distribution of routed tokens in AIConfigurator's default.
const LOAD: &str = "power_law_1.2";

/// Measured kernels of one system under one engine.
#[derive(Clone)]
pub struct Tables {
    tables: Arc<EngineTables>,
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
        let named = Named::parse(name)?;
        let folder = std::env::var_os(FOLDER).map(PathBuf::from).ok_or_else(|| {
            let message = format!("`{FOLDER}` names no folder with AIConfigurator's tables");
            Diagnostic::usage("no-aiconfigurator", message).hint(format!(
                "pip install aiconfigurator-core, then set {FOLDER} to its site-packages folder"
            ))
        })?;
        let tables = read(&root(&folder)?, &named)?;
        let files: String = tables.sources.iter().map(|source| source.sha256.as_str()).collect();
        let name = format!("{PREFIX}{}/{}@{}", tables.system, tables.engine, tables.version);
        let reference = Reference::new(&name, digest::bytes(files.as_bytes()));
        Ok(Some(Self { tables: Arc::new(tables), reference }))
    }

    /// The engine that was measured.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.tables.engine
    }

    /// The price of iterations of a worker, as AIConfigurator composes it.
    ///
    /// # Errors
    /// [`Reason::Unpriced`] for what its composition has no kernels of.
    pub fn price(&self, run: &Run, shape: &Shape) -> Result<Box<dyn IterationTime + '_>, Reason> {
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
        match Composition::new(&self.tables, &group.card, &degrees) {
            Ok(composition) => Ok(Box::new(composition)),
            Err(error) => Err(Reason::Unpriced(error.message)),
        }
    }
}
