//! Types of settings, and what S3 has for them: metadata of ours, the content type, the extension.

use std::sync::Arc;

use datastream::value::ValueType;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::stores::extension;

/// The metadata in which a push writes the type; anybody may.
pub(super) const TYPE: &str = "x-amz-meta-datastream-type";

/// The type of an object with these headers.
pub(super) fn type_of(headers: &HeaderMap, key: &str, body: &[u8]) -> Arc<str> {
    let said = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    };
    if let Some(value_type) = said(TYPE) {
        return value_type.into();
    }
    let content =
        said(CONTENT_TYPE.as_str()).and_then(|content| of_content(content.split(';').next()?.trim()));
    let text = || if std::str::from_utf8(body).is_ok() { "text/plain" } else { "binary" };
    content.or_else(|| extension(key)).unwrap_or_else(text).into()
}

/// What tools write who know no better, such as `application/octet-stream`, says nothing.
fn of_content(content: &str) -> Option<&'static str> {
    match content.to_ascii_lowercase().as_str() {
        "application/json" | "text/json" => Some("json"),
        "text/plain" | "text/markdown" | "application/toml" | "application/yaml" | "application/x-yaml"
        | "text/yaml" => Some("text/plain"),
        _ => None,
    }
}

/// The content type of a value, for tools that show it.
pub(super) fn content_of(value_type: &str) -> &'static str {
    match ValueType::named(value_type) {
        Some(ValueType::Json) => "application/json",
        Some(ValueType::Bytes) | None => "application/octet-stream",
        Some(_) => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_counts_before_content_and_that_before_the_name() {
        let case = |value_type: &str, content: &str, key: &str, body: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(TYPE, value_type.parse().expect("a header"));
            headers.insert(CONTENT_TYPE, content.parse().expect("a header"));
            type_of(&headers, key, body)
        };
        assert_eq!(&*case("int", "application/json", "a.json", b"1"), "int");
        assert_eq!(&*case("", "application/json; charset=utf-8", "a.txt", b"1"), "json");
        assert_eq!(&*case("", "application/octet-stream", "a.json", b"1"), ".json");
        assert_eq!(&*case("", "", "a.b/c", b"1"), "text/plain");
        assert_eq!(&*case("", "", "a", b"\xff"), "binary");
    }
}
