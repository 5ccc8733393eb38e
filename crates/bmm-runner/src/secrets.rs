//! Secrets: opaque handles for the tool, the values only on the wire to where the spec declares them.
//!
//! A tool gets `bmm_secret_…` placeholders that are new in every call. The broker puts the value in their place while
//! it writes the request, after it has checked the declared place and host, and takes every spelling of a value out of
//! whatever comes back ([`Scrubber`]). What this cannot see is a host that is sent the secret, as declared, and
//! returns it transformed in a way not listed here; such a host knows the secret anyway.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bmm_net::HostPattern;
use bmm_spec::{CompiledSpec, SecretPlace};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::scrub::{Scrubber, hex, json_inner, percent};

/// The values of a server's secrets by name. Wiped on drop; `Debug` shows the names only.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, Value>);

impl Secrets {
    /// No secrets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), Value(Zeroizing::new(value.into())));
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.0.as_str())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut secrets = Self::new();
        for (name, value) in pairs {
            secrets.insert(name, value);
        }
        secrets
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Clone)]
struct Value(Zeroizing<String>);

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Where in a request a value is about to be written.
pub(crate) struct Target<'a> {
    pub(crate) place: SecretPlace,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

/// How a value is written so that it is one value there and nothing else.
#[derive(Clone, Copy)]
pub(crate) enum Escape {
    None,
    Percent,
    Form,
    Json,
}

/// The declared secrets of one server, with their values.
pub(crate) struct Rules {
    rules: Vec<Rule>,
    scrubber: Scrubber,
}

struct Rule {
    name: String,
    domains: Vec<HostPattern>,
    place: SecretPlace,
    /// Empty when it is not set.
    value: Zeroizing<String>,
}

impl Rules {
    /// Values without a declaration are never given out, and scrubbed all the same. A declaration without a value has handles
    /// as well: using one is an error that names the secret, where `undefined` would have gone out in its place.
    pub(crate) fn new(spec: &CompiledSpec, secrets: &Secrets) -> Self {
        let rules: Vec<Rule> = spec
            .required_secrets
            .iter()
            .map(|declared| Rule {
                name: declared.name.clone(),
                domains: declared.domains.clone(),
                place: declared.place,
                value: Zeroizing::new(secrets.get(&declared.name).unwrap_or_default().to_owned()),
            })
            .collect();
        let scrubber = Scrubber::new(
            secrets
                .0
                .iter()
                .map(|(name, value)| (name.as_str(), value.0.as_str())),
        );
        Self { rules, scrubber }
    }
}

/// The handles of one call.
pub(crate) struct Handles {
    rules: Arc<Rules>,
    issued: Mutex<HashMap<String, Issued>>,
    /// Finds what `basic_auth` made, and how many handles there were when it was built.
    derived: Mutex<(usize, Arc<Scrubber>)>,
}

struct Issued {
    value: Zeroizing<String>,
    /// Indices of the secrets that the value is made of.
    made_of: Vec<usize>,
}

const PREFIX: &str = "bmm_secret_";
const BASIC: &str = "Basic ";
const RANDOM_CHARS: usize = 32;
/// `ctx.basicAuth` in a loop must not grow the map without bound.
const MAX_HANDLES: usize = 64;
/// Longest text with its handles replaced: a handle of handles of handles must not grow without bound. More than a header
/// may have in practice.
const MAX_EXPANDED_BYTES: usize = 8 * 1024;
/// What `ctx.basicAuth` may make in one call, together: all of it is searched for in whatever comes back.
const MAX_DERIVED_BYTES: usize = 32 * 1024;
/// How much a text may grow by values put into it.
const MAX_GROWTH_BYTES: usize = 256 * 1024;

impl Handles {
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            issued: Mutex::new(HashMap::new()),
            derived: Mutex::new((0, Arc::new(Scrubber::new(std::iter::empty())))),
        }
    }

    /// The handle of a declared secret; the same one for the whole call.
    pub(crate) fn handle(&self, name: &str) -> Option<String> {
        let index = self.rules.rules.iter().position(|rule| rule.name == name)?;
        let rule = self.rules.rules.get(index)?;
        let mut issued = self.lock();
        let known = issued
            .iter()
            .find(|(_, known)| known.made_of == [index] && *known.value == *rule.value);
        if let Some((handle, _)) = known {
            return Some(handle.clone());
        }
        insert(
            &mut issued,
            Issued {
                value: rule.value.clone(),
                made_of: vec![index],
            },
        )
        .ok()
    }

    /// A handle for the whole value of a basic `Authorization` header (RFC 7617).
    pub(crate) fn basic_auth(&self, user: &str, secret: &str) -> Result<String, String> {
        let (user, mut made_of) = self.expand(user)?;
        if user.contains(':') {
            return Err("the user of basicAuth must not contain a colon".to_owned());
        }
        let (secret, more) = self.expand(secret)?;
        made_of.extend(more);
        let pair = Zeroizing::new(format!("{}:{}", *user, *secret));
        let value = Zeroizing::new(format!("{BASIC}{}", STANDARD.encode(pair.as_bytes())));
        let mut issued = self.lock();
        let before: usize = issued
            .values()
            .filter(|one| one.value.starts_with(BASIC))
            .map(|one| one.value.len())
            .sum();
        if before + value.len() > MAX_DERIVED_BYTES {
            return Err("this call has made too much with basicAuth".to_owned());
        }
        insert(&mut issued, Issued { value, made_of })
    }

    /// Lower-case hexadecimal MAC of `data`. It is no handle: it tells nothing about a key of decent length, and APIs
    /// want it in forms that only the tool knows.
    pub(crate) fn hmac(&self, algorithm: &str, secret: &str, data: &[u8]) -> Result<String, String> {
        use aws_lc_rs::hmac;
        let algorithm = match algorithm.to_ascii_lowercase().replace('-', "").as_str() {
            "sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => hmac::HMAC_SHA256,
            "sha384" => hmac::HMAC_SHA384,
            "sha512" => hmac::HMAC_SHA512,
            _ => return Err("hmac knows sha1, sha256, sha384 and sha512".to_owned()),
        };
        let (key, _) = self.expand(secret)?;
        let key = hmac::Key::new(algorithm, key.as_bytes());
        Ok(hex(hmac::sign(&key, data).as_ref()))
    }

    /// Whether any handle occurs.
    pub(crate) fn occur_in(text: &[u8]) -> bool {
        find(text, PREFIX.as_bytes()).is_some()
    }

    /// `text` with every handle replaced by its value, or why that may not be.
    pub(crate) fn substitute(
        &self,
        text: &[u8],
        target: &Target<'_>,
        escape: Escape,
    ) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut out = Zeroizing::new(Vec::with_capacity(text.len() + 64));
        let mut rest = text;
        while let Some(at) = find(rest, PREFIX.as_bytes()) {
            let (before, from) = rest.split_at(at);
            out.extend_from_slice(before);
            let (handle, after) = from
                .split_at_checked(PREFIX.len() + RANDOM_CHARS)
                .ok_or_else(unknown_handle)?;
            let issued = self.lock();
            let handle = std::str::from_utf8(handle).map_err(|_| unknown_handle())?;
            let issued = issued.get(handle).ok_or_else(unknown_handle)?;
            self.check(issued, target)?;
            out.extend_from_slice(&escaped(&issued.value, escape));
            if out.len() > text.len() + MAX_GROWTH_BYTES {
                return Err("the secrets in one part of a request are too long together".to_owned());
            }
            rest = after;
        }
        out.extend_from_slice(rest);
        Ok(out)
    }

    /// `text` without any value of a secret.
    pub(crate) fn scrub(&self, text: &[u8]) -> Vec<u8> {
        let text = self.rules.scrubber.scrub(text);
        self.derived().scrub(&text)
    }

    /// For what was made of secrets in this call. Built once for each handle, since everything that comes back is searched.
    fn derived(&self) -> Arc<Scrubber> {
        let issued = self.lock();
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if derived.0 != issued.len() {
            let pairs = issued.values().filter_map(|issued| {
                let rule = self.rules.rules.get(*issued.made_of.first()?)?;
                // What follows "Basic " is what an echo shows.
                let shown = issued.value.strip_prefix(BASIC).unwrap_or(&issued.value);
                (*issued.value != *rule.value).then_some((rule.name.as_str(), shown))
            });
            *derived = (issued.len(), Arc::new(Scrubber::new(pairs)));
        }
        Arc::clone(&derived.1)
    }

    /// [`Self::scrub`] for text.
    pub(crate) fn scrub_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.scrub(text.as_bytes())).into_owned()
    }

    /// The first secret whose value occurs in `url`, escaped or not, and that may not be sent to `host`.
    pub(crate) fn leaking_to(&self, url: &str, host: &str, port: u16) -> Option<&str> {
        self.rules.rules.iter().find_map(|rule| {
            let allowed = rule.domains.iter().any(|domain| domain.matches(host, port));
            let scrubber = Scrubber::new([(rule.name.as_str(), rule.value.as_str())].into_iter());
            (!allowed && scrubber.finds(url.as_bytes())).then_some(rule.name.as_str())
        })
    }

    fn check(&self, issued: &Issued, target: &Target<'_>) -> Result<(), String> {
        for index in &issued.made_of {
            let rule = self.rule(*index)?;
            if rule.place != target.place {
                return Err(format!(
                    "the secret {} is declared for the {} of a request and may not be sent in its {}",
                    rule.name,
                    place_name(rule.place),
                    place_name(target.place)
                ));
            }
            if !rule
                .domains
                .iter()
                .any(|domain| domain.matches(target.host, target.port))
            {
                return Err(format!(
                    "the secret {} may not be sent to {}",
                    rule.name, target.host
                ));
            }
        }
        Ok(())
    }

    /// A secret that is about to be used: it has a value.
    fn rule(&self, index: usize) -> Result<&Rule, String> {
        let rule = self.rules.rules.get(index).ok_or_else(unknown_handle)?;
        if rule.value.is_empty() {
            return Err(format!(
                "the secret {} is not set; the owner of this server has to set it",
                rule.name
            ));
        }
        Ok(rule)
    }

    /// The text with its handles replaced, for use inside this file only: it does not leave as it is.
    fn expand(&self, text: &str) -> Result<(Zeroizing<String>, Vec<usize>), String> {
        let mut out = Zeroizing::new(String::new());
        let mut made_of = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(PREFIX) {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let (handle, after) = from
                .split_at_checked(PREFIX.len() + RANDOM_CHARS)
                .ok_or_else(unknown_handle)?;
            let issued = self.lock();
            let issued = issued.get(handle).ok_or_else(unknown_handle)?;
            for index in &issued.made_of {
                self.rule(*index)?;
            }
            out.push_str(&issued.value);
            if out.len() > MAX_EXPANDED_BYTES {
                return Err(too_long());
            }
            made_of.extend_from_slice(&issued.made_of);
            rest = after;
        }
        out.push_str(rest);
        if out.len() > MAX_EXPANDED_BYTES {
            return Err(too_long());
        }
        Ok((out, made_of))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Issued>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(issued: &mut HashMap<String, Issued>, new: Issued) -> Result<String, String> {
    if issued.len() >= MAX_HANDLES {
        return Err(format!("a call may hold at most {MAX_HANDLES} secret handles"));
    }
    let mut random = [0u8; RANDOM_CHARS / 2];
    getrandom::fill(&mut random).map_err(|_| "no randomness for a secret handle".to_owned())?;
    let handle = format!("{PREFIX}{}", hex(&random));
    issued.insert(handle.clone(), new);
    Ok(handle)
}

fn unknown_handle() -> String {
    "a secret handle is only valid in the call that it was given to".to_owned()
}

fn too_long() -> String {
    format!("a user, password or key may have at most {MAX_EXPANDED_BYTES} bytes")
}

fn place_name(place: SecretPlace) -> &'static str {
    match place {
        SecretPlace::Header => "headers",
        SecretPlace::Query => "query",
        SecretPlace::Body => "body",
        SecretPlace::Path => "path",
    }
}

fn escaped(value: &str, escape: Escape) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(match escape {
        Escape::None => value.as_bytes().to_vec(),
        Escape::Percent => percent(value.as_bytes(), false).into_bytes(),
        Escape::Form => percent(value.as_bytes(), true).into_bytes(),
        Escape::Json => json_inner(value).into_bytes(),
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_not_set_names_itself_wherever_it_is_used() {
        let rule = Rule {
            name: "API_KEY".to_owned(),
            domains: vec!["api.example.com".parse().unwrap()],
            place: SecretPlace::Header,
            value: Zeroizing::default(),
        };
        let scrubber = Scrubber::new(std::iter::empty());
        let rules = vec![rule];
        let handles = Handles::new(Arc::new(Rules { rules, scrubber }));
        let handle = handles.handle("API_KEY").unwrap();
        let target = Target {
            place: SecretPlace::Header,
            host: "api.example.com",
            port: 443,
        };
        for used in [
            handles
                .substitute(format!("Bearer {handle}").as_bytes(), &target, Escape::None)
                .map(drop),
            handles.basic_auth("user", &handle).map(drop),
            handles.hmac("sha256", &handle, b"data").map(drop),
        ] {
            let problem = used.unwrap_err();
            assert!(problem.contains("API_KEY is not set"), "{problem}");
        }
        assert_eq!(
            handles.leaking_to("https://other.example/", "other.example", 443),
            None
        );
    }

    /// One header secret, KEY, that may go to api.example.com.
    fn handles(value: &str) -> Handles {
        let rule = Rule {
            name: "KEY".to_owned(),
            domains: vec!["api.example.com".parse().unwrap()],
            place: SecretPlace::Header,
            value: Zeroizing::new(value.to_owned()),
        };
        let scrubber = Scrubber::new([("KEY", value)].into_iter());
        Handles::new(Arc::new(Rules {
            rules: vec![rule],
            scrubber,
        }))
    }

    #[test]
    fn handles_of_handles_do_not_grow_without_bound() {
        let handles = handles("a-long-enough-value");
        let mut handle = handles.handle("KEY").unwrap();
        let mut longest = 0;
        let mut refused = 0;
        for _ in 0..MAX_HANDLES {
            match handles.basic_auth("u", &handle.repeat(20)) {
                Ok(next) => handle = next,
                Err(_) => refused += 1,
            }
            longest = handles
                .lock()
                .values()
                .map(|issued| issued.value.len())
                .fold(longest, usize::max);
            assert!(longest <= 2 * MAX_EXPANDED_BYTES, "{longest}");
        }
        assert!(refused > 0);
        for user in 0..MAX_HANDLES {
            let _ = handles.basic_auth(&user.to_string(), &handle);
        }
        let derived: usize = handles.lock().values().map(|issued| issued.value.len()).sum();
        assert!(derived <= MAX_DERIVED_BYTES + 100, "{derived}");
    }

    #[test]
    fn a_value_that_repeats_itself_is_scrubbed_in_no_time() {
        let begun = std::time::Instant::now();
        let handles = handles("a-long-enough-value");
        let key = handles.handle("KEY").unwrap();
        let made = handles.basic_auth(&"a".repeat(6_000), &key).unwrap();
        let value = handles.lock().get(&made).unwrap().value.clone();
        assert!(handles.scrub_text(&value).contains("[secret KEY]"));
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn a_text_full_of_handles_is_refused_before_it_is_huge() {
        let handles = handles(&"x".repeat(8_000));
        let handle = handles.handle("KEY").unwrap();
        let target = Target {
            place: SecretPlace::Header,
            host: "api.example.com",
            port: 443,
        };
        assert!(
            handles
                .substitute(handle.as_bytes(), &target, Escape::None)
                .is_ok()
        );
        let text = handle.repeat(1_000);
        assert!(
            handles
                .substitute(text.as_bytes(), &target, Escape::None)
                .is_err()
        );
    }

    #[test]
    fn an_address_that_escapes_only_some_characters_does_not_carry_a_secret() {
        let handles = handles("s3cr/t \"va<lue");
        // What a URL parser makes of the value as it is, and of its form encoding.
        for url in [
            "https://other.example/?k=s3cr/t%20%22va%3clue#x",
            "https://other.example/?k=s3cr/t+%22va%3Clue",
        ] {
            assert_eq!(
                handles.leaking_to(url, "other.example", 443),
                Some("KEY"),
                "{url}"
            );
            let scrubbed = handles.scrub_text(url);
            assert!(scrubbed.contains("[secret KEY]"), "{scrubbed}");
        }
        let harmless = "https://api.example.com/?q=100%25&x=%zz";
        assert_eq!(handles.scrub_text(harmless), harmless);
    }

    #[test]
    fn debug_shows_names_and_no_value() {
        let secrets: Secrets = [("API_KEY", "tell-nobody")].into_iter().collect();
        assert_eq!(format!("{secrets:?}"), r#"{"API_KEY"}"#);
    }
}
