//! The thread behind a watch: keeps a watch on every folder and translates what is notified.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use gosync_engine::ports::LocalTree;
use gosync_engine::ports::local::Kind;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, EventKind, INotifyWatcher, RecursiveMode, Watcher};

use super::{WatchError, WatchErrorKind, WatchEvent, WatchOptions};
use crate::tree::DiskTree;

/// Ours; never watched, never reported.
const OWN_FOLDER: &str = ".gosync";

pub(super) enum Message {
    Notified(notify::Result<notify::Event>),
    Stop,
}

/// What the notifying thread and ours share. The channel itself has no limit, so that neither ever waits for the
/// other: a watch is added by asking the notifying thread, which then must not be waiting for us.
#[derive(Debug)]
pub(super) struct Queue {
    pub messages: Sender<Message>,
    pub stopped: AtomicBool,
    waiting: AtomicUsize,
    waiting_max: usize,
    overflowed: AtomicBool,
}

impl Queue {
    fn push(&self, notified: notify::Result<notify::Event>) {
        // Opening and reading are the bulk of the events and tell nothing.
        if notified.as_ref().is_ok_and(|event| is_idle(&event.kind)) {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::AcqRel) < self.waiting_max {
            let _ = self.messages.send(Message::Notified(notified));
        } else {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.overflowed.store(true, Ordering::Release);
        }
    }
}

/// Notify's watcher. Dropping it waits until its thread has ended and the kernel has all its watches back: those that
/// come after it would count twice against the limit otherwise.
struct Notifier {
    /// `None` only while it is dropped.
    watcher: Option<INotifyWatcher>,
    ended: Receiver<()>,
}

impl Notifier {
    fn new(queue: &Arc<Queue>) -> notify::Result<Self> {
        let queue = Arc::clone(queue);
        // Dropped with the handler, which goes after the kernel's instance.
        let (alive, ended) = channel();
        let handler = move |notified| {
            let _ = &alive;
            queue.push(notified);
        };
        let watcher = INotifyWatcher::new(handler, Config::default())?;
        if matches!(ended.try_recv(), Err(TryRecvError::Disconnected)) {
            // There was no thread to be had. Notify doesn't say so, and panics when it is spoken to, even at its drop.
            std::mem::forget(watcher);
            return Err(notify::Error::generic("no thread to be had"));
        }
        Ok(Self { watcher: Some(watcher), ended })
    }

    fn watch(&mut self, folder: &Path) -> notify::Result<()> {
        self.watcher.as_mut().map_or(Ok(()), |watcher| watcher.watch(folder, RecursiveMode::NonRecursive))
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.watcher = None;
        let _ = self.ended.recv();
    }
}

pub(super) struct Watching<S> {
    root: PathBuf,
    /// Opened once: reads the folders of the root that was there at the start.
    tree: DiskTree,
    /// `None` when the kernel gave no new one after an overflow.
    notify: Option<Notifier>,
    queue: Arc<Queue>,
    messages: Receiver<Message>,
    /// Folders that could not be watched (no permission to read them): tried again when their mode changes.
    unwatched: HashSet<String>,
    limit_reached: bool,
    root_check: Duration,
    sink: S,
}

/// Where a notified path lies.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Inside(&'a str),
    /// Some name in it is not UTF-8; the folder above the first such name.
    Unspeakable(&'a str),
    /// Ours, or not below the root.
    NotOurs,
}

impl<S: Fn(WatchEvent)> Watching<S> {
    pub fn begin(configured: PathBuf, sink: S, options: WatchOptions) -> Result<Self, WatchError> {
        let root = std::path::absolute(&configured)
            .map_err(|error| refused(WatchErrorKind::Root, &configured, Some(error.into())))?;
        let tree = DiskTree::open(&root).map_err(|error| refused(WatchErrorKind::Root, &root, Some(error.into())))?;
        let (sender, messages) = channel();
        let queue = Arc::new(Queue {
            messages: sender,
            stopped: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            waiting_max: options.queue_events_max,
            overflowed: AtomicBool::new(false),
        });
        let notify =
            Notifier::new(&queue).map_err(|error| refused(WatchErrorKind::LimitReached, &root, Some(error.into())))?;
        let mut watching = Self {
            root,
            tree,
            notify: Some(notify),
            queue,
            messages,
            unwatched: HashSet::new(),
            limit_reached: false,
            root_check: Duration::from_millis(options.root_check_ms),
            sink,
        };
        if !watching.cover("") {
            return Err(refused(WatchErrorKind::LimitReached, &watching.root, None));
        }
        if watching.unwatched.contains("") {
            return Err(refused(WatchErrorKind::Root, &watching.root, None));
        }
        Ok(watching)
    }

    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn run(mut self) {
        let mut checked = Instant::now();
        loop {
            let message = self.messages.recv_timeout(self.root_check);
            if self.queue.stopped.load(Ordering::Acquire) {
                return;
            }
            let mut root_touched = false;
            match message {
                Ok(Message::Notified(notified)) => {
                    self.queue.waiting.fetch_sub(1, Ordering::AcqRel);
                    root_touched = self.take(notified);
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.queue.overflowed.swap(false, Ordering::AcqRel) {
                self.begin_anew();
            }
            if root_touched || checked.elapsed() >= self.root_check {
                checked = Instant::now();
                if !self.tree.root().is_ok_and(|facts| facts == self.tree.opened_root()) {
                    (self.sink)(WatchEvent::Lost);
                    return;
                }
            }
        }
    }

    /// True when the root itself may be gone.
    fn take(&mut self, notified: notify::Result<notify::Event>) -> bool {
        match notified {
            Ok(event) if event.need_rescan() => self.begin_anew(),
            Ok(event) => {
                for path in &event.paths {
                    if path == &self.root
                        && matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
                    {
                        return true;
                    }
                    self.tell(&event.kind, path);
                }
            }
            Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => self.limit(),
            // Reading the events failed: who knows which.
            Err(_) => self.begin_anew(),
        }
        false
    }

    fn tell(&mut self, kind: &EventKind, path: &Path) {
        // The tracker of a rename repeats what each side told.
        if is_idle(kind) {
            return;
        }
        let path = match place(&self.root, path) {
            Place::Inside(path) => path,
            Place::Unspeakable(folder) => return (self.sink)(WatchEvent::Changed(folder.into())),
            Place::NotOurs => return,
        };
        let told = |event: fn(String) -> WatchEvent| (self.sink)(event(path.into()));
        let appeared = match kind {
            EventKind::Access(_) => {
                told(WatchEvent::Closed);
                false
            }
            EventKind::Create(CreateKind::Folder) => true,
            EventKind::Modify(ModifyKind::Name(_)) => {
                told(WatchEvent::Renamed);
                // The old name as well: when two folders are exchanged, each name is both.
                self.tree.stat(path).is_ok_and(|found| found.kind == Kind::Folder)
            }
            EventKind::Modify(ModifyKind::Metadata(_)) => {
                told(WatchEvent::Changed);
                self.unwatched.contains(path)
            }
            EventKind::Remove(_) => {
                told(WatchEvent::Removed);
                false
            }
            _ => {
                told(WatchEvent::Changed);
                false
            }
        };
        if appeared {
            if !self.cover(path) {
                self.limit();
            }
            (self.sink)(WatchEvent::FolderAppeared(path.into()));
        }
    }

    /// Watches `folder` and every folder below it. A folder is watched before it is read: what is made in it
    /// meanwhile is either read or notified. False when the kernel grants no more watches.
    fn cover(&mut self, folder: &str) -> bool {
        let Some(notify) = &mut self.notify else { return true };
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            self.unwatched.remove(&folder);
            if let Err(error) = notify.watch(&absolute(&self.root, &folder)) {
                match error.kind {
                    ErrorKind::MaxFilesWatch => return false,
                    // Gone meanwhile.
                    ErrorKind::PathNotFound => {}
                    _ => {
                        self.unwatched.insert(folder);
                    }
                }
                continue;
            }
            // A folder that can't be read is the scan's to report.
            let mut names = Vec::new();
            let read = self.tree.visit_folder(&folder, &mut |entry| {
                if entry.is_folder != Some(false) {
                    names.extend(entry.name);
                }
            });
            if read.is_err() {
                continue;
            }
            for name in names {
                if folder.is_empty() && name == OWN_FOLDER {
                    continue;
                }
                let below = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if self.tree.stat(&below).is_ok_and(|found| found.kind == Kind::Folder) {
                    folders.push(below);
                }
            }
        }
        true
    }

    /// After lost events nothing that is remembered of folders and their watches can be relied on.
    fn begin_anew(&mut self) {
        self.notify = None;
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Notified(_) => self.queue.waiting.fetch_sub(1, Ordering::AcqRel),
                // `stopped` says so as well.
                Message::Stop => return,
            };
        }
        self.queue.overflowed.store(false, Ordering::Release);
        self.unwatched.clear();
        self.limit_reached = false;
        self.notify = Notifier::new(&self.queue).ok();
        if self.notify.is_none() || !self.cover("") {
            self.limit();
        }
        (self.sink)(WatchEvent::Overflow);
    }

    fn limit(&mut self) {
        if !std::mem::replace(&mut self.limit_reached, true) {
            (self.sink)(WatchEvent::LimitReached);
        }
    }
}

fn refused(kind: WatchErrorKind, root: &Path, source: Option<Box<dyn std::error::Error + Send + Sync>>) -> WatchError {
    WatchError { kind, root: root.to_owned(), source }
}

/// Opening, reading, closing what was only read; and the summary of a rename, whose sides come by themselves.
fn is_idle(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => true,
        _ => false,
    }
}

fn absolute(root: &Path, path: &str) -> PathBuf {
    if path.is_empty() { root.to_owned() } else { root.join(path) }
}

fn place<'a>(root: &Path, path: &'a Path) -> Place<'a> {
    let Ok(below) = path.strip_prefix(root) else { return Place::NotOurs };
    if below.starts_with(OWN_FOLDER) {
        return Place::NotOurs;
    }
    for folder in below.ancestors() {
        if let Some(speakable) = folder.to_str() {
            return if folder == below { Place::Inside(speakable) } else { Place::Unspeakable(speakable) };
        }
    }
    Place::NotOurs
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]

    use std::cell::RefCell;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use notify::event::Flag;
    use notify::{Error, Event};

    use super::*;

    /// What is told when `notified` comes.
    fn told_of(notified: notify::Result<Event>) -> Vec<WatchEvent> {
        let place = tempfile::tempdir().unwrap();
        let told = RefCell::new(Vec::new());
        let sink = |event| told.borrow_mut().push(event);
        Watching::begin(place.path().to_owned(), sink, WatchOptions::default()).unwrap().take(notified);
        told.into_inner()
    }

    #[test]
    fn events_that_the_kernel_dropped_are_an_overflow() {
        // As notify tells it: without a path.
        assert_eq!(told_of(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))), [WatchEvent::Overflow]);
        assert_eq!(told_of(Err(Error::io(std::io::ErrorKind::Other.into()))), [WatchEvent::Overflow]);
    }

    #[test]
    fn watches_that_the_kernel_refused_are_a_limit() {
        assert_eq!(told_of(Err(Error::new(ErrorKind::MaxFilesWatch))), [WatchEvent::LimitReached]);
    }

    #[test]
    fn a_path_is_told_from_the_root_on() {
        let root = Path::new("/the/tree");
        let unspeakable = |bytes: &'static [u8]| Path::new(OsStr::from_bytes(bytes));
        for (path, expected) in [
            (Path::new("/the/tree"), Place::Inside("")),
            (Path::new("/the/tree/a/b"), Place::Inside("a/b")),
            (Path::new("/the/tree/.gosync-not"), Place::Inside(".gosync-not")),
            (Path::new("/the/tree/a/.gosync"), Place::Inside("a/.gosync")),
            (Path::new("/the/tree/.gosync"), Place::NotOurs),
            (Path::new("/the/tree/.gosync/tmp/x"), Place::NotOurs),
            (Path::new("/the/trees"), Place::NotOurs),
            (Path::new("/the"), Place::NotOurs),
            (unspeakable(b"/the/tree/a/\xff"), Place::Unspeakable("a")),
            (unspeakable(b"/the/tree/a/\xff/b/c"), Place::Unspeakable("a")),
            (unspeakable(b"/the/tree/\xff"), Place::Unspeakable("")),
        ] {
            assert_eq!(place(root, path), expected, "{}", path.display());
        }
    }
}
