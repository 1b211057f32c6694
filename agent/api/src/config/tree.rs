//! YAML as a tree that remembers where everything stood, so that every mistake can be told with its line.
//!
//! Scalars stay text: what `5m`, `off` or `007` means is up to the key that reads it. Aliases and merge keys (`<<`) are
//! resolved here. One file is one document.

use std::collections::HashMap;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, options};

use super::problem::{Place, Problem, Wrong};

/// Most nodes of one file, aliases counted in full: a few lines of nested aliases would otherwise fill the memory.
const NODES_MAX: usize = 100_000;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Nothing was written, or `null`: as if the key were not there.
    Nothing,
    /// Text in which variables expand.
    Text(String),
    /// Text that is taken as it is (from the environment).
    Literal(String),
    List(Vec<Node>),
    Map(Map),
}

/// The entries of a mapping, in their order; no key twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Node,
}

impl Map {
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key that has one.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node).filter(|node| !matches!(node.value, Value::Nothing))
    }

    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key);
    }

    /// Sets a value, in place of the one that was there.
    pub fn set(&mut self, key: &str, place: Place, value: Value) {
        self.remove(key);
        self.entries.push(Entry { key: key.to_owned(), place: place.clone(), node: Node { place, value } });
    }

    /// The mapping below a key, made if there is none. A value of another kind stays (its reader complains).
    pub fn section(&mut self, key: &str, place: &Place) -> Option<&mut Map> {
        if self.get(key).is_none() {
            self.set(key, place.clone(), Value::Map(Map::default()));
        }
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        match &mut entry.node.value {
            Value::Map(map) => Some(map),
            Value::Nothing | Value::Text(_) | Value::Literal(_) | Value::List(_) => None,
        }
    }
}

/// The mapping of one file. Mistakes go to `problems`; what could be read is returned all the same.
pub(crate) fn parse(file: &str, text: &str, problems: &mut Vec<Problem>) -> Option<Map> {
    let file: Arc<str> = file.into();
    let mut builder =
        Builder { file: file.clone(), anchors: HashMap::new(), open: Vec::new(), root: None, nodes: 0, problems };
    for event in Parser::new_from_str_with_options(text, options! { emit_comments: false }) {
        let done = match event {
            Ok((event, span)) => builder.take(event, &span.start),
            Err(error) => Err(syntax(&file, text, &error)),
        };
        if let Err(problem) = done {
            builder.problems.push(problem);
            return None;
        }
    }
    let root = builder.root?;
    match root.value {
        Value::Map(map) => Some(map),
        Value::Nothing => None,
        Value::Text(_) | Value::Literal(_) | Value::List(_) => {
            builder.problems.push(
                Wrong::new("a config is a mapping of keys", "begin with `data_dir: ~/.gosync`")
                    .at(Some(root.place), ""),
            );
            None
        }
    }
}

/// What the parser says; a tab in the indentation, which it blames on other lines, is told as what it is.
fn syntax(file: &Arc<str>, text: &str, error: &ScanError) -> Problem {
    let from = error.marker().line().max(1);
    let tabbed = |line: &str| line.trim_start_matches(' ').starts_with('\t') && !line.trim().is_empty();
    if let Some(line) = text.lines().skip(from - 1).take(2).position(tabbed) {
        let place = Place::Line { file: file.clone(), line: from + line, column: 1 };
        return Wrong::new("this is not YAML: the line is indented with a tab", "use spaces").at(Some(place), "");
    }
    Wrong::new(
        format!("this is not YAML: {}", error.info()),
        "mend the line; indentation, quotes and the space after a colon are the usual causes",
    )
    .at(Some(place(file, error.marker())), "")
}

fn place(file: &Arc<str>, marker: &Marker) -> Place {
    Place::Line { file: file.clone(), line: marker.line().max(1), column: marker.col() + 1 }
}

/// A collection that is being read.
struct Open {
    place: Place,
    anchor: usize,
    nodes_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { map: Map, key: Option<(String, Place)> },
}

struct Builder<'a> {
    file: Arc<str>,
    anchors: HashMap<usize, (Node, usize)>,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, start: &Marker) -> Result<(), Problem> {
        let at = place(&self.file, start);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let value = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Nothing
                } else {
                    Value::Text(text.into_owned())
                };
                let node = Node { place: at, value };
                self.count(1, &node.place)?;
                if anchor > 0 {
                    self.anchors.insert(anchor, (node.clone(), 1));
                }
                self.add(node)
            }
            Event::SequenceStart(_, anchor, _) => self.start(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.start(at, anchor, Content::Map { map: Map::default(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let value = match open.content {
                    Content::List(list) => Value::List(list),
                    Content::Map { map, .. } => Value::Map(self.merged(map)),
                };
                let node = Node { place: open.place, value };
                if open.anchor > 0 {
                    self.anchors.insert(open.anchor, (node.clone(), self.nodes - open.nodes_before));
                }
                self.add(node)
            }
            Event::Alias(id) => {
                let Some((node, nodes)) = self.anchors.get(&id).cloned() else {
                    return Err(Wrong::new("an alias inside its own anchor", "write the value out").at(Some(at), ""));
                };
                self.count(nodes, &at)?;
                self.add(node)
            }
            Event::DocumentStart(..) if self.root.is_some() => Err(Wrong::new(
                "a second document begins here",
                "put it into a file of its own in a folder, and give the folder to --config",
            )
            .at(Some(at), "")),
            _ => Ok(()),
        }
    }

    fn start(&mut self, at: Place, anchor: usize, content: Content) -> Result<(), Problem> {
        self.count(1, &at)?;
        self.open.push(Open { place: at, anchor, nodes_before: self.nodes, content });
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: &Place) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(Wrong::new(format!("more than {NODES_MAX} values in one file"), "use fewer aliases")
                .at(Some(at.clone()), ""));
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Problem> {
        let path = self.path();
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(list) => list.push(node),
            Content::Map { map, key } => match key.take() {
                None => match node.value {
                    Value::Text(text) => *key = Some((text, node.place)),
                    Value::Nothing | Value::Literal(_) | Value::List(_) | Value::Map(_) => {
                        return Err(Wrong::new("a key has to be a word", "write `key: value`").at(Some(node.place), ""));
                    }
                },
                Some((key, key_place)) => {
                    if let Some(before) = map.entry(&key) {
                        self.problems.push(
                            Wrong::new(
                                format!("the key is there twice, before at {}", before.place),
                                "keep one of the two",
                            )
                            .at(Some(key_place), super::section::join_path(&path, &key)),
                        );
                    } else {
                        map.entries.push(Entry { key, place: key_place, node });
                    }
                }
            },
        }
        Ok(())
    }

    /// The path of the collection that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open[..self.open.len().saturating_sub(1)] {
            match &open.content {
                Content::List(list) => path.push_str(&format!("[{}]", list.len())),
                Content::Map { key: Some((key, _)), .. } => path = super::section::join_path(&path, key),
                Content::Map { key: None, .. } => {}
            }
        }
        path
    }

    /// Takes the `<<` out of a mapping and adds the keys that it brings, below those that are written out.
    fn merged(&mut self, mut map: Map) -> Map {
        let Some(merge) = map.entry("<<").cloned() else {
            return map;
        };
        map.remove("<<");
        let sources = match merge.node.value {
            Value::List(list) => list,
            other => vec![Node { place: merge.node.place, value: other }],
        };
        for source in sources {
            match source.value {
                Value::Map(from) => {
                    for entry in from.entries {
                        if map.entry(&entry.key).is_none() {
                            map.entries.push(entry);
                        }
                    }
                }
                Value::Nothing | Value::Text(_) | Value::Literal(_) | Value::List(_) => self.problems.push(
                    Wrong::new("`<<` takes mappings only", "give it an alias of a mapping")
                        .at(Some(source.place), "<<"),
                ),
            }
        }
        map
    }
}

/// Joins the mappings of several files: sections key by key, `syncs` lists one after the other, and any other key once
/// (or twice with the same value).
pub(crate) fn join(into: &mut Map, from: Map, path: &str, problems: &mut Vec<Problem>) {
    for entry in from.entries {
        let key = super::section::join_path(path, &entry.key);
        let Some(present) = into.entries.iter_mut().find(|present| present.key == entry.key) else {
            into.entries.push(entry);
            continue;
        };
        match (&mut present.node.value, entry.node.value) {
            (_, Value::Nothing) => {}
            (here @ Value::Nothing, value) => {
                *here = value;
                present.node.place = entry.node.place;
                present.place = entry.place;
            }
            (Value::Map(here), Value::Map(there)) => join(here, there, &key, problems),
            (Value::List(here), Value::List(there)) if key == "syncs" => here.extend(there),
            (here, there) => {
                if !same(here, &there) {
                    problems.push(
                        Wrong::new(
                            format!("set to another value at {}", present.node.place),
                            "keep it in one of the two files",
                        )
                        .at(Some(entry.node.place), key),
                    );
                }
            }
        }
    }
}

/// Equal in content, wherever they stand.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Nothing, Value::Nothing) => true,
        (Value::Text(a), Value::Text(b)) | (Value::Literal(a), Value::Literal(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.value, &b.value))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.entries.len() == b.entries.len()
                && a.entries
                    .iter()
                    .all(|entry| b.entry(&entry.key).is_some_and(|other| same(&entry.node.value, &other.node.value)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests may stop at the first surprise
    use super::*;

    fn problems_of(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        parse("a.yaml", text, &mut problems);
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let problems = problems_of("a: 1\nb: [1, 2\nc: 3\n");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("a.yaml:3:"), "{problems:?}");
        assert!(problems[0].contains("not YAML"), "{problems:?}");
    }

    #[test]
    fn a_key_that_is_there_twice_names_both_lines() {
        let problems = problems_of("s3:\n  region: a\n  region: b\n");
        assert_eq!(
            problems,
            ["a.yaml:3:3: s3.region: the key is there twice, before at a.yaml:2:3; keep one of the two"]
        );
    }

    #[test]
    fn aliases_and_merge_keys_bring_their_values() {
        let mut problems = Vec::new();
        let map = parse("a.yaml", "base: &b {x: 1, y: 2}\nnext:\n  <<: *b\n  y: 3\nsame: *b\n", &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        let Value::Map(next) = &map.get("next").unwrap().value else { panic!("not a map") };
        assert!(matches!(&next.get("x").unwrap().value, Value::Text(t) if t == "1"));
        assert!(matches!(&next.get("y").unwrap().value, Value::Text(t) if t == "3"));
        assert!(matches!(&map.get("same").unwrap().value, Value::Map(m) if m.entries.len() == 2));
    }

    #[test]
    fn nested_aliases_end_at_a_limit() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let before = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{before}]\n"));
        }
        let problems = problems_of(&text);
        assert!(problems[0].contains("more than 100000 values"), "{problems:?}");
    }

    #[test]
    fn a_second_document_and_a_bare_list_are_refused() {
        assert!(problems_of("a: 1\n---\nb: 2\n")[0].starts_with("a.yaml:2:1: a second document"));
        assert!(problems_of("- a\n")[0].starts_with("a.yaml:1:1: a config is a mapping"));
    }
}
