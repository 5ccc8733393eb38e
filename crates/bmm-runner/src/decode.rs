//! Undoes the content coding of an answer (RFC 9110 section 8.4.1), so that what is in it can be scrubbed.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// What is offered in `Accept-Encoding`.
pub(crate) const OFFERED: &str = "gzip, deflate, br";

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
}

/// Why there is no decoded body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("it is longer than may be")]
    TooLarge,
    #[error("it is not what its content-encoding says")]
    Broken,
}

impl Coding {
    /// Of an answer with these headers; `None` for one that is not known, or several on top of each other.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut codings = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(|name| name.trim_ascii().to_ascii_lowercase())
            .filter(|name| !name.is_empty() && name != b"identity");
        let Some(coding) = codings.next() else {
            return Some(Self::Identity);
        };
        // Each one more is another bomb in the first.
        if codings.next().is_some() {
            return None;
        }
        match coding.as_slice() {
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            b"br" => Some(Self::Brotli),
            _ => None,
        }
    }

    /// The whole body, of at most `max_bytes`. No more than that is ever decoded, whatever would follow.
    pub(crate) fn decode(self, body: Bytes, max_bytes: usize) -> Result<Bytes, DecodeError> {
        let encoded: &[u8] = &body;
        match self {
            Self::Identity if body.len() > max_bytes => Err(DecodeError::TooLarge),
            Self::Identity => Ok(body),
            // The answer to a HEAD, or one without a body, keeps the header.
            _ if body.is_empty() => Ok(body),
            Self::Gzip => read(MultiGzDecoder::new(encoded), max_bytes),
            Self::Deflate if is_zlib(encoded) => read(ZlibDecoder::new(encoded), max_bytes),
            // Without the zlib wrapper, as some hosts send it against the RFC.
            Self::Deflate => read(DeflateDecoder::new(encoded), max_bytes),
            Self::Brotli if has_large_window(encoded) => Err(DecodeError::Broken),
            Self::Brotli => read(
                brotli_decompressor::Decompressor::new(encoded, BROTLI_BUFFER),
                max_bytes,
            ),
        }
    }
}

const BROTLI_BUFFER: usize = 4096;

fn read(decoder: impl Read, max_bytes: usize) -> Result<Bytes, DecodeError> {
    let mut decoded = Vec::new();
    let most = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(most)
        .read_to_end(&mut decoded)
        .map_err(|_| DecodeError::Broken)?;
    if decoded.len() > max_bytes {
        return Err(DecodeError::TooLarge);
    }
    Ok(Bytes::from(decoded))
}

/// RFC 1950 section 2.2.
fn is_zlib(encoded: &[u8]) -> bool {
    matches!(encoded, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}

/// Whether the stream asks for a window of up to 1 GiB, which is no part of RFC 7932 but known to the decoder.
fn has_large_window(encoded: &[u8]) -> bool {
    encoded.first().is_some_and(|first| first & 0x7f == 0x11)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// `text` in each coding that is offered.
    fn encoded(text: &[u8]) -> Vec<(Coding, Vec<u8>)> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
        for encoder in [&mut gzip as &mut dyn std::io::Write, &mut zlib, &mut deflate] {
            encoder.write_all(text).unwrap();
        }
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        brotli.write_all(text).unwrap();
        vec![
            (Coding::Gzip, gzip.finish().unwrap()),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, deflate.finish().unwrap()),
            (Coding::Brotli, brotli.into_inner()),
        ]
    }

    #[test]
    fn every_coding_that_is_offered_is_decoded() {
        for text in ["", "a", &"some text, ".repeat(10_000)] {
            for (coding, body) in encoded(text.as_bytes()) {
                assert_eq!(coding.decode(body.into(), MIB).unwrap(), text, "{coding:?}");
            }
        }
    }

    #[test]
    fn a_bomb_is_decoded_to_its_limit_and_no_further() {
        for (coding, body) in encoded(&vec![b'0'; 64 * MIB]) {
            assert!(body.len() < MIB / 4, "{coding:?}: {}", body.len());
            assert_eq!(
                coding.decode(body.into(), MIB),
                Err(DecodeError::TooLarge),
                "{coding:?}"
            );
        }
        // The limit itself is allowed.
        for (coding, body) in encoded(&vec![b'0'; MIB]) {
            assert_eq!(coding.decode(body.into(), MIB).unwrap().len(), MIB, "{coding:?}");
        }
    }

    #[test]
    fn a_body_that_is_cut_off_or_is_something_else_is_an_error() {
        for (coding, body) in encoded("some text, ".repeat(1_000).as_bytes()) {
            let cut = Bytes::copy_from_slice(&body[..body.len() / 2]);
            assert_eq!(coding.decode(cut, MIB), Err(DecodeError::Broken), "{coding:?}");
            assert_eq!(
                coding.decode(Bytes::from_static(b"\xffplain text"), MIB),
                Err(DecodeError::Broken),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn a_brotli_window_larger_than_the_rfc_knows_is_refused() {
        let params = brotli::enc::BrotliEncoderParams {
            large_window: true,
            lgwin: 28,
            ..Default::default()
        };
        let mut encoder = brotli::CompressorWriter::with_params(Vec::new(), 4096, &params);
        encoder.write_all(b"some text").unwrap();
        let body = Bytes::from(encoder.into_inner());
        assert_eq!(Coding::Brotli.decode(body, MIB), Err(DecodeError::Broken));
    }

    #[test]
    fn one_known_coding_is_accepted() {
        for (value, coding) in [
            ("", Some(Coding::Identity)),
            ("identity", Some(Coding::Identity)),
            ("GZip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("identity, br", Some(Coding::Brotli)),
            ("deflate", Some(Coding::Deflate)),
            ("gzip, gzip", None),
            ("zstd", None),
            ("gzip;q=1", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_ENCODING, value.parse().unwrap())]);
            assert_eq!(Coding::of(&headers), coding, "{value}");
        }
    }
}
