//! Whether content goes out with a CRC64NVME, learnt from the store where the configuration leaves it open.

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};

use aws_smithy_types::base64;
use crc_fast::CrcAlgorithm;
use gosync_engine::ports::store::{StoreError, StoreErrorKind};

use crate::config::Checksums;

const UNKNOWN: u8 = 0;
const TAKEN: u8 = 1;
const REFUSED: u8 = 2;

pub(crate) struct Integrity {
    setting: Checksums,
    learnt: AtomicU8,
}

impl Integrity {
    pub fn new(setting: Checksums) -> Self {
        Self { setting, learnt: AtomicU8::new(UNKNOWN) }
    }

    /// Whether content may have gone out with a checksum.
    pub fn is_in_use(&self) -> bool {
        match self.setting {
            Checksums::Always => true,
            Checksums::WhenRequired => false,
            Checksums::Auto => self.learnt.load(Ordering::Relaxed) != REFUSED,
        }
    }

    /// Runs a request with (`true`) or without a checksum. A definite refusal of the first ones with it is answered by
    /// one more without: a refused request had no effect. Whoever refuses both refuses something else.
    pub async fn send<T, F>(&self, attempt: impl Fn(bool) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let learnt = match self.setting {
            Checksums::Always => return attempt(true).await,
            Checksums::WhenRequired => return attempt(false).await,
            Checksums::Auto => self.learnt.load(Ordering::Relaxed),
        };
        if learnt == REFUSED {
            return attempt(false).await;
        }
        match attempt(true).await {
            Ok(done) => {
                self.learnt.store(TAKEN, Ordering::Relaxed);
                Ok(done)
            }
            Err(error) if learnt == UNKNOWN && is_refusal(&error) => {
                let done = attempt(false).await?;
                self.learnt.store(REFUSED, Ordering::Relaxed);
                tracing::info!(%error, "the store refuses checksums: content is sent without");
                Ok(done)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_refusal(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Invalid | StoreErrorKind::NotImplemented)
}

pub(crate) fn crc64_header(content: &[u8]) -> String {
    base64::encode(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, content).to_be_bytes())
}
