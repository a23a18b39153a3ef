//! From rustdoc's JSON to lines: one for each item, field, variant, function and implementation.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::render::{Names, list, text, variant};

/// Traits that say nothing of the API: the compiler implements them, and no two versions of it the same.
const NOISE: [&str; 5] = [
    "Freeze",
    "RefUnwindSafe",
    "StructuralPartialEq",
    "UnsafeUnpin",
    "UnwindSafe",
];

pub(crate) fn of(documented: &Value) -> BTreeSet<String> {
    let mut listing = Listing {
        index: &documented["index"],
        names: Names {
            public: HashMap::new(),
            paths: &documented["paths"],
        },
        items: Vec::new(),
        lines: BTreeSet::new(),
    };
    let root = listing.index[&documented["root"].to_string()].clone();
    listing.name(&root, "lameduck");
    for (path, id) in std::mem::take(&mut listing.items) {
        listing.item(&path, id);
    }
    listing.lines
}

struct Listing<'a> {
    index: &'a Value,
    names: Names<'a>,
    /// Each item once, at its home.
    items: Vec<(String, u64)>,
    lines: BTreeSet<String>,
}

impl<'a> Listing<'a> {
    fn get(&self, id: u64) -> &'a Value {
        &self.index[&id.to_string()]
    }

    /// Finds out where a module's items are public. What is in a module of its own has its home there; the root's re-export is a
    /// line, too.
    fn name(&mut self, module: &Value, path: &str) {
        let members = list(&module["inner"]["module"]["items"]);
        let members = members.iter().filter_map(Value::as_u64);
        let mut members: Vec<_> = members.map(|id| self.member(id)).collect();
        // Modules first: their items are at home in them.
        members.sort_by_key(|(_, _, kind)| *kind != "module");
        for (name, id, kind) in members {
            let path = format!("{path}::{name}");
            if kind == "module" {
                self.lines.insert(format!("pub mod {path}"));
                let module = self.get(id).clone();
                self.name(&module, &path);
            } else if let Some(home) = self.names.public.get(&id) {
                self.lines.insert(format!("pub use {path} = {home}"));
            } else if kind != "impl" {
                self.names.public.insert(id, path.clone());
                self.items.push((path, id));
            }
        }
    }

    /// A member's name, what it is, and of which kind: what is re-exported is what it leads to.
    fn member(&self, mut id: u64) -> (String, u64, &'a str) {
        let mut item = self.get(id);
        let mut name = text(&item["name"]).to_owned();
        while let ("use", it) = variant(&item["inner"]) {
            text(&it["name"]).clone_into(&mut name);
            id = it["id"].as_u64().expect("it leads to something");
            item = self.get(id);
        }
        (name, id, variant(&item["inner"]).0)
    }

    fn item(&mut self, path: &str, id: u64) {
        let item = self.get(id);
        let grows = match list(&item["attrs"]).iter().any(|it| it == "non_exhaustive") {
            true => "#[non_exhaustive] ",
            false => "",
        };
        let (kind, it) = variant(&item["inner"]);
        let (params, wheres) = self.names.generics(&it["generics"]);
        match kind {
            "struct" => {
                self.add(format!("{grows}pub struct {path}{params}{wheres}"));
                self.fields(path, &it["kind"]["plain"]["fields"]);
                self.implementations(path, it);
            }
            "enum" => {
                self.add(format!("{grows}pub enum {path}{params}{wheres}"));
                for id in list(&it["variants"]).iter().filter_map(Value::as_u64) {
                    self.variant(path, id);
                }
                self.implementations(path, it);
            }
            "trait" => {
                let bounds = match self.names.bounds(list(&it["bounds"])) {
                    none if none.is_empty() => none,
                    some => format!(": {some}"),
                };
                self.add(format!("pub trait {path}{params}{bounds}{wheres}"));
                self.members(path, it);
            }
            "function" => self.function(path, it),
            "constant" => self.add(format!("pub const {path}: {}", self.names.ty(&it["type"]))),
            "type_alias" => {
                let ty = self.names.ty(&it["type"]);
                self.add(format!("pub type {path}{params} = {ty}"));
            }
            other => panic!("{path} is a {other}, which is not listed yet"),
        }
    }

    fn add(&mut self, line: String) {
        self.lines.insert(line);
    }

    fn function(&mut self, path: &str, it: &Value) {
        let header = self.names.header(&it["header"]);
        let signature = self.names.signature(it);
        self.add(format!("pub {header}fn {path}{signature}"));
    }

    fn fields(&mut self, path: &str, fields: &Value) {
        for field in list(fields).iter().filter_map(Value::as_u64) {
            let field = self.get(field);
            if field.is_null() {
                continue;
            }
            let (name, ty) = (
                text(&field["name"]),
                self.names.ty(&field["inner"]["struct_field"]),
            );
            self.add(format!("pub {path}::{name}: {ty}"));
        }
    }

    fn variant(&mut self, path: &str, id: u64) {
        let item = self.get(id);
        let path = format!("{path}::{}", text(&item["name"]));
        let grows = match list(&item["attrs"]).iter().any(|it| it == "non_exhaustive") {
            true => "#[non_exhaustive] ",
            false => "",
        };
        match variant(&item["inner"]["variant"]["kind"]) {
            ("tuple", fields) => {
                let fields = list(fields).iter().filter_map(Value::as_u64);
                let fields = fields.map(|id| self.names.ty(&self.get(id)["inner"]["struct_field"]));
                let fields = fields.collect::<Vec<_>>().join(", ");
                self.add(format!("{grows}pub {path}({fields})"));
            }
            ("struct", it) => {
                self.add(format!("{grows}pub {path} {{ .. }}"));
                self.fields(&path, &it["fields"]);
            }
            _ => self.add(format!("{grows}pub {path}")),
        }
    }

    fn implementations(&mut self, path: &str, it: &Value) {
        for id in list(&it["impls"]).iter().filter_map(Value::as_u64) {
            let it = &self.get(id)["inner"]["impl"];
            if it["trait"].is_null() {
                self.members(path, it);
                continue;
            }
            let name = text(&it["trait"]["path"])
                .rsplit("::")
                .next()
                .unwrap_or_default();
            if !it["blanket_impl"].is_null() || NOISE.contains(&name) {
                continue;
            }
            let implementation = self.names.implementation(it);
            for id in list(&it["items"]).iter().filter_map(Value::as_u64) {
                let item = self.get(id);
                if let ("assoc_type", ty) = variant(&item["inner"]) {
                    let (name, ty) = (text(&item["name"]), self.names.ty(&ty["type"]));
                    self.add(format!("{implementation}: type {name} = {ty}"));
                }
            }
            self.add(implementation);
        }
    }

    /// The functions, types and constants of a trait, or of a type itself.
    fn members(&mut self, path: &str, it: &Value) {
        for id in list(&it["items"]).iter().filter_map(Value::as_u64) {
            let item = self.get(id);
            if item.is_null() {
                continue;
            }
            let path = format!("{path}::{}", text(&item["name"]));
            match variant(&item["inner"]) {
                ("function", it) => self.function(&path, it),
                ("assoc_const", it) => {
                    let ty = self.names.ty(&it["type"]);
                    self.add(format!("pub const {path}: {ty}"));
                }
                ("assoc_type", it) => {
                    let bounds = self.names.bounds(list(&it["bounds"]));
                    self.add(format!("pub type {path}: {bounds}"));
                }
                (other, _) => panic!("{path} is a {other}, which is not listed yet"),
            }
        }
    }
}
