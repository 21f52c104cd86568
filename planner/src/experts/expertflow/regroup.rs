//! Tokens of several steps that change places, so that each step needs fewer experts.

/// What a token visits: a bit for each expert of each layer, layer by layer in as many words.
pub type Visited = Vec<u64>;

/// Most tokens that change places with each other: what is looked at grows with their square.
pub const MOST_TOKENS: usize = 1024;

fn count(bits: &[u64]) -> u64 {
    bits.iter().map(|word| u64::from(word.count_ones())).sum()
}

fn join(bits: &mut [u64], other: &[u64]) {
    bits.iter_mut().zip(other).for_each(|(word, other)| *word |= other);
}

/// Experts that a step of the tokens at `at` needs, summed over layers.
fn needed(tokens: &[Visited], at: impl IntoIterator<Item = usize>) -> u64 {
    let mut all = vec![0; tokens.first().map_or(0, Vec::len)];
    at.into_iter().for_each(|token| join(&mut all, &tokens[token]));
    count(&all)
}

/// Experts that steps need, summed over steps and layers; `step_of` is of each token.
#[must_use]
pub fn of_steps(tokens: &[Visited], step_of: &[usize], n_steps: usize) -> u64 {
    let tokens_of = |step| (0..tokens.len()).filter(move |token| step_of[*token] == step);
    (0..n_steps).map(|step| needed(tokens, tokens_of(step))).sum()
}

/// What no places of these tokens in `n_steps` steps need less than: of each layer, each expert that any
/// visits once, and in each step as many as the token that visits fewest.
#[must_use]
pub fn least(tokens: &[Visited], n_steps: usize, n_words: usize) -> u64 {
    let n_words = n_words.max(1);
    let n_layers = tokens.first().map_or(0, |token| token.len() / n_words);
    let of_layer = |layer: usize| {
        let bits = |token: &Visited| token[layer * n_words..][..n_words].to_vec();
        let mut all = vec![0; n_words];
        tokens.iter().for_each(|token| join(&mut all, &bits(token)));
        let fewest = tokens.iter().map(|token| count(&bits(token))).min().unwrap_or_default();
        count(&all).max(fewest * n_steps as u64)
    };
    (0..n_layers).map(of_layer).sum()
}

/// By token its step, of which each keeps its number of tokens: a step begins with the first token that is
/// left, and takes those that add fewest experts to it, the first of several; as they were (in order)
/// where that needs no more.
#[must_use]
pub fn regrouped(tokens: &[Visited], sizes: &[usize]) -> Vec<usize> {
    let in_order: Vec<usize> =
        sizes.iter().enumerate().flat_map(|(step, n)| std::iter::repeat_n(step, *n)).collect();
    let mut step_of = in_order.clone();
    let mut left: Vec<usize> = (0..tokens.len().min(in_order.len())).collect();
    for (step, n) in sizes.iter().enumerate() {
        let mut all = vec![0_u64; tokens.first().map_or(0, Vec::len)];
        for _ in 0..*n {
            let added = |token: &usize| -> u64 {
                let new = tokens[*token].iter().zip(&all).map(|(word, all)| word & !all);
                new.map(|word| u64::from(word.count_ones())).sum()
            };
            let is_first = all.iter().all(|word| *word == 0);
            let found = match is_first {
                true => (!left.is_empty()).then_some(0),
                false => (0..left.len()).min_by_key(|at| added(&left[*at])),
            };
            let Some(found) = found else { break };
            let token = left.remove(found);
            join(&mut all, &tokens[token]);
            step_of[token] = step;
        }
    }
    let n_steps = sizes.len();
    match of_steps(tokens, &step_of, n_steps) < of_steps(tokens, &in_order, n_steps) {
        true => step_of,
        false => in_order,
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// The least over all places of tokens.
    fn enumerated(tokens: &[Visited], left: &mut [usize], step_of: &mut Vec<usize>) -> u64 {
        if step_of.len() == tokens.len() {
            return of_steps(tokens, step_of, left.len());
        }
        let mut best = u64::MAX;
        for step in 0..left.len() {
            if left[step] > 0 {
                left[step] -= 1;
                step_of.push(step);
                best = best.min(enumerated(tokens, left, step_of));
                step_of.pop();
                left[step] += 1;
            }
        }
        best
    }

    #[test]
    fn places_keep_sizes_need_no_more_than_in_order_and_no_places_are_below_the_bound() {
        let mut random = SmallRng::seed_from_u64(3);
        let (mut sum, mut best_sum, mut before, mut n_exact) = (0, 0, 0, 0);
        for _ in 0..400 {
            let n_layers = random.random_range(1..4);
            let sizes: Vec<usize> = (0..3).map(|_| random.random_range(1..4)).collect();
            let n: usize = sizes.iter().sum();
            let token = |random: &mut SmallRng| -> Visited {
                let kind = random.random_range(0..3);
                (0..n_layers)
                    .map(|_| 1 << (4 * kind + random.random_range(0..6)) | 1 << kind)
                    .collect()
            };
            let tokens: Vec<Visited> = (0..n).map(|_| token(&mut random)).collect();
            let found = regrouped(&tokens, &sizes);
            for (step, size) in sizes.iter().enumerate() {
                assert_eq!(found.iter().filter(|of_token| **of_token == step).count(), *size);
            }
            let in_order: Vec<usize> =
                (0..3).flat_map(|step| std::iter::repeat_n(step, sizes[step])).collect();
            let n_needed = of_steps(&tokens, &found, 3);
            let least_of_all = enumerated(&tokens, &mut sizes.clone(), &mut Vec::new());
            assert!(n_needed <= of_steps(&tokens, &in_order, 3));
            assert!(least(&tokens, 3, 1) <= least_of_all && least_of_all <= n_needed);
            n_exact += usize::from(n_needed == least_of_all);
            (sum, best_sum) = (sum + n_needed, best_sum + least_of_all);
            before += of_steps(&tokens, &in_order, 3);
        }
        assert!(sum < before && n_exact > 100, "{sum} of {before}, {best_sum}, {n_exact}");
    }

    #[test]
    fn two_kinds_of_tokens_that_take_turns_are_told_apart() {
        let tokens: Vec<Visited> = (0..8).map(|at| vec![0b11 << (2 * (at % 2))]).collect();
        let found = regrouped(&tokens, &[4, 4]);
        assert_eq!((of_steps(&tokens, &found, 2), least(&tokens, 2, 1)), (4, 4));
        assert_eq!(of_steps(&tokens, &[0, 0, 0, 0, 1, 1, 1, 1], 2), 8);
    }
}
