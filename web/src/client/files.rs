//! Files of a request: sent unless the service has them, and named by their digests.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use engine::answer::files::input_file;
use ir::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use ureq::http::Method;

use super::connection::{Ask, Reply, Service};
use super::failure::Failure;
use super::jobs::encoded;
use crate::content::{FILES, HISTOGRAM, Kind, check_name, names_file, written};

/// Bytes that are sent at once.
const PART: usize = 8 << 20;
/// How often a part is sent that gets no answer.
const TRIES: u32 = 4;

/// A file of this machine.
struct Local {
    kind: Kind,
    path: PathBuf,
    name: String,
    digest: String,
    length: u64,
}

/// Sends what the service lacks of the files that a request names, and names digests in their place.
///
/// # Errors
/// [`Failure`].
pub(super) fn send(service: &Service, request: &mut Map<String, Value>) -> Result<(), Failure> {
    // By name, the digest: a request has one folder for all of its files.
    let mut names = HashMap::new();
    for field in FILES {
        if let Some(path) = request.get(field).and_then(Value::as_str) {
            let reference = sent(service, field, path, &mut names)?;
            request.insert(field.to_owned(), reference.into());
        }
    }
    if let Some(file) = request.get(HISTOGRAM).filter(|given| names_file(given)) {
        let reference = sent(service, HISTOGRAM, file.as_str().unwrap_or_default(), &mut names)?;
        request.insert(HISTOGRAM.to_owned(), reference.into());
    }
    for trace in request.get_mut("traces").and_then(Value::as_array_mut).into_iter().flatten() {
        let reference = sent(service, "trace", trace.as_str().unwrap_or_default(), &mut names)?;
        *trace = reference.into();
    }
    Ok(())
}

/// Sends one file; how it is named in the request.
fn sent(
    service: &Service,
    field: &str,
    given: &str,
    names: &mut HashMap<String, String>,
) -> Result<String, Failure> {
    service.check()?;
    let (mut local, part) = local(field, given).map_err(Failure::Answer)?;
    let is_free = |name: &str, names: &HashMap<String, String>| {
        names.get(name).is_none_or(|digest| *digest == local.digest)
    };
    if !is_free(&local.name, names) {
        local.name = sound(&format!("{}-{}", &local.digest[7..15], local.name), field);
    }
    let path = format!("/v1/{}s/{}", local.kind.name(), local.digest);
    let known = service.send(&Ask::new(Method::GET, &path))?;
    let known = match known.status {
        404 => String::new(),
        _ => known.good(service)?.json::<Value>(service)?["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    // The plan is called after the file. Large files stay under the name that they have.
    let is_large = local.length > PART as u64 && !known.is_empty() && is_free(&known, names);
    if known == local.name || is_large {
        local.name = known;
    } else {
        upload(service, &local)?;
    }
    names.insert(local.name, local.digest.clone());
    Ok(local.digest + &part)
}

/// A file that a field names, and which document of it, as `#NAME`.
fn local(field: &str, given: &str) -> Result<(Local, String), Diagnostic> {
    let path = Path::new(given);
    let plain = input_file::plain(path);
    let part = plain.to_str().and_then(|plain| given.strip_prefix(plain)).unwrap_or_default();
    let (file, name) = match field {
        "model" => input_file::model(plain)?,
        _ => {
            let name = plain.file_name().map(|name| name.to_string_lossy().into_owned());
            (plain.to_owned(), name.unwrap_or_default())
        }
    };
    if field == "profile" && file.is_dir() {
        let message = format!("`{given}` is a folder: a service takes single files");
        return Err(Diagnostic::usage("not-a-file", message).hint("plan it here: meshwright plan"));
    }
    let unreadable = |reason: String| {
        Diagnostic::input("unreadable-file", "the file can not be read")
            .fact("file", given)
            .fact("reason", reason)
            .hint("check the path, and that you may read the file")
    };
    input_file::check(&file).map_err(unreadable)?;
    let (digest, length) = digest(&file).map_err(|error| unreadable(error.to_string()))?;
    let kind = match field {
        "model" => Kind::Model,
        "cluster" => Kind::Cluster,
        _ => Kind::Profile,
    };
    let local = Local { kind, path: file, name: sound(&name, field), digest, length };
    Ok((local, part.to_owned()))
}

fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let (mut file, mut hash, mut length) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((written(&hash.finalize()), length));
        }
        hash.update(&buffer[..n]);
        length += n as u64;
    }
}

/// A name that a service takes: its own, or near it.
pub(super) fn sound(name: &str, field: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '/' | '\\' | '#') { '_' } else { c };
    let name: String = name.trim_start_matches(['.', '-']).chars().map(plain).collect();
    match check_name(&name) {
        Ok(()) => name,
        Err(_) => field.to_owned(),
    }
}

fn upload(service: &Service, local: &Local) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("`{}` can not be read", local.path.display());
        Failure::Answer(
            Diagnostic::input("unreadable-file", message).fact("reason", error.to_string()),
        )
    };
    let mut file = File::open(&local.path).map_err(failed)?;
    let reply = if local.length > PART as u64 {
        in_parts(service, local, &mut |offset| part(&mut file, offset).map_err(failed))?
    } else {
        let bytes = part(&mut file, 0).map_err(failed)?;
        let path = format!("/v1/{}s?name={}", local.kind.name(), encoded(&local.name));
        service.send(&Ask::new(Method::POST, &path).body(&bytes).slow())?.good(service)?
    };
    if reply.json::<Value>(service)?["digest"] == local.digest.as_str() {
        return Ok(());
    }
    let message = format!("`{}` changed while it was sent", local.path.display());
    Err(Failure::Answer(Diagnostic::input("file-changed", message).hint("run it again")))
}

fn part(file: &mut File, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(PART as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Sends a long file part by part, and goes on where a connection broke.
fn in_parts(
    service: &Service,
    local: &Local,
    read: &mut dyn FnMut(u64) -> Result<Vec<u8>, Failure>,
) -> Result<Reply, Failure> {
    let announced =
        json!({ "name": local.name, "bytes": local.length, "kind": local.kind.name() }).to_string();
    let begin = Ask::new(Method::POST, "/v1/uploads").body(announced.as_bytes());
    let begun: Value = service.send(&begin)?.good(service)?.json(service)?;
    let place = format!("/v1/uploads/{}", begun["id"].as_str().unwrap_or_default());
    let (mut offset, mut failed) = (0, 0);
    loop {
        service.check()?;
        let bytes = read(offset)?;
        let ask = Ask::new(Method::PATCH, &place).body(&bytes).slow().once();
        let answered = service.send(&ask.header("upload-offset", offset.to_string()));
        match answered.and_then(|reply| reply.good(service)) {
            Ok(reply) if reply.status == 204 => {
                offset = reply.header("upload-offset").parse().unwrap_or_default();
                failed = 0;
            }
            Ok(reply) => return Ok(reply),
            Err(Failure::NoAnswer(_)) if failed + 1 < TRIES => {
                failed += 1;
                let stands = service.send(&Ask::new(Method::GET, &place))?.good(service)?;
                offset = stands.json::<Value>(service)?["offset"].as_u64().unwrap_or_default();
            }
            Err(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ones_that_a_service_takes() {
        assert_eq!(sound("gpt2.onnx", "model"), "gpt2.onnx");
        assert_eq!(sound(".hidden.yaml", "cluster"), "hidden.yaml");
        assert_eq!(sound("a#b\n.json", "cluster"), "a_b_.json");
        assert_eq!(sound("---", "cluster"), "cluster");
        assert_eq!(sound(&"x".repeat(300), "model"), "model");
    }

    #[test]
    fn a_part_of_a_file_keeps_its_name() {
        let folder = std::env::temp_dir().join(crate::access::id("client-"));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("a.yaml");
        std::fs::write(&file, "abc").unwrap();
        let (found, part) = local("cluster", &format!("{}#one", file.display())).unwrap();
        assert_eq!((found.name.as_str(), part.as_str(), found.length), ("a.yaml", "#one", 3));
        // sha256sum of the three letters.
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(found.digest, known);
        assert_eq!(local("profile", folder.to_str().unwrap()).err().unwrap().code, "not-a-file");
        assert_eq!(local("cluster", "none.yaml").err().unwrap().code, "unreadable-file");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
