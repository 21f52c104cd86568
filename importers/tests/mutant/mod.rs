//! Mutants of protobuf files: the wire format is parsed into a tree, the tree is changed in a few
//! places, and sometimes the bytes themselves are damaged. The same seed gives the same mutants.

pub(crate) mod gauge;
pub(crate) mod json;
pub(crate) mod kinds;
pub(crate) mod text;

use std::path::Path;

/// Deepest tree that is parsed.
const MAX_DEPTH: u32 = 24;

/// Largest mutant, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Numbers that have broken parsers before.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    3,
    7,
    127,
    128,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// A small generator (splitmix64): good enough to choose places, and the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    /// A generator from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A position below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }
}

/// A field of the wire format.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

/// Seeds to mutate.
pub(crate) struct Pool {
    trees: Vec<Vec<Field>>,
}

impl Pool {
    /// The small models among the test data.
    pub(crate) fn open(data: &Path) -> std::io::Result<Self> {
        let mut paths = Vec::new();
        for folder in ["onnx_features", "onnx_suite", "hostile"] {
            for entry in std::fs::read_dir(data.join(folder))? {
                let path = entry?.path();
                if path.extension().is_some_and(|e| e == "onnx") {
                    paths.push(path);
                }
            }
        }
        paths.sort();
        let mut trees = Vec::new();
        for path in paths {
            let bytes = std::fs::read(path)?;
            if let Some(tree) =
                Some(bytes).filter(|b| b.len() <= 16 << 10).and_then(|b| parse(&b, 0))
            {
                trees.push(tree);
            }
        }
        trees.push(packed_data());
        Ok(Self { trees })
    }

    /// Trees of one's own.
    pub(crate) fn of(trees: Vec<Vec<Field>>) -> Self {
        Self { trees }
    }

    /// The mutant of a seed.
    pub(crate) fn mutant(&self, seed: u64) -> Vec<u8> {
        let mut dice = Dice::new(seed);
        dice.roll();
        let mut bytes = Vec::new();
        write(&self.tree(&mut dice), &mut bytes);
        if dice.below(4) == 0 {
            damage(&mut bytes, &mut dice);
        }
        bytes.truncate(MAX_BYTES);
        bytes
    }

    /// The mutant of a seed in a form that puts the length of each message before it: those at the
    /// top of the tree.
    pub(crate) fn delimited(&self, seed: u64) -> Vec<u8> {
        let mut dice = Dice::new(seed);
        let mut bytes = Vec::new();
        for field in self.tree(&mut dice) {
            let Value::Message(fields) = field.value else { continue };
            let mut message = Vec::new();
            write(&fields, &mut message);
            put_varint(&mut bytes, message.len() as u64);
            bytes.extend(message);
        }
        if dice.below(4) == 0 {
            damage(&mut bytes, &mut dice);
        }
        bytes.truncate(MAX_BYTES);
        bytes
    }

    fn tree(&self, dice: &mut Dice) -> Vec<Field> {
        let mut tree = self.trees[dice.below(self.trees.len())].clone();
        for _ in 0..=dice.below(4) {
            self.change(&mut tree, dice);
        }
        tree
    }

    /// Changes one place of a tree.
    fn change(&self, tree: &mut Vec<Field>, dice: &mut Dice) {
        let donor = self.trees[dice.below(self.trees.len())].clone();
        let siblings = descend(tree, dice);
        if siblings.is_empty() {
            return;
        }
        let at = dice.below(siblings.len());
        match dice.below(9) {
            0 => drop(siblings.remove(at)),
            1 => {
                let copies = [1, 2, 40][dice.below(3)];
                let field = siblings[at].clone();
                siblings.extend(std::iter::repeat_n(field, copies));
            }
            2 => {
                let other = dice.below(siblings.len());
                siblings.swap(at, other);
            }
            3 => siblings[at].number = 1 + dice.below(30) as u64,
            4 => {
                let mut donor = donor;
                let theirs = descend(&mut donor, dice);
                if let Some(field) = theirs.get(dice.below(theirs.len())) {
                    siblings[at] = field.clone();
                }
            }
            5 => {
                // The same field inside itself: deep, but well-formed.
                let mut field = siblings[at].clone();
                for _ in 0..dice.below(120) {
                    field = Field { number: field.number, value: Value::Message(vec![field]) };
                }
                siblings[at] = field;
            }
            6 => {
                // One name becomes another: cycles, duplicates, missing tensors.
                let texts: Vec<Vec<u8>> = siblings.iter().filter_map(text).collect();
                if let Some(name) = texts.get(dice.below(texts.len())) {
                    siblings[at].value = Value::Bytes(name.clone());
                }
            }
            _ => change_value(&mut siblings[at].value, dice),
        }
    }
}

fn text(field: &Field) -> Option<Vec<u8>> {
    match &field.value {
        Value::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

/// Walks to a random message of the tree.
fn descend<'a>(mut fields: &'a mut Vec<Field>, dice: &mut Dice) -> &'a mut Vec<Field> {
    loop {
        let inner: Vec<usize> = (0..fields.len())
            .filter(|at| matches!(&fields[*at].value, Value::Message(m) if !m.is_empty()))
            .collect();
        if inner.is_empty() || dice.below(5) == 0 {
            return fields;
        }
        let at = inner[dice.below(inner.len())];
        match &mut fields[at].value {
            Value::Message(message) => fields = message,
            _ => unreachable!("only messages were listed"),
        }
    }
}

fn change_value(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Varint(number) => {
            *number = match dice.below(4) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_neg(),
                2 => dice.roll() >> dice.below(64),
                _ => NUMBERS[dice.below(NUMBERS.len())],
            }
        }
        Value::Fixed64(bytes) => *bytes = dice.roll().to_le_bytes(),
        Value::Fixed32(bytes) => *bytes = (dice.roll() as u32).to_le_bytes(),
        Value::Bytes(bytes) => match dice.below(5) {
            0 => bytes.clear(),
            1 => bytes.truncate(bytes.len() / 2),
            2 => bytes.resize(bytes.len() + 1 + dice.below(3000), 0xff),
            3 => bytes.extend_from_slice("\u{202e}<b>\u{1b}[2J".as_bytes()),
            _ => {
                let at = dice.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.roll() as u8;
                }
            }
        },
        Value::Message(fields) => match dice.below(3) {
            0 => fields.clear(),
            1 => fields.reverse(),
            _ => *value = Value::Varint(dice.roll()),
        },
    }
}

/// Damages bytes without regard to their structure: lengths then lie.
pub(crate) fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        match dice.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.splice(at..at, [0xff; 11]).for_each(drop),
            2 => bytes.splice(at..at, [0x0b, 0x0c]).for_each(drop),
            3 => bytes.splice(at..at, vec![0; dice.below(64)]).for_each(drop),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
}

fn parse(bytes: &[u8], depth: u32) -> Option<Vec<Field>> {
    let mut at = 0;
    let mut fields = Vec::new();
    while at < bytes.len() {
        let key = varint(bytes, &mut at)?;
        let number = key >> 3;
        if number == 0 || number > 40 {
            return None;
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(bytes, &mut at)?),
            1 => Value::Fixed64(take(bytes, &mut at, 8)?.try_into().ok()?),
            5 => Value::Fixed32(take(bytes, &mut at, 4)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
                let body = take(bytes, &mut at, length)?;
                let inner = (depth < MAX_DEPTH && !body.is_empty()).then(|| parse(body, depth + 1));
                inner.flatten().map_or_else(|| Value::Bytes(body.to_vec()), Value::Message)
            }
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn take<'a>(bytes: &'a [u8], at: &mut usize, n: usize) -> Option<&'a [u8]> {
    let part = bytes.get(*at..at.checked_add(n)?)?;
    *at += n;
    Some(part)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write(fields: &[Field], out: &mut Vec<u8>) {
    for field in fields {
        if out.len() > MAX_BYTES {
            return;
        }
        let key = field.number << 3;
        match &field.value {
            Value::Varint(value) => {
                put_varint(out, key);
                put_varint(out, *value);
            }
            Value::Fixed64(bytes) => {
                put_varint(out, key | 1);
                out.extend_from_slice(bytes);
            }
            Value::Fixed32(bytes) => {
                put_varint(out, key | 5);
                out.extend_from_slice(bytes);
            }
            Value::Bytes(bytes) => {
                put_varint(out, key | 2);
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Value::Message(inner) => {
                let mut body = Vec::new();
                write(inner, &mut body);
                put_varint(out, key | 2);
                put_varint(out, body.len() as u64);
                out.extend_from_slice(&body);
            }
        }
    }
}

/// Two operators, a collective and an annotation, as the converter writes them.
pub(crate) fn chakra() -> Vec<Field> {
    let field = |number, value| Field { number, value };
    let number = |n, value| field(n, Value::Varint(value));
    let text = |n, text: &str| field(n, Value::Bytes(text.as_bytes().to_vec()));
    let message = |n, fields| field(n, Value::Message(fields));
    let io = |n, values: &str, shapes: &str, types: &str| {
        message(n, vec![text(1, values), text(2, shapes), text(3, types)])
    };
    let about = message(1, vec![message(2, vec![text(1, "schema"), text(29, "1.1.1")])]);
    let annotation = message(1, vec![number(1, 2), text(2, "## forward ##"), number(3, 4)]);
    let product = vec![
        number(1, 3),
        text(2, "aten::mm"),
        number(3, 4),
        number(4, 2),
        number(7, 12),
        io(
            8,
            "[[5, 6, 0, 32, 4, 'cpu'], [7, 8, 0, 64, 4, 'cpu']]",
            "[[4, 8], [8, 8]]",
            "['Tensor(float)', 'Tensor(float)']",
        ),
        io(9, "[[9, 10, 0, 32, 4, 'cpu']]", "[[4, 8]]", "['Tensor(float)']"),
        message(
            10,
            vec![text(1, "op_schema"), text(29, "aten::mm(Tensor self, Tensor mat2) -> Tensor")],
        ),
    ];
    let collective = vec![
        number(1, 4),
        text(2, "nccl:all_reduce"),
        number(3, 7),
        number(5, 3),
        message(10, vec![text(1, "comm_type"), number(9, 0)]),
        message(10, vec![text(1, "comm_size"), number(9, 128)]),
        message(10, vec![text(1, "pg_name"), text(29, "0")]),
    ];
    vec![about, annotation, message(1, product), message(1, collective)]
}

/// `y = w + v`, data packed and not, external and inline.
fn packed_data() -> Vec<Field> {
    let field = |number, value| Field { number, value };
    let number = |n, value| field(n, Value::Varint(value));
    let name = |n, text: &str| field(n, Value::Bytes(text.as_bytes().to_vec()));
    let message = |n, fields| field(n, Value::Message(fields));
    let entry = |key, value| message(13, vec![name(1, key), name(2, value)]);
    let packed = field(4, Value::Bytes(vec![0; 4096]));
    let loose = std::iter::repeat_n(field(4, Value::Fixed32([0; 4])), 16);
    let node = vec![name(1, "w"), name(1, "v"), name(2, "y"), name(4, "Add")];
    let mut v = vec![number(1, 4), number(1, 4), number(2, 1), name(8, "v")];
    v.extend(loose);
    let w = vec![number(1, 1024), number(2, 1), name(8, "w"), packed];
    let external = vec![
        number(1, 8),
        number(2, 16),
        name(8, "e"),
        entry("location", "w.bin"),
        entry("offset", "64"),
        entry("length", "16"),
        number(14, 1),
    ];
    let graph = vec![
        message(1, node),
        name(2, "g"),
        message(5, w),
        message(5, v),
        message(5, external),
        message(12, vec![name(1, "y")]),
    ];
    vec![number(1, 8), message(7, graph), message(8, vec![name(1, ""), number(2, 20)])]
}
