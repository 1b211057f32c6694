//! The end of an agent: every mirror flushes within its time, and what it reached is written down.
//!
//! The receipt is written before the flush begins, so that a kill in the middle leaves one that says so.

use std::path::Path;
use std::time::Duration;

use gosync_api::messages::{Flushed, Receipt};
use gosync_engine::Command;
use jiff::Timestamp;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::one_mirror::Mirror;
use crate::tell;

/// In the data_dir.
const RECEIPT: &str = "receipt.json";
/// The engine answers when its time is over; this much later we no longer wait for it.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// True when nothing is left to do anywhere.
pub async fn drain(agent: &Agent) -> bool {
    let mirrors = agent.mirrors();
    let started = Timestamp::now();
    let mut drafts = Vec::new();
    for mirror in &mirrors {
        drafts.push(tell::draft_receipt(&agent.parts.device, &agent.mirror_state(mirror).await, started));
    }
    keep(&agent.config().data_dir, drafts.clone());
    let drains = mirrors.iter().zip(drafts).map(|(mirror, draft)| drain_one(agent, mirror, draft));
    let receipts = futures_util::future::join_all(drains).await;
    for receipt in &receipts {
        let mirror = receipt.mirror.as_str();
        let (files, pending) = (receipt.files, receipt.pending.files);
        if receipt.flushed {
            tracing::info!(mirror, files, tree = receipt.tree, "flushed");
        } else {
            tracing::warn!(mirror, files, pending, first = ?receipt.pending.first, "not all was flushed");
        }
    }
    let complete = Flushed { receipts: receipts.clone() }.complete();
    keep(&agent.config().data_dir, receipts);
    complete
}

async fn drain_one(agent: &Agent, mirror: &Mirror, draft: Receipt) -> Receipt {
    let asked = async {
        let receipt = mirror.handle().await?.ask(Command::Drain).await?;
        if !receipt.flushed {
            tracing::warn!(mirror = mirror.name(), reason = receipt.reason, "the flush did not reach its end");
        }
        Some(tell::receipt(mirror.name(), &agent.parts.device, &receipt))
    };
    let receipt = timeout(mirror.config.sync.drain + ANSWER_WAIT, asked).await;
    mirror.stop().await;
    receipt.ok().flatten().unwrap_or(Receipt { finished: Some(Timestamp::now()), ..draft })
}

fn keep(data_dir: &Path, receipts: Vec<Receipt>) {
    let path = data_dir.join(RECEIPT);
    let new = path.with_extension("new");
    let kept = serde_json::to_vec_pretty(&Flushed { receipts })
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(&new, text))
        .and_then(|()| std::fs::rename(&new, &path));
    if let Err(error) = kept {
        tracing::error!(path = %path.display(), %error, "the receipt can't be written");
    }
}
