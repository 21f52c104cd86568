//! The matrix that `nvidia-smi topo -m` prints, and the list of `nvidia-smi -L`.

use ir::diagnostic::Diagnostic;

/// Most devices of a host.
const MOST: usize = 1_024;

/// How devices of a host reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    pub devices: usize,
    /// NVLinks of the pair that has most; 0 without.
    pub nvlinks: u32,
    /// Devices that NVLink joins to the first one, itself included.
    pub domain: usize,
    /// Network cards that some device reaches without the bus between processors.
    pub cards: usize,
}

/// A text without the escapes that terminals read.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => while letters.next().is_some_and(|letter| !letter.is_ascii_alphabetic()) {},
            letter => plain.push(letter),
        }
    }
    plain
}

/// Names of devices by `GPU 0: NAME (UUID: ..)`.
pub(super) fn names(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let (number, rest) = line.trim().strip_prefix("GPU ")?.split_once(": ")?;
        number.parse::<u32>().ok()?;
        let name = rest.split(" (").next().unwrap_or(rest);
        Some(name.chars().filter(|letter| !letter.is_control()).take(60).collect())
    };
    text.lines().filter_map(name).take(MOST).collect()
}

/// Reads the matrix; `None` where the text has none.
///
/// # Errors
/// `invalid-topology`.
pub(super) fn read(text: &str) -> Result<Option<Topology>, Diagnostic> {
    let invalid = |message: String| {
        Diagnostic::input("invalid-topology", message)
            .hint("give all that `nvidia-smi topo -m` prints")
    };
    let heads = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let Some(head) = heads
        .into_iter()
        .find(|words| words.first() == Some(&"GPU0") && words.get(1) != Some(&"X"))
    else {
        return Ok(None);
    };
    let columns: Vec<&str> =
        head.into_iter().take_while(|word| is_device(word) || is_card(word)).collect();
    let devices: Vec<&str> = columns.iter().copied().filter(|column| is_device(column)).collect();
    if devices.len() > MOST {
        return Err(invalid(format!("{} devices of one host, at most {MOST}", devices.len())));
    }
    let mut topology = Topology { devices: devices.len(), nvlinks: 0, domain: 1, cards: 0 };
    let mut near = vec![false; columns.len()];
    let mut links = std::collections::BTreeMap::new();
    for (row, name) in devices.iter().enumerate() {
        let line = text.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.first() == Some(name) && words.get(1 + row) == Some(&"X")).then_some(words)
        });
        let cells = line.and_then(|words| words.get(1..=columns.len()).map(<[&str]>::to_vec));
        let cells =
            cells.ok_or_else(|| invalid(format!("the matrix has no whole row `{name}`")))?;
        for (at, (column, cell)) in columns.iter().zip(cells).enumerate() {
            if is_card(column) {
                near[at] |= ["PIX", "PXB"].contains(&cell);
            } else if let Some(n) = cell.strip_prefix("NV").and_then(|n| n.parse::<u32>().ok()) {
                topology.nvlinks = topology.nvlinks.max(n);
                topology.domain += usize::from(row == 0);
                links.insert((*name, *column), n);
            }
        }
    }
    if let Some(((one, other), _)) =
        links.iter().find(|((one, other), n)| links.get(&(*other, *one)) != Some(*n))
    {
        let message = format!("{one} reaches {other} otherwise than {other} reaches {one}");
        return Err(invalid(message));
    }
    let cards = columns.iter().filter(|column| is_card(column)).count();
    let n_near = near.into_iter().filter(|is_near| *is_near).count();
    topology.cards = if n_near > 0 { n_near } else { cards };
    Ok(Some(topology))
}

fn is_device(word: &str) -> bool {
    word.strip_prefix("GPU").is_some_and(|number| number.parse::<u32>().is_ok())
}

fn is_card(word: &str) -> bool {
    let is_numbered = |prefix: &str| {
        word.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    is_numbered("NIC") || is_numbered("mlx5_") || is_numbered("mlx4_")
}
