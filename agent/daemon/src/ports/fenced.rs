//! The ports by which an engine writes to a tree that other hosts can write to, too: each call that would change something
//! is refused once the right to do so has ended, however long this process stood still in between.
//!
//! What was begun before is not taken back; requests to the store begin in the state's journal, and so are refused with it.

use std::sync::Arc;

use async_trait::async_trait;
use gosync_engine::ports::state::{
    HaltRow, JournalEntry, ReplicaState, StateChange, StateError, StateErrorKind, UploadRow,
};
use gosync_engine::ports::{FolderEntry, LocalTree, RootFacts, Space, Stat, TreeError, TreeErrorKind, TreeFile};
use gosync_plan::{Ancestor, ContentHash, RelPath};

use crate::volume::Fence;

const OVER: &str = "the lease on this folder has ended";

pub struct FencedTree {
    pub inner: Arc<dyn LocalTree>,
    pub fence: Arc<Fence>,
}

impl FencedTree {
    fn fenced(&self, call: &'static str, path: &str) -> Result<&dyn LocalTree, TreeError> {
        if self.fence.is_open() {
            return Ok(&*self.inner);
        }
        Err(TreeError {
            source: Some(std::io::Error::other(OVER)),
            ..TreeError::new(TreeErrorKind::Failed, call, path)
        })
    }
}

impl LocalTree for FencedTree {
    fn root(&self) -> Result<RootFacts, TreeError> {
        self.inner.root()
    }

    fn opened_root(&self) -> RootFacts {
        self.inner.opened_root()
    }

    fn visit_folder(&self, folder: &str, visit: &mut dyn FnMut(FolderEntry)) -> Result<(), TreeError> {
        self.inner.visit_folder(folder, visit)
    }

    fn stat(&self, path: &str) -> Result<Stat, TreeError> {
        self.inner.stat(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        self.inner.open(path)
    }

    fn create(&self, path: &str, mode: u32) -> Result<Box<dyn TreeFile>, TreeError> {
        self.fenced("create", path)?.create(path, mode)
    }

    fn reopen(&self, path: &str) -> Result<Box<dyn TreeFile>, TreeError> {
        self.fenced("open", path)?.reopen(path)
    }

    fn make_folder(&self, path: &str) -> Result<(), TreeError> {
        self.fenced("make folder", path)?.make_folder(path)
    }

    fn remove_folder(&self, path: &str) -> Result<(), TreeError> {
        self.fenced("remove folder", path)?.remove_folder(path)
    }

    fn unlink(&self, path: &str) -> Result<(), TreeError> {
        self.fenced("unlink", path)?.unlink(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.fenced("rename", from)?.rename(from, to)
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.fenced("rename", from)?.rename_new(from, to)
    }

    fn exchange(&self, a: &str, b: &str) -> Result<(), TreeError> {
        self.fenced("exchange", a)?.exchange(a, b)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.fenced("link", from)?.link(from, to)
    }

    fn make_link(&self, path: &str) -> Result<(), TreeError> {
        self.fenced("make link", path)?.make_link(path)
    }

    fn set_mode(&self, path: &str, mode: u32) -> Result<(), TreeError> {
        self.fenced("chmod", path)?.set_mode(path, mode)
    }

    fn copy_attributes(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.fenced("copy attributes", from)?.copy_attributes(from, to)
    }

    fn sync_folder(&self, folder: &str) -> Result<(), TreeError> {
        self.inner.sync_folder(folder)
    }

    fn sync_tree(&self) -> Result<(), TreeError> {
        self.inner.sync_tree()
    }

    fn space(&self) -> Result<Space, TreeError> {
        self.inner.space()
    }
}

pub struct FencedState {
    pub inner: Arc<dyn ReplicaState>,
    pub fence: Arc<Fence>,
}

#[async_trait]
impl ReplicaState for FencedState {
    async fn ancestors(&self, paths: &[RelPath]) -> Result<Vec<Option<Ancestor>>, StateError> {
        self.inner.ancestors(paths).await
    }

    async fn ancestors_after(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        self.inner.ancestors_after(after, limit).await
    }

    async fn ancestors_below(
        &self,
        folder: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Ancestor)>, StateError> {
        self.inner.ancestors_below(folder, after, limit).await
    }

    async fn ancestor_of_object(&self, etag: &str, size: u64) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        self.inner.ancestor_of_object(etag, size).await
    }

    async fn ancestor_of_large_content(
        &self,
        content: ContentHash,
        size: u64,
    ) -> Result<Option<(RelPath, Ancestor)>, StateError> {
        self.inner.ancestor_of_large_content(content, size).await
    }

    async fn open_ancestors(&self) -> Result<Vec<RelPath>, StateError> {
        self.inner.open_ancestors().await
    }

    async fn ancestor_totals(&self) -> Result<(u64, u64), StateError> {
        self.inner.ancestor_totals().await
    }

    async fn journal(&self) -> Result<Vec<JournalEntry>, StateError> {
        self.inner.journal().await
    }

    async fn uploads(&self) -> Result<Vec<UploadRow>, StateError> {
        self.inner.uploads().await
    }

    async fn halts(&self) -> Result<Vec<HaltRow>, StateError> {
        self.inner.halts().await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StateError> {
        self.inner.note(name).await
    }

    async fn apply(&self, changes: Vec<StateChange>) -> Result<(), StateError> {
        if self.fence.is_open() {
            return self.inner.apply(changes).await;
        }
        Err(StateError { kind: StateErrorKind::Unavailable, what: OVER.to_owned(), source: None })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]
    use gosync_fs::DiskTree;

    use super::*;

    #[test]
    fn nothing_is_written_once_the_lease_has_ended() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "content").unwrap();
        let fence = Arc::new(Fence::default());
        let tree = FencedTree { inner: Arc::new(DiskTree::open(root.path()).unwrap()), fence: Arc::clone(&fence) };
        assert!(tree.rename_new("a", "b").is_err(), "not yet");
        fence.open_for(60_000);
        tree.rename_new("a", "b").unwrap();
        fence.close();
        for refused in [
            tree.create("c", 0o644).map(drop),
            tree.reopen("b").map(drop),
            tree.make_folder("d"),
            tree.remove_folder("d"),
            tree.unlink("b"),
            tree.rename("b", "e"),
            tree.rename_new("b", "e"),
            tree.exchange("b", "b"),
            tree.link("b", "e"),
            tree.make_link("b"),
            tree.set_mode("b", 0o600),
            tree.copy_attributes("b", "b"),
        ] {
            assert!(refused.unwrap_err().source.unwrap().to_string().contains("ended"));
        }
        assert_eq!(tree.read_folder("").unwrap().len(), 1);
        assert!(tree.open("b").is_ok() && tree.stat("b").is_ok());
    }
}
