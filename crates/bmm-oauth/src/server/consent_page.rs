//! What the consent page says, and the page itself, which a host can replace.

use std::fmt::Write as _;

use super::config::AsConfig;
use super::page::escape_html;
use super::redirect::Target;
use super::store::{AuthorizationRequest, Client};
use crate::resource_uri::ResourceUri;

/// What is asked of a user. Names are what clients and hosts wrote: escape them with [`escape_html`](super::escape_html), or use
/// a template engine that does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsentView {
    /// The name of this service.
    pub service_name: String,
    /// Who is signed in; nobody yet if users sign in at an upstream, which comes after the consent.
    pub user: Option<String>,
    /// What the application calls itself.
    pub client_name: String,
    /// Its `client_id`.
    pub client_id: String,
    /// The host that published the application's metadata document. Without one its name is its own claim, and nobody has checked it.
    pub client_host: Option<String>,
    /// Where the answer goes.
    pub redirect: Target,
    /// What is to be used.
    pub resource: ResourceUri,
    /// Its name, where it is known.
    pub resource_name: Option<String>,
    /// What the application may do with it. Empty: what the resource gives by default.
    pub scopes: Vec<ScopeView>,
    /// What must be said as well.
    pub warnings: Vec<ConsentWarning>,
    form: Form,
}

/// A scope on a consent page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScopeView {
    /// The scope.
    pub name: String,
    /// In words, if the configuration has any ([`AsConfig::scope_descriptions`](super::AsConfig::scope_descriptions)).
    pub description: Option<String>,
}

/// Something about a request that a user should know before they allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsentWarning {
    /// The answer goes to a program on this computer, and any program can pretend to be this one.
    AnyProgram,
    /// The answer goes to another host than the one that published the application's metadata document.
    OtherHost,
}

/// The page's form: its single-use handle, and the ways to say yes.
#[derive(Clone)]
struct Form {
    action: String,
    handle: String,
    /// Value and label of each button.
    buttons: Vec<(String, String)>,
}

/// So that a logged view does not hold the handle.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Form(…)")
    }
}

/// A host's own consent page.
pub trait ConsentPage: Send + Sync + 'static {
    /// The page for this request. It must contain [`ConsentView::form_html`]. Scripts and images do not work, and only the style
    /// of the returned page does: the server sends it with a policy that says so.
    fn render(&self, view: &ConsentView) -> ConsentHtml;
}

/// A rendered consent page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentHtml {
    /// Its title; plain text.
    pub title: String,
    /// CSS.
    pub style: String,
    /// HTML for the body.
    pub body: String,
}

/// The page that is shown unless a host brings another: plain, without scripts, usable with a keyboard and a screen reader.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainConsentPage;

/// Everything that a view is made of.
pub(super) struct Asking<'a> {
    pub(super) config: &'a AsConfig,
    pub(super) user: Option<&'a str>,
    pub(super) client: &'a Client,
    pub(super) target: &'a Target,
    pub(super) resource_name: Option<&'a str>,
    pub(super) request: &'a AuthorizationRequest,
    pub(super) action: String,
    pub(super) handle: String,
    /// Names and display names of the upstreams, if users sign in at upstreams.
    pub(super) upstreams: Vec<(&'a str, &'a str)>,
}

impl ConsentView {
    pub(super) fn new(asking: Asking<'_>) -> Self {
        let request = asking.request;
        let describe = |scope: &str| ScopeView {
            name: scope.to_owned(),
            description: asking.config.scope_descriptions.get(scope).cloned(),
        };
        let client_host = document_host(&asking.client.id);
        let buttons = match asking.upstreams.as_slice() {
            [] => vec![("allow".to_owned(), "Allow".to_owned())],
            upstreams => upstreams
                .iter()
                .map(|(name, display)| {
                    (
                        format!("allow:{name}"),
                        format!("Allow and sign in with {display}"),
                    )
                })
                .collect(),
        };
        Self {
            service_name: asking.config.service_name.clone(),
            user: asking.user.map(str::to_owned),
            client_name: asking.client.name.clone(),
            client_id: asking.client.id.clone(),
            warnings: warnings(asking.target, client_host.as_deref()),
            client_host,
            redirect: asking.target.clone(),
            resource: request.resource.clone(),
            resource_name: asking.resource_name.map(str::to_owned),
            scopes: request.scopes.iter().map(describe).collect(),
            form: Form {
                action: asking.action,
                handle: asking.handle,
                buttons,
            },
        }
    }

    /// The form with its buttons, as HTML. It is made here, so that a page cannot get it wrong.
    pub fn form_html(&self) -> String {
        let mut html = format!(
            "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"handle\" value=\"{}\">",
            escape_html(&self.form.action),
            escape_html(&self.form.handle),
        );
        let deny = ("deny".to_owned(), "Deny".to_owned());
        for (value, label) in self.form.buttons.iter().chain([&deny]) {
            let _ = write!(
                html,
                "<button type=\"submit\" name=\"decision\" value=\"{}\">{}</button>",
                escape_html(value),
                escape_html(label)
            );
        }
        html + "</form>"
    }
}

impl ConsentPage for PlainConsentPage {
    fn render(&self, view: &ConsentView) -> ConsentHtml {
        let client = escape_html(&view.client_name);
        let resource = escape_html(view.resource.as_str());
        let resource_name = view.resource_name.as_deref().map(escape_html);
        let service = escape_html(&view.service_name);
        let who = match &view.user {
            Some(user) => format!(
                "You are signed in to {service} as <strong>{}</strong>. An application asks to act for you.",
                escape_html(user)
            ),
            None => {
                format!("An application asks to act for you at {service}. If you allow it, you sign in next.")
            }
        };
        let claim = match &view.client_host {
            Some(host) => format!("It is published by <strong>{}</strong>.", escape_html(host)),
            None => "Its name is its own claim; nobody has checked it.".to_owned(),
        };
        let mut scopes = String::new();
        for scope in &view.scopes {
            let name = escape_html(&scope.name);
            let _ = match &scope.description {
                Some(words) => write!(scopes, "<li>{} (<code>{name}</code>)</li>", escape_html(words)),
                None => write!(scopes, "<li><code>{name}</code></li>"),
            };
        }
        let scopes = match (scopes.is_empty(), &view.user) {
            (false, _) => format!("<ul>{scopes}</ul>"),
            (true, Some(_)) => "nothing beyond being recognised".to_owned(),
            (true, None) => "what it gives to every application".to_owned(),
        };
        let heading = resource_name.as_deref().unwrap_or(&resource);
        let named = match &resource_name {
            Some(name) => format!("{name}<br><code>{resource}</code>"),
            None => format!("<code>{resource}</code>"),
        };
        let warnings: String = view
            .warnings
            .iter()
            .map(|warning| warning_html(*warning))
            .collect();
        let body = format!(
            "<h1>Allow “{client}” to use {heading}?</h1><p>{who} {claim}</p>\
             <dl><dt>Application</dt><dd>{client}</dd>\
             <dt>Your answer is sent to</dt><dd><strong>{redirect}</strong></dd>\
             <dt>It wants to use</dt><dd>{named}</dd>\
             <dt>It may</dt><dd>{scopes}</dd></dl>{warnings}{form}",
            redirect = escape_html(&destination(&view.redirect)),
            form = view.form_html(),
        );
        ConsentHtml {
            title: "Allow access?".to_owned(),
            style: super::page::STYLE.to_owned(),
            body,
        }
    }
}

/// Where an answer goes, in words.
pub(super) fn destination(target: &Target) -> String {
    match target {
        Target::Https { host } => host.clone(),
        Target::Loopback { host } => format!("{host} (this computer)"),
        Target::PrivateScheme { scheme } => {
            format!("the application on this computer that opens {scheme}: links")
        }
    }
}

/// The host of a client whose identifier is the https address of its metadata document.
fn document_host(client_id: &str) -> Option<String> {
    let url = client_id
        .starts_with("https://")
        .then(|| url::Url::parse(client_id).ok())??;
    url.host_str().map(str::to_owned)
}

fn warnings(target: &Target, client_host: Option<&str>) -> Vec<ConsentWarning> {
    match (target, client_host) {
        (Target::Loopback { .. } | Target::PrivateScheme { .. }, _) => vec![ConsentWarning::AnyProgram],
        (Target::Https { host }, Some(published)) if host != published => vec![ConsentWarning::OtherHost],
        (Target::Https { .. }, _) => Vec::new(),
    }
}

fn warning_html(warning: ConsentWarning) -> &'static str {
    match warning {
        ConsentWarning::AnyProgram => {
            "<p class=\"warn\" role=\"note\"><strong>Any program on this computer can pretend to be this application.</strong> \
             Allow only if you have just started the sign-in yourself.</p>"
        }
        ConsentWarning::OtherHost => {
            "<p class=\"warn\" role=\"note\"><strong>The answer is sent to another host than the one that published this \
             application.</strong> Allow only if you know both.</p>"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_warns_where_the_answer_may_reach_somebody_else() {
        let https = |host: &str| Target::Https {
            host: host.to_owned(),
        };
        let local = Target::Loopback {
            host: "localhost".to_owned(),
        };
        let scheme = Target::PrivateScheme {
            scheme: "cursor".to_owned(),
        };
        let host = |id| document_host(id);
        let document = host("https://app.example/oauth/client.json");
        assert_eq!(document.as_deref(), Some("app.example"));
        assert_eq!(host("0123abc"), None);
        assert_eq!(host("http://app.example/x"), None);
        assert_eq!(warnings(&https("app.example"), document.as_deref()), []);
        assert_eq!(
            warnings(&https("app.example.evil.example"), document.as_deref()),
            [ConsentWarning::OtherHost]
        );
        assert_eq!(warnings(&https("app.example"), None), []);
        for target in [local, scheme] {
            assert_eq!(
                warnings(&target, document.as_deref()),
                [ConsentWarning::AnyProgram],
                "a document says nothing of who listens on a port"
            );
        }
    }
}
