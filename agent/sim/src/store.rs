//! The bucket as the engine sees it: requests take time, fail before or after their effect, arrive late, and others are
//! at work in the same bucket.

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;

use gosync_engine::ports::store::{
    Condition, Deleted, GetRequest, Head, ListPage, ListRequest, ObjectBody, ObjectHeaders, ObjectVersion,
    PendingUpload, PutRequest, StoreErrorKind, Written,
};
use gosync_engine::ports::{ObjectStore, StoreError};

use crate::runtime::Port;
use crate::world::{Event, LateRequest, Who, World};

pub struct SimStore(pub Port);

const MS: u64 = 1_000_000;

impl Port {
    /// One request: it travels, happens, and its reply travels back.
    async fn request<T>(
        &self,
        operation: &'static str,
        key: &str,
        effect: bool,
        late: impl FnOnce() -> Option<LateRequest>,
        act: impl FnOnce(&mut World) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let failed = |kind| Err(StoreError::new(kind, operation, key, ""));
        self.pause(50, 15_000).await;
        let answer = {
            let world = &mut *self.lock();
            if !self.alive(world) {
                return failed(StoreErrorKind::Killed);
            }
            world.stats.requests += 1;
            let die_before = world.dice.chance(0.5);
            if die_before && world.kill_is_due(self.replica, effect) {
                world.send_late(late());
                return failed(StoreErrorKind::Killed);
            }
            world.somebody_is_faster(None, key);
            if let Some(kind) = world.request_fault() {
                world.tell(Who::Agent(self.replica), || format!("{operation} {key:?}: fails ({kind:?})"));
                if kind == StoreErrorKind::Transport {
                    world.send_late(late());
                }
                return failed(kind);
            }
            let answer = act(world);
            let told = answer.as_ref().err().copied();
            world.tell(Who::Agent(self.replica), || match told {
                None => format!("{operation} {key:?}"),
                Some(kind) => format!("{operation} {key:?}: {kind:?}"),
            });
            if !die_before && world.kill_is_due(self.replica, effect) {
                return failed(StoreErrorKind::Killed);
            }
            if world.reply_is_lost() {
                world.tell(Who::World, || format!("the reply to {operation} {key:?} is lost"));
                return failed(StoreErrorKind::Transport);
            }
            answer
        };
        self.pause(50, 5_000).await;
        answer.or_else(failed)
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        key: &str,
        act: impl FnOnce(&mut World) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        self.request(operation, key, false, || None, act).await
    }

    async fn change<T>(
        &self,
        operation: &'static str,
        key: &str,
        late: impl FnOnce() -> Option<LateRequest>,
        act: impl FnOnce(&mut World) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let replica = self.replica;
        self.lock().may_write_to_bucket(replica, operation);
        self.request(operation, key, true, late, |world| world.agent_requests(replica, key, act)).await
    }
}

impl World {
    fn request_fault(&mut self) -> Option<StoreErrorKind> {
        if self.quiet || !self.dice.chance(self.profile.store_faults) {
            return None;
        }
        self.stats.faults += 1;
        let kinds = [StoreErrorKind::Transport, StoreErrorKind::Throttled, StoreErrorKind::Unavailable];
        self.dice.pick(&kinds).copied()
    }

    fn reply_is_lost(&mut self) -> bool {
        let lost = !self.quiet && self.dice.chance(self.profile.store_faults);
        self.stats.faults += u64::from(lost);
        lost
    }

    /// Some stores' listings leave out, end early, or come in disorder.
    fn perhaps_a_lie(&mut self, mut page: ListPage) -> ListPage {
        if self.quiet || !self.dice.chance(self.profile.lies) {
            return page;
        }
        let at = self.dice.below(page.objects.len());
        match self.dice.below(3) {
            0 => {
                page.objects.truncate(at);
                page.next = None;
            }
            1 if at < page.objects.len() => {
                page.objects.remove(at);
            }
            _ => page.objects.reverse(),
        }
        self.stats.faults += 1;
        self.tell(Who::World, || "that listing is wrong".to_owned());
        page
    }

    /// A request whose sender knows nothing of it any more may still arrive.
    fn send_late(&mut self, request: Option<LateRequest>) {
        if let Some(request) = request.filter(|_| self.profile.late_requests)
            && self.dice.chance(0.3)
        {
            let delay_ms = self.dice.between(1, 3_000);
            self.schedule(delay_ms * MS, Event::Late(request));
        }
    }

    /// Nobody hears the answer.
    pub fn late_request_arrives(&mut self, request: LateRequest) {
        let (LateRequest::Put { key, .. } | LateRequest::Delete { key, .. }) = &request;
        let key = key.clone();
        let _ = match request {
            LateRequest::Put { replica, key, body, headers, condition } => {
                self.tell(Who::World, || format!("a late PUT of agent-{replica} arrives at {key:?}"));
                self.stats.effects.puts += 1;
                let put = |world: &mut World| world.bucket.put(&key, body, headers, &condition).map(|_| ());
                self.agent_requests(replica, &key, put)
            }
            LateRequest::Delete { replica, key, condition } => {
                self.tell(Who::World, || format!("a late DELETE of agent-{replica} arrives at {key:?}"));
                self.stats.effects.deletes += 1;
                self.agent_requests(replica, &key, |world| world.bucket.delete(&key, &condition))
            }
        };
        self.authors.remove(&key);
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        let after = request.token.or(request.start_after);
        let prefix = request.prefix;
        let replica = self.0.replica;
        self.0
            .ask("LIST", &prefix, |world| {
                world.has_listed(replica);
                let keys_max = match usize::try_from(request.page_keys_max) {
                    Ok(wanted @ 1..) => wanted.min(world.profile.page_keys),
                    _ => world.profile.page_keys,
                };
                let page = world.bucket.list(&prefix, after.as_deref(), keys_max);
                Ok(world.perhaps_a_lie(page))
            })
            .await
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        self.0.ask("HEAD", key, |world| Ok(world.bucket.head(key))).await
    }

    async fn get(&self, request: GetRequest) -> Result<Box<dyn ObjectBody>, StoreError> {
        let key = &request.key;
        let (head, mut bytes, breaks_off) = self
            .0
            .ask("GET", key, |world| {
                let (head, body) = world.bucket.get(key, request.etag.as_deref(), request.version_id.as_deref())?;
                let breaks_off = world.reply_is_lost().then(|| world.dice.below(body.len()));
                Ok((head, body, breaks_off))
            })
            .await?;
        if let Some(range) = &request.range {
            let end = usize::try_from(range.end).map_or(bytes.len(), |end| end.min(bytes.len()));
            let start = usize::try_from(range.start).map_or(end, |start| start.min(end));
            bytes = bytes[start..end].to_vec();
        }
        let body = Body { port: self.0.clone(), key: request.key, head, bytes, at: 0, breaks_off };
        Ok(Box::new(body))
    }

    async fn put(&self, request: PutRequest) -> Result<Written, StoreError> {
        let PutRequest { key, body, headers, condition } = request;
        let late = || {
            let (key, body) = (key.clone(), body.to_vec());
            let (headers, condition) = (headers.clone(), condition.clone());
            Some(LateRequest::Put { replica: self.0.replica, key, body, headers, condition })
        };
        self.0
            .change("PUT", &key, late, |world| {
                world.stats.effects.puts += 1;
                let content = world.ledger.name(&body);
                world.tell(Who::Agent(self.0.replica), || format!("sends {content} to {key:?} if {condition:?}"));
                let generation = world.bucket.put(&key, body.to_vec(), headers.clone(), &condition)?;
                Ok(Written { generation })
            })
            .await
    }

    async fn create_upload(&self, key: &str, headers: &ObjectHeaders) -> Result<String, StoreError> {
        self.0
            .change(
                "CREATE UPLOAD",
                key,
                || None,
                |world| {
                    world.stats.effects.multipart += 1;
                    Ok(world.bucket.create_upload(key, headers.clone()))
                },
            )
            .await
    }

    async fn upload_part(&self, key: &str, upload: &str, number: u32, body: Bytes) -> Result<String, StoreError> {
        self.0
            .change(
                "UPLOAD PART",
                key,
                || None,
                |world| {
                    world.stats.effects.multipart += 1;
                    world.bucket.upload_part(key, upload, number, body.to_vec())
                },
            )
            .await
    }

    async fn copy_part(
        &self,
        source: &str,
        source_etag: &str,
        range: Range<u64>,
        key: &str,
        upload: &str,
        number: u32,
    ) -> Result<String, StoreError> {
        self.0
            .change(
                "COPY PART",
                key,
                || None,
                |world| {
                    world.stats.effects.multipart += 1;
                    world.bucket.copy_part(source, source_etag, range, key, upload, number)
                },
            )
            .await
    }

    async fn complete_upload(
        &self,
        key: &str,
        upload: &str,
        parts: &[(u32, String)],
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        self.0
            .change(
                "COMPLETE UPLOAD",
                key,
                || None,
                |world| {
                    world.stats.effects.multipart += 1;
                    let generation = world.bucket.complete_upload(key, upload, parts, condition)?;
                    let content = world.object_content(key);
                    world.tell(Who::Agent(self.0.replica), || {
                        format!("has sent {content:?} to {key:?} if {condition:?}")
                    });
                    Ok(Written { generation })
                },
            )
            .await
    }

    async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        self.0
            .change(
                "ABORT UPLOAD",
                key,
                || None,
                |world| {
                    world.stats.effects.multipart += 1;
                    world.bucket.abort_upload(key, upload)
                },
            )
            .await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        self.0.ask("LIST UPLOADS", prefix, |world| Ok(world.bucket.pending_uploads(prefix))).await
    }

    async fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<(u32, String, u64)>, StoreError> {
        self.0.ask("LIST PARTS", key, |world| world.bucket.parts(key, upload)).await
    }

    async fn copy(
        &self,
        source: &str,
        source_etag: Option<&str>,
        target: &str,
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        self.0
            .change(
                "COPY",
                target,
                || None,
                |world| {
                    world.stats.effects.copies += 1;
                    let generation = world.bucket.copy(source, source_etag, target, condition)?;
                    Ok(Written { generation })
                },
            )
            .await
    }

    async fn delete(&self, key: &str, condition: &Condition) -> Result<(), StoreError> {
        let late =
            || Some(LateRequest::Delete { replica: self.0.replica, key: key.to_owned(), condition: condition.clone() });
        self.0
            .change("DELETE", key, late, |world| {
                world.stats.effects.deletes += 1;
                let content = world.object_content(key);
                world.tell(Who::Agent(self.0.replica), || format!("deletes {content:?} at {key:?} if {condition:?}"));
                world.bucket.delete(key, condition)
            })
            .await
    }

    async fn delete_many(&self, keys: &[(String, Condition)]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let replica = self.0.replica;
        self.0.lock().may_write_to_bucket(replica, "DELETE MANY");
        let delete_all = |world: &mut World| {
            let mut answers = Vec::new();
            for (key, condition) in keys {
                world.stats.effects.deletes += 1;
                let content = world.object_content(key);
                world.tell(Who::Agent(replica), || format!("deletes {content:?} at {key:?} if {condition:?}"));
                let answer = world.agent_requests(replica, key, |world| world.bucket.delete(key, condition));
                answers.push(answer.map_err(|kind| StoreError::new(kind, "DELETE MANY", key, "")));
            }
            Ok(answers)
        };
        self.0.request("DELETE MANY", "", true, || None, delete_all).await
    }

    async fn versions(&self, key: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.0.ask("LIST VERSIONS", key, |world| Ok(world.bucket.versions(key))).await
    }

    async fn deleted(&self, prefix: &str) -> Result<Deleted, StoreError> {
        self.0.ask("LIST DELETED", prefix, |world| Ok(world.bucket.deleted(prefix))).await
    }

    async fn versioning(&self) -> Result<Option<bool>, StoreError> {
        self.0.ask("GET VERSIONING", "", |world| Ok(world.bucket.versioned.then_some(true))).await
    }
}

struct Body {
    port: Port,
    key: String,
    head: Head,
    bytes: Vec<u8>,
    at: usize,
    breaks_off: Option<usize>,
}

#[async_trait]
impl ObjectBody for Body {
    fn head(&self) -> &Head {
        &self.head
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        self.port.pause(10, 2_000).await;
        let mut world = self.port.lock();
        let failed = |kind| Err(StoreError::new(kind, "GET", &self.key, ""));
        if !self.port.alive(&world) {
            return failed(StoreErrorKind::Killed);
        }
        if self.breaks_off.is_some_and(|end| self.at >= end) {
            world.tell(Who::World, || format!("the body of {:?} breaks off", self.key));
            return failed(StoreErrorKind::Transport);
        }
        let end = self.breaks_off.map_or(self.bytes.len(), |end| end.min(self.bytes.len()));
        if self.at >= end {
            return if self.breaks_off.is_some() { failed(StoreErrorKind::Transport) } else { Ok(None) };
        }
        let size = world.dice.below(end - self.at) + 1;
        let chunk = Bytes::copy_from_slice(&self.bytes[self.at..self.at + size]);
        self.at += size;
        Ok(Some(chunk))
    }
}
