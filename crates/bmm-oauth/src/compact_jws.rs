//! A JWS in its compact form (RFC 7515 section 7.1), read so that its header chooses nothing (RFC 8725 sections 3.1, 3.10).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::jwk::VerifyingKey;
use crate::strict_json::{Object, Reason};

/// Header members by which a statement would name a place for its key or change how it is read (RFC 7515 section 4.1, RFC 7797).
const REFUSED_MEMBERS: [&str; 6] = ["crit", "b64", "jku", "x5u", "x5c", "zip"];

/// The three parts. Nothing is verified yet.
pub(crate) struct CompactJws<'a> {
    pub(crate) header: Object,
    signing_input: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> CompactJws<'a> {
    /// Takes a text of at most `max_bytes` apart.
    pub(crate) fn parse(text: &'a str, max_bytes: usize) -> Result<Self, Reason> {
        if text.len() > max_bytes {
            return Err("too long");
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or("not a JWS")?;
        let (header, payload) = signing_input.split_once('.').ok_or("not a JWS")?;
        if payload.contains('.') {
            return Err("not a JWS of three parts");
        }
        let header = decode_object(header).ok_or("header is not one JSON object with each member once")?;
        if header.has_any(&REFUSED_MEMBERS) {
            return Err("header brings a key or critical extensions");
        }
        Ok(Self {
            header,
            signing_input,
            payload,
            signature,
        })
    }

    /// `typ` is this media type, with or without its `application/` (RFC 7515 section 4.1.9).
    pub(crate) fn check_typ(&self, expected: &str) -> Result<(), Reason> {
        let typ = self.header.text("typ")?;
        let short = match typ.split_at_checked("application/".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
            _ => typ,
        };
        if short.eq_ignore_ascii_case(expected) {
            Ok(())
        } else {
            Err("typ is not what it must be")
        }
    }

    /// Whether `key` signed it, with the algorithm that is the key's.
    pub(crate) fn check_signature(&self, key: &VerifyingKey) -> Result<(), Reason> {
        if self.header.text("alg")? != key.algorithm().name() {
            return Err("alg is not the key's");
        }
        if key.verifies(self.signing_input.as_bytes(), self.signature) {
            Ok(())
        } else {
            Err("signature does not verify")
        }
    }

    /// What is stated. Only worth something after [`check_signature`](Self::check_signature).
    pub(crate) fn claims(&self) -> Result<Object, Reason> {
        decode_object(self.payload).ok_or("the claims are not one JSON object with each member once")
    }
}

fn decode_object(part: &str) -> Option<Object> {
    Object::parse(&URL_SAFE_NO_PAD.decode(part).ok()?)
}
