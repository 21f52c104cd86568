//! Hostfiles: of DeepSpeed and MPI (`name slots=8`, `name:8`), of PBS (a line for each process), of SLURM
//! (`node[01-04]`).

use ir::diagnostic::Diagnostic;

/// Most hosts.
const MOST: usize = 65_536;

/// Hosts by name, a process for each time that a name stands alone more than once; 0 where nobody says how many.
///
/// # Errors
/// `invalid-hostfile` with the line.
pub(super) fn read(text: &str) -> Result<Vec<(String, u64)>, Diagnostic> {
    let mut all: Vec<(String, u64)> = Vec::new();
    let mut n_alone = std::collections::BTreeMap::<String, u64>::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let invalid = |why: &str| {
            let shown: String = line.chars().take(60).collect();
            Diagnostic::input("invalid-hostfile", format!("line {}: `{shown}`: {why}", at + 1))
                .hint("give a hostfile (`name slots=8`), or what `nvidia-smi topo -m` prints")
        };
        let (name, slots) = host(line).ok_or_else(|| invalid("no host with its slots"))?;
        let names = expanded(name).ok_or_else(|| invalid("no range of hosts"))?;
        if all.len() + n_alone.len() + names.len() > MOST {
            return Err(invalid(&format!("more than {MOST} hosts")));
        }
        match slots {
            Some(slots) => all.extend(names.into_iter().map(|name| (name, slots))),
            None => names.into_iter().for_each(|name| *n_alone.entry(name).or_insert(0) += 1),
        }
    }
    if all.is_empty() && n_alone.is_empty() {
        let message = "the file has no line of a host";
        return Err(Diagnostic::input("invalid-hostfile", message));
    }
    let has_several = n_alone.values().any(|n| *n > 1);
    all.extend(n_alone.into_iter().map(|(name, n)| (name, if has_several { n } else { 0 })));
    Ok(all)
}

/// A host and its slots.
fn host(line: &str) -> Option<(&str, Option<u64>)> {
    let mut words = line.split_whitespace();
    let (name, of_name) = match words.next()?.rsplit_once(':') {
        Some((name, slots)) if !name.contains(':') => (name, Some(slots)),
        _ => (line.split_whitespace().next()?, None),
    };
    let mut slots = of_name.map(str::parse::<u64>).transpose().ok()?;
    for word in words {
        let (key, value) = word.split_once('=')?;
        match key {
            "slots" | "cpu" => slots = Some(value.parse().ok()?),
            "max_slots" | "max-slots" => {
                value.parse::<u64>().ok()?;
            }
            _ => return None,
        }
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:[],".contains(c);
    let is_known =
        name.chars().all(is_name) && slots.is_none_or(|slots| (1..=1_024).contains(&slots));
    (is_known && name.chars().any(|c| c.is_ascii_alphanumeric())).then_some((name, slots))
}

/// The hosts that `node[01-04,07]` stands for.
fn expanded(name: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = name.split_once('[') else {
        return (!name.contains([']', ','])).then(|| vec![name.to_owned()]);
    };
    let (inside, behind) = rest.split_once(']')?;
    if behind.contains(['[', ']', ',']) {
        return None;
    }
    let mut names = Vec::new();
    for part in inside.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if to < from || to - from >= MOST || names.len() > MOST {
            return None;
        }
        let width = first.len();
        names.extend((from..=to).map(|n| format!("{before}{n:0width$}{behind}")));
    }
    Some(names)
}
