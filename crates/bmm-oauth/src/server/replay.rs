//! The answer to a refresh, kept for a client that repeats its request: after a lost response, or when two of its windows refresh at once.
//!
//! It is sealed under a key that is derived from the spent refresh token, and of that token only a hash is stored. So any replica opens it
//! for whoever presents the token, and the database alone opens nothing. The associated data binds it to client, grant and request.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::{Zeroize, Zeroizing};

use super::secret::SecretHash;

/// The form of what is kept. It stands in front of it.
const VERSION: u8 = 1;

/// What two requests must have in common to get the same answer: the parameters as they were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SameRequest<'a> {
    pub(super) client_id: &'a str,
    pub(super) grant_id: &'a str,
    pub(super) scope: Option<&'a str>,
    pub(super) resource: Option<&'a str>,
    /// Thumbprint of the DPoP key (RFC 9449): proofs differ from request to request, the key must not.
    pub(super) proof_key: Option<&'a str>,
}

/// Seals `answer` for whoever comes with `refresh_token` and the same request.
pub(super) fn seal(refresh_token: &str, request: &SameRequest<'_>, answer: &str) -> Vec<u8> {
    let mut in_out = answer.as_bytes().to_vec();
    let nonce = key(refresh_token)
        .seal_in_place_append_tag(request.associated_data(), &mut in_out)
        .expect("an answer is far below the cipher's limit");
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(nonce.as_ref());
    sealed.append(&mut in_out);
    sealed
}

/// The answer, if it was sealed for this token and request.
pub(super) fn open(refresh_token: &str, request: &SameRequest<'_>, sealed: &[u8]) -> Option<String> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN)?;
    if *version != VERSION {
        return None;
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut in_out = Zeroizing::new(ciphertext.to_vec());
    let opened = key(refresh_token).open_in_place(nonce, request.associated_data(), &mut in_out);
    String::from_utf8(opened.ok()?.to_vec()).ok()
}

/// Every token has a key of its own, and seals once, or a few times when requests race; hence random nonces.
fn key(refresh_token: &str) -> RandomizedNonceKey {
    let secret = Salt::new(HKDF_SHA256, b"bmm-oauth").extract(refresh_token.as_bytes());
    let mut bytes = [0; 32];
    secret
        .expand(&[b"refresh replay 1"], &AES_256_GCM)
        .and_then(|key| key.fill(&mut bytes))
        .expect("a key of 32 bytes is asked for");
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).expect("the key has 32 bytes");
    bytes.zeroize();
    key
}

impl SameRequest<'_> {
    /// Hash of all members, each with its presence and length, so that no two requests have one encoding.
    fn associated_data(&self) -> Aad<[u8; 32]> {
        let members = [
            Some(self.client_id),
            Some(self.grant_id),
            self.scope,
            self.resource,
            self.proof_key,
        ];
        let text = serde_json::to_string(&members).expect("strings are plain data");
        Aad::from(*SecretHash::of(&text).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: SameRequest<'static> = SameRequest {
        client_id: "client",
        grant_id: "grant",
        scope: None,
        resource: Some("https://mcp.example.com/files/mcp"),
        proof_key: None,
    };

    #[test]
    fn the_same_request_gets_the_same_answer() {
        let sealed = seal("token", &REQUEST, "{\"a\":1}");
        assert_eq!(open("token", &REQUEST, &sealed).as_deref(), Some("{\"a\":1}"));
        assert!(!sealed.windows(3).any(|bytes| bytes == b"\"a\""));
    }

    #[test]
    fn another_request_or_token_gets_none() {
        let sealed = seal("token", &REQUEST, "answer");
        let resource = Some("https://mcp.example.com/mail/mcp");
        let (some, empty) = (Some("a"), Some(""));
        let others = [
            SameRequest {
                client_id: "other",
                ..REQUEST
            },
            SameRequest {
                grant_id: "other",
                ..REQUEST
            },
            SameRequest {
                scope: some,
                ..REQUEST
            },
            SameRequest {
                scope: empty,
                ..REQUEST
            },
            SameRequest { resource, ..REQUEST },
            SameRequest {
                resource: None,
                ..REQUEST
            },
            SameRequest {
                proof_key: some,
                ..REQUEST
            },
            SameRequest {
                scope: REQUEST.resource,
                resource: None,
                ..REQUEST
            },
        ];
        for other in others {
            assert_eq!(open("token", &other, &sealed), None, "{other:?}");
        }
        for token in ["", "Token", "token "] {
            assert_eq!(open(token, &REQUEST, &sealed), None, "{token}");
        }
    }

    /// What stands in the database beside the answer: the hash of the token, in whatever spelling.
    #[test]
    fn the_stored_hash_is_no_key() {
        let sealed = seal("token", &REQUEST, "answer");
        let hash = SecretHash::of("token");
        let hex: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(open(&hex, &REQUEST, &sealed), None);
        let mut derived = [0; 32];
        let secret = Salt::new(HKDF_SHA256, b"bmm-oauth").extract(hash.as_bytes());
        let okm = secret.expand(&[b"refresh replay 1"], &AES_256_GCM).unwrap();
        okm.fill(&mut derived).unwrap();
        for key in [*hash.as_bytes(), derived] {
            let aes = RandomizedNonceKey::new(&AES_256_GCM, &key).unwrap();
            let nonce = Nonce::try_assume_unique_for_key(&sealed[1..13]).unwrap();
            let mut in_out = sealed[13..].to_vec();
            assert!(
                aes.open_in_place(nonce, REQUEST.associated_data(), &mut in_out)
                    .is_err()
            );
        }
    }

    #[test]
    fn what_is_damaged_does_not_open() {
        let sealed = seal("token", &REQUEST, "answer");
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert_eq!(open("token", &REQUEST, &damaged), None, "byte {index}");
            assert_eq!(open("token", &REQUEST, &sealed[..index]), None, "{index} bytes");
        }
    }
}
