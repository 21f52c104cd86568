//! Asks the engine for a plan, as the command line does: `cargo run --release --example embed`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use engine::door::{Event, Form, answer};

fn main() {
    let request = br#"{
        "verb": "plan",
        "model": "examples/models/gpt2_small.onnx",
        "cluster": "examples/clusters/two-nodes.yaml",
        "time_limit": "2s"
    }"#;
    let answer = answer(request, &Default::default(), ("embed", Form::Document), &mut |event| {
        if let Event::Incumbent { algorithm, value_ns, bound_ns, .. } = event {
            println!("{algorithm}: {value_ns} ns, no plan below {bound_ns} ns");
        }
    });
    match answer.exit_code {
        0 => println!("gap {}, {}", answer.document["gap"], answer.document["stop_reason"]),
        _ => println!("{:#}", answer.document["error"]),
    }
}
