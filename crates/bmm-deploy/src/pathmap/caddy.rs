//! The site for Caddy, 2.6 and later.

use std::fmt::Write as _;

use crate::forward::{OF_THE_SITE_IN_ANSWERS, OF_THE_SITE_IN_REQUESTS};

use super::fragment::HEADER;
use super::vhost::{NO_ANSWER, NOBODY, QUERY, SLUG, Tls, Vhost, plain_path};

/// Headers that only this proxy may say something by, or that speak about one connection, beside those that Caddy takes out by
/// itself. `*` stands for any ending.
const DROPPED: [&str; 10] = [
    "Connection",
    "Expect",
    "Forwarded",
    "Proxy-Authorization",
    "Te",
    "Trailer",
    "Upgrade",
    "X-Original-Url",
    "X-Real-Ip",
    "X-Rewrite-Url",
];

/// The whole site block.
pub(super) fn site(vhost: &Vhost) -> String {
    let mut text = HEADER.to_owned();
    let _ = writeln!(text, "{} {{", addresses(vhost));
    let mut addresses: Vec<String> = vhost
        .listen
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    addresses.dedup();
    if !addresses.is_empty() {
        let _ = writeln!(text, "\tbind {}", addresses.join(" "));
    }
    if let Tls::Files { chain, key } = &vhost.tls {
        let _ = writeln!(text, "\ttls {chain} {key}");
    }
    maps(vhost, &mut text);
    routes(vhost, &mut text);
    text.push_str("}\n");
    text
}

/// What the site is reached at.
fn addresses(vhost: &Vhost) -> String {
    let host = vhost.domain.host();
    let scheme = match vhost.tls {
        Tls::Plain => "http://",
        Tls::Automatic | Tls::Files { .. } => "",
    };
    let mut ports: Vec<u16> = vhost.listen.iter().map(std::net::SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    match ports.as_slice() {
        [] => format!("{scheme}{host}"),
        ports => ports
            .iter()
            .map(|port| format!("{scheme}{host}:{port}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// What a request is, and where it goes.
fn maps(vhost: &Vhost, text: &mut String) {
    // With the absolute form of RFC 9112 section 3.2.2; which host it names was looked at already.
    let start = "^(?:https?://[^/?]*)?";
    let rest = plain_path("");
    let own: String = vhost.own.iter().map(|word| format!("\t\t/{word} 1\n")).collect();
    let _ = write!(
        text,
        r#"
	# The request line as it came, undecoded: what has two readings has no slug here, and a page of bmm's own is called a dot.
	map {{http.request.orig_uri}} {{bmm_kind}} {{bmm_slug}} {{
		"~{start}/[.]well-known/oauth-protected-resource/({SLUG})/mcp(?:{QUERY})?\z" metadata "${{1}}"
		"~{start}(?:/|/[.]well-known{rest})?(?:{QUERY})?\z" page .
		"~{start}/({SLUG}){rest}(?:{QUERY})?\z" server "${{1}}"
		default nothing ""
	}}

	# What is bmm's own goes before any server.
	map * /{{bmm_slug}} {{bmm_own}} {{
		/. 1
{own}		default 0
	}}
	map * /{{bmm_slug}} {{bmm_upstream}} {{
		import {}
		default nobody
	}}
"#,
        vhost.routes
    );
}

fn routes(vhost: &Vhost, text: &mut String) {
    let dropped = |prefix: &str| -> String {
        DROPPED
            .iter()
            .map(|name| format!("{prefix}header_up -{name}\n"))
            .collect()
    };
    let trusted = match vhost.trusted.as_slice() {
        [] => String::new(),
        ranges => {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            format!("\t\t\t\ttrusted_proxies {}\n", ranges.join(" "))
        }
    };
    let (bmm, domain) = (vhost.bmm, &vhost.domain);
    let (for_bmm, for_servers) = (dropped("\t\t\t\t"), dropped("\t\t\t"));
    let lines = |command: &str, names: &[&str]| -> String {
        names
            .iter()
            .map(|name| format!("\t\t\t{command} -{name}\n"))
            .collect()
    };
    let kept = lines("header_up", &OF_THE_SITE_IN_REQUESTS);
    let hidden = lines("header_down", &OF_THE_SITE_IN_ANSWERS);
    let [nobody, no_answer] = [NOBODY, NO_ANSWER].map(|json| json.replace('"', "\\\""));
    let _ = write!(
        text,
        r#"
	route {{
		@connect method CONNECT
		respond @connect 404

		@bmm vars {{bmm_own}} 1
		handle @bmm {{
			reverse_proxy {bmm} {{
				header_up Host {domain}
{for_bmm}				header_up -X-Forwarded-Host
{trusted}				transport http {{
					dial_timeout 5s
				}}
			}}
		}}

		@nobody vars {{bmm_upstream}} nobody
		handle @nobody {{
			header Content-Type application/json
			header Cache-Control no-store
			header Access-Control-Allow-Origin *
			respond "{nobody}" 404
		}}

		@metadata vars {{bmm_kind}} metadata
		rewrite @metadata /.well-known/oauth-protected-resource
		@server vars {{bmm_kind}} server
		uri @server strip_prefix /{{bmm_slug}}
		reverse_proxy {{bmm_upstream}} {{
			# No URL is built from what a client says, and servers learn nothing about it but what its token says.
			header_up Host {domain}
{for_servers}			header_up -X-Forwarded-*
			# What belongs to the whole site is neither shown to a server nor taken from it.
{kept}{hidden}			# A stream is flushed as it comes; so is what has a length.
			flush_interval 10ms
			transport http {{
				dial_timeout 5s
				# Behind a name may be another server soon.
				keepalive off
				compression off
			}}
		}}
	}}

	handle_errors {{
		header Content-Type application/json
		header Cache-Control no-store
		header Access-Control-Allow-Origin *
		header Retry-After 5
		respond "{no_answer}" 502
	}}
"#
    );
}
