//! Types, bounds and signatures as Rust writes them, with full paths.

use std::collections::HashMap;

use serde_json::Value;

/// What a path is called from outside.
pub(crate) struct Names<'a> {
    /// Where the crate's own items are public.
    pub(crate) public: HashMap<u64, String>,
    /// Where anything is defined.
    pub(crate) paths: &'a Value,
}

impl Names<'_> {
    fn path(&self, path: &Value) -> String {
        let id = path["id"].as_u64().expect("a path leads somewhere");
        let name = self.public.get(&id).cloned().unwrap_or_else(|| {
            let defined = &self.paths[&id.to_string()]["path"];
            match list(defined) {
                [] => text(&path["path"]).to_owned(),
                segments => segments.iter().map(text).collect::<Vec<_>>().join("::"),
            }
        });
        name + &self.args(&path["args"])
    }

    fn args(&self, args: &Value) -> String {
        if let Some(called) = args.get("parenthesized") {
            let inputs = self.types(list(&called["inputs"]));
            return format!("({inputs}){}", self.output(&called["output"]));
        }
        let args = &args["angle_bracketed"];
        let given = list(&args["args"]).iter().map(|arg| match variant(arg) {
            ("type", it) => self.ty(it),
            ("lifetime", it) => text(it).to_owned(),
            ("const", it) => text(&it["expr"]).to_owned(),
            (other, _) => panic!("an argument that is {other}"),
        });
        let constraints = list(&args["constraints"]).iter().map(|constraint| {
            let name = text(&constraint["name"]);
            match variant(&constraint["binding"]) {
                ("equality", it) => format!("{name} = {}", self.ty(&it["type"])),
                (_, bounds) => format!("{name}: {}", self.bounds(list(bounds))),
            }
        });
        match given.chain(constraints).collect::<Vec<_>>() {
            none if none.is_empty() => String::new(),
            some => format!("<{}>", some.join(", ")),
        }
    }

    fn types(&self, types: &[Value]) -> String {
        types
            .iter()
            .map(|it| self.ty(it))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn output(&self, output: &Value) -> String {
        match output {
            Value::Null => String::new(),
            output => format!(" -> {}", self.ty(output)),
        }
    }

    pub(crate) fn ty(&self, ty: &Value) -> String {
        match variant(ty) {
            ("resolved_path", it) => self.path(it),
            ("primitive", it) if it == "never" => "!".to_owned(),
            ("generic" | "primitive", it) => text(it).to_owned(),
            ("tuple", it) => format!("({})", self.types(list(it))),
            ("slice", it) => format!("[{}]", self.ty(it)),
            ("array", it) => format!("[{}; {}]", self.ty(&it["type"]), text(&it["len"])),
            ("impl_trait", it) => format!("impl {}", self.bounds(list(it))),
            ("dyn_trait", it) => {
                let traits = list(&it["traits"]).iter();
                let traits = traits.map(|it| self.path(&it["trait"]));
                let lifetime = it["lifetime"].as_str().map(str::to_owned);
                format!(
                    "dyn {}",
                    traits.chain(lifetime).collect::<Vec<_>>().join(" + ")
                )
            }
            ("borrowed_ref", it) => {
                let lifetime = it["lifetime"].as_str().map(|it| format!("{it} "));
                let lifetime = lifetime.unwrap_or_default();
                let mutable = if it["is_mutable"] == true { "mut " } else { "" };
                format!("&{lifetime}{mutable}{}", self.ty(&it["type"]))
            }
            ("qualified_path", it) => {
                let (this, name) = (self.ty(&it["self_type"]), text(&it["name"]));
                match &it["trait"] {
                    Value::Null => format!("{this}::{name}"),
                    of => format!("<{this} as {}>::{name}", self.path(of)),
                }
            }
            ("function_pointer", it) => {
                let inputs = list(&it["sig"]["inputs"]).iter();
                let inputs = inputs.map(|it| self.ty(&it[1])).collect::<Vec<_>>();
                let output = self.output(&it["sig"]["output"]);
                format!("fn({}){output}", inputs.join(", "))
            }
            (other, it) => panic!("a type that is {other}: {it}"),
        }
    }

    pub(crate) fn bounds(&self, bounds: &[Value]) -> String {
        let bounds = bounds.iter().filter_map(|bound| match variant(bound) {
            ("trait_bound", it) => {
                let maybe = if it["modifier"] == "maybe" { "?" } else { "" };
                Some(format!("{maybe}{}", self.path(&it["trait"])))
            }
            ("outlives", it) => Some(text(it).to_owned()),
            // `use<..>`: what an `impl Trait` captures.
            _ => None,
        });
        bounds.collect::<Vec<_>>().join(" + ")
    }

    /// Parameters in angle brackets, and the `where` clause.
    pub(crate) fn generics(&self, generics: &Value) -> (String, String) {
        let params = list(&generics["params"]).iter().filter_map(|param| {
            let name = text(&param["name"]);
            match variant(&param["kind"]) {
                ("type", kind) if kind["is_synthetic"] == true => None,
                ("type", kind) => {
                    let bounds = self.with_colon(list(&kind["bounds"]));
                    let default = match &kind["default"] {
                        Value::Null => String::new(),
                        default => format!(" = {}", self.ty(default)),
                    };
                    Some(format!("{name}{bounds}{default}"))
                }
                // The lifetimes of an `async fn`, or elided ones, are not written.
                ("lifetime", _) => Some(name.to_owned()),
                (_, kind) => Some(format!("const {name}: {}", self.ty(&kind["type"]))),
            }
        });
        let params = match params.collect::<Vec<_>>() {
            none if none.is_empty() => String::new(),
            some => format!("<{}>", some.join(", ")),
        };
        let wheres = list(&generics["where_predicates"]).iter();
        let wheres = wheres.filter_map(|predicate| match variant(predicate) {
            ("bound_predicate", it) => {
                let bounds = self.with_colon(list(&it["bounds"]));
                Some(format!("{}{bounds}", self.ty(&it["type"])))
            }
            ("lifetime_predicate", it) => Some(text(&it["lifetime"]).to_owned()),
            _ => None,
        });
        let wheres = match wheres.collect::<Vec<_>>() {
            none if none.is_empty() => String::new(),
            some => format!(" where {}", some.join(", ")),
        };
        (params, wheres)
    }

    fn with_colon(&self, bounds: &[Value]) -> String {
        match self.bounds(bounds) {
            none if none.is_empty() => none,
            some => format!(": {some}"),
        }
    }

    /// `(params)<..>(inputs) -> output where ..`, without the name.
    pub(crate) fn signature(&self, function: &Value) -> String {
        let (params, wheres) = self.generics(&function["generics"]);
        let inputs = list(&function["sig"]["inputs"]).iter().map(|input| {
            let ty = self.ty(&input[1]);
            match (text(&input[0]), ty.as_str()) {
                ("self", "Self") => "self".to_owned(),
                ("self", "&Self") => "&self".to_owned(),
                ("self", "&mut Self") => "&mut self".to_owned(),
                (name, ty) => format!("{name}: {ty}"),
            }
        });
        let inputs = inputs.collect::<Vec<_>>().join(", ");
        let output = self.output(&function["sig"]["output"]);
        format!("{params}({inputs}){output}{wheres}")
    }

    pub(crate) fn header(&self, header: &Value) -> String {
        let words = [("is_const", "const "), ("is_async", "async ")];
        let words = words.iter().filter(|(key, _)| header[key] == true);
        words.map(|(_, word)| *word).collect()
    }

    /// `impl<..> Trait for Type where ..`.
    pub(crate) fn implementation(&self, it: &Value) -> String {
        let (params, wheres) = self.generics(&it["generics"]);
        let not = if it["is_negative"] == true { "!" } else { "" };
        let (of, this) = (self.path(&it["trait"]), self.ty(&it["for"]));
        format!("impl{params} {not}{of} for {this}{wheres}")
    }
}

/// What kind of thing it is, and the rest.
pub(crate) fn variant(value: &Value) -> (&str, &Value) {
    match value {
        Value::String(kind) => (kind, &Value::Null),
        Value::Object(one) => {
            let (kind, rest) = one.iter().next().expect("it has a kind");
            (kind, rest)
        }
        other => panic!("no kind: {other}"),
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
