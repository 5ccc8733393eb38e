//! The decision over one request to a protected resource: who it is, or the answer that ends it.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::bearer::{Presented, Scheme, presented};
use crate::challenge::{Refusal, challenge};
use crate::clock::Clock;
use crate::cors;
use crate::dpop::{Dpop, ProofRefused, Requested};
use crate::events::{ClientAddress, Event, EventKind, EventSink, Outcome};
use crate::issuer::Issuer;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::scope_hierarchy::ScopeHierarchy;
use crate::verifier::{AuthInfo, Verifier, VerifyError};

/// What a layer guards, and how.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) resource: ResourceUri,
    pub(crate) issuer: Issuer,
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) scopes: Scopes,
    pub(crate) hierarchy: ScopeHierarchy,
    pub(crate) dpop: Option<Dpop>,
    pub(crate) events: Option<Arc<dyn EventSink>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Guard {
    /// The caller's identity, or the answer that ends the request here.
    pub(crate) async fn admit(&self, request: &Parts) -> Result<AuthInfo, Box<Response<Full<Bytes>>>> {
        if cors::is_preflight(&request.method, &request.headers) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            cors::mcp_preflight(&request.headers, response.headers_mut());
            return Err(Box::new(response));
        }
        let (scheme, token) = match presented(&request.headers, &request.uri) {
            // A scheme that is not taken is no credential.
            Presented::Token(Scheme::Dpop, _) if self.dpop.is_none() => {
                return Err(self.refuse(Scheme::Bearer, Refusal::NoToken));
            }
            Presented::Token(scheme, token) => (scheme, token),
            Presented::Nothing => return Err(self.refuse(Scheme::Bearer, Refusal::NoToken)),
            Presented::Malformed => {
                return Err(self.refuse(Scheme::Bearer, Refusal::MalformedRequest));
            }
        };
        let info = match self.verifier.verify(token).await {
            Ok(info) => info,
            Err(VerifyError::Invalid(why)) => {
                self.record(request, None, why);
                return Err(self.refuse(scheme, Refusal::InvalidToken));
            }
            Err(VerifyError::Unavailable(error)) => {
                tracing::warn!(resource = %self.resource, %error, "access tokens cannot be verified");
                return Err(Box::new(unavailable()));
            }
        };
        if *info.resource() != self.resource || *info.issuer() != self.issuer {
            // The verifier was made for something else: refuse rather than trust the wiring.
            tracing::error!(resource = %self.resource, verified_for = %info.resource(), "verifier of another resource");
            return Err(self.refuse(scheme, Refusal::InvalidToken));
        }
        match self.check_binding(scheme, request, token, &info) {
            Ok(()) => {}
            Err(Unbound::Refused(refusal, why)) => {
                self.record(request, Some(&info), why);
                return Err(self.refuse(scheme, refusal));
            }
            Err(Unbound::Busy) => {
                tracing::warn!(resource = %self.resource, "too many DPoP proofs to tell them apart");
                return Err(Box::new(unavailable()));
            }
        }
        if self.hierarchy.covers(info.scopes(), &self.scopes) {
            return Ok(info);
        }
        self.record(request, Some(&info), "insufficient_scope");
        let response = self.insufficient_scope(scheme, info.scopes(), &Scopes::empty());
        Err(Box::new(response))
    }

    /// Tells why a token was refused; only here, never the client.
    fn record(&self, request: &Parts, info: Option<&AuthInfo>, why: &'static str) {
        tracing::debug!(resource = %self.resource, reason = why, "access token refused");
        let Some(events) = &self.events else { return };
        let mut event = Event::new(EventKind::AccessChecked, Outcome::Refused(why), self.clock.now());
        event.resource = Some(self.resource.clone());
        event.address = ClientAddress::of(&request.extensions);
        if let Some(info) = info {
            event.subject = Some(info.subject().clone());
            event.client_id = Some(info.client_id().to_owned());
            event.grant_id = Some(info.grant_id().to_owned());
        }
        events.record(event);
    }

    /// The decision whether the token may be used in this way by this request (RFC 9449 sections 7.1 and 7.2).
    fn check_binding(
        &self,
        scheme: Scheme,
        request: &Parts,
        token: &str,
        info: &AuthInfo,
    ) -> Result<(), Unbound> {
        let refused = |why| Err(Unbound::Refused(Refusal::InvalidToken, why));
        match (scheme, info.bound_to(), &self.dpop) {
            (Scheme::Bearer, None, Some(dpop)) if dpop.is_required() => {
                refused("only bound tokens are taken")
            }
            (Scheme::Bearer, None, _) => Ok(()),
            (Scheme::Bearer, Some(_), _) => refused("a bound token without its scheme"),
            (Scheme::Dpop, None, _) => refused("a token that is not bound"),
            (Scheme::Dpop, _, None) => refused("bound tokens are not taken"),
            (Scheme::Dpop, Some(key), Some(dpop)) => {
                let url = self.url_of(request, dpop);
                let requested = Requested {
                    method: request.method.as_str(),
                    url: &url,
                    token: Some(token),
                };
                match dpop.check(&request.headers, &requested, key) {
                    Ok(()) => Ok(()),
                    Err(ProofRefused::Invalid(why)) => Err(Unbound::Refused(Refusal::InvalidProof, why)),
                    Err(ProofRefused::UseNonce) => Err(Unbound::Refused(Refusal::UseNonce, "no good nonce")),
                    Err(ProofRefused::Busy) => Err(Unbound::Busy),
                }
            }
        }
    }

    /// The request's URL as its client wrote it. Nothing of it comes from the `Host` header.
    fn url_of(&self, request: &Parts, dpop: &Dpop) -> String {
        if dpop.takes_request_paths() {
            format!("{}{}", self.resource.origin(), request.uri.path())
        } else {
            self.resource.to_string()
        }
    }

    fn refuse(&self, scheme: Scheme, refusal: Refusal) -> Box<Response<Full<Bytes>>> {
        Box::new(self.refusal(scheme, refusal, &self.scopes))
    }

    pub(crate) fn insufficient_scope(
        &self,
        scheme: Scheme,
        granted: &Scopes,
        needed: &Scopes,
    ) -> Response<Full<Bytes>> {
        // A resource never asks for `offline_access`: that is between client and authorization server.
        let scopes = granted
            .union(&self.scopes)
            .union(needed)
            .without("offline_access");
        self.refusal(scheme, Refusal::InsufficientScope, &scopes)
    }

    /// The answer to a request that came with a token in `scheme`, with a challenge for each scheme that is taken. `Bearer` comes first:
    /// some clients read nothing else.
    fn refusal(&self, scheme: Scheme, refusal: Refusal, scopes: &Scopes) -> Response<Full<Bytes>> {
        let code = refusal.code().unwrap_or("unauthorized");
        let mut response = json_error(refusal.status(), code, refusal.description());
        let schemes: &[Scheme] = match &self.dpop {
            None => &[Scheme::Bearer],
            Some(dpop) if dpop.is_required() || scheme == Scheme::Dpop => &[Scheme::Dpop],
            Some(_) => &[Scheme::Bearer, Scheme::Dpop],
        };
        for (index, scheme) in schemes.iter().enumerate() {
            let refusal = (index == 0).then_some(refusal);
            response.headers_mut().append(
                header::WWW_AUTHENTICATE,
                challenge(*scheme, refusal, &self.resource, scopes),
            );
        }
        response
    }

    pub(crate) fn give_nonce(&self, headers: &mut HeaderMap) {
        let nonce = self.dpop.as_ref().and_then(Dpop::nonce);
        if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
            headers.insert("dpop-nonce", nonce);
        }
    }
}

/// Why a good token may not be used by this request.
enum Unbound {
    Refused(Refusal, &'static str),
    Busy,
}

fn unavailable() -> Response<Full<Bytes>> {
    let description = "access tokens cannot be verified now, try again";
    let mut response = json_error(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        description,
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn json_error(status: StatusCode, code: &str, description: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": code, "error_description": description });
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
