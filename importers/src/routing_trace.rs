//! Which experts tokens go to, step by step: lines `{"step":0,"layer":3,"token":17,"experts":[4,9]}`, in
//! order of step, layer (its position in the model) and token. Every step names all layers of experts.
//!
//! A line is read and forgotten, so that a file of any size takes no memory here.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ir::diagnostic::Diagnostic;
use serde::Deserialize;

use crate::source::{self, FileSource, unreadable};

/// Longest line, in bytes.
const LONGEST: u64 = 1 << 20;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 18;

/// Layers with experts, and these.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// Positions of the layers in the model, in order.
    pub layers: &'a [u32],
    /// Experts of a layer.
    pub n_experts: u16,
    /// Experts that a token goes to.
    pub per_token: usize,
}

/// Where a token goes in a layer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Visit {
    /// The step.
    pub step: u64,
    /// The layer's position in the model.
    pub layer: u32,
    /// The token, by any number of its own within the step.
    pub token: u64,
    /// Each once.
    pub experts: Vec<u16>,
}

/// Reads a trace line by line: `take` gets the position of the layer among those with experts, and the
/// visit.
///
/// # Errors
/// `bad-trace` with the number of the line: what is no such object, experts or layers outside the model,
/// a token with more experts than the model gives it, with none or one twice, lines out of order, a step
/// without a layer, and a trace without lines; `unreadable-file`; those of `take`, with the line's number.
pub fn read(
    path: &Path,
    routed: Routed<'_>,
    take: &mut dyn FnMut(usize, &Visit) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut read = || {
        let source = FileSource::open(path)?;
        of_text(source::text(&source)?, routed, take)
    };
    read().map_err(|error| error.fact("file", path.display().to_string()))
}

fn of_text(
    text: impl Read,
    routed: Routed<'_>,
    take: &mut dyn FnMut(usize, &Visit) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut reader = BufReader::with_capacity(BLOCK, text);
    let mut line = Vec::new();
    let mut before: Option<(Visit, usize)> = None;
    for number in 1_u64.. {
        line.clear();
        let n = reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line);
        let located = |error: Diagnostic| error.fact("line", number);
        if n.map_err(|error| located(unreadable(&error)))? == 0 {
            let (last, at) = before.ok_or_else(|| bad("the trace has no line".to_owned()))?;
            let located = |error: Diagnostic| error.fact("line", number - 1);
            return complete(&last, at, routed).map_err(located);
        }
        let placed = visit(&line, routed).and_then(|visit| {
            let at = place(before.as_ref(), &visit, routed)?;
            take(at, &visit)?;
            Ok((visit, at))
        });
        before = Some(placed.map_err(located)?);
    }
    Ok(())
}

/// What a line says, by itself.
fn visit(line: &[u8], routed: Routed<'_>) -> Result<Visit, Diagnostic> {
    if line.len() as u64 > LONGEST {
        return Err(bad(format!("a line is longer than {LONGEST} bytes")));
    }
    // Serde takes members without names, too.
    if line.trim_ascii().starts_with(b"[") {
        return Err(bad("a line is no visit of a token: an array without names".to_owned()));
    }
    let visit: Visit = serde_json::from_slice(line.trim_ascii_end()).map_err(|error| {
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        bad(format!("a line is no visit of a token: {text}")).fact("column", error.column() as u64)
    })?;
    let wrong =
        |why: String| Err(bad(format!("token {} of layer {} {why}", visit.token, visit.layer)));
    if visit.experts.is_empty() {
        return wrong("goes to no expert".to_owned());
    }
    if let Some(expert) = visit.experts.iter().find(|expert| **expert >= routed.n_experts) {
        return wrong(format!("goes to expert {expert}, and the model has {}", routed.n_experts));
    }
    if visit.experts.len() > routed.per_token {
        let n = visit.experts.len();
        return wrong(format!("goes to {n} experts, and the model gives it {}", routed.per_token));
    }
    let twice = |at: &usize| visit.experts[..*at].contains(&visit.experts[*at]);
    if let Some(at) = (1..visit.experts.len()).find(twice) {
        return wrong(format!("goes to expert {} twice", visit.experts[at]));
    }
    Ok(visit)
}

/// The position of a line's layer, after the line before.
fn place(
    before: Option<&(Visit, usize)>,
    visit: &Visit,
    routed: Routed<'_>,
) -> Result<usize, Diagnostic> {
    let Ok(at) = routed.layers.binary_search(&visit.layer) else {
        return Err(bad(format!("layer {} of the trace has no experts in the model", visit.layer)));
    };
    let key = |visit: &Visit| (visit.step, visit.layer, visit.token);
    let expected = match before {
        None => 0,
        Some((last, _)) if key(last) >= key(visit) => {
            let (a, b) = (key(last), key(visit));
            let shown = |(step, layer, token)| format!("step {step}, layer {layer}, token {token}");
            let message = format!("a line is out of order: {} after {}", shown(b), shown(a));
            return Err(bad(message).hint("sort the lines by step, layer and token"));
        }
        Some((last, of_last)) if last.step == visit.step => of_last + 1,
        Some((last, of_last)) => {
            complete(last, *of_last, routed)?;
            0
        }
    };
    match at > expected {
        true => Err(lacks(visit.step, routed.layers[expected])),
        false => Ok(at),
    }
}

/// Whether a step's last line is of the last layer.
fn complete(last: &Visit, at: usize, routed: Routed<'_>) -> Result<(), Diagnostic> {
    match routed.layers.get(at + 1) {
        Some(layer) => Err(lacks(last.step, *layer)),
        None => Ok(()),
    }
}

fn lacks(step: u64, layer: u32) -> Diagnostic {
    bad(format!("step {step} has no line of layer {layer}"))
        .hint("give every layer that has experts in each step, by its position from 0")
}

fn bad(message: String) -> Diagnostic {
    let hint = "give lines as {\"step\":0,\"layer\":3,\"token\":17,\"experts\":[4,9]}";
    Diagnostic::input("bad-trace", message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTED: Routed<'_> = Routed { layers: &[1, 3], n_experts: 8, per_token: 2 };

    fn read(text: &str) -> Result<Vec<(usize, Visit)>, Diagnostic> {
        let mut all = Vec::new();
        of_text(text.as_bytes(), ROUTED, &mut |at, visit| {
            all.push((at, visit.clone()));
            Ok(())
        })?;
        Ok(all)
    }

    fn line(step: u64, layer: u32, token: u64, experts: &str) -> String {
        format!("{{\"step\":{step},\"layer\":{layer},\"token\":{token},\"experts\":[{experts}]}}\n")
    }

    #[test]
    fn lines_are_visits_in_order() {
        let text =
            line(0, 1, 4, "7,0") + &line(0, 1, 5, "1") + &line(0, 3, 4, "2") + &line(4, 1, 0, "3");
        let all = read(&(text + line(4, 3, 0, "5").trim_end())).unwrap();
        let found: Vec<_> = all.iter().map(|(at, visit)| (*at, visit.step, visit.token)).collect();
        assert_eq!(found, [(0, 0, 4), (0, 0, 5), (1, 0, 4), (0, 4, 0), (1, 4, 0)]);
        assert_eq!(all[0].1.experts, [7, 0]);
        let stopped =
            of_text(line(0, 1, 0, "1").as_bytes(), ROUTED, &mut |_, _| Err(bad("x".into())));
        assert_eq!(stopped.unwrap_err().facts.len(), 1);
    }

    #[test]
    fn what_no_trace_has_is_refused_with_its_line() {
        let first = line(0, 1, 4, "7,0");
        for (second, expected) in [
            (line(0, 1, 4, "1"), "out of order: step 0, layer 1, token 4 after step 0"),
            (line(0, 1, 3, "1"), "out of order"),
            (line(0, 2, 4, "1"), "layer 2 of the trace has no experts"),
            (line(0, 3, 4, "8"), "expert 8, and the model has 8"),
            (line(0, 3, 4, "70000"), "invalid value"),
            (line(0, 3, 4, ""), "no expert"),
            (line(0, 3, 4, "1,2,3"), "3 experts, and the model gives it 2"),
            (line(0, 3, 4, "1,1"), "expert 1 twice"),
            (line(0, 3, 4, "-1"), "no visit"),
            (line(1, 1, 4, "1"), "step 0 has no line of layer 3"),
            ("\n".to_owned(), "no visit"),
            ("[]\n".to_owned(), "no visit"),
            (" [0,3,4,[1]]\n".to_owned(), "array without names"),
            ("{\"step\":0}\n".to_owned(), "missing field `layer`"),
            ("{\"step\":0,\"step\":1}\n".to_owned(), "duplicate field"),
            (line(0, 3, 4, "1").replace("}", ",\"x\":1}"), "unknown field `x`"),
            ("x".repeat(1 << 21), "longer than"),
            ("\u{ff}".to_owned(), "no visit"),
        ] {
            let error = read(&(first.clone() + &second)).unwrap_err();
            assert_eq!(error.code, "bad-trace", "{second}");
            assert!(error.message.contains(expected), "{expected}: {}", error.message);
            assert!(error.facts.iter().any(|(name, _)| *name == "line"), "{:?}", error.facts);
        }
        let last = read(&first).unwrap_err();
        assert!(last.message.contains("step 0 has no line of layer 3"));
        assert_eq!(last.facts, [("line", 1_u64.into())]);
        assert!(read(&line(0, 3, 0, "1")).unwrap_err().message.contains("no line of layer 1"));
        assert!(read("").unwrap_err().message.contains("no line"));
    }
}
