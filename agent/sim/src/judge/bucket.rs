//! What agents do to the bucket: objects that they replace or delete (P1, P5), and what they show there (P3, P6).

use gosync_plan::{ConflictPolicy, Direction};

use crate::ledger::{ContentId, Origin};
use crate::world::World;

impl World {
    /// Runs an agent's request that changes a key, and judges it.
    pub fn agent_requests<T, E>(
        &mut self,
        replica: usize,
        key: &str,
        request: impl FnOnce(&mut World) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.object_content(key);
        let answer = request(self)?;
        let after = self.object_content(key);
        if before != after {
            self.authors.insert(key.to_owned(), replica);
        } else if self.authors.get(key) != Some(&replica) {
            // The same content once more is another generation.
            self.authors.remove(key);
        }
        let Some(path) = self.path_of(key) else {
            if !key.starts_with(&format!("{}.gosync/", self.profile.prefix)) {
                self.violate("P6", None, format!("agent-{replica} changed {key:?}, which is not below its prefix"));
            }
            return Ok(answer);
        };
        if (self.profile.conflicts == ConflictPolicy::LocalWins || self.profile.filled)
            && let (Some(before), Some(after)) = (before, after)
        {
            // What a file overrules is owed to whoever wrote it, but a delete of the file is one of it as well.
            self.ledger.overruled(&path, before, after);
        }
        if before != after {
            self.tell_other_mirrors(replica, &path);
        }
        match (before, after) {
            (Some(before), None) if !self.ledger.leads_to_deletion(&path, before) => {
                let message = format!("agent-{replica} deleted {before} at {path}, which nobody deleted");
                self.violate("P5", Some(before), message);
            }
            (_, Some(after)) if Some(after) != before => self.judge_object(replica, &path, key, after),
            _ => {}
        }
        if let Some(before) = before.filter(|before| Some(*before) != after) {
            self.judge_loss(before, &format!("agent-{replica} replaced or deleted the object {key:?}"));
        }
        Ok(answer)
    }

    /// P3: what an agent shows in the bucket.
    fn judge_object(&mut self, replica: usize, path: &str, key: &str, content: ContentId) {
        if self.ledger.origin(content) == Origin::Complete {
            return;
        }
        if self.bucket.current(key).is_some_and(|object| object.headers.open) {
            self.ledger.mark_open(content);
            // It is a state on the way to what the file holds now.
            let now = self.contents(replica).get(path).map(|(_, content)| *content);
            self.ledger.step(path, Some(content), now, &[]);
            return;
        }
        if self.ledger.origin(content) == Origin::Progress && self.open_files_are_unknowable() {
            self.ledger.mark_open(content);
            return;
        }
        if !self.ledger.is_marked_open(content) {
            let message = format!("agent-{replica} sent {content} to {key:?}: nobody ever wrote that completely");
            self.violate("P3", Some(content), message);
        }
    }

    /// Agents that work one way only don't touch the other side, whatever comes of it.
    pub fn may_write_to_bucket(&mut self, replica: usize, deed: &str) {
        if self.profile.directions[replica] == Direction::Pull {
            self.violate("pull", None, format!("agent-{replica}, which only receives, sends {deed}"));
        }
    }
}
