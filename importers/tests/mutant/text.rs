//! Mutants of programs in text: pieces are dropped, doubled, swapped with others, or become what has
//! broken parsers before.

use super::{Dice, MAX_BYTES, NUMBERS, damage};

/// The mutant of one of these texts.
pub(crate) fn mutant(seeds: &[String], dice: &mut Dice) -> Vec<u8> {
    let seed = &seeds[dice.below(seeds.len())];
    let mut pieces: Vec<String> = pieces(seed);
    for _ in 0..=dice.below(3) {
        change(&mut pieces, dice);
    }
    let mut bytes = pieces.concat().into_bytes();
    if dice.below(6) == 0 {
        damage(&mut bytes, dice);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

/// Words and single marks, blanks kept.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for c in text.chars() {
        let joins = |last: &String| {
            c.is_alphanumeric() && last.chars().all(|other| other.is_alphanumeric() || other == '%')
        };
        match pieces.last_mut() {
            Some(last) if joins(last) => last.push(c),
            _ => pieces.push(c.to_string()),
        }
    }
    pieces
}

fn change(pieces: &mut Vec<String>, dice: &mut Dice) {
    let n = pieces.len();
    let at = dice.below(n);
    let other = pieces.get(dice.below(n)).cloned().unwrap_or_default();
    match dice.below(9) {
        0 => drop(pieces.remove(at)),
        1 => pieces.insert(at, other),
        2 => pieces[at] = other,
        3 => pieces.insert(at, NUMBERS[dice.below(NUMBERS.len())].to_string()),
        4 => pieces.insert(at, "{([<\"".chars().nth(dice.below(5)).unwrap_or('(').to_string()),
        5 => pieces.insert(at, ["(", "{", "[", "tensor<"][dice.below(4)].repeat(dice.below(5_000))),
        6 => {
            let end = (at + dice.below(200)).min(n);
            let copy = pieces[at..end].to_vec();
            let to = dice.below(n);
            pieces.splice(to..to, copy);
        }
        7 => drop(pieces.drain(at..(at + dice.below(60)).min(n))),
        _ => {
            // Another number where one stands.
            let is_number = |piece: &String| piece.chars().all(|c| c.is_ascii_digit());
            if let Some(piece) = pieces[at..].iter_mut().find(|piece| is_number(piece)) {
                *piece = NUMBERS[dice.below(NUMBERS.len())].to_string();
            }
        }
    }
}
