//! The fragments: slug -> upstream in the words of each proxy, and back.
//!
//! What is read back is read strictly: a line counts only if it is, byte for byte, what the writer would have written for what
//! was read. So whoever combines fragments that others wrote passes on slugs and upstreams, and nothing else.

use std::fmt;
use std::str::FromStr;

use super::value::{Address, PathTable, Port, RouteSlug, SocketPath, ValueError};
use crate::routes::InvalidSlug;

/// First line of every file that is written here.
pub(super) const HEADER: &str = "# Written by bmm. Changes are overwritten.\n";

/// Words that `map` of nginx takes for its own when they stand where a value would (ngx_http_map_module).
const NGINX_MAP_WORDS: [&str; 4] = ["default", "hostnames", "include", "volatile"];

/// How a path map is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// One file of lines `slug upstream;` for nginx's `map`: found in constant time.
    NginxMap,
    /// One file per slug, `if ($bmm_slug = "slug") { set $bmm_port port; }`: tried one after the other with every request.
    NginxIf,
    /// One file of lines `/slug upstream` for Caddy's `map`.
    Caddy,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::NginxMap, Self::NginxIf, Self::Caddy];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NginxMap => "nginx-map",
            Self::NginxIf => "nginx-if",
            Self::Caddy => "caddy",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        Self::ALL
            .into_iter()
            .find(|form| form.name() == text)
            .ok_or(UnknownForm)
    }
}

/// Not the name of a [`Form`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path map is nginx-map, nginx-if or caddy")]
pub struct UnknownForm;

/// The line of nginx's `map` for one server, without its end.
pub fn nginx_map_line(slug: &RouteSlug, upstream: &Address) -> String {
    format!("{} {upstream};", nginx_map_word(slug))
}

/// A slug where `map` of nginx expects a value to compare with.
pub(super) fn nginx_map_word(slug: &RouteSlug) -> String {
    // A backslash in front makes a word of `map`'s own a value. Before other slugs it would make `\n` of `nginx`.
    let escape = match NGINX_MAP_WORDS.contains(&slug.as_str()) {
        true => "\\",
        false => "",
    };
    format!("{escape}{slug}")
}

/// The snippet for one server in the historical form, without its end.
pub fn nginx_if_line(slug: &RouteSlug, port: Port) -> String {
    format!("if ($bmm_slug = \"{slug}\") {{ set $bmm_port {port}; }}")
}

/// The line of Caddy's `map` for one server, without its end. The slash keeps `default` and `import` from being words.
pub fn caddy_line(slug: &RouteSlug, upstream: &Address) -> String {
    match upstream {
        Address::Socket(path) => format!("/{slug} unix/{path}"),
        Address::Tcp(address) => format!("/{slug} {address}"),
    }
}

/// The line of `form` for one server. In the `if` form the upstream is a port of this machine.
pub(super) fn line(form: Form, slug: &RouteSlug, upstream: &Address) -> Result<String, FragmentError> {
    match (form, upstream) {
        (Form::NginxMap, _) => Ok(nginx_map_line(slug, upstream)),
        (Form::Caddy, _) => Ok(caddy_line(slug, upstream)),
        (Form::NginxIf, Address::Tcp(address)) if address.ip().is_loopback() => {
            Ok(nginx_if_line(slug, Port::new(address.port())?))
        }
        (Form::NginxIf, _) => Err(FragmentError::NotAPort),
    }
}

/// The combined file of all servers, in the order of their slugs.
pub fn combined(form: Form, table: &PathTable) -> Result<String, FragmentError> {
    let mut text = HEADER.to_owned();
    for (slug, upstream) in table {
        text.push_str(&line(form, slug, upstream)?);
        text.push('\n');
    }
    Ok(text)
}

/// Reads one line of `form`.
pub(super) fn read_line(form: Form, text: &str) -> Result<(RouteSlug, Address), FragmentError> {
    let (slug, upstream) = match form {
        Form::NginxMap => text.strip_suffix(';').and_then(|text| text.split_once(' ')),
        Form::Caddy => text.split_once(' '),
        Form::NginxIf => text
            .strip_prefix("if ($bmm_slug = \"")
            .and_then(|text| text.strip_suffix("; }"))
            .and_then(|text| text.split_once("\") { set $bmm_port ")),
    }
    .ok_or(FragmentError::NotALine(form))?;
    let slug: RouteSlug = match form {
        Form::NginxMap => slug.trim_start_matches('\\'),
        Form::Caddy => slug.trim_start_matches('/'),
        Form::NginxIf => slug,
    }
    .parse()?;
    let upstream: Address = match (form, upstream.strip_prefix("unix/")) {
        (Form::NginxIf, _) => {
            Address::Tcp((std::net::Ipv4Addr::LOCALHOST, upstream.parse::<Port>()?.get()).into())
        }
        (Form::Caddy, Some(path)) => Address::Socket(SocketPath::new(path)?),
        (Form::NginxMap | Form::Caddy, _) => upstream.parse()?,
    };
    match line(form, &slug, &upstream)? == text {
        true => Ok((slug, upstream)),
        false => Err(FragmentError::NotALine(form)),
    }
}

/// Why a fragment, or a line of it, does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// Its slug is none.
    #[error(transparent)]
    Slug(#[from] InvalidSlug),
    /// Its upstream is none.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// An upstream that the `if` form cannot name.
    #[error("the nginx-if form leads to a port of this machine only")]
    NotAPort,
    /// Not what bmm writes.
    #[error("it is not a line of the {0} form as bmm writes it")]
    NotALine(Form),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(text: &str) -> RouteSlug {
        text.parse().expect("a slug")
    }

    #[test]
    fn the_forms_are_these() {
        let socket: Address = "unix:/run/bmm/public/demo.sock".parse().expect("an address");
        let demo = slug("demo");
        assert_eq!(
            nginx_map_line(&demo, &socket),
            "demo unix:/run/bmm/public/demo.sock;"
        );
        assert_eq!(
            nginx_map_line(&slug("default"), &"10.0.0.1:80".parse().expect("an address")),
            "\\default 10.0.0.1:80;"
        );
        assert_eq!(
            nginx_if_line(&demo, Port::new(4000).expect("a port")),
            "if ($bmm_slug = \"demo\") { set $bmm_port 4000; }"
        );
        assert_eq!(caddy_line(&demo, &socket), "/demo unix//run/bmm/public/demo.sock");
    }

    #[test]
    fn a_line_is_read_as_it_is_written_and_in_no_other_way() {
        let [socket, tcp]: [Address; 2] =
            ["unix:/s/x.sock", "127.0.0.1:4000"].map(|text| text.parse().expect("an address"));
        for name in ["demo", "default", "include", "nginx", "a-1"] {
            for form in Form::ALL {
                for upstream in [&socket, &tcp] {
                    let Ok(line) = line(form, &slug(name), upstream) else {
                        continue;
                    };
                    assert_eq!(
                        read_line(form, &line),
                        Ok((slug(name), upstream.clone())),
                        "{line}"
                    );
                    for other in [
                        format!(" {line}"),
                        format!("{line} "),
                        format!("{line}\n"),
                        line.replace(' ', "  "),
                    ] {
                        assert!(read_line(form, &other).is_err(), "{other:?}");
                    }
                }
            }
        }
        for (form, bad) in [
            (Form::NginxMap, "default unix:/s;"),
            (Form::NginxMap, "\\nginx unix:/s;"),
            (Form::NginxMap, "include /etc/passwd;"),
            (Form::NginxMap, "a unix:/s; b unix:/t;"),
            (Form::NginxMap, "a 127.0.0.1:080;"),
            (
                Form::NginxIf,
                "if ($bmm_slug = \"a\") { set $bmm_port 80; return 200; }",
            ),
            (Form::NginxIf, "if ($bmm_slug = \"a\") { set $bmm_port 080; }"),
            (Form::Caddy, "default unix//s"),
            (Form::Caddy, "/a unix//s {env.HOME}"),
            (Form::Caddy, "//a unix//s"),
        ] {
            assert!(read_line(form, bad).is_err(), "{bad}");
        }
    }
}
