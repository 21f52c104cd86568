//! What a fleet is planned on: a config, devices in pools of equal hosts, engine, traffic and promises.

use std::path::Path;

use cost_model::runs::forms::model::Pricing;
use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::Length;
use cost_model::serving::engine::{self, Engine};
use cost_model::serving::worker::Shape;
use documents::plan::Reference;
use documents::plan::fleet::{FleetDocument, PromisesDocument};
use documents::plan::request::RequestDocument;
use ir::card::stored::CacheType;
use ir::chip::Architecture;
use ir::cluster::RouteKind;
use ir::diagnostic::Diagnostic;
use ir::hyperparameters::Hyperparameters;
use ir::plan_kind::PlanKind;
use planner::serving::fleet::{self, Objective};
use planner::serving::serving_fleet::{
    self, Devices, KnownTypes, Link, Promises, Question, Reason, Statistic,
};

use super::links::{Hosts, Links, links};
use super::pools::{Pool, Pools, pools};
use super::refused;
use super::tables::Tables;
use super::traffic::Traffic;
use crate::inputs::run::hardware::retain_of_inference;
use crate::inputs::run::model::{self, Model};
use crate::inputs::run::setting::{STACK, Setting as Run};
use crate::request::ProblemRequest;
use crate::request::fields::Honours;
use crate::request::serving::ServingMode;

/// TPOT that is promised where nothing is, in seconds.
pub(super) const USUAL_TPOT_S: f64 = 0.05;
/// Tokens of an iteration at most that are tried: vLLM's defaults of small and of large GPUs.
const BUDGETS: [u64; 2] = [2_048, 8_192];
/// Devices of a worker at most that are looked at, where the model fits a quarter of them.
const MOST_OF_WORKER: u32 = 16;
/// Share of a device's memory that engines leave free by themselves (vLLM `--gpu-memory-utilization 0.92`).
pub(super) const LEFT_FREE: f64 = 0.08;
/// Tokens of a request at most.
const MOST_TOKENS: u64 = 1 << 24;

/// What is asked of a fleet.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The engine.
    pub engine: Engine,
    /// Which workers it may have.
    pub mode: ServingMode,
    /// Requests.
    pub traffic: Traffic,
    /// Latencies.
    pub promises: Promises,
    /// Mean seconds from arrival to the last token at most.
    pub latency_s: Option<f64>,
    /// What counts.
    pub objective: Objective,
    /// Whether the price counts where all devices have one, in place of their number.
    pub counts_price: bool,
    /// Devices at most.
    pub most_devices: Option<u64>,
    /// Whether hosts that differ in links or size are taken for equal ones.
    pub is_merged: bool,
    /// What else.
    pub request: RequestDocument,
}

/// Model, devices, engine and requests.
#[derive(Clone)]
pub struct Setting {
    /// Model, devices and software.
    pub run: Run,
    /// Devices.
    pub pools: Vec<Pool>,
    /// By device its host.
    pub(super) hosts: Hosts,
    /// Whether hosts of one kind of device that reach each other are in several pools.
    pub(super) are_split: bool,
    /// Whether hosts that differ in links, or are taken for equal ones, leave more to search.
    pub(super) is_open: bool,
    /// Ways of keys and values between them.
    pub links: Vec<Link>,
    /// The same where the workers of a pool that they connect are on one host.
    pub(super) links_of_a_host: Vec<Link>,
    /// The slowest and the fastest of ways between the same pools that differ.
    pub(super) unequal: Option<(Option<RouteKind>, RouteKind)>,
    /// What is asked.
    pub asked: Asked,
    /// Measured kernels in place of the forms, where the profile names them.
    pub tables: Option<Tables>,
    /// Devices of a worker at most that are looked at.
    pub most_of_worker: u32,
    /// Worker types that were sized for it.
    known: KnownTypes,
}

impl Setting {
    /// Reads a model on the cluster of the flags.
    ///
    /// # Errors
    /// Those of the readers; `not-for-fleets`, `no-system`, `tokens`.
    pub fn read(path: &Path, flags: &ProblemRequest, asked: Asked) -> Result<Self, Diagnostic> {
        if !importers::is_config(path) {
            let message = "serving workers are planned for a config.json";
            return Err(refused(
                message,
                "give one, or place the operators with `meshwright place`",
            ));
        }
        check_lengths(&asked.traffic.lengths)?;
        let mut flags = flags.clone();
        flags.model.batch = None;
        check_cache(&asked)?;
        let tables = Tables::named(flags.profile.as_deref())?;
        if let Some(tables) = &tables {
            flags.profile = None;
            check_tables(tables, &asked)?;
        }
        let kv_dtype = model::cache_type(asked.request.kv_dtype.as_deref())?;
        let mut read = model::served((path, None), &flags.model, kv_dtype)?;
        check_model(&read)?;
        model::with_windows(&mut read);
        let mut asked = asked;
        let context = read.hyperparameters.as_ref().and_then(Hyperparameters::context);
        let beyond = match context.filter(|most| *most > 0) {
            Some(most) => asked.traffic.cut(most)?,
            None => None,
        };
        let without = without_predictions(&mut read);
        let mut run = Run::on(read, &flags, STACK, 1)?.with_stack(engine::stack())?;
        if run.layers.is_some() {
            let message = "`--profile` names a folder of measured layers of training steps";
            return Err(refused(message, "give a profile of the devices, or leave it out"));
        }
        run.warnings.retain(|warning| !["stated-dtype", "unlike-hosts"].contains(&warning.code));
        retain_of_inference(&mut run.warnings);
        run.warnings.extend(beyond.into_iter().chain(without));
        run.request = asked.request.clone();
        let stored = run.model.stored.as_ref().and_then(|stored| stored.cache);
        run.request.kv_dtype = stored.map(|dtype| dtype.to_string());
        Self::on(run, asked, tables)
    }

    /// The pools of a cluster, and their links.
    fn on(run: Run, asked: Asked, tables: Option<Tables>) -> Result<Self, Diagnostic> {
        let pools = pools(&run, asked.is_merged)?;
        let Links { far, near, unequal } = links(&run.cluster, &pools, asked.mode);
        let Pools { all: pools, hosts, are_split, are_unlike } = pools;
        let most_of_worker = MOST_OF_WORKER;
        let mut setting = Self {
            run,
            pools,
            hosts,
            are_split,
            is_open: are_unlike || asked.is_merged,
            links: far,
            links_of_a_host: near,
            unequal,
            asked,
            tables,
            most_of_worker,
            known: KnownTypes::default(),
        };
        setting.most_of_worker = setting.widest();
        if setting.asked.counts_price && setting.pools.iter().all(|of| of.price_per_hour.is_some())
        {
            setting.asked.objective = Objective::LowestPrice;
        }
        setting.check()?;
        let of_tables = setting.tables.as_ref();
        let other = of_tables.and_then(|tables| of_other_devices(tables, &setting.pools));
        let warnings = [other, setting.memory_share(), setting.slow_links()];
        let ignored = setting.without_effect();
        setting.run.warnings.extend(warnings.into_iter().flatten().chain(ignored));
        Ok(setting)
    }

    fn check(&self) -> Result<(), Diagnostic> {
        let free = self.pools.iter().find(|pool| pool.price_per_hour.is_none());
        if let (Objective::LowestPrice, Some(pool)) = (self.asked.objective, free) {
            let message = format!("`{}` has no price", pool.kind);
            return Err(Diagnostic::input("no-price", message)
                .hint("state price_per_hour of each kind in the cluster file"));
        }
        let has = self.n_devices() as u64;
        if let Some(most) = self.asked.most_devices.filter(|most| *most > has) {
            let message = format!("the cluster has {has} devices to use, fewer than {most}");
            return Err(Diagnostic::usage("device-count", message)
                .hint(format!("state --devices {has} at most")));
        }
        if self.asked.mode == ServingMode::Disaggregated && self.links.is_empty() {
            let message = "no link carries keys and values between workers (between hosts, where there are several)";
            return Err(refused(
                message,
                "use --mode aggregated, or state links or a network in the cluster file",
            ));
        }
        // TensorRT-LLM, Quantization; vLLM 0.21 by kernels of SM 100.
        let is_older = |pool: &&Pool| {
            let chip = self.run.cluster.kind_of(pool.hosts[0][0]).chip;
            chip.architecture() != Architecture::Blackwell
        };
        let cache = self.run.model.stored.as_ref().and_then(|stored| stored.cache);
        let older = self.pools.iter().find(is_older).filter(|_| cache == Some(CacheType::F4));
        older.map_or(Ok(()), |pool| {
            let message = format!("engines have no NVFP4 KV cache on `{}`", pool.kind);
            Err(refused(message, "use --kv-dtype fp8, or devices of Blackwell"))
        })
    }

    /// The engine's share of memory where limits lower it, or that they do not.
    fn memory_share(&self) -> Option<Diagnostic> {
        let share = |pool: &Pool| {
            let device = &self.run.cluster.devices[pool.hosts[0][0].index()];
            pool.memory as f64 / device.capacity.map_or(1.0, |capacity| capacity.as_f64())
        };
        let least = self.pools.iter().map(share).fold(1.0, f64::min);
        let request = &self.run.request;
        if least < 1.0 {
            let share = least * (1.0 - LEFT_FREE);
            let name = self.asked.engine.name();
            let message = format!("less memory is planned than {name} uses by default");
            let hint = match self.asked.engine {
                Engine::Vllm => format!("start vLLM with --gpu-memory-utilization {share:.2}"),
                Engine::Sglang | Engine::TrtLlm => {
                    format!("leave out limits of memory: no script of {name} states a share")
                }
            };
            return Some(Diagnostic::warning("memory-share", message).hint(hint));
        }
        (request.kept_free.is_some() || request.max_memory_bytes.is_some()).then(|| {
            let message = format!(
                "memory limits have no effect: engines leave {:.0} % of each device free already",
                100.0 * LEFT_FREE
            );
            Diagnostic::warning("no-effect", message)
        })
    }

    /// Whether a percentile is of requests of several lengths, of which the short ones alone may be within it.
    #[must_use]
    pub fn is_percentile_of_mix(&self) -> bool {
        self.asked.promises.statistic != Statistic::Mean && self.asked.traffic.lengths.len() > 1
    }

    /// Devices of a worker at most: of a host, or four times as many as it takes to hold the model.
    fn widest(&self) -> u32 {
        let question = self.question();
        let of = |at: usize| {
            let Pool { hosts, .. } = &self.pools[at];
            let n: usize = hosts.iter().map(Vec::len).sum();
            let fits = serving_fleet::smallest(&question, at).map(|(least, _)| least);
            let fits = fits.filter(|least| *least as usize <= n).unwrap_or(1);
            let wide = fits.saturating_mul(4).min(n as u32);
            wide.max(hosts.first().map_or(1, |host| host.len() as u32))
        };
        (0..self.pools.len()).map(of).max().unwrap_or(1).max(MOST_OF_WORKER)
    }

    /// The question for the search.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        let asked = &self.asked;
        let devices = |pool: &Pool| {
            let hosts = u32::try_from(pool.hosts.len()).unwrap_or(u32::MAX);
            let devices_per_host = pool.hosts.first().map_or(1, |host| host.len() as u32);
            let pool_of = fleet::Pool {
                hosts: Some(hosts),
                devices_per_host,
                price_per_hour: pool.price_per_hour,
            };
            Devices { pool: pool_of, memory: pool.memory }
        };
        let allowed = asked.most_devices.map_or(u32::MAX, |n| u32::try_from(n).unwrap_or(u32::MAX));
        Question {
            dtype: self.run.numbers.dtype,
            devices: self.pools.iter().map(devices).collect(),
            links: self.links.clone(),
            engine: asked.engine,
            budgets: BUDGETS.to_vec(),
            aggregated: asked.mode != ServingMode::Disaggregated,
            disaggregated: asked.mode != ServingMode::Aggregated && !self.links.is_empty(),
            most_devices_of_worker: self.most_of_worker.min(allowed),
            promises: asked.promises,
            objective: asked.objective,
            requests_per_s: asked.traffic.rate,
            shared_prefix: asked.traffic.shared_prefix,
            seed: asked.traffic.seed,
            most_devices: asked.most_devices,
            known: self.known.clone(),
            ..Question::new(&self.run.model, asked.traffic.lengths.clone(), 1.0)
        }
    }

    /// A question for fleets on one host of each pool, where keys and values cross no network; none if no way within a
    /// host is faster.
    #[must_use]
    pub fn on_one_host<'q>(&self, question: &Question<'q>) -> Option<Question<'q>> {
        if !question.disaggregated || self.links == self.links_of_a_host {
            return None;
        }
        let mut question = question.clone();
        question.links.clone_from(&self.links_of_a_host);
        question.devices.iter_mut().for_each(|devices| devices.pool.hosts = Some(1));
        Some(question)
    }

    /// The price of iterations of a worker.
    ///
    /// # Errors
    /// Those of [`serving_fleet::priced`].
    pub fn price(&self, pool: usize, shape: &Shape) -> Result<Box<dyn IterationTime + '_>, Reason> {
        if let Some(tables) = &self.tables {
            return tables.price((&self.run, &self.asked.traffic.lengths), shape);
        }
        let pool = &self.pools[pool];
        let (devices, per_host) = (shape.devices(), pool.hosts.first().map_or(1, Vec::len));
        if devices > 1 && !pool.system.has_way(devices <= per_host as u64) {
            return Err(Reason::Unpriced("no link joins its devices".to_owned()));
        }
        let base = Pricing { system: &pool.system, stack: &pool.stack, ..self.run.pricing() };
        serving_fleet::priced(&base, shape, self.asked.engine.overhead())
    }

    /// Model, cluster and profile.
    #[must_use]
    pub fn references(&self) -> [Reference; 3] {
        let [model, cluster, profile] = self.run.references();
        let measured = self.tables.as_ref().map(|tables| tables.reference.clone());
        [model, cluster, measured.unwrap_or(profile)]
    }

    /// What its times come from, in words.
    #[must_use]
    pub fn costs_from(&self) -> String {
        match &self.tables {
            Some(tables) => {
                format!("kernels measured by AIConfigurator ({})", tables.reference.name)
            }
            None => self.run.costs_from(),
        }
    }

    /// Devices of all pools.
    #[must_use]
    pub fn n_devices(&self) -> usize {
        self.pools.iter().flat_map(|pool| &pool.hosts).map(Vec::len).sum()
    }
}

/// Refuses tables of another engine than is planned for.
fn check_tables(tables: &Tables, asked: &Asked) -> Result<(), Diagnostic> {
    let (measured, planned) = (tables.engine(), asked.engine.name());
    match measured == planned {
        true => Ok(()),
        false => Err(refused(
            format!(
                "`--profile` has kernels of {measured}, and the fleet is planned for {planned}"
            ),
            &format!("add --for {measured}, or name tables of {planned}"),
        )),
    }
}

/// Refuses KV caches that no engine of fleets has.
fn check_cache(asked: &Asked) -> Result<(), Diagnostic> {
    match model::cache_type(asked.request.kv_dtype.as_deref())? {
        Some(cache @ (CacheType::Q8 | CacheType::Q4)) => Err(refused(
            format!("{} has no KV cache of {cache}", asked.engine.name()),
            "use --kv-dtype fp8, or plan a start of llama.cpp with --for llama.cpp",
        )),
        _ => Ok(()),
    }
}

/// A warning where measured kernels are those of another device than the cluster's.
fn of_other_devices(tables: &Tables, pools: &[Pool]) -> Option<Diagnostic> {
    let system = tables.system();
    let chip = system.split('_').next().unwrap_or(system);
    let other = pools.iter().find(|pool| !pool.kind.to_ascii_lowercase().contains(chip))?;
    let message =
        format!("`--profile` has kernels of {system}, and the cluster has {}", other.kind);
    Some(
        Diagnostic::warning("other-device", message)
            .hint("name tables of that device, or leave --profile out"),
    )
}

/// Refuses lengths that no request has.
fn check_lengths(lengths: &[Length]) -> Result<(), Diagnostic> {
    let of = |length: &Length| u64::from(length.n_input) + u64::from(length.n_output);
    match lengths.iter().map(of).max().filter(|most| *most > MOST_TOKENS) {
        Some(most) => Err(Diagnostic::usage("tokens", format!("{most} tokens of a request"))
            .fact("most_tokens", MOST_TOKENS)
            .hint("state fewer with --input-tokens or --output-tokens")),
        None => Ok(()),
    }
}

/// Refuses models that are no decoders of layers.
fn check_model(model: &Model) -> Result<(), Diagnostic> {
    if model.graph.is_some() || model.card.is_of_parts() {
        let message = "models of this type are not planned for serving: no layer card is read from their config";
        return Err(refused(message, "place the operators with `meshwright place`"));
    }
    let model_type = model.hyperparameters.as_ref().map(|stated| stated.model_type.as_str());
    match model_type {
        Some(encoder @ "bert") => {
            let message = format!("`{encoder}` is an encoder: it generates no tokens");
            Err(refused(message, "place its operators with `meshwright place`"))
        }
        _ => Ok(()),
    }
}

/// Leaves out layers that predict later tokens; says so.
fn without_predictions(model: &mut Model) -> Option<Diagnostic> {
    let later = model.card.n_predictions.checked_sub(1).filter(|later| *later > 0)?;
    model.card.n_predictions = 1;
    let last = model.card.groups.last_mut()?;
    last.n_blocks = last.n_blocks.saturating_sub(later);
    if last.n_blocks == 0 {
        model.card.groups.pop();
    }
    let message = "multi-token prediction is left out: workers decode one token at a time";
    Some(Diagnostic::warning("no-speculation", message))
}

/// Latencies as documents state them.
pub(super) fn stated(asked: &Asked) -> PromisesDocument {
    let promises = &asked.promises;
    PromisesDocument {
        ttft_s: promises.ttft_s,
        tpot_s: promises.tpot_s,
        latency_s: asked.latency_s,
        percentile: match promises.statistic {
            Statistic::Mean => None,
            Statistic::Percentile(percent) => Some(percent),
        },
    }
}

/// The same from a document.
pub(super) fn promises(stated: &PromisesDocument) -> Promises {
    Promises {
        ttft_s: stated.ttft_s,
        tpot_s: stated.tpot_s,
        statistic: stated.percentile.map_or(Statistic::Mean, Statistic::Percentile),
    }
}

/// What a plan was asked for.
///
/// # Errors
/// `bad-plan` for names that there are none of.
pub(super) fn of_plan(
    fleet: &FleetDocument,
    objective: &str,
    request: &RequestDocument,
) -> Result<Asked, Diagnostic> {
    let wrong = |member: &'static str, name: &str| {
        let name: String = name.chars().take(80).collect();
        Diagnostic::input("bad-plan", format!("member `{member}` of the plan is `{name}`"))
            .fact("member", member)
            .hint("plan again, or correct the member")
    };
    let mode = ServingMode::ALL.into_iter().find(|mode| mode.name() == fleet.mode);
    let length = |of: &documents::plan::fleet::LengthDocument| Length {
        n_input: of.input_tokens,
        n_output: of.output_tokens,
        share: of.share,
    };
    Ok(Asked {
        engine: Engine::named(&fleet.engine).ok_or_else(|| wrong("fleet.engine", &fleet.engine))?,
        mode: mode.ok_or_else(|| wrong("fleet.mode", &fleet.mode))?,
        traffic: Traffic {
            is_assumed: [false; 2],
            lengths: fleet.lengths.iter().map(length).collect(),
            shared_prefix: fleet.shared_prefix,
            seed: fleet.seed,
            rate: fleet.rate,
            concurrency: fleet.concurrency,
            log: None,
        },
        promises: promises(&fleet.promises),
        latency_s: fleet.promises.latency_s,
        counts_price: false,
        objective: Objective::named(objective).ok_or_else(|| wrong("objective", objective))?,
        most_devices: fleet.most_devices,
        is_merged: fleet.merged_hosts,
        request: request.clone(),
    })
}

/// What fleets honour of a request.
pub const HONOURS: Honours = Honours {
    hint: |field| match field.name {
        "batch" | "sequence_length" | "cached_tokens" => {
            "state requests with --input-tokens and --output-tokens, or a step with --phase decode"
        }
        "global_batch" | "tokens_per_step" => "train with `meshwright train`, or leave it out",
        "expert_skew" => "leave it out: experts are priced as evenly loaded",
        "quantization" => {
            "add --for llama.cpp; for other engines give the config of a quantised checkpoint"
        }
        _ => "leave it out",
    },
    ..Honours::new(
        "serving fleet",
        PlanKind::Fleet,
        "cluster profile dtype workload scale devices max_memory_per_device memory_margin kv_dtype \
     objective executor rate concurrency requests ttft tpot request_latency percentile input_tokens \
     output_tokens lengths prefix_tokens mode export",
    )
};
