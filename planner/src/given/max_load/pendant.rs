//! Classes that cost nothing and hang on one other class: they may always follow it.

use super::model::Model;

/// Joins every class without work with a class that is in all of its nets, again and again.
///
/// No plan gets worse: on that class's device it costs nothing, and each of its nets was cut by both
/// their devices before and is cut by them at most now. Bytes may be in the way, so only classes
/// without bytes are joined where the accelerators could run out of memory.
/// Returns the model and who follows whom, as first nodes of their classes, in order.
#[must_use]
pub(super) fn without_pendants(model: &Model) -> (Model, Vec<(u32, u32)>) {
    let mut followers = Vec::new();
    let total: u64 = model.bytes.iter().sum();
    let is_roomy = total <= model.limit_bytes;
    let mut model = model.clone();
    loop {
        let n = model.n_classes();
        let mut root: Vec<u32> = (0..n as u32).collect();
        let mut is_taken = vec![false; n];
        let first = model.first_nodes();
        let n_before = followers.len();
        for class in 0..n {
            let is_free = model.accelerator[class] == 0.0 && model.cpu[class] == 0.0;
            if !is_free || is_taken[class] || !(is_roomy || model.bytes[class] == 0) {
                continue;
            }
            let Some(leader) = leader(&model, class) else { continue };
            if !is_taken[leader] {
                (is_taken[class], is_taken[leader]) = (true, true);
                root[class] = leader as u32;
                followers.push((first[class], first[leader]));
            }
        }
        if followers.len() == n_before {
            return (model, followers);
        }
        model = model.grouped(&numbered(&root));
    }
}

/// The first other class that is in all nets of a class.
fn leader(model: &Model, class: usize) -> Option<usize> {
    let nets = &model.nets_of[class];
    let first = nets.first()?;
    let is_in = |net: u32, member: u32| model.nets[net as usize].members.binary_search(&member);
    model.nets[*first as usize]
        .members
        .iter()
        .find(|member| {
            **member as usize != class && nets.iter().all(|net| is_in(*net, **member).is_ok())
        })
        .map(|member| *member as usize)
}

/// Numbers groups without holes, by their first member; `root[class]` is a class of its group, and
/// its own root.
#[must_use]
pub(super) fn numbered(root: &[u32]) -> Vec<u32> {
    let mut number = vec![u32::MAX; root.len()];
    let mut n = 0;
    root.iter()
        .map(|root| {
            let number = &mut number[*root as usize];
            if *number == u32::MAX {
                *number = n;
                n += 1;
            }
            *number
        })
        .collect()
}
