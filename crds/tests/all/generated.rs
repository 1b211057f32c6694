//! Files that are made from the types. `GOSYNC_REGENERATE=1` writes them anew.

use std::fs;
use std::path::Path;

use gosync_crds::{page, schema};
use serde_json::Value;

fn is_current(path: &Path, text: &str) {
    if std::env::var_os("GOSYNC_REGENERATE").is_some() {
        fs::write(path, text).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == text,
        "{} is not what the types say: run GOSYNC_REGENERATE=1 cargo test -p gosync-crds",
        path.display()
    );
}

#[test]
fn the_definition_in_the_folder_is_that_of_the_types() {
    is_current(&Path::new(env!("CARGO_MANIFEST_DIR")).join(schema::FILE), &schema::yaml());
}

#[test]
fn the_page_of_the_docs_is_that_of_the_types() {
    is_current(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/syncmirror.md"), &page::page());
}

#[test]
fn the_definition_is_one_that_the_api_knows() {
    let typed = schema::typed().unwrap();
    assert_eq!(typed.metadata.name.as_deref(), Some("syncmirrors.gosync.dev"));
    assert_eq!(typed.spec.names.short_names.unwrap(), ["smir"]);
    assert_eq!(typed.spec.names.categories.unwrap(), ["gosync"]);
    let columns = typed.spec.versions[0].additional_printer_columns.clone().unwrap();
    let names = |wide: bool| -> Vec<String> {
        let of = columns.iter().filter(|column| (column.priority.unwrap_or(0) > 0) == wide);
        of.map(|column| column.name.clone()).collect()
    };
    assert_eq!(names(false), ["Ready", "Sync", "Pending", "Lag", "Conflicts", "Age"]);
    assert_eq!(names(true), ["Bucket", "Prefix", "Direction"]);
}

#[test]
fn every_field_is_described_and_none_has_a_form_that_the_api_does_not_know() {
    let mut wrong = Vec::new();
    walk(&schema::open_api(), "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn walk(schema: &Value, path: &str, wrong: &mut Vec<String>) {
    for junctor in ["oneOf", "anyOf", "allOf", "$ref", "const"] {
        if !schema[junctor].is_null() {
            wrong.push(format!("{path} has {junctor}"));
        }
    }
    if schema["type"].is_null() && schema["x-kubernetes-int-or-string"] != true {
        wrong.push(format!("{path} has no type: {schema}"));
    }
    if schema["format"].as_str().is_some_and(|format| format.starts_with("uint")) {
        wrong.push(format!("{path} has the format {}", schema["format"]));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let field = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("{field} has no description"));
        }
        walk(property, &field, wrong);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{path}[]"), wrong);
        }
    }
}

#[test]
fn every_field_of_the_spec_is_in_the_table_and_the_table_has_no_other() {
    use std::collections::BTreeSet;
    let fields: BTreeSet<String> = page::leaves().into_iter().map(|leaf| leaf.field).collect();
    let table: BTreeSet<String> = gosync_crds::agent::TABLE.iter().map(|row| row.field.to_owned()).collect();
    assert_eq!(fields, table);
}
