//! What a request asks for: its path, its query, and the representation that the client accepts.
//!
//! Never looks at objects; whether what is asked for exists is found out later.

use http::{HeaderMap, Method, header};

use super::failure::Failure;
use crate::machinery::table::IncludeObject;

/// A path below `/api/v1` or `/apis/<group>/<version>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The group; empty for the core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// The resource; empty for the version itself.
    pub plural: String,
    /// The object; empty for the collection.
    pub name: String,
    /// The subresource; empty for the object itself.
    pub subresource: String,
}

/// Reads a path; `None` if it is none of a resource or version.
#[must_use]
pub fn place(path: &str) -> Option<Place> {
    let mut parts: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
    parts.reverse();
    let mut place = Place::default();
    match parts.pop()?.as_str() {
        "api" => {}
        "apis" => place.group = parts.pop()?,
        _ => return None,
    }
    place.version = parts.pop()?;
    parts.reverse();
    let mut rest: Vec<&str> = parts.iter().map(String::as_str).collect();
    // `/namespaces/x` is the object, `/namespaces/x/secrets` a collection in it, `/namespaces/x/status` a subresource.
    let own = |s: &str| place.group.is_empty() && matches!(s, "status" | "finalize");
    if let ["namespaces", namespace, resource, ..] = rest.as_slice()
        && !own(resource)
    {
        place.namespace = (*namespace).to_owned();
        rest.drain(..2);
    }
    let mut rest = rest.into_iter();
    let mut next = || rest.next().unwrap_or_default().to_owned();
    (place.plural, place.name, place.subresource) = (next(), next(), next());
    rest.next().is_none().then_some(place)
}

/// A path or query text without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%' && after.len() >= 2)
            .then(|| std::str::from_utf8(&after[..2]).ok())
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The query's parameters, the first of each name.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        Self(pairs.map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }

    /// A parameter, empty if absent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// All values of a parameter.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let matching = self.0.iter().filter(|(key, _)| key == name);
        matching.map(|(_, value)| value.as_str()).collect()
    }

    /// A parameter that is true or false.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            "" | "0" | "false" | "False" | "f" | "F" | "FALSE" => Ok(false),
            "1" | "true" | "True" | "t" | "T" | "TRUE" => Ok(true),
            other => Err(Failure::bad_request(format!("strconv.ParseBool: parsing \"{other}\": invalid syntax"))),
        }
    }

    /// A parameter that is a number; zero and less are none.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        let number: i64 = text
            .parse()
            .map_err(|_| Failure::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))?;
        Ok(u64::try_from(number).ok().filter(|n| *n > 0))
    }
}

/// How unknown and doubled fields are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped in silence.
    Ignore,
    /// Dropped with a warning.
    Warn,
    /// Refused.
    Strict,
}

/// What the client wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Objects as they are.
    Whole,
    /// Their metadata only.
    Metadata,
    /// A table.
    Table,
    /// Aggregated discovery.
    Discovery,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Representation {
    /// What.
    pub form: Form,
    /// As YAML and not JSON.
    pub yaml: bool,
    /// What a table's rows carry.
    pub include: IncludeObject,
}

/// Chooses the first representation of `Accept` that there is.
///
/// # Errors
/// 406 if there is none.
pub fn representation(headers: &HeaderMap, query: &Query) -> Result<Representation, Failure> {
    let include = IncludeObject::parse(query.get("includeObject"))
        .ok_or_else(|| Failure::bad_request("unrecognized includeObject value"))?;
    let chosen = |form, yaml| Representation { form, yaml, include };
    let accepted: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    if accepted.is_empty() {
        return Ok(chosen(Form::Whole, false));
    }
    for media in accepted {
        let mut parts = media.split(';').map(str::trim);
        let yaml = match parts.next().unwrap_or_default() {
            "" | "*/*" | "application/*" | "application/json" => false,
            "application/yaml" => true,
            _ => continue,
        };
        let parameters: Vec<&str> = parts.collect();
        let has = |wanted: &str| parameters.contains(&wanted);
        let form = parameters.iter().find_map(|p| p.strip_prefix("as="));
        match form {
            None => return Ok(chosen(Form::Whole, yaml)),
            Some("Table") if has("g=meta.k8s.io") && has("v=v1") => return Ok(chosen(Form::Table, yaml)),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if has("g=meta.k8s.io") && has("v=v1") => {
                return Ok(chosen(Form::Metadata, yaml));
            }
            Some("APIGroupDiscoveryList") if has("g=apidiscovery.k8s.io") && has("v=v2") => {
                return Ok(chosen(Form::Discovery, yaml));
            }
            Some(_) => {}
        }
    }
    Err(Failure::not_acceptable())
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// JSON, or YAML, which contains it.
    Yaml,
    /// JSON.
    Json,
    /// Protobuf.
    Protobuf,
    /// RFC 6902.
    JsonPatch,
    /// RFC 7386.
    MergePatch,
    /// Strategic merge patch.
    StrategicPatch,
    /// Server-side apply.
    Apply,
}

/// The type of a request's body.
///
/// # Errors
/// 415 for types that are not read here.
pub fn body_type(method: &Method, headers: &HeaderMap) -> Result<BodyType, Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let patch = method == Method::PATCH;
    match media {
        "" | "application/json" if !patch => Ok(BodyType::Json),
        "application/yaml" if !patch => Ok(BodyType::Yaml),
        "application/vnd.kubernetes.protobuf" if !patch => Ok(BodyType::Protobuf),
        "application/json-patch+json" if patch => Ok(BodyType::JsonPatch),
        "application/merge-patch+json" if patch => Ok(BodyType::MergePatch),
        "application/strategic-merge-patch+json" if patch => Ok(BodyType::StrategicPatch),
        "application/apply-patch+yaml" if patch => Ok(BodyType::Apply),
        // The real server reads anything that it doesn't know as JSON.
        _ if !patch && !media.contains("cbor") => Ok(BodyType::Json),
        _ => Err(Failure::unsupported_media_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: [&str; 6]) {
        let place = place(path).unwrap();
        let found = [
            place.group.as_str(),
            place.version.as_str(),
            place.namespace.as_str(),
            place.plural.as_str(),
            place.name.as_str(),
            place.subresource.as_str(),
        ];
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths_are_read_as_places() {
        check("/api/v1", ["", "v1", "", "", "", ""]);
        check("/api/v1/", ["", "v1", "", "", "", ""]);
        check("/api/v1/namespaces", ["", "v1", "", "namespaces", "", ""]);
        check("/api/v1/namespaces/x", ["", "v1", "", "namespaces", "x", ""]);
        check("/api/v1/namespaces/x/status", ["", "v1", "", "namespaces", "x", "status"]);
        check("/api/v1/namespaces/x/finalize", ["", "v1", "", "namespaces", "x", "finalize"]);
        check("/api/v1/namespaces/x/secrets", ["", "v1", "x", "secrets", "", ""]);
        check("/api/v1/namespaces/x/secrets/y", ["", "v1", "x", "secrets", "y", ""]);
        check("/apis/a.b/v1/namespaces/x/cs/y/status", ["a.b", "v1", "x", "cs", "y", "status"]);
        check("/apis/a.b/v1/cs/y%3Az", ["a.b", "v1", "", "cs", "y:z", ""]);
        for path in ["/", "/foo", "/api", "/apis", "/apis/a.b", "/api/v1/a/b/c/d"] {
            assert_eq!(place(path), None, "{path}");
        }
    }

    #[track_caller]
    fn accept(value: &str, expected: Option<Form>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        let found = representation(&headers, &Query::default());
        assert_eq!(found.as_ref().ok().map(|r| r.form), expected, "{value}");
        if let Err(failure) = found {
            assert_eq!(failure.code, 406);
        }
    }

    #[test]
    fn the_first_representation_that_there_is_is_chosen() {
        accept("application/json", Some(Form::Whole));
        accept("*/*", Some(Form::Whole));
        accept("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some(Form::Table));
        accept("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Some(Form::Whole));
        accept("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(Form::Metadata));
        accept("application/vnd.kubernetes.protobuf,application/json", Some(Form::Whole));
        accept("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", Some(Form::Discovery));
        accept("application/vnd.kubernetes.protobuf", None);
        accept("application/json;as=Foo;v=v1;g=meta.k8s.io", None);
        accept("text/html", None);
    }

    #[test]
    fn bodies_are_told_apart() {
        let with = |method: &Method, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            body_type(method, &headers).map_err(|f| f.code)
        };
        assert_eq!(with(&Method::POST, "application/json; charset=utf-8"), Ok(BodyType::Json));
        assert_eq!(with(&Method::POST, "application/yaml"), Ok(BodyType::Yaml));
        assert_eq!(with(&Method::POST, "application/vnd.kubernetes.protobuf"), Ok(BodyType::Protobuf));
        assert_eq!(with(&Method::POST, "application/cbor"), Err(415));
        assert_eq!(with(&Method::PATCH, "application/json"), Err(415));
        assert_eq!(with(&Method::PATCH, "application/apply-patch+yaml"), Ok(BodyType::Apply));
        assert_eq!(with(&Method::PATCH, "application/merge-patch+json"), Ok(BodyType::MergePatch));
    }
}
