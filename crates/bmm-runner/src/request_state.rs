//! What a client carries from one request of the stateless era to the next (`requestState`, MCP 2026-07-28, multi round-trip requests).
//!
//! It holds what was asked and answered, in the client's sight and out of its reach: an HMAC under a key that this process made and
//! never shows. It counts for one principal, one request, one spec, and a quarter of an hour. Sending it twice is calling twice with the
//! same answers, which the client may do anyway.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::questions::Transcript;
use crate::session::Principal;

/// A person has asked somebody else meanwhile.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Largest state: all answers of a call, and no more.
const MAX_BYTES: usize = 256 * 1024;
/// As long as what SHA-256 gives.
const KEY_BYTES: usize = 32;
const DOMAIN: &[u8] = b"bmm-runner request state 1";

/// The key, and the clock that expiries are told by: both begin and end with the process.
pub(crate) struct RequestStates {
    key: hmac::Key,
    since: Instant,
}

/// What a state counts for.
pub(crate) struct Purpose<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) spec_digest: &'a str,
    /// `tools/call`, `prompts/get` or `resources/read`.
    pub(crate) method: &'static str,
    /// Which tool, prompt or resource.
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a Value,
}

/// Why a state was refused. Does not tell a forger more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the requestState is not one that this server gave for this request; begin again without it")]
    NotOurs,
    #[error("the requestState has expired; begin again without it")]
    Expired,
    #[error("the answers of this call are too large together")]
    TooLarge,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    /// Seconds of this process.
    expires: u64,
    transcript: Transcript,
}

impl RequestStates {
    /// With a key of its own. Fails without random numbers.
    pub(crate) fn create(now: Instant) -> Result<Self, getrandom::Error> {
        // Straight from the kernel: aws-lc's own generator measures the processor's jitter first, 30 ms of every start.
        let mut key = zeroize::Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut_slice())?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()),
            since: now,
        })
    }

    pub(crate) fn seal(
        &self,
        transcript: Transcript,
        purpose: &Purpose<'_>,
        now: Instant,
    ) -> Result<String, StateError> {
        let sealed = Sealed {
            expires: (now.duration_since(self.since) + LIFETIME).as_secs(),
            transcript,
        };
        let body = serde_json::to_vec(&sealed).map_err(|_| StateError::TooLarge)?;
        let tag = hmac::sign(&self.key, &signed(purpose, &body));
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(&body),
            URL_SAFE_NO_PAD.encode(tag.as_ref())
        );
        if text.len() > MAX_BYTES {
            return Err(StateError::TooLarge);
        }
        Ok(text)
    }

    pub(crate) fn open(
        &self,
        state: &str,
        purpose: &Purpose<'_>,
        now: Instant,
    ) -> Result<Transcript, StateError> {
        if state.len() > MAX_BYTES {
            return Err(StateError::NotOurs);
        }
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| StateError::NotOurs);
        let (body, tag) = state.split_once('.').ok_or(StateError::NotOurs)?;
        let (body, tag) = (decoded(body)?, decoded(tag)?);
        hmac::verify(&self.key, &signed(purpose, &body), &tag).map_err(|_| StateError::NotOurs)?;
        let sealed: Sealed = serde_json::from_slice(&body).map_err(|_| StateError::NotOurs)?;
        if now.duration_since(self.since).as_secs() >= sealed.expires {
            return Err(StateError::Expired);
        }
        Ok(sealed.transcript)
    }
}

/// Everything with its length before it: no two purposes read alike.
fn signed(purpose: &Purpose<'_>, body: &[u8]) -> Vec<u8> {
    let Purpose {
        principal,
        spec_digest,
        method,
        name,
        arguments,
    } = purpose;
    let (known, issuer, subject, client) = match principal {
        Principal::Anyone => ("", "", "", ""),
        Principal::Known {
            issuer,
            subject,
            client,
        } => ("known", issuer.as_str(), subject.as_str(), client.as_str()),
    };
    let arguments = sorted(arguments).to_string();
    let mut signed = DOMAIN.to_vec();
    for part in [
        known,
        issuer,
        subject,
        client,
        spec_digest,
        method,
        name,
        &arguments,
    ] {
        put(&mut signed, part.as_bytes());
    }
    put(&mut signed, body);
    signed
}

fn put(signed: &mut Vec<u8>, part: &[u8]) {
    signed.extend_from_slice(&(part.len() as u64).to_be_bytes());
    signed.extend_from_slice(part);
}

/// A client may write its arguments in another order the second time.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(fields.into_iter().collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::questions::Answer;

    fn known(issuer: &str, subject: &str, client: &str) -> Principal {
        Principal::Known {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            client: client.to_owned(),
        }
    }

    fn transcript() -> Transcript {
        let mut transcript = Transcript::default();
        transcript.add("name".to_owned(), Answer::Given(json!({"action": "accept"})));
        transcript
    }

    #[test]
    fn a_state_counts_for_what_it_was_given_for_and_not_for_long() {
        let now = Instant::now();
        let states = RequestStates::create(now).expect("random numbers");
        let ann = known("https://as", "ann", "client");
        let arguments = json!({"a": 1, "b": {"c": 2, "d": [3]}});
        let purpose = Purpose {
            principal: &ann,
            spec_digest: "sha256:1",
            method: "tools/call",
            name: "ask",
            arguments: &arguments,
        };
        let state = states.seal(transcript(), &purpose, now).expect("sealed");
        assert_eq!(states.open(&state, &purpose, now), Ok(transcript()));
        let reordered = json!({"b": {"d": [3], "c": 2}, "a": 1});
        let arguments_reordered = Purpose {
            arguments: &reordered,
            ..purpose
        };
        assert_eq!(states.open(&state, &arguments_reordered, now), Ok(transcript()));

        let others = [
            Principal::Anyone,
            known("https://as", "ben", "client"),
            known("https://as", "ann", "other"),
            known("https://other", "ann", "client"),
            known("https://as", "annc", "lient"),
        ];
        for principal in &others {
            let refused = states.open(&state, &Purpose { principal, ..purpose }, now);
            assert_eq!(refused, Err(StateError::NotOurs), "{principal:?}");
        }
        let other_arguments = json!({"a": 2, "b": {"c": 2, "d": [3]}});
        for other in [
            Purpose {
                spec_digest: "sha256:2",
                ..purpose
            },
            Purpose {
                method: "prompts/get",
                ..purpose
            },
            Purpose {
                name: "other",
                ..purpose
            },
            Purpose {
                arguments: &other_arguments,
                ..purpose
            },
        ] {
            assert_eq!(states.open(&state, &other, now), Err(StateError::NotOurs));
        }
        let other_process = RequestStates::create(now).expect("random numbers");
        assert_eq!(
            other_process.open(&state, &purpose, now),
            Err(StateError::NotOurs)
        );

        let now = now + LIFETIME - Duration::from_secs(1);
        assert_eq!(states.open(&state, &purpose, now), Ok(transcript()));
        let now = now + Duration::from_secs(2);
        assert_eq!(states.open(&state, &purpose, now), Err(StateError::Expired));
    }

    #[test]
    fn no_changed_byte_of_a_state_is_accepted() {
        let now = Instant::now();
        let states = RequestStates::create(now).expect("random numbers");
        let purpose = Purpose {
            principal: &Principal::Anyone,
            spec_digest: "sha256:1",
            method: "tools/call",
            name: "ask",
            arguments: &json!({}),
        };
        let state = states.seal(transcript(), &purpose, now).expect("sealed");
        for place in 0..state.len() {
            let mut changed = state.clone().into_bytes();
            if let Some(byte) = changed.get_mut(place) {
                *byte = if *byte == b'A' { b'B' } else { b'A' };
            }
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(
                states.open(&changed, &purpose, now),
                Err(StateError::NotOurs),
                "{place}"
            );
        }
        let long = "A".repeat(MAX_BYTES + 1);
        for other in [
            "",
            ".",
            "A.A",
            &format!("{state}-TAMPERED"),
            state.trim_end_matches(|c| c != '.'),
            &long,
        ] {
            assert_eq!(states.open(other, &purpose, now), Err(StateError::NotOurs));
        }
        let mut large = Transcript::default();
        large.add("a".to_owned(), Answer::Given(json!("x".repeat(MAX_BYTES))));
        assert_eq!(states.seal(large, &purpose, now), Err(StateError::TooLarge));
    }
}
