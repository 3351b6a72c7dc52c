//! Values of the configuration file, checked while they are read, so that the error names the line.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::Endpoint;

/// Reads text, or a number as the text it was written as.
struct Written<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(|problem| E::custom(format_args!("{problem}; write {}", self.expected)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

pub(super) fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    from.deserialize_str(Written {
        expected: "an address like http://prometheus.monitoring.svc:9090",
        parse: parse_url,
    })
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        Err(format!("{text:?} is neither http nor https"))
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("the address has a user or password in it, which belong in basicAuth".to_owned())
    } else if url.query().is_some() || url.fragment().is_some() {
        Err(format!("{text:?} has a query or fragment"))
    } else {
        Ok(url)
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let expected = "a duration from 100ms to 5m, like 5s or 250ms";
    from.deserialize_any(Written { expected, parse: parse_duration })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    let duration = parsed.ok_or_else(|| format!("{text:?} is no duration"))?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(300);
    allowed.contains(&duration).then_some(duration).ok_or_else(|| format!("{text} is out of range"))
}

pub(super) fn concurrency<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let parse = |text: &str| match text.parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err(format!("{text:?} is out of range")),
    };
    from.deserialize_any(Written { expected: "a number of queries from 1 to 256", parse })
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let parse = |text: &str| parse_bytes(text, (64 << 10)..=(1 << 30));
    from.deserialize_any(Written { expected: "a size from 64Ki to 1Gi, like 32Mi", parse })
}

pub(super) fn query_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let parse = |text: &str| parse_bytes(text, (4 << 10)..=(8 << 20));
    from.deserialize_any(Written { expected: "a size from 4Ki to 8Mi, like 512Ki", parse })
}

fn parse_bytes(text: &str, allowed: RangeInclusive<usize>) -> Result<usize, String> {
    let units = [("Ki", 1_usize << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let (digits, unit) =
        units.into_iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit))).unwrap_or((text, 1));
    let digits = Some(digits).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let size = digits.and_then(|digits| digits.parse::<usize>().ok()?.checked_mul(unit));
    let size = size.ok_or_else(|| format!("{text:?} is no size"))?;
    allowed.contains(&size).then_some(size).ok_or_else(|| format!("{text} is out of range"))
}

pub(super) fn label<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    let parse = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let good = !text.is_empty() && text.chars().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit());
        let taken = text.starts_with("__") || matches!(text, "le" | "deployment");
        (good && !taken)
            .then(|| text.into())
            .ok_or_else(|| format!("{text:?} cannot be the label of a pod, a namespace or a replica"))
    };
    from.deserialize_str(Written { expected: "the name of a label, like pod or kubernetes_pod_name", parse })
}

/// The entries of a map in the order they were written; a name that comes twice is an error, and not the last one's.
struct Entries<K, V> {
    expected: &'static str,
    types: PhantomData<(K, V)>,
}

impl<'de, K: Deserialize<'de> + PartialEq + Display, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = Vec<(K, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::<(K, V)>::new();
        while let Some(key) = map.next_key::<K>()? {
            if entries.iter().any(|(earlier, _)| *earlier == key) {
                return Err(A::Error::custom(format_args!("{key} is there twice; write each name once")));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(entries)
    }
}

pub(super) fn endpoints<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Endpoint>, D::Error> {
    let expected = "endpoints by name, like default: {url: http://prometheus.monitoring.svc:9090}";
    let entries = from.deserialize_map(Entries::<DnsLabel, Endpoint> { expected, types: PhantomData })?;
    let checked = entries.into_iter().map(|(DnsLabel(name), endpoint)| match contradiction(&endpoint) {
        Some(problem) => Err(D::Error::custom(format_args!("{name} {problem}"))),
        None => Ok((name, endpoint)),
    });
    checked.collect()
}

/// What fields of an endpoint say against each other.
fn contradiction(endpoint: &Endpoint) -> Option<&'static str> {
    if endpoint.bearer_token_file.is_some() && endpoint.basic_auth.is_some() {
        Some("has both bearerTokenFile and basicAuth; write only one of them")
    } else if endpoint.basic_auth.as_ref().is_some_and(|auth| auth.username.is_empty() || auth.username.contains(':')) {
        Some("has a basicAuth.username that is empty or has a colon in it, which basic authentication cannot send")
    } else if endpoint.pod_label == endpoint.namespace_label {
        Some("has one label as both podLabel and namespaceLabel; write the two that tell pods and namespaces")
    } else if endpoint.ca_file.is_some() && endpoint.url.scheme() == "http" {
        Some("has a caFile but an http address, where no certificate is checked; write https, or leave caFile out")
    } else {
        None
    }
}

/// A name that a policy can write in its field `prometheus`.
#[derive(PartialEq)]
struct DnsLabel(String);

impl Display for DnsLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DnsLabel {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "a name of at most 63 lowercase letters, digits and dashes, with no dash at its ends";
        let parse = |text: &str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let good = (1..=63).contains(&text.len())
                && text.bytes().all(plain)
                && !text.starts_with('-')
                && !text.ends_with('-');
            good.then(|| Self(text.to_owned())).ok_or_else(|| format!("{text:?} cannot be the name of an endpoint"))
        };
        from.deserialize_any(Written { expected, parse })
    }
}

/// Headers that are the client's own business.
const RESERVED: [HeaderName; 5] = [
    reqwest::header::AUTHORIZATION,
    reqwest::header::CONTENT_LENGTH,
    reqwest::header::CONTENT_TYPE,
    reqwest::header::HOST,
    reqwest::header::TRANSFER_ENCODING,
];

pub(super) fn headers<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderMap, D::Error> {
    let expected = "headers by name, like X-Scope-OrgID: team-a";
    let entries = from.deserialize_map(Entries::<Header, String> { expected, types: PhantomData })?;
    let checked = entries.into_iter().map(|(Header(name), value)| match HeaderValue::from_str(&value) {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(D::Error::custom(format_args!("the value of {name} cannot be sent in a header"))),
    });
    checked.collect()
}

#[derive(PartialEq)]
struct Header(HeaderName);

impl Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parse = |text: &str| match text.parse::<HeaderName>() {
            Ok(name) if RESERVED.contains(&name) => Err(format!("{text} cannot be set here")),
            Ok(name) => Ok(Self(name)),
            Err(_) => Err(format!("{text:?} is no name of a header")),
        };
        let expected = "a header like X-Scope-OrgID (credentials belong in bearerTokenFile or basicAuth)";
        from.deserialize_str(Written { expected, parse })
    }
}
