//! The hosts of others: whatever name is asked for, a listener on loopback answers, with documents that a test puts there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bmm_net::{Dialer, Fetcher, Transport};
use http::{Response, StatusCode, header};
use tokio::net::TcpListener;

type Documents = Arc<Mutex<HashMap<String, (u16, String, String)>>>;

pub(crate) struct Elsewhere {
    pub(crate) fetcher: Fetcher,
    documents: Documents,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Elsewhere {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dialer = Dialer::insecure_with(move |_, _| Box::pin(async move { Ok(vec![address]) }), |_| None);
        let (documents, asked) = (Documents::default(), Arc::<Mutex<Vec<String>>>::default());
        let (shelf, seen) = (Arc::clone(&documents), Arc::clone(&asked));
        let app = Router::new().fallback(move |request: Request| {
            let host = request.headers()[header::HOST].to_str().unwrap();
            let url = format!("https://{host}{}", request.uri());
            seen.lock().unwrap().push(url.clone());
            let found = shelf.lock().unwrap().get(&url).cloned();
            async move {
                let (status, headers, body) = found.unwrap_or((404, String::new(), String::new()));
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                for line in headers.lines() {
                    let (name, value) = line.split_once(": ").unwrap();
                    let name: header::HeaderName = name.parse().unwrap();
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                // So that who asks at the same time finds the first one still waiting.
                tokio::task::yield_now().await;
                response
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            fetcher: Fetcher::insecure_with(dialer, Transport::PlainLoopback).unwrap(),
            documents,
            asked,
        }
    }

    /// Puts a JSON document at a URL.
    pub(crate) fn put(&self, url: &str, document: &serde_json::Value) {
        self.put_raw(url, 200, "content-type: application/json", &document.to_string());
    }

    pub(crate) fn put_raw(&self, url: &str, status: u16, headers: &str, body: &str) {
        let answer = (status, headers.to_owned(), body.to_owned());
        self.documents.lock().unwrap().insert(url.to_owned(), answer);
    }

    pub(crate) fn remove(&self, url: &str) {
        self.documents.lock().unwrap().remove(url);
    }

    /// What was asked for so far, and forgets it.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}
