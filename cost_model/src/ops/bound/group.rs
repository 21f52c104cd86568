//! A colocation group runs on one device, one op after the other.
//!
//! Take a group on a device of type `c`, and its members whose head on `c` is at least `h` and whose
//! tail on `c` is at least `t`. They run one after the other on that device, none before `h` and
//! none ending after `T - t`: `T >= h + t + sum of their times on c`. The group is on some type, so
//! the least over `c` of the best window holds for every legal plan.

use ir::id::OpId;

use super::device_types::DeviceTypes;
use super::paths::Paths;
use crate::ops::problem::{Problem, UNSUPPORTED};

/// At most so many values of `h` for each group; all values of `t` are tried for each.
const MAX_STARTS: usize = 64;

/// The best window of any group.
pub(super) fn bound(problem: &Problem, types: &DeviceTypes, paths: &Paths) -> u64 {
    problem.groups.iter().map(|group| of_group(types, paths, group)).max().unwrap_or(0)
}

fn of_group(types: &DeviceTypes, paths: &Paths, group: &[OpId]) -> u64 {
    let n_types = group.first().map_or(0, |op| types.times(*op).len());
    let on_type = |c: usize| {
        let members: Option<Vec<Member>> = group
            .iter()
            .map(|op| {
                let member = Member {
                    head: paths.head(*op, c),
                    time: types.times(*op)[c],
                    tail: paths.tail(*op, c),
                };
                let possible = member.time != UNSUPPORTED
                    && member.head != u64::MAX
                    && member.tail != u64::MAX;
                possible.then_some(member)
            })
            .collect();
        members.map(window)
    };
    (0..n_types).filter_map(on_type).min().unwrap_or(0)
}

#[derive(Clone, Copy)]
struct Member {
    head: u64,
    time: u64,
    tail: u64,
}

/// The best `h + t + sum of times` over all `h` and `t`.
fn window(mut members: Vec<Member>) -> u64 {
    members.sort_unstable_by_key(|member| std::cmp::Reverse(member.tail));
    let mut starts: Vec<u64> = members.iter().map(|member| member.head).collect();
    starts.sort_unstable();
    starts.dedup();
    let stride = starts.len().div_ceil(MAX_STARTS).max(1);
    let mut best = 0u64;
    for &start in starts.iter().step_by(stride) {
        let mut inside = 0u64;
        for member in members.iter().filter(|member| member.head >= start) {
            inside = inside.saturating_add(member.time);
            best = best.max(start.saturating_add(member.tail).saturating_add(inside));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_queue_up_between_their_heads_and_tails() {
        let member = |head, time, tail| Member { head, time, tail };
        // Both after 3 and with 4 to come: 3 + 5 + 6 + 4; the third alone gives 0 + 2 + 9.
        assert_eq!(window(vec![member(3, 5, 4), member(4, 6, 4), member(0, 2, 9)]), 18);
        // All three: 0 + 13 + 4 = 17 is less.
        assert_eq!(window(vec![member(0, 7, 1)]), 8);
    }
}
