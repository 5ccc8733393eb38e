//! The virtual host for nginx, 1.18 and later.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::forward::{OF_THE_SITE_IN_ANSWERS, OF_THE_SITE_IN_REQUESTS};

use super::fragment::{Form, HEADER, nginx_map_word};
use super::vhost::{NO_ANSWER, NOBODY, QUERY, SLUG, Tls, Vhost, plain_path};

/// Headers that only this proxy may say something by, or that speak about one connection: taken out of every request. nginx
/// knows no prefixes, so these are the names in use; Connection, Keep-Alive, TE, Transfer-Encoding, Upgrade and Expect it
/// takes out by itself.
const DROPPED: [&str; 19] = [
    "Forwarded",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Trailer",
    "X-Client-IP",
    "X-Forwarded",
    "X-Forwarded-By",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-Original-URL",
    "X-Real-IP",
    "X-Rewrite-URL",
];

/// The whole file for the `http` block.
pub(super) fn vhost(vhost: &Vhost) -> String {
    let mut text = HEADER.to_owned();
    maps(vhost, &mut text);
    server(vhost, &mut text);
    text
}

/// What a request is, and where it goes. Variables are made when they are asked for.
fn maps(vhost: &Vhost, text: &mut String) {
    let rest = plain_path("+");
    let metadata = "/[.]well-known/oauth-protected-resource";
    let upstream = match vhost.form {
        Form::NginxIf => {
            "map $bmm_port $bmm_upstream {\n    \"\" \"\";\n    default 127.0.0.1:$bmm_port;\n}\n".to_owned()
        }
        Form::NginxMap | Form::Caddy => format!(
            "map $bmm_slug $bmm_place {{\n    default \"\";\n    include {};\n}}\n\
             map $bmm_place $bmm_upstream {{\n    default $bmm_place;\n    \"~^unix:\" \"$bmm_place:\";\n}}\n",
            vhost.routes
        ),
    };
    let own: String = vhost
        .own
        .iter()
        .map(|word| format!("    {} 1;\n", nginx_map_word(word)))
        .collect();
    let host = vhost.domain.host().replace('.', "[.]");
    // A map of ten thousand slugs wants more room than nginx gives it.
    let _ = write!(
        text,
        r#"
map_hash_bucket_size 128;
map_hash_max_size 131072;

# The request line as it came, undecoded: what has two readings has no slug here.
map $request_uri $bmm_slug {{
    default "";
    "~^{metadata}/({SLUG})/mcp(?:{QUERY})?\z" $1;
    "~^/({SLUG}){rest}(?:{QUERY})?\z" $1;
}}
# What a server sees: without its slug.
map $request_uri $bmm_path {{
    default "";
    "~^{metadata}/{SLUG}/mcp({QUERY})?\z" /.well-known/oauth-protected-resource$1;
    "~^/{SLUG}({QUERY})?\z" /$1;
    "~^/{SLUG}({rest})({QUERY})?\z" $1$2;
}}
# What is bmm's own goes before any server.
map $request_uri $bmm_page {{
    default "";
    "~^/(?:{QUERY})?\z" 1;
    "~^/[.]well-known(?!/oauth-protected-resource/{SLUG}/mcp(?:[?]|\z)){rest}(?:{QUERY})?\z" 1;
}}
map $bmm_slug $bmm_word {{
    default "";
{own}}}
map "$bmm_page$bmm_word" $bmm_own {{
    default 1;
    "" "";
}}
{upstream}# Another host's name is nobody's. Whoever asks after our health may have only an address.
map "$host $request_uri" $bmm_foreign {{
    default 1;
    "~^{host} " "";
    "~^[^ ]* /health(?:[?]|\z)" "";
}}
"#
    );
    if vhost.access_log.is_some() {
        text.push_str(
            "# Without queries: sign-in links are in them.\n\
             map $request_uri $bmm_logged {\n    default \"\";\n    \"~^([^?]*)\" $1;\n}\n\
             log_format bmm '$remote_addr [$time_iso8601] \"$request_method $bmm_logged\" $status $body_bytes_sent $request_time';\n",
        );
    }
}

fn server(vhost: &Vhost, text: &mut String) {
    text.push_str("\nserver {\n");
    for address in listening(vhost) {
        let _ = writeln!(text, "    listen {address};");
    }
    let _ = writeln!(text, "    server_name {};", vhost.domain.host());
    if let Tls::Files { chain, key } = &vhost.tls {
        let _ = write!(
            text,
            "    ssl_certificate {chain};\n    ssl_certificate_key {key};\n    ssl_protocols TLSv1.2 TLSv1.3;\n"
        );
    }
    if let Some(log) = &vhost.access_log {
        let _ = writeln!(text, "    access_log {log} bmm;");
    } else {
        text.push_str("    access_log off;\n");
    }
    for range in &vhost.trusted {
        let _ = writeln!(text, "    set_real_ip_from {range};");
    }
    if !vhost.trusted.is_empty() {
        text.push_str("    real_ip_header X-Forwarded-For;\n    real_ip_recursive on;\n");
    }
    if vhost.form == Form::NginxIf {
        let _ = write!(text, "\n    set $bmm_port \"\";\n    include {};\n", vhost.routes);
    }
    let without = |names: &[&str]| -> String {
        names
            .iter()
            .map(|name| format!("        proxy_set_header {name} \"\";\n"))
            .collect()
    };
    let hidden: String = OF_THE_SITE_IN_ANSWERS
        .iter()
        .map(|name| format!("        proxy_hide_header {name};\n"))
        .collect();
    let (dropped, kept) = (without(&DROPPED), without(&OF_THE_SITE_IN_REQUESTS));
    let (domain, bmm) = (&vhost.domain, vhost.bmm);
    let path = match vhost.form {
        // The built-in router reads the whole path itself.
        Form::NginxIf => "$request_uri",
        Form::NginxMap | Form::Caddy => "$bmm_path",
    };
    let _ = write!(
        text,
        r#"
    if ($bmm_foreign) {{
        return 421;
    }}
    # A path that nobody can ask for: it has a name of our own only in here.
    if ($bmm_own) {{
        rewrite ^ /bmm:page last;
    }}

    # Streams as they come, both ways, for as long as they last.
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_request_buffering off;
    gzip off;
    client_max_body_size 0;
    proxy_connect_timeout 5s;
    proxy_send_timeout 300s;
    proxy_read_timeout 3600s;
    send_timeout 300s;

    # What may have reached a server is not sent again, and no server leads anybody elsewhere in here.
    proxy_next_upstream off;
    proxy_redirect off;
    proxy_intercept_errors off;
    proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset;
    error_page 404 @bmm_nobody;
    error_page 502 504 @bmm_no_answer;

    # bmm's own pages, sign-in and API.
    location = /bmm:page {{
        internal;
        proxy_pass http://{bmm}$request_uri;
        proxy_set_header Host {domain};
        proxy_set_header Connection "";
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
{dropped}    }}

    # Servers. They are other people's: nothing tells them about a client but what its token says, and what belongs to the whole
    # site is neither shown to them nor taken from them.
    location / {{
        if ($bmm_upstream = "") {{
            return 404;
        }}
        proxy_pass http://$bmm_upstream{path};
        proxy_set_header Host {domain};
        proxy_set_header Connection "";
        proxy_set_header X-Forwarded-For "";
        proxy_set_header X-Forwarded-Proto "";
{dropped}{kept}{hidden}    }}
    location @bmm_nobody {{
        default_type application/json;
        add_header Cache-Control no-store always;
        add_header Access-Control-Allow-Origin * always;
        return 404 '{NOBODY}';
    }}
    location @bmm_no_answer {{
        default_type application/json;
        add_header Cache-Control no-store always;
        add_header Access-Control-Allow-Origin * always;
        add_header Retry-After 5 always;
        return 502 '{NO_ANSWER}';
    }}
}}
"#
    );
}

/// The `listen` lines' values.
fn listening(vhost: &Vhost) -> Vec<String> {
    let (port, tls) = match vhost.tls {
        Tls::Files { .. } => (443, " ssl http2"),
        Tls::Plain | Tls::Automatic => (80, ""),
    };
    let usual = [
        SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port),
        SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port),
    ];
    let addresses = match vhost.listen.as_slice() {
        [] => &usual,
        addresses => addresses,
    };
    addresses
        .iter()
        .map(|address| format!("{address}{tls}"))
        .collect()
}
