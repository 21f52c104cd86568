//! Shardings as degrees of parallelism.
//!
//! A part of the mesh that divides the first axis of what is fed (the batch) is data parallelism;
//! one that divides weights is tensor parallelism; one that divides both is fully sharded data
//! parallelism; one that divides the second axis of what is fed is context parallelism.

use std::collections::{BTreeMap, BTreeSet};

use ir::tensor::Role;

use super::syntax::{Program, numbers};

/// Most devices of a mesh whose numbers are worked out.
const MOST_DEVICES: u64 = 1 << 24;

/// A part of a mesh: its name, or the distance of its devices' numbers.
type Part = String;

/// By axis of a tensor, the parts of the mesh that divide it, each with its size.
type Split = Vec<Vec<(Part, u64)>>;

/// A tensor's sharding as the text states it.
#[derive(Clone, Debug)]
pub(super) struct Stated {
    pub(super) text: String,
    pub(super) role: Role,
}

/// What shardings ask of a plan.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Degrees {
    /// `data=2`, ...
    pub(super) pins: Vec<String>,
    /// Shardings that are none of these, such as a single device.
    pub(super) other: Vec<String>,
}

/// Sizes of all meshes' axes, by `@mesh` and name.
fn meshes(program: &Program<'_>) -> BTreeMap<(String, String), u64> {
    let mut sizes = BTreeMap::new();
    for op in program.others.iter().filter(|op| op.short() == b"mesh") {
        let text = |name| op.clause(&[name]).map(String::from_utf8_lossy);
        let (Some(name), Some(axes)) = (text("@"), text("=")) else { continue };
        // `<["a"=2, "b"=2]>`
        let parts: Vec<&str> = axes.split('"').collect();
        for pair in parts.get(1..).unwrap_or_default().chunks(2) {
            let [axis, size] = pair else { continue };
            if let Some(size) = numbers(size.as_bytes()).first() {
                let size = u64::try_from(*size).unwrap_or(1);
                sizes.insert((name.clone().into_owned(), (*axis).to_owned()), size);
            }
        }
    }
    sizes
}

/// `#sdy.sharding<@mesh, [{"a"}, {"b":(1)2, ?}]>`.
fn shardy(text: &str, sizes: &BTreeMap<(String, String), u64>) -> Option<Split> {
    let inner = text.split_once('<')?.1;
    let (mesh, rest) = inner.split_once(',')?;
    let mesh = mesh.trim().trim_start_matches('@');
    let (list, _) = rest.split_once('[')?.1.rsplit_once(']')?;
    let list = list.split(']').next()?;
    let axes =
        list.split('}').filter_map(|dimension| dimension.split_once('{').map(|(_, axes)| axes));
    let parts = |axes: &str| {
        let mut parts = Vec::new();
        let pieces: Vec<&str> = axes.split('"').collect();
        for pair in pieces.get(1..).unwrap_or_default().chunks(2) {
            let [name, behind] = pair else { continue };
            let whole = sizes.get(&(mesh.to_owned(), (*name).to_owned())).copied();
            // Part of an axis: `:(1)2`.
            let part = behind
                .split_once(')')
                .and_then(|(_, size)| u64::try_from(*numbers(size.as_bytes()).first()?).ok());
            let size = if behind.starts_with(':') { part } else { whole };
            parts.push(((*name).to_owned(), size.unwrap_or(1)));
        }
        parts
    };
    Some(axes.map(parts).collect())
}

/// `{devices=[2,1,2]<=[2,2]T(1,0) last_tile_dim_replicate}`.
fn tiled(text: &str) -> Option<Split> {
    let rest = text.split_once("devices=[")?.1;
    let (tile, order) = rest.split_once(']')?;
    let tile: Vec<u64> = positive(tile)?;
    let n_devices = tile.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent))?;
    if n_devices > MOST_DEVICES || n_devices == 0 {
        return None;
    }
    let n_axes = match order {
        order if order.contains("last_tile_dim_replicate") => tile.len().saturating_sub(1),
        order => match order.split_once("last_tile_dims={") {
            Some((_, dims)) => tile.len().saturating_sub(dims.split(',').count()),
            None => tile.len(),
        },
    };
    let number = device_numbers(order, tile.len())?;
    let mut split = Vec::new();
    for (axis, size) in tile.iter().enumerate().take(n_axes) {
        let step: u64 = tile[axis + 1..].iter().product();
        let part = (*size > 1).then(|| (format!("every {}", number(step)), *size));
        split.push(part.into_iter().collect());
    }
    Some(split)
}

fn positive(list: &str) -> Option<Vec<u64>> {
    list.split(',').map(|number| number.trim().parse().ok().filter(|n| *n > 0)).collect()
}

/// The number of the device at a place of the tile, less that of the first.
fn device_numbers(order: &str, _rank: usize) -> Option<Box<dyn Fn(u64) -> u64>> {
    let Some(iota) = order.strip_prefix("<=[") else {
        let listed: Vec<u64> =
            numbers(order.as_bytes()).into_iter().map(|n| u64::try_from(n).unwrap_or(0)).collect();
        return Some(Box::new(move |place| {
            let at = |place: u64| listed.get(place as usize).copied().unwrap_or(0);
            at(place).abs_diff(at(0))
        }));
    };
    let (dims, rest) = iota.split_once(']')?;
    let dims = positive(dims)?;
    let turned: Vec<usize> = match rest.strip_prefix("T(").and_then(|rest| rest.split_once(')')) {
        Some((order, _)) => {
            order.split(',').map(|n| n.trim().parse().ok()).collect::<Option<_>>()?
        }
        None => (0..dims.len()).collect(),
    };
    if turned.len() != dims.len() || turned.iter().any(|axis| *axis >= dims.len()) {
        return None;
    }
    Some(Box::new(move |place| {
        let mut left = place;
        let mut number = 0u64;
        for axis in turned.iter().rev() {
            let stride = dims[axis + 1..].iter().fold(1u64, |n, dim| n.saturating_mul(*dim));
            number = number.saturating_add((left % dims[*axis]).saturating_mul(stride));
            left /= dims[*axis];
        }
        number
    }))
}

/// What divides a part of the mesh.
#[derive(Default)]
struct Uses {
    size: u64,
    batch: bool,
    sequence: bool,
    weights: bool,
    inner: bool,
}

/// The degrees that shardings state.
pub(super) fn degrees(program: &Program<'_>, stated: &BTreeMap<String, Stated>) -> Degrees {
    let sizes = meshes(program);
    let mut uses: BTreeMap<Part, Uses> = BTreeMap::new();
    let mut other = BTreeSet::new();
    for (name, Stated { text, role }) in stated {
        let is_shardy = text.contains("sharding<") || text.starts_with('<');
        let split = if is_shardy { shardy(text, &sizes) } else { tiled(text) };
        let Some(split) = split else {
            if !(text.contains("replicated") || text.contains("manual")) {
                other.insert(name.clone());
            }
            continue;
        };
        for (axis, (part, size)) in split
            .into_iter()
            .enumerate()
            .flat_map(|(axis, parts)| parts.into_iter().map(move |p| (axis, p)))
        {
            let entry = uses.entry(part).or_default();
            entry.size = entry.size.max(size);
            match (role, axis) {
                (Role::Parameter, _) => entry.weights = true,
                (Role::Input, 0) => entry.batch = true,
                (Role::Input, 1) => entry.sequence = true,
                _ => entry.inner = true,
            }
        }
    }
    let product = |is: fn(&Uses) -> bool| {
        uses.values().filter(|entry| is(entry)).fold(1u64, |n, entry| n.saturating_mul(entry.size))
    };
    let data = product(|entry| entry.batch);
    let tensor = product(|entry| !entry.batch && entry.weights);
    let context = product(|entry| !entry.batch && !entry.weights && entry.sequence);
    let is_whole = uses.values().any(|entry| entry.batch && entry.weights && entry.size > 1);
    let mut pins: Vec<String> = [("data", data), ("tensor", tensor), ("context", context)]
        .into_iter()
        .filter(|(_, degree)| *degree > 1)
        .map(|(field, degree)| format!("{field}={degree}"))
        .collect();
    if is_whole {
        pins.push("zero=3".to_owned());
    }
    let is_lost = |entry: &&Uses| {
        entry.size > 1 && entry.inner && !(entry.batch || entry.weights || entry.sequence)
    };
    if uses.values().any(|entry| is_lost(&entry)) {
        other.extend(uses.iter().filter(|(_, entry)| is_lost(entry)).map(|(part, _)| part.clone()));
    }
    Degrees { pins, other: other.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles as jax prints them for a mesh of 2 x 2 with axes `a` and `b`.
    #[test]
    fn tiles_name_the_parts_of_a_mesh_by_their_distance() {
        let of = |text: &str| tiled(text).unwrap();
        let part = |distance: u64| vec![(format!("every {distance}"), 2)];
        assert_eq!(of("{devices=[2,1,2]<=[4] last_tile_dim_replicate}"), [part(2), vec![]]);
        let turned = "{devices=[1,2,2]<=[2,2]T(1,0) last_tile_dim_replicate}";
        assert_eq!(of(turned), [vec![], part(1)]);
        assert_eq!(of("{devices=[2,2]<=[4]}"), [part(2), part(1)]);
        assert_eq!(of("{devices=[2,2]0,1,2,3}"), [part(2), part(1)]);
        assert_eq!(tiled("{replicated}"), None);
        assert_eq!(tiled("{devices=[99999999999,99999999999]<=[4]}"), None);
    }

    fn pins(stated: &[(&str, Role)]) -> Vec<String> {
        let text = b"sdy.mesh @mesh = <[\"a\"=2, \"b\"=4]>";
        let program = crate::stablehlo::parser::parse(text).unwrap();
        let stated = stated.iter().enumerate().map(|(place, (text, role))| {
            (place.to_string(), Stated { text: (*text).to_owned(), role: *role })
        });
        degrees(&program, &stated.collect()).pins
    }

    #[test]
    fn what_a_part_divides_is_what_it_is_for() {
        let batch = ("#sdy.sharding<@mesh, [{\"a\"}, {}]>", Role::Input);
        let columns = ("#sdy.sharding<@mesh, [{}, {\"b\"}]>", Role::Parameter);
        assert_eq!(pins(&[batch, columns]), ["data=2", "tensor=4"]);
        let fully = ("#sdy.sharding<@mesh, [{\"a\"}, {}]>", Role::Parameter);
        assert_eq!(pins(&[batch, fully]), ["data=2", "zero=3"]);
        let both = ("#sdy.sharding<@mesh, [{\"a\", \"b\"}, {}]>", Role::Input);
        assert_eq!(pins(&[both]), ["data=8"]);
        let part = ("#sdy.sharding<@mesh, [{\"b\":(1)2}, {}]>", Role::Input);
        assert_eq!(pins(&[part]), ["data=2"]);
        let sequence = ("#sdy.sharding<@mesh, [{\"a\"}, {\"b\"}]>", Role::Input);
        assert_eq!(pins(&[sequence]), ["data=2", "context=4"]);
    }
}
