//! Files that hold no operators: what they are, by their name, their first
//! bytes or their keys, and what can be planned in their place.

use std::collections::BTreeSet;
use std::path::Path;

use ir::diagnostic::Diagnostic;

/// Most bytes of the header of a safetensors file, by its definition.
const SAFETENSORS_HEADER: u64 = 100_000_000;

/// Code of the refusals.
pub(crate) const CODE: &str = "unsupported-format";

const TO_ONNX: &str = "export the model to ONNX: torch.onnx.export(model, inputs, dynamo=True)";

/// What to give for a file of weights.
const BY_CONFIG: &str = "give the model's `config.json`, or the checkpoint folder that holds it; or export the model \
     to ONNX: torch.onnx.export(model, inputs, dynamo=True)";

fn no_model(what: &str) -> Diagnostic {
    Diagnostic::input(CODE, format!("this is {what}, and cannot be planned"))
}

fn weights(what: &str) -> Diagnostic {
    no_model(&format!("{what}: weights by name, without the operators between them"))
        .hint(BY_CONFIG)
}

/// By the extension of a file's name, in lower case.
pub(crate) fn by_extension(extension: &str) -> Option<Diagnostic> {
    let what = match extension {
        "csv" => "a table, such as a schedule of torch's pipelining, without a model",
        _ => return None,
    };
    Some(no_model(what).hint(TO_ONNX))
}

/// By the first bytes of a file.
pub(crate) fn by_head(head: &[u8]) -> Option<Diagnostic> {
    let header = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    if head.get(8) == Some(&b'{') && header.is_some_and(|n| n <= SAFETENSORS_HEADER) {
        return Some(weights("a safetensors file"));
    }
    if head.starts_with(b"\x89HDF\r\n") {
        return Some(weights("an HDF5 file, as Keras writes its weights"));
    }
    // Protocols 2 to 5; a pickle may run code, so none is ever opened.
    if let [0x80, 2..=5, ..] = head {
        return Some(weights("a Python pickle, as older torch.save writes state dicts"));
    }
    None
}

/// Text that marks settings of a launcher, and which settings those are.
const SETTINGS: [(&str, &str); 8] = [
    ("compute_environment:", ACCELERATE),
    ("distributed_type:", ACCELERATE),
    ("fsdp_config:", ACCELERATE),
    ("[parallelism]", TORCHTITAN),
    ("[training]", TORCHTITAN),
    ("--parallelism.", TORCHTITAN),
    ("--training.", TORCHTITAN),
    ("--tensor-model-parallel-size", "flags of Megatron"),
];

const ACCELERATE: &str = "a config of Hugging Face Accelerate";
const TORCHTITAN: &str = "settings of torchtitan";

/// What a text is that holds settings of a launcher.
pub(crate) fn settings(text: &str) -> Option<&'static str> {
    SETTINGS.iter().find(|(mark, _)| text.contains(mark)).map(|(_, what)| *what)
}

/// By the text of a file that is no JSON; `name` is that of the file.
pub(crate) fn by_text(name: &str, text: &str) -> Option<Diagnostic> {
    let file = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
    let (what, hint) = match settings(text) {
        Some(what) if what == ACCELERATE => (what, BY_CONFIG.to_owned()),
        Some(what) => (
            what,
            format!(
                "meshwright compare {file} plan.json --model config.json --cluster cluster.yaml \
                 compares them with a plan"
            ),
        ),
        None if text.lines().any(|line| line.starts_with("nodes:")) => {
            ("a cluster file", format!("give the model first, then --cluster {file}"))
        }
        None => return None,
    };
    Some(Diagnostic::input(CODE, format!("this is {what}, not a model")).hint(hint))
}

/// By the keys of a JSON object.
pub(crate) fn by_keys(keys: &BTreeSet<String>) -> Option<Diagnostic> {
    if keys.contains("weight_map") {
        return Some(weights("the index of a sharded checkpoint"));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::import::ImportOptions;
    use crate::read_bytes;

    /// The error's sentence and hints, whatever the file is called.
    fn answer(names: &[&str], bytes: &[u8]) -> String {
        let mut answers: Vec<String> = names
            .iter()
            .map(|name| {
                let error = read_bytes(name, bytes, &ImportOptions::default()).unwrap_err();
                assert_eq!(error.code, "unsupported-format", "{name}: {error}");
                format!("{} {}", error.message, error.hints.join(" "))
            })
            .collect();
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    #[test]
    fn files_of_weights_point_to_the_config() {
        // The header's length may begin like an ONNX file or like JSON.
        for length in [0x08, 0x7b] {
            let header = [&[length, 0, 0, 0, 0, 0, 0, 0][..], b"{\"w\":{}}"].concat();
            let said = answer(&["model.safetensors", "model"], &header);
            assert!(said.contains("safetensors") && said.contains("config.json"), "{said}");
        }
        let said = answer(&["pytorch_model.bin", "a.pt", "a.pth"], b"\x80\x02}q\x00.");
        assert!(said.contains("pickle") && said.contains("config.json"), "{said}");
        let index = br#"{"metadata":{},"weight_map":{"w":"a.safetensors"}}"#;
        let said = answer(&["model.safetensors.index.json"], index);
        assert!(said.contains("index") && said.contains("config.json"), "{said}");
    }

    #[test]
    fn settings_of_launchers_and_clusters_are_named() {
        for (name, text, what, hint) in [
            (
                "run.toml",
                "[parallelism]\ntensor_parallel_degree = 8\n",
                "torchtitan",
                "compare run.toml",
            ),
            ("a.yaml", "compute_environment: LOCAL_MACHINE\n", "Accelerate", "config.json"),
            ("a.sh", "torchrun x.py --tensor-model-parallel-size 8", "Megatron", "compare a.sh"),
            ("pod.yaml", "# A pod.\nname: pod\nnodes:\n", "a cluster file", "--cluster pod.yaml"),
        ] {
            let said = answer(&[name], text.as_bytes());
            assert!(said.contains(what) && said.contains(hint), "{said}");
        }
    }

    /// Nothing of such a file is unpacked or read to its end.
    #[test]
    fn archives_traces_and_schedules_are_named() {
        let said = answer(&["schedule.csv"], b"0F0,0B0\n1F0,1B0\n");
        assert!(said.contains("schedule") && said.contains("ONNX"), "{said}");
    }
}
