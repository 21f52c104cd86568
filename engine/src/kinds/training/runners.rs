//! Who runs a plan, in a line and for programs.

use documents::report::training::RunnersDocument;
use ir::units::Nanos;

/// Columns of the narrowest terminal.
const COLUMNS: usize = 80;

/// Targets that run a plan, and the others by the step of the nearest plan that they run.
pub struct Runners {
    /// Targets that take it.
    pub runs: Vec<&'static str>,
    /// Steps of others, the shortest first.
    pub others: Vec<(Nanos, &'static str)>,
    /// Name of the software stack as which all of them are priced.
    pub stack: String,
}

impl Runners {
    /// `runs on megatron; with another plan: torchtitan +2.1 % (all priced as megatron-core)`, in one line.
    pub fn line(&self, best: Nanos) -> String {
        let share = |step: Nanos| step.seconds() / best.seconds() - 1.0;
        let other = |(step, name): &(Nanos, _)| format!("{name} {}", percent(share(*step)));
        let line = fitted(&self.runs, &self.others.iter().map(other).collect::<Vec<_>>());
        match self.others.is_empty() {
            true => line,
            false => format!("{line} (all priced as {})", self.stack),
        }
    }

    /// For programs.
    pub fn document(&self) -> RunnersDocument {
        let nearest = self.others.iter().map(|(step, own)| ((*own).to_owned(), step.seconds()));
        RunnersDocument {
            targets: self.runs.iter().map(|own| (*own).to_owned()).collect(),
            nearest_s: nearest.collect(),
            stack: Some(self.stack.clone()),
        }
    }
}

/// As many names as fit; the nearest of the others always does.
fn fitted(runs: &[&str], others: &[String]) -> String {
    const MORE: &str = ", ..";
    let nearest =
        others.first().map_or_else(String::new, |own| format!("; with another plan: {own}"));
    let tail = nearest.len() + if others.len() > 1 { MORE.len() } else { 0 };
    let mut line = "runs on ".to_owned() + runs.first().unwrap_or(&"no launcher");
    for (position, name) in runs.iter().enumerate().skip(1) {
        let rest = if position + 1 < runs.len() { MORE.len() } else { 0 };
        if line.len() + ", ".len() + name.len() + rest + tail > COLUMNS {
            line += MORE;
            break;
        }
        line += &format!(", {name}");
    }
    line += &nearest;
    for (position, other) in others.iter().enumerate().skip(1) {
        let rest = if position + 1 < others.len() { MORE.len() } else { 0 };
        if line.len() + ", ".len() + other.len() + rest > COLUMNS {
            return line + MORE;
        }
        line += &format!(", {other}");
    }
    line
}

fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 9.95 { format!("{percent:+.1} %") } else { format!("{percent:+.0} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_and_names_the_nearest_first() {
        let others = |n: usize| -> Vec<String> {
            (0..n).map(|at| format!("torch-split-points {}", percent(0.05 * at as f64))).collect()
        };
        assert_eq!(fitted(&["megatron"], &[]), "runs on megatron");
        let line = fitted(&[], &others(1));
        assert!(line.ends_with("no launcher; with another plan: torch-split-points +0.0 %"));
        for n in 0..8 {
            let runs = ["torch-pipelining", "megatron", "megatron-bridge", "deepspeed"];
            let line = fitted(&runs, &others(n));
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert_eq!(line.contains("; with another plan: torch-split-points"), n > 0, "{line}");
        }
    }
}
