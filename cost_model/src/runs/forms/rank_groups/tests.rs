use super::*;

fn degrees(tensor: u32, context: u32, data: u32, pipeline: u32, mesh: Mesh) -> Parallelism {
    Parallelism { tensor, context, data, pipeline, mesh, ..Parallelism::default() }
}

/// Coordinates of every device, by counting through the axes from the innermost one.
fn coordinates(degrees: &Parallelism) -> Vec<[u64; 4]> {
    let [t, c, d, p] =
        [degrees.tensor, degrees.context, degrees.data, degrees.pipeline].map(u64::from);
    let mut all = Vec::new();
    let mut add = |d, p| {
        for c in 0..c {
            for t in 0..t {
                all.push([t, c, d, p]);
            }
        }
    };
    match degrees.mesh {
        Mesh::TpCpDpPp => (0..p).for_each(|p| (0..d).for_each(|d| add(d, p))),
        Mesh::TpCpPpDp => (0..d).for_each(|d| (0..p).for_each(|p| add(d, p))),
    }
    all
}

/// The worst of groups whose members have the same key.
fn by_key(all: &[[u64; 4]], per_host: u64, key: impl Fn(&[u64; 4]) -> Vec<u64>) -> Spread {
    let mut groups: std::collections::BTreeMap<Vec<u64>, Vec<u64>> = Default::default();
    for (device, coordinates) in (0_u64..).zip(all) {
        groups.entry(key(coordinates)).or_default().push(device / per_host);
    }
    let ranks = groups.values().next().unwrap().len() as u64;
    let mut spread = Spread { ranks, hosts: 1, most: 1, least: ranks };
    for hosts in groups.values() {
        let distinct: std::collections::BTreeSet<u64> = hosts.iter().copied().collect();
        let here = |host: &u64| hosts.iter().filter(|other| *other == host).count() as u64;
        spread.hosts = spread.hosts.max(distinct.len() as u64);
        spread.most = spread.most.max(distinct.iter().map(here).max().unwrap());
        spread.least = spread.least.min(distinct.iter().map(here).min().unwrap());
    }
    spread
}

#[test]
fn groups_lie_where_counting_devices_puts_them() {
    let sizes = [1_u32, 2, 3, 4, 6];
    let mut n_uneven = 0;
    for per_host in [1_u64, 2, 4, 6, 8] {
        for mesh in [Mesh::TpCpDpPp, Mesh::TpCpPpDp] {
            let all_degrees = (0..sizes.len().pow(4))
                .map(|n| [0, 1, 2, 3].map(|axis| sizes[n / sizes.len().pow(axis) % sizes.len()]));
            for [t, c, d, p] in all_degrees {
                let parallelism = degrees(t, c, d, p, mesh);
                let all = coordinates(&parallelism);
                let tensor = by_key(&all, per_host, |[_, c, d, p]| vec![*c, *d, *p]);
                assert_eq!(
                    Group::tensor(&parallelism).spread(per_host),
                    tensor,
                    "{parallelism:?} {per_host}"
                );
                let context = by_key(&all, per_host, |[t, _, d, p]| vec![*t, *d, *p]);
                assert_eq!(Group::context(&parallelism).spread(per_host), context);
                let replicas = by_key(&all, per_host, |[t, _, _, p]| vec![*t, *p]);
                assert_eq!(Group::replicas(&parallelism).spread(per_host), replicas);
                n_uneven += u32::from(replicas.most != replicas.least);
                for from in 0..p {
                    for to in 0..p {
                        let host = |rank: u32, device: usize| {
                            let mut wanted = all[device];
                            wanted[3] = u64::from(rank);
                            let at = all.iter().position(|other| *other == wanted).unwrap();
                            at as u64 / per_host
                        };
                        let mut of_rank =
                            (0..all.len()).filter(|at| all[*at][3] == u64::from(from));
                        let wanted = of_rank.any(|at| host(from, at) != host(to, at));
                        assert_eq!(
                            crosses(&parallelism, per_host, from, to),
                            wanted,
                            "{parallelism:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(n_uneven > 100, "{n_uneven}");
}

#[test]
fn rings_leave_a_host_by_the_cards_of_their_own_devices() {
    // Two hosts of eight with two cards each; four tensor ranks, four context ranks: devices 4 to
    // 7 send to the other host, all over one card; devices 0 to 3 receive over the other.
    let parallelism = degrees(4, 4, 1, 1, Mesh::TpCpDpPp);
    assert_eq!(Group::context(&parallelism).rings_through_card(8, 4), 4);
    assert_eq!(Group::context(&parallelism).rings_through_card(8, 1), 1);
    assert_eq!(Group::context(&parallelism).rings_through_card(8, 8), 4);
    assert_eq!(Group::context(&parallelism).rings_through_card(16, 4), 0);
    // One ring through all sixteen devices.
    let parallelism = degrees(1, 16, 1, 1, Mesh::TpCpDpPp);
    assert_eq!(Group::context(&parallelism).rings_through_card(8, 4), 1);
}

#[test]
fn rings_by_rule_are_those_counted() {
    let mut n_leaving = 0;
    for (tensor, context, data) in (0..8 * 8 * 4).map(|i| (1 + i % 8, 1 + i / 8 % 8, 1 + i / 64)) {
        let parallelism = degrees(tensor, context, data, 2, Mesh::TpCpDpPp);
        for (per_host, per_card) in
            [(8, 1), (8, 2), (8, 3), (8, 8), (4, 4), (6, 2), (12, 5), (1, 1)]
        {
            let rule = Group::context(&parallelism).rings_through_card(per_host, per_card);
            let counted = Group::context(&parallelism).counted_rings(per_host, per_card);
            assert_eq!(rule, counted, "{parallelism:?} {per_host} {per_card}");
            n_leaving += u32::from(rule > 0);
        }
    }
    assert!(n_leaving > 500, "{n_leaving}");
}

#[test]
fn experts_follow_context_and_data() {
    // Two hosts of four; with pipeline ranks inside, the two expert ranks are on both.
    let on = |mesh| Parallelism { expert: 2, ..degrees(1, 1, 2, 4, mesh) };
    assert_eq!(Group::experts(&on(Mesh::TpCpDpPp)).spread(4).hosts, 1);
    assert_eq!(Group::experts(&on(Mesh::TpCpPpDp)).spread(4).hosts, 2);
    // Four replicas of two context ranks, four expert ranks: both context ranks, two replicas.
    let parallelism = Parallelism { expert: 4, ..degrees(1, 2, 4, 1, Mesh::TpCpDpPp) };
    assert_eq!(
        Group::experts(&parallelism).axes.map(|axis| (axis.size, axis.stride)),
        [(2, 1), (2, 2)]
    );
    let others = Group::expert_replicas(&parallelism).axes.map(|axis| (axis.size, axis.stride));
    assert_eq!(others, [(1, 2), (2, 4)]);
    let all = |group: Group| group.spread(8).ranks;
    assert_eq!(all(Group::experts(&parallelism)) * all(Group::expert_replicas(&parallelism)), 8);
}

/// Four tensor ranks, four replicas, numbered through: of whole experts 8 ranks are neighbours, and those
/// that hold the same are 8 apart; of halves 4 ranks are 2 apart.
#[test]
fn whole_experts_lie_on_tensor_ranks_too() {
    let of = |expert, of_expert| Parallelism {
        expert,
        expert_tensor: Some(of_expert),
        ..degrees(4, 1, 4, 1, Mesh::TpCpDpPp)
    };
    let axes = |group: Group| group.axes.map(|axis| (axis.size, axis.stride));
    assert_eq!(axes(Group::experts(&of(8, 1))), [(4, 1), (2, 4)]);
    assert_eq!(axes(Group::expert_replicas(&of(8, 1))), [(1, 4), (2, 8)]);
    assert_eq!(axes(Group::experts(&of(4, 2))), [(2, 2), (2, 4)]);
    assert_eq!(axes(Group::expert_replicas(&of(4, 2))), [(1, 4), (2, 8)]);
    assert_eq!(axes(Group::experts(&of(2, 1))), [(2, 1), (1, 4)]);
    assert_eq!(axes(Group::expert_replicas(&of(2, 1))), [(2, 2), (4, 4)]);
    assert_eq!(Group::experts(&of(8, 1)).spread(8).hosts, 1);
    let all = Parallelism { expert_tensor: None, ..of(4, 4) };
    for group in [Group::experts, Group::expert_replicas, Group::expert_tensor] {
        assert_eq!(axes(group(&all)), axes(group(&of(4, 4))));
    }
}

#[test]
fn hosts_hold_the_ranks_of_their_devices() {
    // Hosts of four; two ranks of three devices each: 0 0 0 1 | 1 1.
    let parallelism = degrees(3, 1, 1, 2, Mesh::TpCpDpPp);
    let devices = |parallelism: &Parallelism| -> Vec<Vec<(u32, u32)>> {
        hosts(parallelism, 4, &[]).into_iter().map(|host| host.devices).collect()
    };
    assert_eq!(devices(&parallelism), [vec![(0, 3), (1, 1)], vec![(1, 2)]]);
    // Replicas of pipelines of two: every host has two devices of each rank.
    let parallelism = degrees(1, 1, 8, 2, Mesh::TpCpPpDp);
    assert_eq!(devices(&parallelism), [vec![(0, 2), (1, 2)]]);
    let rooms = [None, Some(Bytes(5)), Some(Bytes(5))];
    let limits: Vec<_> =
        hosts(&parallelism, 4, &rooms).into_iter().map(|host| host.limit).collect();
    assert_eq!(limits, [None, Some(Bytes(5))]);
}

#[test]
fn cards_by_hand() {
    // Eight devices, two cards. Four ranks of two devices: two ranks on each card.
    let parallelism = degrees(2, 1, 1, 4, Mesh::TpCpDpPp);
    assert_eq!(cards(&parallelism, 8, 4), Cards { of_rank: vec![0, 0, 1, 1], n_copies: 2 });
    // Two hosts of eight with one card each, ranks of eight: a card each, all eight share it.
    let parallelism = degrees(4, 1, 2, 2, Mesh::TpCpDpPp);
    assert_eq!(cards(&parallelism, 8, 8), Cards { of_rank: vec![0, 1], n_copies: 8 });
    // Ranks of sixteen: the devices of one host share a card.
    let parallelism = degrees(4, 1, 4, 2, Mesh::TpCpDpPp);
    assert_eq!(cards(&parallelism, 8, 8), Cards { of_rank: vec![0, 1], n_copies: 8 });
    // One device per rank, pipelines of eight over hosts of four, two replicas.
    let parallelism = degrees(1, 1, 2, 8, Mesh::TpCpPpDp);
    assert_eq!(cards(&parallelism, 4, 4).of_rank, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(cards(&parallelism, 4, 4).n_copies, 1);
}

#[test]
fn experts_beyond_replicas_take_tensor_ranks() {
    let degrees = Parallelism { tensor: 2, data: 32, expert: 64, ..Parallelism::default() };
    assert_eq!(Group::experts(&degrees).spread(64), Spread::inside(64));
    let replicas = Group::expert_replicas(&degrees);
    assert_eq!(replicas.spread(64).ranks, 1);
}
