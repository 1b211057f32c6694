//! The end of an agent: every mirror flushes within its time, and what it reached is written down.
//!
//! The receipt is written before the flush begins, so that a kill in the middle leaves one that says so. In pods it is the
//! container's termination message, too, in which the pod's status keeps it when the pod's volumes are gone.

use std::io;
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
    keep(agent, drafts.clone());
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
    keep(agent, receipts);
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

fn keep(agent: &Agent, receipts: Vec<Receipt>) {
    let config = agent.config();
    let flushed = Flushed { receipts };
    let told = |path: &Path, written: io::Result<()>| {
        if let Err(error) = written {
            tracing::error!(path = %path.display(), %error, "the receipt can't be written");
        }
    };
    let path = config.data_dir.join(RECEIPT);
    told(&path, write_whole(&path, &flushed));
    if let Some(path) = &config.agent.termination_message_path {
        // Mounted for this container alone, so that it can't be replaced.
        told(path, std::fs::write(path, flushed.termination_message()));
    }
}

fn write_whole(path: &Path, flushed: &Flushed) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec_pretty(flushed)?)?;
    std::fs::rename(&new, path)
}
