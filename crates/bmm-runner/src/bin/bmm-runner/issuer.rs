//! What is fetched from the issuer: its keys and its feed of revocations. Their addresses are the operator's, so that a private
//! one is as good as any; the issuer's own name is another setting.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bmm_oauth::{BoxError, FetchJwks, FetchRevocations};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

const MAX_KEYS_BYTES: usize = 256 * 1024;
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REVOCATIONS_BYTES: usize = 4 * 1024 * 1024;
/// The issuer may wait 20 s for news.
const REVOCATIONS_TIMEOUT: Duration = Duration::from_secs(25);

/// The issuer's JWK Set.
pub(crate) fn keys(url: Url) -> anyhow::Result<FetchJwks> {
    let fetch = Fetch::new()?;
    Ok(Arc::new(move || {
        let (fetch, url) = (fetch.clone(), url.clone());
        Box::pin(async move { fetch.get(&url, MAX_KEYS_BYTES, KEYS_TIMEOUT).await })
    }))
}

/// The issuer's feed of revoked grants.
pub(crate) fn revocations(url: Url) -> anyhow::Result<FetchRevocations> {
    let fetch = Fetch::new()?;
    Ok(Arc::new(move |after| {
        let (fetch, mut url) = (fetch.clone(), url.clone());
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", &after.to_string());
        }
        Box::pin(async move { fetch.get(&url, MAX_REVOCATIONS_BYTES, REVOCATIONS_TIMEOUT).await })
    }))
}

#[derive(Clone)]
struct Fetch(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Fetch {
    fn new() -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(https)))
    }

    /// Follows no redirect.
    async fn get(&self, url: &Url, max_bytes: usize, within: Duration) -> Result<Bytes, BoxError> {
        let fetched = async {
            let response = self.0.get(url.as_str().parse()?).await?;
            if response.status() != http::StatusCode::OK {
                return Err(format!("{url} answered {}", response.status()).into());
            }
            let body = Limited::new(response.into_body(), max_bytes).collect().await?;
            Ok(body.to_bytes())
        };
        tokio::time::timeout(within, fetched).await?
    }
}
