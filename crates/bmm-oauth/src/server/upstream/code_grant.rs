//! The authorization code grant as its client: what is the same at every upstream.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::http::Http;
use super::{ClientSecret, SignInAttempt, UpstreamAnswer, UpstreamError, UpstreamTokens};
use crate::json_object;
use crate::server::secret::sha256;

/// Longest token that is kept, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How we show who we are at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMethod {
    Basic,
    Post,
}

/// Us, as a client of an upstream.
#[derive(Clone, Debug)]
pub(super) struct CodeGrant {
    pub(super) client_id: String,
    pub(super) client_secret: Option<ClientSecret>,
    /// Separated by blanks; may be empty.
    pub(super) scopes: String,
}

impl CodeGrant {
    /// The address for the browser. `extra` is of the upstream's file, never from a request.
    pub(super) fn authorization_url(
        &self,
        endpoint: &str,
        attempt: &SignInAttempt,
        extra: &[(&str, &str)],
    ) -> Result<String, UpstreamError> {
        let mut url = Url::parse(endpoint)
            .map_err(|_| UpstreamError::Malformed("the authorization endpoint is not a URL"))?;
        let challenge = URL_SAFE_NO_PAD.encode(sha256(attempt.code_verifier.as_bytes()));
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &self.client_id)
                .append_pair("redirect_uri", &attempt.redirect_uri)
                .append_pair("state", &attempt.state)
                .append_pair("code_challenge", &challenge)
                .append_pair("code_challenge_method", "S256");
            if !self.scopes.is_empty() {
                query.append_pair("scope", &self.scopes);
            }
            query.extend_pairs(extra);
        }
        Ok(url.into())
    }

    pub(super) async fn exchange(
        &self,
        http: &Http,
        endpoint: &str,
        method: AuthMethod,
        answer: &UpstreamAnswer,
        attempt: &SignInAttempt,
    ) -> Result<UpstreamTokens, UpstreamError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", answer.code.as_str()),
            ("redirect_uri", &attempt.redirect_uri),
            ("code_verifier", &attempt.code_verifier),
        ];
        let response = http.send(self.request(endpoint, method, &form)?).await?;
        read_tokens(response.status().as_u16(), response.body())
    }

    pub(super) async fn refresh(
        &self,
        http: &Http,
        endpoint: &str,
        method: AuthMethod,
        refresh_token: &str,
    ) -> Result<UpstreamTokens, UpstreamError> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let response = http.send(self.request(endpoint, method, &form)?).await?;
        read_refreshed(response.status().as_u16(), response.body())
    }

    fn request(
        &self,
        endpoint: &str,
        method: AuthMethod,
        form: &[(&str, &str)],
    ) -> Result<Request<Bytes>, UpstreamError> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut request = Request::post(endpoint)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        match (&self.client_secret, method) {
            (Some(secret), AuthMethod::Basic) => {
                let credentials = basic(&self.client_id, secret);
                request = request.header("authorization", credentials.as_str());
            }
            (Some(secret), AuthMethod::Post) => {
                body.append_pair("client_id", &self.client_id)
                    .append_pair("client_secret", secret.expose());
            }
            (None, _) => {
                body.append_pair("client_id", &self.client_id);
            }
        }
        request
            .body(Bytes::from(body.finish()))
            .map_err(|_| UpstreamError::Malformed("the token endpoint is not a URL"))
    }
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn basic(client_id: &str, secret: &ClientSecret) -> Zeroizing<String> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!(
        "{}:{}",
        encode(client_id),
        Zeroizing::new(encode(secret.expose())).as_str()
    ));
    Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
}

/// The decision over a token endpoint's answer. GitHub sends its errors with status 200, so the body decides.
fn read_tokens(status: u16, body: &[u8]) -> Result<UpstreamTokens, UpstreamError> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: Option<Zeroizing<String>>,
        token_type: Option<String>,
        refresh_token: Option<Zeroizing<String>>,
        expires_in: Option<u64>,
        id_token: Option<Zeroizing<String>>,
        error: Option<String>,
    }
    if status >= 500 || status == 429 {
        return Err(UpstreamError::Status(status));
    }
    let Some(answer) = json_object::parse::<Answer>(body) else {
        return Err(match status {
            200 => UpstreamError::Malformed("not the JSON object that it should be"),
            status => UpstreamError::Status(status),
        });
    };
    if let Some(error) = answer.error {
        return Err(match error.as_str() {
            // GitHub's names for the same.
            "invalid_grant" | "bad_refresh_token" | "bad_verification_code" => UpstreamError::GrantEnded,
            _ => UpstreamError::Refused(error_code(&error)),
        });
    }
    if status != 200 {
        return Err(UpstreamError::Status(status));
    }
    let access_token = answer
        .access_token
        .filter(|token| !token.is_empty())
        .ok_or(UpstreamError::Malformed("no access token"))?;
    let bearer = answer
        .token_type
        .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !bearer {
        return Err(UpstreamError::Malformed("the token is not a bearer token"));
    }
    let tokens = UpstreamTokens {
        access_token,
        refresh_token: answer.refresh_token.filter(|token| !token.is_empty()),
        expires_in: answer.expires_in,
        id_token: answer.id_token,
    };
    let all = [
        Some(&tokens.access_token),
        tokens.refresh_token.as_ref(),
        tokens.id_token.as_ref(),
    ];
    if all
        .into_iter()
        .flatten()
        .any(|token| token.len() > MAX_TOKEN_BYTES)
    {
        return Err(UpstreamError::Malformed("a token is larger than 16 KiB"));
    }
    Ok(tokens)
}

/// The same for the answer to a refresh. Whatever is wrong with it, the refresh token in it has replaced the one that was spent, and must not
/// be lost: it comes with an access token that is empty and has ended.
fn read_refreshed(status: u16, body: &[u8]) -> Result<UpstreamTokens, UpstreamError> {
    let why = match read_tokens(status, body) {
        Err(UpstreamError::Malformed(why)) => why,
        read => return read,
    };
    let rotated = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|answer| answer.get("refresh_token")?.as_str().map(str::to_owned))
        .map(Zeroizing::new)
        .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES)
        .ok_or(UpstreamError::Malformed(why))?;
    tracing::warn!(
        why,
        "of the answer to a refresh only the refresh token can be used"
    );
    Ok(UpstreamTokens {
        access_token: Zeroizing::default(),
        refresh_token: Some(rotated),
        expires_in: Some(0),
        id_token: None,
    })
}

/// An error code as it may stand in a log.
pub(super) fn error_code(code: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    code.chars().filter(plain).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_token_answer_decides() {
        let read = |status, body: &str| read_tokens(status, body.as_bytes());
        let good =
            r#"{"access_token":"a","token_type":"bearer","expires_in":8,"refresh_token":"r","more":1}"#;
        let tokens = read(200, good).unwrap();
        assert_eq!((tokens.access_token.as_str(), tokens.expires_in), ("a", Some(8)));
        assert!(!format!("{tokens:?}").contains("\"a\""));
        let ended = |status, body| matches!(read(status, body), Err(UpstreamError::GrantEnded));
        assert!(ended(400, r#"{"error":"invalid_grant"}"#));
        assert!(
            ended(200, r#"{"error":"bad_refresh_token"}"#),
            "GitHub's errors are no errors"
        );
        let hostile = r#"{"error":"x\ny<script>"}"#;
        assert!(matches!(read(400, hostile), Err(UpstreamError::Refused(code)) if code == "xyscript"));
        assert!(matches!(read(503, good), Err(UpstreamError::Status(503))));
        assert!(matches!(read(302, good), Err(UpstreamError::Status(302))));
        for bad in [
            "",
            "[]",
            "<html>",
            r#"{"access_token":"","token_type":"bearer"}"#,
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"a","token_type":"DPoP"}"#,
            r#"{"access_token":["a"],"token_type":"bearer"}"#,
            r#"{"access_token":"a","access_token":"b","token_type":"bearer"}"#,
        ] {
            assert!(
                matches!(read(200, bad), Err(UpstreamError::Malformed(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_rotated_refresh_token_is_kept_whatever_else_is_wrong_with_the_answer() {
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        for wrong in [
            r#""token_type":"bearer""#.to_owned(),
            r#""access_token":"a""#.to_owned(),
            r#""access_token":"a","token_type":"bearer","expires_in":"8""#.to_owned(),
            r#""access_token":"a","token_type":"bearer","id_token":[]"#.to_owned(),
            format!(r#""access_token":"a","token_type":"bearer","id_token":"{long}""#),
        ] {
            let body = format!(r#"{{"refresh_token":"r",{wrong}}}"#);
            let tokens = read_refreshed(200, body.as_bytes()).unwrap();
            assert_eq!(tokens.refresh_token.unwrap().as_str(), "r", "{wrong}");
            assert_eq!((tokens.access_token.as_str(), tokens.expires_in), ("", Some(0)));
            assert!(read_refreshed(400, body.as_bytes()).is_err());
        }
        let refused = read_refreshed(400, br#"{"error":"invalid_grant","refresh_token":"r"}"#);
        assert!(matches!(refused, Err(UpstreamError::GrantEnded)));
        let none = read_refreshed(200, br#"{"token_type":"bearer"}"#);
        assert!(matches!(none, Err(UpstreamError::Malformed("no access token"))));
    }

    #[test]
    fn credentials_are_encoded_before_they_are_joined() {
        let header = basic("a:b", &ClientSecret::from("p%+ä"));
        let pair = STANDARD.decode(header.strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(pair, b"a%3Ab:p%25%2B%C3%A4");
    }
}
