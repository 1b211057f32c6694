//! Values on their way out: what `config show`, the reference and the examples print. Secrets are masked before they
//! get here.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value as it would be written in a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Shown>),
    /// Keys, in their order.
    Map(Vec<(String, Shown)>),
}

impl Shown {
    /// What of it differs from `base`, for mappings key by key; none when nothing does.
    pub(crate) fn beyond(&self, base: &Self) -> Option<Self> {
        match (self, base) {
            (Self::Map(entries), Self::Map(base)) => {
                let differing: Vec<_> = entries
                    .iter()
                    .filter_map(|(key, value)| {
                        let rest = match base.iter().find(|(other, _)| other == key) {
                            Some((_, base)) => value.beyond(base)?,
                            None => value.clone(),
                        };
                        Some((key.clone(), rest))
                    })
                    .collect();
                (!differing.is_empty()).then_some(Self::Map(differing))
            }
            _ => (self != base).then(|| self.clone()),
        }
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_u64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => serializer.collect_seq(values),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
