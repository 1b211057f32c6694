//! A patch under construction: each addition is made on a copy too, so that the next one knows what is there.

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

/// Additions to a document.
pub struct Edit {
    now: Value,
    operations: Vec<PatchOperation>,
}

impl Edit {
    /// No additions yet.
    pub fn new(document: &Value) -> Self {
        Self { now: document.clone(), operations: Vec::new() }
    }

    /// Puts a value at a place of a list, which is made if it isn't there.
    pub fn add(&mut self, list: &str, index: usize, value: Value) {
        self.make(list, json!([]));
        if let Some(items) = self.now.pointer_mut(list).and_then(Value::as_array_mut) {
            items.insert(index.min(items.len()), value.clone());
            self.record(list, &index.to_string(), value);
        }
    }

    /// Puts a value at the end of a list, which is made if it isn't there.
    pub fn push(&mut self, list: &str, value: Value) {
        self.make(list, json!([]));
        if let Some(items) = self.now.pointer_mut(list).and_then(Value::as_array_mut) {
            items.push(value.clone());
            self.record(list, "-", value);
        }
    }

    /// Sets a key of a mapping, which is made if it isn't there.
    pub fn set(&mut self, mapping: &str, key: &str, value: Value) {
        self.make(mapping, json!({}));
        if let Some(entries) = self.now.pointer_mut(mapping).and_then(Value::as_object_mut) {
            entries.insert(key.to_owned(), value.clone());
            self.record(mapping, key, value);
        }
    }

    /// The additions.
    pub fn into_patch(self) -> Patch {
        Patch(self.operations)
    }

    /// Makes what a value is to be put into. `null` counts as not there, as it does to the API server.
    fn make(&mut self, place: &str, empty: Value) {
        if self.now.pointer(place).is_some_and(|value| !value.is_null()) {
            return;
        }
        if let Some((parent, key)) = place.rsplit_once('/') {
            if !parent.is_empty() {
                self.make(parent, json!({}));
            }
            if let Some(entries) = self.now.pointer_mut(parent).and_then(Value::as_object_mut) {
                entries.insert(key.to_owned(), empty.clone());
                self.record(parent, key, empty);
            }
        }
    }

    fn record(&mut self, parent: &str, key: &str, value: Value) {
        let path = PointerBuf::from_tokens(parent.split('/').skip(1).chain([key]).map(Token::new));
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
    }
}
