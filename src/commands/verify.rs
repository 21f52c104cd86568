//! `verify`: checks a plan (or the solution of an instance) against every rule, and all that it
//! states.

use cost_model::judge::replay as judge;

use crate::cli::ReplayArgs;
use crate::commands::report::Rows;
use crate::commands::{CommandResult, instance, replay, stated, training, violations};
use crate::printer::Printer;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.model)? {
        return instance::verify(args, instance, printer);
    }
    let document = replay::document(&args.plan)?;
    if document.training.is_some() {
        return training::verify(&document, args, printer);
    }
    let on = replay::on_problem(&document, &args.model, &args.target)?;
    let mut broken = violations::of(&on);
    // On another problem than it was made for, a plan has another cost.
    if broken.is_empty()
        && !on.is_mismatched
        && let Ok(timeline) = judge(&on.loaded.problem, &on.plan)
    {
        broken = stated::wrong(&document, &on, &timeline);
    }
    Ok(violations::verdict(&on, &broken, Rows::of(args.target.all), printer))
}
