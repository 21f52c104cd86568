//! What a kind of plan says of itself; the frame (`super::frame`) does the rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use documents::plan::{PlanDocument, Reference};
use exporters::Export;
use exporters::training::folder::Files;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan_kind::PlanKind;
use serde_json::Value;

use super::frame::{self, OnModel};
use crate::answer::differences;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::mismatch::{self, mismatch};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations;
use crate::request::fields::{self, Honours};
use crate::request::subject::Subject;
use crate::request::{CompareRequest, ExportRequest, PlanOnModel, PlanRequest, ReplayRequest};
use crate::search::run::Run;

/// What a plan is put on.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The model's file.
    pub model: &'a Path,
    /// Cluster, profile, and flags.
    pub flags: &'a ReplayRequest,
    /// The trace that offloaded experts were planned from, where it is given.
    pub routing_trace: Option<&'a Path>,
    /// Requests that a fleet replays.
    pub requests: Option<&'a Path>,
}

impl<'a> Target<'a> {
    /// A model, and the cluster of flags.
    #[must_use]
    pub const fn of(model: &'a Path, flags: &'a ReplayRequest) -> Self {
        Self { model, flags, routing_trace: None, requests: None }
    }

    /// Where model, cluster or profile that are given are others than a plan was made for, one each.
    #[must_use]
    pub fn others(&self, plan: &PlanDocument, given: &[Reference; 3]) -> Vec<Diagnostic> {
        let may_differ = self.flags.allow_mismatch;
        mismatch::others(plan, given, |what, planned, now| mismatch(what, planned, now, may_differ))
    }
}

impl<'a> From<&'a PlanOnModel> for Target<'a> {
    fn from(on: &'a PlanOnModel) -> Self {
        Self::of(&on.model, &on.target)
    }
}

/// What a plan was put on.
pub struct Read<S> {
    /// Model, devices and prices.
    pub setting: S,
    /// Of reading.
    pub warnings: Vec<Diagnostic>,
    /// Those of [`Target::others`].
    pub others: Vec<Diagnostic>,
}

/// What is asked of a plan that is explained.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What it is asked about.
    pub subject: &'a Subject,
    /// A layer, where one is named.
    pub layer: Option<u32>,
    /// How many rows are shown.
    pub rows: Rows,
    /// Where they are shown.
    pub page: &'a Page,
}

/// Whether a recipe is a row that makes plans of a kind.
pub type IsRow = fn(&str) -> Result<bool, Diagnostic>;

/// Plans what is asked for; targets are those of `frame::check_target`.
pub type Plans = fn(&PlanRequest, &mut Run<'_>) -> CommandResult;

/// Refuses subjects that plans of a kind have none of.
pub type ChecksSubject = fn(&Subject) -> Result<(), Diagnostic>;

/// Prints where the time, the loads or the bytes of a plan come from; the same for programs.
pub type Explains<K> = fn(Legal<'_, K>, &Asked<'_>) -> Result<Value, Diagnostic>;

/// A plan that is legal, on what it was made for.
pub struct Legal<'p, K: Kind> {
    /// Model, devices and prices.
    pub setting: &'p K::Setting,
    /// The plan as it is stated.
    pub plan: &'p PlanDocument,
    /// What it decides and takes.
    pub judged: &'p K::Judged,
}

impl<K: Kind> Clone for Legal<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Kind> Copy for Legal<'_, K> {}

/// What is said of a plan that `verify` found legal.
pub struct Told {
    /// In one line.
    pub sentence: String,
    /// [`Kind::FIGURE`], and what else is known, by member of the document.
    pub figures: Vec<(&'static str, Value)>,
}

/// Two plans of a kind that are compared.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// The first, which may be the current setup.
    pub a: &'a Arc<PlanDocument>,
    /// The second.
    pub b: &'a Arc<PlanDocument>,
    /// Where the first is the current setup, the rules that it breaks.
    pub now: Option<&'a [Diagnostic]>,
    /// That they were made for different things, and what else is known before.
    pub others: &'a [Diagnostic],
    /// What is asked.
    pub request: &'a CompareRequest,
}

/// Two plans of a kind side by side, as far as they were not printed yet.
pub struct Compared {
    /// Whether both decide the same.
    pub is_equal: bool,
    /// In a line, where they do not.
    pub differs: String,
    /// Members of the document beside `equal`.
    pub document: Value,
}

/// A kind of plan. Nothing of it prints a verdict, reads flags or chooses an exit code: the frame does.
pub trait Kind: Sized {
    /// Which it is.
    const KIND: PlanKind;
    /// Flags that say what its plans are put on; others would ask for another plan. None: reading looks at them.
    const FLAGS: &'static [&'static str] = &["--cluster", "--profile", "--scale"];
    /// The rows that make its plans, in words.
    const ROWS: &'static str;
    /// The figure of a verdict, which is null where there is none.
    const FIGURE: &'static str = "seconds";
    /// Whether only plans are explained that state no wrong figures; else a person may change decisions and see
    /// what they take.
    const HOLDS_CLAIMS: bool = true;
    /// Whether plans that are illegal and can be judged are explained all the same, with what they break.
    const EXPLAINS_ILLEGAL: bool = false;
    /// Fields of a request that it honours.
    const HONOURS: &'static Honours;
    /// Where what its plans decide is to be had for programs that no target is of.
    const ELSEWHERE: &'static str = "";
    /// Whether a recipe is one of its rows.
    const IS_ROW: IsRow;
    /// Plans.
    const PLAN: Plans;
    /// Refuses what a plan has none of.
    const CHECK_SUBJECT: ChecksSubject = |_| Ok(());
    /// Explains.
    const EXPLAIN: Explains<Self>;
    /// What explaining shows.
    const EXPLAINED: &'static str = "where each second goes";
    /// Whether its plans have steps, which `simulate` replays.
    const HAS_STEPS: bool = true;

    /// Model, devices and prices.
    type Setting;
    /// What a plan decides, and what that takes.
    type Judged;

    /// Whether a request asks for one of its plans by itself.
    ///
    /// # Errors
    /// Those of the recipe.
    fn is_asked(request: &PlanRequest) -> Result<bool, Diagnostic> {
        (Self::IS_ROW)(request.recipe())
    }

    /// Refuses what is asked for by name and means nothing for its plans.
    ///
    /// # Errors
    /// [`PlanKind::refusal`].
    fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
        fields::check(&request.problem.given, Self::HONOURS)
    }

    /// Puts a plan on a model and the cluster of the flags.
    ///
    /// # Errors
    /// Those of the readers.
    fn read(
        plan: &Arc<PlanDocument>,
        target: Target<'_>,
    ) -> Result<Read<Self::Setting>, Diagnostic>;

    /// What a plan breaks whatever it was made for, where what is given may not be something else.
    fn broken_anywhere(_: &mut OnModel<Self>) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What a plan decides and takes.
    ///
    /// # Errors
    /// All rules that it breaks.
    fn judge(
        setting: &mut Self::Setting,
        plan: &PlanDocument,
    ) -> Result<Self::Judged, Vec<Diagnostic>>;

    /// What a plan warns of by what it decides.
    fn warned(_: Legal<'_, Self>) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What a legal plan states otherwise than it is derived. A bound that a search has to prove is looked at
    /// where there is a flag that ends it. Nothing, where all of it is judged.
    fn stated_wrong(_: Legal<'_, Self>, _proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What a plan states in vain where it is put on something else than it was made for: there it takes
    /// something else.
    fn stated_on_others(on: Legal<'_, Self>) -> Vec<Diagnostic> {
        on.plan.cost.as_ref().map_or_else(Vec::new, differences::within)
    }

    /// What `verify` says.
    fn told(on: Legal<'_, Self>) -> Told;

    /// What it says of illegal plans, before the number of violations, and of those whose bound was not proved
    /// again.
    fn words(_: &Self::Setting) -> [String; 2] {
        ["the plan is illegal", "no rule is broken, but the bound was not proved again"]
            .map(str::to_owned)
    }

    /// Tells of what a plan breaks in place of what was asked, with what was warned of; how the run ends.
    fn instead(
        _: &Self::Setting,
        (broken, warnings): (&[Diagnostic], &[Diagnostic]),
        (rows, page): (Rows, &Page),
    ) -> Exit {
        frame::warn::<Self>(warnings, page);
        violations::instead(broken, rows, page)
    }

    /// Replays a step; of a training run with so many micro-batches of a replica, where they are others than
    /// planned.
    ///
    /// # Errors
    /// Those of reading, and of plans that can not be replayed.
    fn simulate(
        plan: &Arc<PlanDocument>,
        target: Target<'_>,
        _: Option<u64>,
        page: &Page,
    ) -> CommandResult {
        frame::explain::<Self>(plan, target, (&Subject::Step { longest: None }, None), page)
    }

    /// The file of a target.
    ///
    /// # Errors
    /// Those of the target.
    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic>;

    /// The files with which a launcher starts a plan, and what they can't say.
    ///
    /// # Errors
    /// Those of the target; `not-a-folder`.
    fn folder(
        _: Legal<'_, Self>,
        (request, _): (&ExportRequest, &str),
    ) -> Result<(Files, Vec<Diagnostic>), Diagnostic> {
        Err(one_file(&request.target))
    }

    /// Prints two plans side by side.
    ///
    /// # Errors
    /// Those of reading.
    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult;
}

/// Refuses what means nothing for a kind of plan.
pub fn refused(kind: PlanKind, message: impl Into<String>, hint: &str) -> Diagnostic {
    Diagnostic::usage(kind.refusal(), message.into()).hint(hint.to_owned())
}

/// A rule that a plan breaks.
pub fn illegal(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, code, message)
}

/// Refuses a folder of what is no training run.
pub fn one_file(target: &str) -> Diagnostic {
    let message = format!("`{target}` of this plan is one file: only training runs have folders");
    Diagnostic::usage("not-a-folder", message).hint("write it with -o FILE")
}

/// Refuses to list parts of a critical path that does not exist.
pub fn pathless(why: &str) -> Diagnostic {
    Diagnostic::usage("no-critical-path", format!("{why}, of which `--longest` lists parts"))
        .hint("leave it out")
}
