//! Puts the pages of `ui/dist` into the program, where they were built (`make ui`).

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let dist = here.join("ui/dist");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    find(&dist, &mut files)?;
    files.sort();
    let mut text = String::from("const FILES: &[File] = &[\n");
    for (at, file) in files.iter().enumerate() {
        let name = file.strip_prefix(&dist).unwrap_or(file).to_string_lossy().replace('\\', "/");
        let packed = out.join(format!("ui-{at}.gz"));
        fs::write(&packed, gzip(&fs::read(file)?)?)?;
        let _ = writeln!(
            text,
            "File {{ name: {name:?}, bytes: include_bytes!({file:?}), gzip: include_bytes!({packed:?}) }},"
        );
    }
    text.push_str("];\n");
    fs::write(out.join("ui_files.rs"), text)
}

/// Files of a folder and those below, but hidden ones.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')) {
            files.push(path);
        }
    }
    Ok(())
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes)?;
    packer.finish()
}
