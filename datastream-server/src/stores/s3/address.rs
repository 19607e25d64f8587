//! Where a bucket is, as `--store` says it.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// Who asks. Shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) key_id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A bucket, and where the settings are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `None` for what the environment says.
    pub(super) credentials: Option<Credentials>,
    pub(super) bucket: String,
    /// What the keys of all objects begin with: empty, or ending in `/`.
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    /// Whether the bucket is a part of the host's name.
    pub(super) is_virtual: Option<bool>,
    /// Whether what is said may be read by whoever is between.
    pub(super) is_insecure: bool,
    pub(super) poll: Duration,
}

impl Address {
    /// Reads `s3://bucket/prefix?endpoint=https://...&region=...&style=path&insecure=true&poll=5s`.
    ///
    /// # Errors
    ///
    /// What is wrong, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let place = text.strip_prefix("s3://").ok_or("an address of a bucket is s3://bucket/prefix")?;
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if bucket.is_empty() || !bucket.bytes().all(is_name) {
            return Err("s3 needs the name of a bucket: s3://bucket, s3://bucket/prefix".to_owned());
        }
        let mut address = Self {
            credentials: None,
            bucket: bucket.to_owned(),
            prefix: as_prefix(prefix)?,
            endpoint: None,
            region: None,
            is_virtual: None,
            is_insecure: false,
            poll: Duration::from_secs(5),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            address.set(name, &decoded(value)?)?;
        }
        Ok(address)
    }

    /// The same with these credentials, and not those of the environment.
    #[must_use]
    pub fn with_credentials(self, key_id: &str, secret: &str, token: Option<&str>) -> Self {
        let (key_id, secret, token) = (key_id.to_owned(), secret.to_owned(), token.map(str::to_owned));
        Self { credentials: Some(Credentials { key_id, secret, token }), ..self }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("endpoint", _) => {
                // Here, since an address is shown.
                if value.contains('@') {
                    return Err(
                        "the endpoint holds a password: use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                            .to_owned(),
                    );
                }
                self.endpoint = Some(value.to_owned());
            }
            ("region", _) if !value.is_empty() => self.region = Some(value.to_owned()),
            ("style", "path") => self.is_virtual = Some(false),
            ("style", "virtual") => self.is_virtual = Some(true),
            ("style", _) => return Err("style is path or virtual".to_owned()),
            ("insecure", "true" | "false") => self.is_insecure = value == "true",
            ("insecure", _) => return Err("insecure is true or false".to_owned()),
            ("poll", _) => self.poll = crate::stores::interval("poll", value)?,
            (other, _) => {
                let known = "it has endpoint, region, style, insecure and poll";
                return Err(format!("s3 has no option {other:?}; {known}"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)?;
        self.endpoint.as_ref().map_or(Ok(()), |endpoint| write!(f, "?endpoint={endpoint}"))
    }
}

/// A prefix is a key with a `/` behind it.
fn as_prefix(text: &str) -> Result<String, String> {
    let text = decoded(text)?;
    let path = text.trim_end_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    datastream::key::check(path)
        .map_err(|rule| format!("the prefix in the bucket is like a key, and this is none: {rule}"))?;
    Ok(format!("{path}/"))
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| "what is encoded in the address is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_the_settings_are() {
        let address = Address::parse("s3://b/a/c/?endpoint=http%3A%2F%2Fh:1&region=r&style=virtual&poll=1s")
            .expect("an address");
        assert_eq!((&*address.bucket, &*address.prefix), ("b", "a/c/"));
        assert_eq!((address.endpoint.as_deref(), address.region.as_deref()), (Some("http://h:1"), Some("r")));
        assert_eq!(
            (address.is_virtual, address.is_insecure, address.poll),
            (Some(true), false, Duration::from_secs(1))
        );
        assert_eq!(Address::parse("s3://b").expect("an address").prefix, "");
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (text, expected) in [
            ("s3:b", "s3://bucket/prefix"),
            ("s3://", "name of a bucket"),
            ("s3://b c", "name of a bucket"),
            ("s3://b//a", "is like a key"),
            ("s3://b/a/../c", "is like a key"),
            ("s3://b?endpoint=http://u:p@h", "holds a password"),
            ("s3://b?endpoint=http://u:p@h/", "holds a password"),
            ("s3://b?style=x", "path or virtual"),
            ("s3://b?insecure=1", "true or false"),
            ("s3://b?poll=1ms", "at least 100ms"),
            ("s3://b?x=1", "no option"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
