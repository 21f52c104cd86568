#![allow(clippy::unwrap_used, missing_docs)]
#[path = "../../../tests/it/laws.rs"] mod laws;
#[path = "../../../tests/it/layered.rs"] mod layered;
#[path = "../../../tests/it/oracle.rs"] mod oracle;
#[path = "../../../tests/it/random_problem.rs"] mod random_problem;
#[path = "../../../tests/it/recipes.rs"] mod recipes;
#[path = "../../../tests/it/time_grid.rs"] mod time_grid;
#[test]
fn dbg() {
    let r = random_problem::random_problem(5261);
    let p = &r.problem;
    for (i,op) in p.graph.ops.iter().enumerate() { println!("{i} {:?} in {:?} par {:?} out {:?} group {:?} work {:?}", op.name, op.inputs, op.parameters, op.outputs, op.group, op.work); }
    println!("tensors {:?}", p.graph.tensors.iter().map(|t|(t.bytes.0,t.state_bytes.0,t.role)).collect::<Vec<_>>());
    println!("outputs {:?} devices {:?} links {:?}", p.graph.outputs, p.cluster.devices.iter().map(|d|(d.kind,d.capacity)).collect::<Vec<_>>(), p.cluster.links);
    for t in recipes::recipes(0) { if t.text=="m-etf" { let o=t.solve(p,0).unwrap(); println!("{:#?}\n{:#?}", o.plan.schedule, o.timeline); println!("{:?} {:?}", o.plan.placement, cost_model::memory::peaks(p,&o.plan,&o.timeline)); } }
    println!("grid {:?}", time_grid::least_step_time(p));
    println!("{:?}", oracle::optimum(p));
}
