//! The text of a sealed value. Format 1, base64url without padding:
//!
//! ```text
//! format = 1 | key id | nonce | place mark | has version | version | length of the value | ciphertext | tag
//!     1      |   32   |  12   |     8      |      1      |    8    |          4          |    n      | 16   bytes
//! ```
//!
//! Integers are big-endian. Everything before the ciphertext is authenticated, together with the
//! [`Context`]. Format and key id are 33 bytes, so that the first 44 characters of the text name the key: an index on
//! `substr(column, 1, 44)` counts and finds the values of a key.

use base64_simd::{AsOut as _, URL_SAFE_NO_PAD as BASE64URL};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::VaultError;
use crate::key::{Key, KeyId, MARK_BYTES, NONCE_BYTES, TAG_BYTES, random};

/// Format of sealed values.
pub(crate) const FORMAT: u8 = 1;
/// The largest value that is sealed: 16 MiB.
pub(crate) const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// Characters that name format and key.
#[cfg(any(feature = "sql", test))]
pub(crate) const PREFIX_CHARS: usize = 44;
const HEADER_BYTES: usize = 66;
const HEADER_CHARS: usize = 88;

/// The first characters of every value that is sealed with this key.
#[cfg(any(feature = "sql", test))]
pub(crate) fn prefix(key: &KeyId) -> String {
    let mut bytes = Vec::with_capacity(33);
    bytes.push(FORMAT);
    bytes.extend_from_slice(key);
    BASE64URL.encode_to_string(bytes)
}

/// Seals a value for a place.
pub(crate) fn seal(key: &Key, context: &Context, value: &[u8]) -> Result<String, VaultError> {
    let len = u32::try_from(value.len()).map_err(|_| VaultError::TooLarge)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(VaultError::TooLarge);
    }
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce)?;
    let mut aad = associated_data(context);
    let header = Header {
        key: *key.id(),
        nonce,
        mark: key.mark(&nonce, aad.get(HEADER_BYTES..).unwrap_or_default()),
        version: context.version_number(),
        len,
    };
    let header = header.to_bytes();
    fill_header(&mut aad, &header);

    let mut out = Vec::with_capacity(HEADER_BYTES + value.len() + TAG_BYTES);
    out.extend_from_slice(&header);
    key.encrypt_onto(&mut out, &nonce, &aad, value)?;
    Ok(BASE64URL.encode_to_string(out))
}

/// A sealed text whose header and length are as they must be.
pub(crate) struct Sealed<'a> {
    bytes: [u8; HEADER_BYTES],
    header: Header,
    body: &'a [u8],
}

impl<'a> Sealed<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, VaultError> {
        let Some((head, body)) = text.as_bytes().split_at_checked(HEADER_CHARS) else {
            return Err(cut_header(text));
        };
        let mut bytes = [0; HEADER_BYTES];
        decode(head, &mut bytes)?;
        let header = Header::from_bytes(&bytes)?;
        if header.len as usize > MAX_VALUE_BYTES {
            return Err(VaultError::Malformed);
        }
        let chars = ((header.len as usize + TAG_BYTES) * 4).div_ceil(3);
        match body.len().cmp(&chars) {
            std::cmp::Ordering::Less => Err(VaultError::Truncated),
            std::cmp::Ordering::Greater => Err(VaultError::Malformed),
            std::cmp::Ordering::Equal => Ok(Self { bytes, header, body }),
        }
    }

    pub(crate) fn key_id(&self) -> &KeyId {
        &self.header.key
    }

    /// Opens it with the key it names.
    pub(crate) fn open(&self, key: &Key, context: &Context) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let body = self.decode_body()?;
        let mut aad = associated_data(context);
        fill_header(&mut aad, &self.bytes);
        // The version stands in the header, which is authenticated: what opens is of the version that it states.
        let opened = key.decrypt(&self.header.nonce, &aad, body);
        let expected = context.version_number();
        match opened {
            Some(value) if self.header.version == expected => Ok(value),
            Some(_) => Err(VaultError::OtherVersion {
                sealed: self.header.version,
                expected,
            }),
            None => {
                let place = aad.get(HEADER_BYTES..).unwrap_or_default();
                if key.mark(&self.header.nonce, place) == self.header.mark {
                    Err(VaultError::Altered)
                } else {
                    Err(VaultError::Relocated)
                }
            }
        }
    }

    fn decode_body(&self) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut body = Zeroizing::new(vec![0; self.header.len as usize + TAG_BYTES]);
        decode(self.body, &mut body)?;
        Ok(body)
    }
}

/// Decodes a text that stands for exactly as many bytes as there is room for.
fn decode(text: &[u8], out: &mut [u8]) -> Result<(), VaultError> {
    if text.len() != (out.len() * 4).div_ceil(3) {
        return Err(VaultError::Malformed);
    }
    let decoded = BASE64URL.decode(text, out.as_out());
    decoded.map(drop).map_err(|_| VaultError::Malformed)
}

/// What is authenticated with a value: room for the header, then the place.
fn associated_data(context: &Context) -> Vec<u8> {
    let mut aad = Vec::with_capacity(HEADER_BYTES + 160);
    aad.resize(HEADER_BYTES, 0);
    context.append_place(&mut aad);
    aad
}

fn fill_header(aad: &mut [u8], header: &[u8; HEADER_BYTES]) {
    if let Some(room) = aad.first_chunk_mut() {
        *room = *header;
    }
}

/// A text that is shorter than a header: cut off, unless what is there is not ours at all.
fn cut_header(text: &str) -> VaultError {
    let whole = text.len() / 4 * 4;
    match text.get(..whole).map(|head| BASE64URL.decode_to_vec(head)) {
        Some(Ok(bytes)) => match bytes.first() {
            None | Some(&FORMAT) => VaultError::Truncated,
            Some(&format) => VaultError::UnsupportedFormat(format),
        },
        Some(Err(_)) | None => VaultError::Malformed,
    }
}

struct Header {
    key: KeyId,
    nonce: [u8; NONCE_BYTES],
    mark: [u8; MARK_BYTES],
    version: Option<u64>,
    len: u32,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let parts: [&[u8]; 7] = [
            &[FORMAT],
            &self.key,
            &self.nonce,
            &self.mark,
            &[u8::from(self.version.is_some())],
            &self.version.unwrap_or_default().to_be_bytes(),
            &self.len.to_be_bytes(),
        ];
        let mut bytes = [0; HEADER_BYTES];
        let parts = parts.iter().flat_map(|part| part.iter());
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = *part);
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, VaultError> {
        let mut rest = bytes.as_slice();
        let [format] = take(&mut rest)?;
        if format != FORMAT {
            return Err(VaultError::UnsupportedFormat(format));
        }
        let key = take(&mut rest)?;
        let nonce = take(&mut rest)?;
        let mark = take(&mut rest)?;
        let [has_version] = take(&mut rest)?;
        let version = u64::from_be_bytes(take(&mut rest)?);
        let version = match (has_version, version) {
            (0, 0) => None,
            (1, version) => Some(version),
            _ => return Err(VaultError::Malformed),
        };
        let len = u32::from_be_bytes(take(&mut rest)?);
        Ok(Self {
            key,
            nonce,
            mark,
            version,
            len,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], VaultError> {
    let (part, after) = rest.split_first_chunk().ok_or(VaultError::Malformed)?;
    *rest = after;
    Ok(*part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_characters_of_a_value_are_the_prefix_of_its_key() {
        let key = Key::random("dek").expect("a key");
        let sealed = seal(&key, &Context::new("p").version(3), b"value").expect("seals");
        assert_eq!(prefix(key.id()).len(), PREFIX_CHARS);
        assert_eq!(sealed.get(..PREFIX_CHARS), Some(prefix(key.id()).as_str()));
    }
}
