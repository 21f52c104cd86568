//! Metrics in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::durations;
use crate::problem::Problem;
use crate::service::Shared;

/// All of them, as of now.
pub(crate) async fn text(service: &Shared) -> Result<String, Problem> {
    let states = service.store.read(|sql| {
        let rows =
            sql.rows("SELECT state, COUNT(*) FROM plans GROUP BY state ORDER BY state", &[])?;
        Ok(rows.into_iter().map(|mut row| (row.text(), row.int())).collect::<Vec<_>>())
    });
    let used = service.store.read(|sql| {
        let statement = "SELECT CAST(COALESCE(SUM(cpu_ms), 0) AS BIGINT) FROM used";
        Ok(sql.row(statement, &[])?.map_or(0, |mut row| row.int()))
    });
    let durations = service.store.read(|sql| {
        let of = |(name, help)| Ok((name, help, durations::counted(sql, name)?));
        durations::ALL.into_iter().map(of).collect::<Result<Vec<_>, Problem>>()
    });
    let mut text = String::new();
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    head(&mut text, "meshwright_plans", "gauge", "Plans by state.");
    for (state, n) in states.await? {
        let _ = writeln!(text, "meshwright_plans{{state=\"{state}\"}} {n}");
    }
    head(&mut text, "meshwright_planning_cpu_seconds_total", "counter", "Processor time of plans.");
    let _ = writeln!(text, "meshwright_planning_cpu_seconds_total {}", used.await? as f64 / 1000.0);
    for (name, help, counted) in durations.await? {
        let name = format!("meshwright_{name}_seconds");
        head(&mut text, &name, "histogram", help);
        counted.write(&mut text, &name);
    }
    head(&mut text, "meshwright_http_responses_total", "counter", "Answers by class of status.");
    for (class, n) in service.answered.iter().enumerate().skip(1) {
        let n = n.load(Ordering::Relaxed);
        let _ = writeln!(text, "meshwright_http_responses_total{{class=\"{class}xx\"}} {n}");
    }
    Ok(text)
}
