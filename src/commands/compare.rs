//! `compare`: two plans, and where their difference comes from.

use documents::plan::Reference;
use ir::diagnostic::Diagnostic;

use crate::cli::CompareArgs;
use crate::printer::Printer;
use engine::exit::CommandResult;
use engine::given;
use engine::ops::compare::{mapped, placements};
use engine::ops::replay;
use engine::training;

/// Refuses what only a plan that is judged again could honour.
fn check_flags(args: &CompareArgs) -> Result<(), Diagnostic> {
    if args.model.is_some() {
        return Ok(());
    }
    let mut given = args.target.problem.given();
    given.extend(args.target.allow_mismatch.then_some("--allow-mismatch"));
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("without --model, {given} has no effect: plans are taken as they state");
    Err(Diagnostic::usage("needs-model", message)
        .hint(format!("add --model, or leave out {given}")))
}

pub(crate) fn run(args: &CompareArgs, printer: &Printer) -> CommandResult {
    if let Some(model) = &args.model
        && let Some(instance) = importers::instance(model)?
    {
        return printer.page(|page| given::compare::compare(&args.request(), instance, page));
    }
    check_flags(args)?;
    let request = args.request();
    if let Some((launcher, text)) = replay::settings(&args.a) {
        let b = replay::document(&args.b)?;
        return printer
            .page(|page| training::compare::compare(launcher, &text, &b, &request, page));
    }
    let b = replay::document(&args.b)?;
    let (a, now) = match replay::map(&args.a) {
        None => (replay::document(&args.a)?, None),
        Some(map) => mapped(&map?, &b, &request).map(|(a, broken)| (a, Some(broken)))?,
    };
    let others = [
        ("other-model", "model", &a.model, &b.model),
        ("other-cluster", "cluster", &a.cluster, &b.cluster),
    ];
    let others = others.into_iter().filter_map(|(code, what, a, b)| other(code, what, a, b));
    match (&a.training, &b.training) {
        (None, None) => printer
            .page(|page| placements((&a, &b), now.as_deref(), others.collect(), (&request, page))),
        (Some(one), Some(two)) => {
            // Another length of a sample is told as such.
            let is_length =
                one.sequence_length != two.sequence_length && a.model.name == b.model.name;
            let told = others.filter(|own| own.code != "other-model" || !is_length).collect();
            printer.page(|page| training::compare::compare_plans((&a, &b), told, &request, page))
        }
        _ => {
            let message = "one plan is of a training run, the other places operators";
            Err(Diagnostic::usage("not-comparable", message)
                .hint("plan both with --global-batch, or both without"))
        }
    }
}

/// Plans for different things can be compared, but their difference may come from there.
fn other(code: &'static str, what: &str, a: &Reference, b: &Reference) -> Option<Diagnostic> {
    let message = if a.name == b.name {
        format!("the plans are for different versions of {what} `{}`", a.name)
    } else {
        format!("the plans are for {what} `{}` and {what} `{}`", a.name, b.name)
    };
    (a.digest != b.digest).then(|| Diagnostic::warning(code, message))
}
