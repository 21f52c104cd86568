//! Shapes of a model on the devices of a host, then on whole hosts.

use cost_model::serving::worker::Shape;
use ir::card::ModelCard;

/// Pipeline stages at most.
const MOST_STAGES: u32 = 8;

/// Whether workers of so many devices are looked at: on a part of a host, or on whole hosts.
pub(super) fn is_whole(devices: u32, per_host: u32) -> bool {
    devices <= per_host || devices.is_multiple_of(per_host.max(1))
}

/// All degrees whose product is so many devices, valid or not. Attention data parallelism is for models with
/// experts: other ones have replicas.
pub(super) fn of_devices(model: &ModelCard, devices: u32) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let has_experts = model.has_experts();
    for n_stages in divisors(devices).filter(|n| *n <= MOST_STAGES) {
        let each = devices / n_stages;
        for stages in stages(model.n_blocks(), n_stages) {
            for tensor in divisors(each).filter(|tensor| has_experts || *tensor == each) {
                for expert in divisors(if has_experts { each } else { 1 }) {
                    shapes.push(Shape {
                        tensor,
                        data: each / tensor,
                        context: 1,
                        expert_tensor: if has_experts { each / expert } else { 1 },
                        expert,
                        stages: stages.clone(),
                    });
                }
            }
        }
    }
    shapes
}

fn divisors(n: u32) -> impl Iterator<Item = u32> {
    (1..=n).filter(move |of| n.is_multiple_of(*of))
}

/// Layers of stages: as equal as they can be, the first ones with one more; and with one fewer on the last
/// stage, which has the head.
fn stages(layers: u32, n_stages: u32) -> Vec<Vec<u32>> {
    let spread = |layers: u32, n: u32| -> Vec<u32> {
        (0..n).map(|stage| layers / n + u32::from(stage < layers % n)).collect()
    };
    let mut all = vec![spread(layers, n_stages)];
    if n_stages > 1 && layers / n_stages > 1 {
        let last = layers / n_stages - 1;
        let mut lighter = spread(layers - last, n_stages - 1);
        lighter.push(last);
        all.push(lighter);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_all_layers() {
        assert_eq!(stages(61, 4), [vec![16, 15, 15, 15], vec![16, 16, 15, 14]]);
        assert_eq!(stages(64, 4), [vec![16, 16, 16, 16], vec![17, 16, 16, 15]]);
        assert_eq!(stages(3, 4), [vec![1, 1, 1, 0]]);
        assert_eq!(stages(5, 1), [vec![5]]);
    }
}
