//! Where each key was set, for messages about a config that has been read.

use std::collections::BTreeMap;

use super::problem::Place;
use super::tree::{Map, Value};

/// Places by key path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    pub(crate) fn of(map: &Map) -> Self {
        let mut places = Self::default();
        places.add(map, "");
        places
    }

    fn add(&mut self, map: &Map, path: &str) {
        for entry in &map.entries {
            let key = super::section::join_path(path, &entry.key);
            self.0.insert(key.clone(), entry.place.clone());
            match &entry.node.value {
                Value::Map(inner) => self.add(inner, &key),
                Value::List(nodes) => {
                    for (i, node) in nodes.iter().enumerate() {
                        let key = format!("{key}[{i}]");
                        self.0.insert(key.clone(), node.place.clone());
                        if let Value::Map(inner) = &node.value {
                            self.add(inner, &key);
                        }
                    }
                }
                Value::Text(_) | Value::Literal(_) => {
                    self.0.insert(key, entry.node.place.clone());
                }
                Value::Nothing => {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// Where the key was set; none when its default holds.
    pub fn exact(&self, key: &str) -> Option<&Place> {
        self.0.get(key)
    }

    /// Where the key was set, or else the nearest section around it.
    pub fn near(&self, key: &str) -> Option<&Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.0.get(key) {
                return Some(place);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}
