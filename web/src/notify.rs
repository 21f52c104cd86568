//! Tells the webhook of each plan that ended, again where that was not taken.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use ureq::Agent;

use crate::service::Shared;
use crate::webhook::{PATIENCE, Webhook, rest_ms};
use crate::{client, log, untold};

/// How often it is looked what is to be told.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is said that somebody is there who tells.
const ANNOUNCED: Duration = Duration::from_secs(600);
/// Messages under way at once.
const AT_ONCE: usize = 4;

/// Tells of ends, as long as the service lives.
///
/// # Errors
/// Where nothing can be sent: no certificate that could be checked.
pub(crate) fn start(service: &Shared) -> Result<Vec<tokio::task::JoinHandle<()>>, String> {
    let Some(hook) = service.options.webhook.clone() else { return Ok(Vec::new()) };
    let agent = client::agent(hook.is_secure(), Some(PATIENCE));
    let agent = agent.map_err(|error| error.to_string())?;
    let tell = |_| tokio::spawn(tell(Arc::clone(service), hook.clone(), agent.clone()));
    let announced = tokio::spawn(announce(Arc::clone(service)));
    Ok((0..AT_ONCE).map(tell).chain([announced]).collect())
}

async fn announce(service: Shared) {
    loop {
        let rest = match service.store.write(untold::announce).await {
            Ok(()) => ANNOUNCED,
            Err(_) => LOOK,
        };
        tokio::time::sleep(rest).await;
    }
}

async fn tell(service: Shared, hook: Webhook, agent: Agent) {
    loop {
        let Ok(Some((id, attempts))) = service.store.write(untold::next).await else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        // A plan that was deleted meanwhile is told of by nobody.
        let Ok(status) = crate::api::status(&service, id.clone()).await else { continue };
        let message = format!("msg_{}", id.trim_start_matches("plan_"));
        let body = json!({ "type": "plan.ended", "data": status }).to_string();
        let (hook, agent) = (hook.clone(), agent.clone());
        let sent = tokio::task::spawn_blocking(move || hook.send(&agent, &message, &body)).await;
        let failed = sent.map_err(|error| error.to_string()).and_then(|sent| sent).err();
        let again = failed.as_ref().and_then(|_| rest_ms(attempts));
        if let Some(reason) = failed {
            let level = if again.is_some() { "warn" } else { "error" };
            let facts = json!({ "plan": id, "attempt": attempts, "reason": reason });
            log::line(level, "webhook", &facts);
        }
        let _ = service.store.write(move |sql| untold::told(sql, &id, again)).await;
    }
}
