//! Mutants of JSON files: the value is changed in a few places, and sometimes its text is damaged.

use serde_json::{Map, Number, Value};

use super::{Dice, MAX_BYTES, NUMBERS, damage};

/// The mutant of a value.
pub(crate) fn mutant(seed: &Value, dice: &mut Dice) -> Vec<u8> {
    let mut value = seed.clone();
    for _ in 0..=dice.below(4) {
        change(&mut value, dice);
    }
    let mut bytes = value.to_string().into_bytes();
    if dice.below(4) == 0 {
        damage(&mut bytes, dice);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

/// Changes one place.
fn change(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Array(items) if !items.is_empty() && dice.below(6) > 0 => {
            let at = dice.below(items.len());
            change(&mut items[at], dice);
        }
        Value::Object(members) if !members.is_empty() && dice.below(6) > 0 => {
            let at = dice.below(members.len());
            if let Some((_, member)) = members.iter_mut().nth(at) {
                change(member, dice);
            }
        }
        other => here(other, dice),
    }
}

fn here(value: &mut Value, dice: &mut Dice) {
    let n = NUMBERS[dice.below(NUMBERS.len())];
    match (value, dice.below(8)) {
        (value, 0) => *value = Value::Null,
        (value, 1) => *value = Value::from(n),
        (value, 2) => *value = Value::from(-(n as f64) * 1e3),
        (value, 3) => *value = Value::String("\u{202e}<b>".into()),
        (value, 4) => {
            for _ in 0..dice.below(120) {
                *value = Value::Array(vec![value.take()]);
            }
        }
        (Value::Array(items), 5) => {
            let copies = items.clone();
            (0..dice.below(30)).for_each(|_| items.extend_from_slice(&copies));
        }
        (Value::Array(items), _) => {
            let (a, b) = (dice.below(items.len()), dice.below(items.len()));
            if !items.is_empty() {
                items.swap(a, b);
            }
        }
        (Value::Object(members), _) => {
            let key = members.keys().nth(dice.below(members.len())).cloned();
            if let Some(key) = key {
                members.remove(&key);
            }
        }
        (Value::Number(number), _) => {
            let near = number.as_u64().unwrap_or(0).wrapping_add(dice.roll() % 5).wrapping_sub(2);
            *number = Number::from(near);
        }
        (Value::String(text), 5) => text.clear(),
        (Value::String(text), _) => text.push_str(&"x".repeat(dice.below(200))),
        (value, _) => *value = Value::Object(Map::new()),
    }
}
