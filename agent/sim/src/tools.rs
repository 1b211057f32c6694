//! Other S3 tools at work in the same bucket: they write what, where and when they like (P6).

use gosync_engine::ports::store::{Condition, ObjectHeaders};

use crate::world::{Who, World};

const PATHS: [&str; 9] = ["a", "b", "foo", "foo.txt", "foo/x", "d/x", "d/e/z", "t/new", "log"];
/// Keys that no file system can hold.
const ODD: [&str; 6] = ["/abs", "x//y", "../up", "d/", "d/./x", "z/../z"];

impl World {
    /// A tool does something, at `target` if there is one.
    pub fn tool_step(&mut self, target: Option<&str>) {
        self.stats.steps += 1;
        let key = match target {
            Some(target) => target.to_owned(),
            None => self.any_key(),
        };
        match self.dice.below(100) {
            0..=39 => self.tool_puts(&key),
            40..=57 => self.tool_deletes(&key),
            58..=67 => self.tool_keeps_metadata(&key, &key),
            68..=71 => {
                let from = self.any_key();
                self.tool_keeps_metadata(&from, &key);
            }
            72..=78 => self.tool_renames(&key),
            79..=81 => self.tool_copies(&key),
            82..=84 => self.tool_renames_folder(),
            85..=91 => self.tool_writes_again(&key),
            92..=96 => {
                let odd = *self.dice.pick(&ODD).unwrap_or(&"x//y");
                let odd = format!("{}{odd}", self.profile.prefix);
                self.tool_puts(&odd);
            }
            _ => self.tool_puts("neighbour/file"),
        }
    }

    fn any_key(&mut self) -> String {
        let prefix = self.profile.prefix;
        let keys: Vec<String> =
            self.bucket.objects().map(|(key, _)| key.to_owned()).filter(|key| self.path_of(key).is_some()).collect();
        match self.dice.pick(&keys) {
            Some(key) if self.dice.chance(0.6) => key.clone(),
            _ => format!("{prefix}{}", self.dice.pick(&PATHS).unwrap_or(&"a")),
        }
    }

    fn fresh_body(&mut self) -> Vec<u8> {
        let bytes = if self.dice.chance(0.75) { self.dice.below(20) + 5 } else { self.dice.below(280) + 20 };
        self.fresh_body_of(bytes)
    }

    fn fresh_body_of(&mut self, bytes: usize) -> Vec<u8> {
        let body = self.ledger.invent(bytes, &mut self.dice);
        let id = self.ledger.name(&body);
        self.ledger.complete(id);
        body
    }

    fn tell_tool(&mut self, what: &str, key: &str) {
        let content = self.object_content(key);
        self.tell(Who::Tool, || match content {
            Some(content) => format!("{what} {key:?}: {content}"),
            None => format!("{what} {key:?}"),
        });
    }

    pub fn tool_puts(&mut self, key: &str) {
        let body = self.fresh_body();
        let in_parts = self.dice.chance(0.1) && body.len() > 10;
        self.tool_acts(&[key], |world| {
            if in_parts {
                let bucket = &mut world.bucket;
                let upload = bucket.create_upload(key, ObjectHeaders::default());
                let parts: Vec<(u32, String)> = (1..)
                    .zip(body.chunks(7))
                    .filter_map(|(number, part)| {
                        Some((number, bucket.upload_part(key, &upload, number, part.to_vec()).ok()?))
                    })
                    .collect();
                let _ = bucket.complete_upload(key, &upload, &parts, &Condition::None);
            } else {
                let _ = world.bucket.put(key, body, ObjectHeaders::default(), &Condition::None);
            }
        });
        self.tell_tool("writes", key);
    }

    #[cfg(test)]
    pub fn tool_puts_back(&mut self, key: &str, body: Vec<u8>) {
        self.tool_acts(&[key], |world| {
            let _ = world.bucket.put(key, body, ObjectHeaders::default(), &Condition::None);
        });
        self.tell_tool("puts back", key);
    }

    pub fn tool_deletes(&mut self, key: &str) {
        if self.bucket.current(key).is_none() {
            return;
        }
        self.tell_tool("deletes", key);
        self.tool_acts(&[key], |world| {
            let _ = world.bucket.delete(key, &Condition::None);
        });
    }

    /// New content under the metadata of another object, or of what was there: s3fs and `rclone copy --metadata` leave
    /// such, our nonce and hash among it.
    fn tool_keeps_metadata(&mut self, from: &str, key: &str) {
        let Some(object) = self.bucket.current(from) else { return };
        let (headers, bytes) = (object.headers.clone(), object.body.len());
        let body = if self.dice.chance(0.5) { self.fresh_body_of(bytes) } else { self.fresh_body() };
        self.tool_acts(&[key], |world| {
            let _ = world.bucket.put(key, body, headers, &Condition::None);
        });
        self.tell_tool("writes, with the metadata of an object,", key);
    }

    fn tool_renames(&mut self, key: &str) {
        let to = self.any_key();
        if to == key || self.bucket.current(key).is_none() {
            return;
        }
        self.tell_tool(&format!("moves to {to:?} the object"), key);
        self.tool_acts(&[key, &to], |world| {
            let _ = world.bucket.copy(key, None, &to, &Condition::None);
            let _ = world.bucket.delete(key, &Condition::None);
        });
    }

    fn tool_copies(&mut self, key: &str) {
        let to = self.any_key();
        if to == key || self.bucket.current(key).is_none() {
            return;
        }
        self.tool_acts(&[&to], |world| {
            let _ = world.bucket.copy(key, None, &to, &Condition::None);
        });
        self.tell_tool(&format!("copies {key:?} with its metadata to"), &to);
    }

    /// Key by key, as tools do it.
    fn tool_renames_folder(&mut self) {
        let from = *self.dice.pick(&["d/", "foo/", "t/"]).unwrap_or(&"d/");
        let to = *self.dice.pick(&["d/", "foo/", "t/new-", "moved/"]).unwrap_or(&"moved/");
        let (from, to) = (format!("{}{from}", self.profile.prefix), format!("{}{to}", self.profile.prefix));
        let mut keys: Vec<String> =
            self.bucket.objects().map(|(key, _)| key.to_owned()).filter(|key| key.starts_with(&from)).collect();
        keys.retain(|key| from != to && self.path_of(key).is_some());
        for key in &keys {
            let target = format!("{to}{}", &key[from.len()..]);
            self.tell_tool(&format!("moves the folder {from:?} to {to:?}, now"), key);
            self.tool_acts(&[key, &target], |world| {
                let _ = world.bucket.copy(key, None, &target, &Condition::None);
                let _ = world.bucket.delete(key, &Condition::None);
            });
        }
    }

    /// The same content once more: another generation.
    fn tool_writes_again(&mut self, key: &str) {
        let Some(object) = self.bucket.current(key) else { return };
        let (body, headers) = (object.body.clone(), object.headers.clone());
        let headers = if self.dice.chance(0.5) { headers } else { ObjectHeaders::default() };
        self.tool_acts(&[key], |world| {
            let _ = world.bucket.put(key, body, headers, &Condition::None);
        });
        self.tell_tool("writes again", key);
    }
}
