//! Bodies as files: written once under a random name, never changed, removed when nothing refers to them.
//!
//! A file belongs to a version or a part only once the index says so. Whatever the index doesn't name is removed at
//! the next start, so that a kill at any moment leaves at most a file that nobody sees. A body that is being read
//! when its version goes away is removed when the last reader is done.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{RwLock, RwLockReadGuard};

use crate::error::Error;
use crate::index::Index;

pub struct Blobs {
    root: PathBuf,
    /// Held for reading from the look into the index until the pins are set, for writing while files are removed.
    gate: RwLock<()>,
    pinned: Mutex<HashMap<String, Pinned>>,
}

#[derive(Default)]
struct Pinned {
    readers: usize,
    doomed: bool,
}

impl Blobs {
    pub async fn open(root: PathBuf, index: &Index, index_path: &Path) -> Result<Self, Error> {
        for shard in 0..=u8::MAX {
            let shard = hex::encode([shard]);
            let folder = root.join(&shard);
            let disk = |source| Error::Disk { path: folder.clone(), source };
            tokio::fs::create_dir_all(&folder).await.map_err(disk)?;
            let known =
                index.blobs_of(&shard).await.map_err(|source| Error::Index { path: index_path.to_owned(), source })?;
            let mut entries = tokio::fs::read_dir(&folder).await.map_err(disk)?;
            while let Some(entry) = entries.next_entry().await.map_err(disk)? {
                let name = entry.file_name();
                if name.to_str().is_none_or(|name| known.binary_search_by(|id| id.as_str().cmp(name)).is_err()) {
                    tokio::fs::remove_file(entry.path()).await.map_err(disk)?;
                }
            }
        }
        Ok(Self { root, gate: RwLock::new(()), pinned: Mutex::default() })
    }

    pub fn path(&self, id: &str) -> PathBuf {
        self.root.join(id.get(..2).unwrap_or_default()).join(id)
    }

    /// A name for a new file, which is removed again unless it is kept.
    pub fn fresh(self: &Arc<Self>) -> Fresh {
        Fresh { blobs: Arc::clone(self), id: hex::encode(rand::random::<[u8; 16]>()), kept: false }
    }

    /// While this is held no file goes away that the index still names.
    pub async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Keeps these files for as long as the pin lives. Only while `hold` is held.
    pub fn pin(self: &Arc<Self>, ids: Vec<String>) -> Pin {
        let mut pinned = self.pinned();
        for id in &ids {
            pinned.entry(id.clone()).or_default().readers += 1;
        }
        drop(pinned);
        Pin { blobs: Arc::clone(self), ids }
    }

    /// Removes files the index no longer names. What can't be removed now is at the next start.
    pub async fn discard(&self, ids: Vec<String>) {
        if ids.is_empty() {
            return;
        }
        let _alone = self.gate.write().await;
        for id in ids {
            let read = self.pinned().get_mut(&id).map(|pinned| pinned.doomed = true).is_some();
            if !read {
                let _ = tokio::fs::remove_file(self.path(&id)).await;
            }
        }
    }

    fn pinned(&self) -> std::sync::MutexGuard<'_, HashMap<String, Pinned>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that nothing names yet.
pub struct Fresh {
    blobs: Arc<Blobs>,
    id: String,
    kept: bool,
}

impl Fresh {
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> PathBuf {
        self.blobs.path(&self.id)
    }

    /// Called just before the commit that names the file: dropped after it, a named file would go away.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(self.path());
        }
    }
}

/// Files that are being read.
pub struct Pin {
    blobs: Arc<Blobs>,
    ids: Vec<String>,
}

impl Pin {
    pub fn path(&self, id: &str) -> PathBuf {
        self.blobs.path(id)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.blobs.pinned();
        for id in &self.ids {
            let Some(entry) = pinned.get_mut(id) else { continue };
            entry.readers -= 1;
            if entry.readers == 0 {
                if entry.doomed {
                    let _ = std::fs::remove_file(self.blobs.path(id));
                }
                pinned.remove(id);
            }
        }
    }
}
