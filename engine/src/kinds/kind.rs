//! What a kind of plan says of itself; the frame (`super::frame`) does the rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use documents::plan::{PlanDocument, Reference};
use exporters::Export;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan_kind::PlanKind;
use serde_json::Value;

use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::request::fields::{self, Honours};
use crate::request::subject::Subject;
use crate::request::{PlanRequest, ReplayRequest};
use crate::search::run::Run;

/// What a plan is put on.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The model's file.
    pub model: &'a Path,
    /// Cluster, profile, and flags.
    pub flags: &'a ReplayRequest,
    /// The trace that experts in slots were planned from, where it is given.
    pub routing_trace: Option<&'a Path>,
}

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

/// Two plans of a kind side by side, as far as they were not printed yet.
pub struct Compared {
    /// Whether both decide the same.
    pub is_equal: bool,
    /// Members of the document beside `equal`.
    pub document: Value,
}

/// A kind of plan. Nothing of it prints a verdict, reads flags or chooses an exit code: the frame does.
pub trait Kind: Sized {
    /// Which it is.
    const KIND: PlanKind;
    /// Flags that say what its plans are put on; others would ask for another plan.
    const FLAGS: &'static [&'static str] = &["--cluster", "--profile", "--scale"];
    /// The rows that make its plans, in words.
    const ROWS: &'static str;
    /// The figure of a verdict, which is null where there is none.
    const FIGURE: &'static str = "seconds";
    /// Whether only plans are explained that state no wrong figures; else a person may change decisions and see
    /// what they take.
    const HOLDS_CLAIMS: bool = true;
    /// Fields of a request that it honours.
    const HONOURS: &'static Honours;
    /// Where what its plans decide is to be had for programs that no target is of.
    const ELSEWHERE: &'static str = "";
    /// Whether its plans have steps, which `simulate` replays.
    const HAS_STEPS: bool = true;

    /// Model, devices and prices.
    type Setting;
    /// What a plan decides, and what that takes.
    type Judged;

    /// Whether a recipe is one of its rows.
    ///
    /// # Errors
    /// Those of reading the recipe.
    fn is_row(recipe: &str) -> Result<bool, Diagnostic>;

    /// Whether a request asks for one of its plans by itself.
    ///
    /// # Errors
    /// Those of the recipe.
    fn is_asked(request: &PlanRequest) -> Result<bool, Diagnostic> {
        Self::is_row(request.recipe())
    }

    /// Refuses what is asked for by name and means nothing for its plans.
    ///
    /// # Errors
    /// [`PlanKind::refusal`].
    fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
        fields::check(&request.problem.given, Self::HONOURS)
    }

    /// Plans what is asked for; targets are those of `frame::check_target`.
    ///
    /// # Errors
    /// Those of reading and planning.
    fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult;

    /// Puts a plan on a model and the cluster of the flags.
    ///
    /// # Errors
    /// Those of the readers.
    fn read(plan: &PlanDocument, target: Target<'_>) -> Result<Self::Setting, Diagnostic>;

    /// What reading warned of.
    fn warnings(setting: &mut Self::Setting) -> &mut Vec<Diagnostic>;

    /// Model, cluster and profile as they are given.
    fn references(setting: &Self::Setting) -> [Reference; 3];

    /// What a plan decides and takes.
    ///
    /// # Errors
    /// All rules that it breaks.
    fn judge(
        setting: &mut Self::Setting,
        plan: &PlanDocument,
    ) -> Result<Self::Judged, Vec<Diagnostic>>;

    /// What a legal plan states otherwise than it is derived. A bound that a search has to prove is looked at
    /// where there is a flag that ends it. Nothing, where all of it is judged.
    fn stated_wrong(_: Legal<'_, Self>, _proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What `verify` says.
    fn told(on: Legal<'_, Self>) -> Told;

    /// Refuses what a plan has none of.
    ///
    /// # Errors
    /// [`PlanKind::refusal`].
    fn check_subject(subject: &Subject) -> Result<(), Diagnostic>;

    /// Prints where the time, the loads or the bytes of a plan come from; of one of its layers, where one is
    /// named. The same for programs.
    ///
    /// # Errors
    /// Subjects that the plan does not have.
    fn explain(
        on: Legal<'_, Self>,
        asked: (&Subject, Option<u32>),
        around: (Rows, &Page),
    ) -> Result<Value, Diagnostic>;

    /// The file of a target.
    ///
    /// # Errors
    /// Those of the target.
    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic>;

    /// What the settings of two plans are not alike in.
    fn unlike(_a: &PlanDocument, _b: &PlanDocument) -> Option<Diagnostic> {
        None
    }

    /// Prints what two plans decide otherwise.
    fn compare(a: &PlanDocument, b: &PlanDocument, around: (Rows, &Page)) -> Compared;
}

/// Refuses what means nothing for a kind of plan.
pub fn refused(kind: PlanKind, message: impl Into<String>, hint: &str) -> Diagnostic {
    Diagnostic::usage(kind.refusal(), message.into()).hint(hint.to_owned())
}

/// A rule that a plan breaks.
pub fn illegal(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, code, message)
}
