//! Functions that the policy adds, called without their schema: a name that one of them alone has, and PostgreSQL's own do not.

use super::{Form, Replacement, Unqualified, identifier};
use crate::{
    policy::Agent,
    sql::{Node, Tree, allow, catalog::CatalogSnapshot},
};

/// Puts the schema before each such name, in the tree and in what is written.
pub(in crate::govern) fn qualify<'a>(
    tree: &mut Tree,
    agent: &Agent,
    catalogs: &(impl Iterator<Item = &'a CatalogSnapshot> + Clone),
    found: &mut Unqualified,
) {
    if agent.functions.is_empty() {
        return;
    }
    each(tree, &mut |node| {
        let Some((name, at, schema)) = call(node, agent, catalogs.clone()) else { return };
        let Some((_, Tree::List(names))) = node.fields.iter_mut().find(|(field, _)| *field == "funcname") else { return };
        let Some(mut first) = names.first().cloned() else { return };
        if let Tree::Node(string) = &mut first
            && let Some((_, text)) = string.fields.iter_mut().find(|(field, _)| *field == "sval")
        {
            *text = Tree::Text(schema.clone());
            names.insert(0, first);
            let sql = format!("{}.{}", identifier(&schema), identifier(&name));
            found.texts.push(Replacement { at, form: Form::Column, sql });
        }
    });
}

/// The name of a call without a schema, its place, and the one schema that it can mean.
fn call<'a>(node: &Node, agent: &Agent, mut catalogs: impl Iterator<Item = &'a CatalogSnapshot>) -> Option<(String, usize, Box<str>)> {
    if node.kind != "FuncCall" {
        return None;
    }
    let names = node.names("funcname").ok()?;
    let [name] = names.as_slice() else { return None };
    let arguments = node.list("args").ok()?.len();
    let unknown = matches!(allow::function(name, arguments), allow::FunctionRule::Unknown) && !super::answers(name, arguments);
    if !unknown || catalogs.any(|catalog| catalog.extensions.resolution().function(name).is_some()) {
        return None;
    }
    let mut added = agent.functions.iter().filter(|known| *known.name == **name && known.arguments == arguments).map(|known| &known.schema);
    let schema = added.next()?;
    added.all(|other| other == schema).then_some(())?;
    Some(((*name).to_owned(), node.location()?, schema.clone()))
}

/// Every node, parents first.
pub(super) fn each(tree: &mut Tree, change: &mut dyn FnMut(&mut Node)) {
    match tree {
        Tree::List(items) => items.iter_mut().for_each(|item| each(item, change)),
        Tree::Node(node) => {
            change(node);
            node.fields.iter_mut().for_each(|(_, field)| each(field, change));
        }
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::govern::tests::governed;

    #[test]
    fn a_function_of_the_policy_is_called_with_and_without_its_schema() {
        let written = |text: &str| governed(text).replace('"', "");
        for text in ["select slow(0) from t where slow(id) is null", "select SLOW (slow(id)) from t"] {
            let with = text.to_lowercase().replace("slow", "ext.slow");
            assert_eq!(written(text), written(&with), "{text}");
            assert!(written(text).contains("ext.slow"), "{}", written(text));
        }
        assert!(governed("select slow(0, 1)").starts_with("REFUSED 42883"));
        assert!(governed("select public.slow(0)").starts_with("REFUSED 42883"));
    }
}
