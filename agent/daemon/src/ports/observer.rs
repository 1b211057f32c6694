//! Who is told what happens in a mirror: the log, the metrics, the neighbours, the screen.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use gosync_engine::ports::{Event, Observer};
use gosync_telemetry::MirrorMetrics;

use crate::neighbours::Neighbours;
use crate::screen::Screen;
use crate::tell::trouble::{self, Outside};
use crate::words;

/// Tells of one mirror.
pub struct Teller {
    pub mirror: String,
    pub metrics: MirrorMetrics,
    pub neighbours: Arc<Neighbours>,
    pub screen: Option<Arc<Screen>>,
    pub outside: Outside,
}

impl Observer for Teller {
    fn observe(&self, event: &Event) {
        self.count(event);
        let event = &*self.in_words(event);
        self.log(event);
        if let Event::Uploaded { path, .. } | Event::CopiedInBucket { path, .. } | Event::DeletedObject { path } = event
        {
            self.neighbours.changed(&self.mirror, path);
        }
        if let Some(screen) = &self.screen {
            screen.event(&self.mirror, event);
        }
    }
}

impl Teller {
    /// What failed, as people understand it; the causes are for the log alone.
    fn in_words<'a>(&self, event: &'a Event) -> Cow<'a, Event> {
        let mirror = self.mirror.as_str();
        match event {
            Event::Trouble { class, message } => {
                tracing::debug!(mirror, class, causes = message, "trouble");
                let message = trouble::explain(class, message, &self.outside);
                Cow::Owned(Event::Trouble { class, message })
            }
            Event::Problem { path, message } => {
                Cow::Owned(Event::Problem { path: path.clone(), message: trouble::of_a_path(message) })
            }
            event => Cow::Borrowed(event),
        }
    }

    fn count(&self, event: &Event) {
        let metrics = &self.metrics;
        match event {
            Event::Uploaded { bytes, .. } => metrics.uploaded(*bytes),
            Event::Downloaded { bytes, .. } => metrics.downloaded(*bytes),
            Event::DeletedObject { .. } => metrics.deleted_object(),
            Event::Trashed { .. } => metrics.deleted_file(),
            Event::Conflict { .. } => metrics.conflict(),
            Event::Trouble { class, .. } => metrics.error(words::error_class(class)),
            Event::SweepEnded { complete, milliseconds, .. } => {
                metrics.cycle(*complete, Duration::from_millis(*milliseconds));
            }
            Event::WatchOverflow => metrics.watch_overflow(),
            Event::Hydrated { milliseconds } => metrics.hydrated(Duration::from_millis(*milliseconds)),
            Event::Recorded { .. } | Event::Halted { .. } | Event::HaltEnded { .. } => {}
            Event::Problem { .. } | Event::TroubleEnded { .. } | Event::LinksParted { .. } => {}
            Event::CopiedInBucket { .. } | Event::CopiedInTree { .. } | Event::Rotten { .. } => {}
            Event::FeedLost | Event::BucketListed { .. } | Event::IsACopy { .. } => {}
        }
    }

    fn log(&self, event: &Event) {
        let mirror = self.mirror.as_str();
        match event {
            Event::Uploaded { path, bytes } => tracing::debug!(mirror, %path, bytes, "uploaded"),
            Event::Downloaded { path, bytes } => tracing::debug!(mirror, %path, bytes, "downloaded"),
            Event::DeletedObject { path } => tracing::info!(mirror, %path, "object deleted"),
            Event::Trashed { path } => tracing::info!(mirror, %path, "moved to the trash"),
            Event::Conflict { path, copy } => tracing::warn!(mirror, %path, %copy, "both sides had changed"),
            Event::Recorded { path } => tracing::debug!(mirror, %path, "both sides held the same"),
            Event::Halted { reason, message } => {
                tracing::warn!(mirror, reason = words::halt_reason(*reason).as_str(), message, "halted");
            }
            Event::HaltEnded { reason } => {
                tracing::info!(mirror, reason = words::halt_reason(*reason).as_str(), "no longer halted");
            }
            Event::CopiedInBucket { path, from } => tracing::debug!(mirror, %path, %from, "copied in the bucket"),
            Event::CopiedInTree { path } => tracing::debug!(mirror, %path, "copied from another file"),
            Event::LinksParted { path, other_names } => {
                tracing::warn!(mirror, %path, other_names, "replaced; its other hard links keep the old content");
            }
            Event::Rotten { path } => {
                tracing::warn!(mirror, %path, "its content has changed without a trace: nobody seems to have written to it");
            }
            Event::Problem { path, message } => tracing::warn!(mirror, %path, message, "left alone for now"),
            Event::Trouble { class, message } => {
                tracing::warn!(mirror, class = words::error_class(class), message, "trouble; tried again");
            }
            Event::TroubleEnded { class } => {
                tracing::info!(mirror, class = words::error_class(class), "the trouble is over");
            }
            Event::SweepEnded { complete, milliseconds, files } => {
                tracing::debug!(mirror, complete, milliseconds, files, "compared both sides");
            }
            Event::FeedLost => {
                tracing::warn!(mirror, "the feed can't go on from where it was read to: comparing everything");
            }
            Event::IsACopy { of } => {
                tracing::warn!(
                    mirror,
                    of,
                    "this folder is a copy or a clone of one that is in use: it goes on as a replica of its own, with a first run"
                );
            }
            Event::BucketListed { milliseconds, objects, recorded } => {
                tracing::debug!(mirror, milliseconds, objects, recorded, "listed the bucket for all");
            }
            Event::WatchOverflow => {
                tracing::warn!(mirror, "events of the file system were lost: looking at everything")
            }
            Event::Hydrated { milliseconds } => tracing::info!(mirror, milliseconds, "hydrated"),
        }
    }
}
