//! Policy files, secrets and saved catalogs from the outside to the policy room.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::{self, ConfigError, Environment},
    policy::{Bundle, PolicyFile, Reference, Resolved},
    sql::catalog::CatalogSnapshot,
    types::SourceName,
};

/// A policy as it was read: parsed, its references resolved, not compiled yet.
#[derive(Debug)]
pub struct LoadedPolicy {
    /// The directory of the policy files.
    pub directory: PathBuf,
    /// The files.
    pub bundle: Bundle,
    /// Its secrets and files.
    pub resolved: Resolved,
}

/// Why a policy cannot be looked at at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A saved catalog that does not parse.
    #[error("{path} is not a saved catalog: {why}; save it again with `pgwicket policy check --live --save-catalog`")]
    Catalog {
        /// The file.
        path: String,
        /// Why.
        why: serde_json::Error,
    },
}

/// Reads the policy at `path`: a directory of YAML files, or one file.
pub fn load_policy(environment: &dyn Environment, path: &Path) -> Result<LoadedPolicy, LoadError> {
    let texts = config::policy_texts(environment, path)?;
    let files = texts.files.into_iter().map(|(name, text)| PolicyFile { name: name.into(), text }).collect();
    let bundle = Bundle::parse(files);
    let resolve = |reference: Reference| {
        let secret = match &reference {
            Reference::Environment(name) => config::secret_from_variable(environment, name),
            Reference::File { path, .. } => config::secret_from_file(environment, &texts.directory, path),
        };
        (reference, secret)
    };
    let resolved = bundle.references().into_iter().map(resolve).collect();
    Ok(LoadedPolicy { directory: texts.directory, bundle, resolved })
}

/// Where a source's catalog is saved.
pub fn catalog_path(directory: &Path, source: &str) -> PathBuf {
    directory.join(".catalog").join(format!("{source}.json"))
}

/// The saved catalogs of the policy's sources, those there are. `file`, when given, is the catalog of every source.
pub fn saved_catalogs(
    environment: &dyn Environment,
    loaded: &LoadedPolicy,
    file: Option<&Path>,
) -> Result<BTreeMap<SourceName, Arc<CatalogSnapshot>>, LoadError> {
    let mut catalogs = BTreeMap::new();
    for name in loaded.bundle.source_names() {
        // A name that is no file name has no saved catalog; check says what is wrong with it.
        let Some(source) = name.parse::<SourceName>().ok().filter(|_| !name.contains(['/', '\\']) && !name.starts_with('.')) else {
            continue;
        };
        let path = file.map_or_else(|| catalog_path(&loaded.directory, name), Path::to_path_buf);
        let text = if file.is_some() { Some(config::text(environment, &path)?) } else { config::text_if_present(environment, &path)? };
        let Some(text) = text else { continue };
        let catalog = serde_json::from_str(&text).map_err(|why| LoadError::Catalog { path: path.display().to_string(), why })?;
        catalogs.insert(source, Arc::new(catalog));
    }
    Ok(catalogs)
}

/// A catalog as it is saved: JSON with one relation, type or operator a line, so that a change reads well in a diff.
pub fn saved_form(catalog: &CatalogSnapshot) -> Result<String, serde_json::Error> {
    let serde_json::Value::Object(fields) = serde_json::to_value(catalog)? else { return serde_json::to_string(catalog) };
    let items = |value: &serde_json::Value| match value {
        serde_json::Value::Array(items) => Some(("[", items.iter().map(ToString::to_string).collect::<Vec<_>>(), "]")),
        serde_json::Value::Object(fields) => {
            let field = |(name, value): (&String, &serde_json::Value)| format!("{}:{value}", serde_json::Value::from(name.as_str()));
            Some(("{", fields.iter().map(field).collect(), "}"))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => None,
    };
    let field = |(name, value): (&String, &serde_json::Value)| match items(value) {
        Some((open, items, close)) => format!("\"{name}\":{open}\n{}\n{close}", items.join(",\n")),
        None => format!("\"{name}\":{value}"),
    };
    Ok(format!("{{\n{}\n}}\n", fields.iter().map(field).collect::<Vec<_>>().join(",\n")))
}
