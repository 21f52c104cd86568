//! `verify`: checks a plan (or the solution of an instance) against every rule, and all that it
//! states.

use cost_model::ops::judge::replay::replay as judge;

use crate::cli::ReplayArgs;
use crate::commands::report::Rows;
use crate::commands::{instance, training, violations};
use crate::exit::CommandResult;
use crate::interrupt;
use crate::printer::Printer;
use engine::differences;
use engine::ops::replay;
use engine::ops::stated;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.model)? {
        return instance::verify(args, instance, printer);
    }
    let document = replay::document(&args.plan)?;
    if document.training.is_some() {
        return training::verify(&document, args, printer);
    }
    let on = replay::examined(&document, &args.model, &args.target.request())?;
    let mut broken = engine::ops::replay::broken_rules(&on);
    let is_other = on.is_mismatched || !on.mismatches.is_empty();
    if !on.mismatches.is_empty() {
        // What fits no more may have fitted where it was planned for.
        broken.retain(|violation| violation.code != "memory-exceeded");
    }
    match &document.cost {
        // On another problem than it was made for, a plan has another cost.
        Some(cost) if is_other => broken.extend(differences::within(cost)),
        _ if is_other || !broken.is_empty() => {}
        _ => {
            if let Ok(timeline) = judge(&on.loaded.problem, &on.plan) {
                broken = stated::wrong(&document, &on, &timeline, &interrupt::flag());
            }
        }
    }
    if let Some(mismatch) = on.mismatches.first().filter(|_| broken.is_empty()) {
        return Err(mismatch.clone());
    }
    broken.splice(0..0, on.mismatches.iter().cloned());
    Ok(violations::verdict(&on, &broken, Rows::of(args.target.all), printer))
}
