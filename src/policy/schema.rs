//! The JSON Schema of policy files, for editors: generated from the types that read them.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::document::PolicyDocument;

/// The JSON Schema (draft 2020-12) of one policy file.
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<PolicyDocument>().to_value();
    forbid_null(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.insert("title".to_owned(), "pgwicket policy".into());
    }
    schema
}

/// Optional fields are left out, not null: a null in YAML is a value someone forgot to write.
fn forbid_null(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            let only = object.get("anyOf").and_then(Value::as_array).and_then(|options| match options.as_slice() {
                [one, null] if null.get("type").is_some_and(|kind| kind == "null") => Some(one.clone()),
                _ => None,
            });
            if let Some(Value::Object(one)) = only {
                object.remove("anyOf");
                object.extend(one);
            }
            object.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
