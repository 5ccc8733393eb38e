//! A host's own consent page.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bmm_oauth::*;
use serde_json::json;

use crate::app::*;
use crate::upstream_app::*;

struct Own;

impl ConsentPage for Own {
    fn render(&self, view: &ConsentView) -> ConsentHtml {
        assert_eq!(view.user, None);
        assert_eq!(view.client_host, None);
        assert_eq!(view.resource.as_str(), RESOURCE);
        let scopes: Vec<_> = view.scopes.iter().map(|scope| scope.name.as_str()).collect();
        assert_eq!(scopes, ["mcp:write"]);
        assert!(matches!(&view.redirect, RedirectTarget::Loopback { host } if host == "127.0.0.1"));
        assert_eq!(view.warnings, [ConsentWarning::AnyProgram]);
        assert!(
            !format!("{view:?}").contains("allow:corp"),
            "the form's handle is not logged"
        );
        ConsentHtml {
            title: "<Ours>".to_owned(),
            style: "p{color:red}\r\n</style><script>alert(1)</script>".to_owned(),
            body: format!("<p>{}</p>{}", escape_html(&view.client_name), view.form_html()),
        }
    }
}

#[tokio::test]
async fn a_host_brings_its_own_page_and_cannot_weaken_its_guards() {
    let world = World::new();
    let app = app_with(Arc::new(MemoryStore::new()), vec![corp(&world)], |server| {
        server.with_consent_page(Own)
    });
    let uri = "http://127.0.0.1/cb";
    let client = app
        .client_with(json!({ "redirect_uris": [uri], "client_name": "<i>Client</i>" }))
        .await;
    let mut browser = Browser::default();
    let changes = [("redirect_uri", uri), ("scope", "mcp:write")];
    let page = browser.ask(&app, &client, &changes).await;
    assert!(
        page.body.contains("<p>&lt;i&gt;Client&lt;/i&gt;</p>"),
        "{}",
        page.body
    );
    assert!(page.body.contains("<title>&lt;Ours&gt;</title>"));
    assert!(!page.body.contains("<script>"));
    let (_, style) = page.body.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let policy = page.header("content-security-policy");
    let allowed = format!("style-src 'sha256-{}'", STANDARD.encode(hash));
    assert!(policy.contains(&allowed), "{policy}");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    let reply = browser.decide(&app, &page, "allow:corp").await;
    assert!(reply.header("location").starts_with("https://id.example/"));
}
