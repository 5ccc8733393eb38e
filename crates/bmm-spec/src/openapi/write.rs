//! The implementation of a tool that makes one request, as a person would write it.
//!
//! Every text of the description that comes into the code passes [`quoted`], [`in_template`] or [`in_comment`].

use super::{
    arguments::{Argument, Arguments, BodyWay, Way},
    schema::Kind,
    security::Credential,
    server::Server,
};

/// One request.
#[derive(Debug)]
pub(super) struct Call<'c> {
    pub(super) method: &'static str,
    pub(super) path: &'c str,
    pub(super) server: &'c Server,
    pub(super) arguments: &'c Arguments<'c>,
    pub(super) credentials: &'c [Credential],
    /// What the service is asked to answer with.
    pub(super) accept: Option<&'c str>,
}

const SEGMENT: &str = r#"// One segment of the path: nothing that would lead to another place.
const segment = (value: unknown): string => {
  const text = String(value);
  if (text === "" || text === "." || text === "..") throw new Error(`not usable in a path: "${text}"`);
  return encodeURIComponent(text);
};
"#;

const ADD: &str = r#"// A list repeats its name, other structures go as JSON.
const add = (to: URLSearchParams, name: string, value: unknown): void => {
  if (value === undefined || value === null) return;
  if (Array.isArray(value)) value.forEach((item) => add(to, name, item));
  else to.append(name, typeof value === "object" ? JSON.stringify(value) : String(value));
};
"#;

const ADD_DEEP: &str = r#"// What is inside goes as `name[key]`, entries of a list as `name[0]`.
const addDeep = (to: URLSearchParams, name: string, value: unknown): void => {
  if (value === undefined || value === null) return;
  if (typeof value === "object") Object.entries(value).forEach(([key, inner]) => addDeep(to, `${name}[${key}]`, inner));
  else to.append(name, String(value));
};
"#;

/// The module.
pub(super) fn module(call: &Call<'_>) -> String {
    let mut body = String::new();
    let query = query(call, &mut body);
    form(call, &mut body);
    let headers = headers(call, &mut body);
    let init = init(call, &headers);
    let path = path(call);
    let address = format!(
        "https://{}{}{path}{query}",
        call.server.authority,
        in_template(&call.server.base_path)
    );
    let what = format!("{} {}", call.method, call.path);
    let mut out = format!("// {}\n", in_comment(&what));
    out.push_str(&input_type(call));
    for (used, helper) in [
        (uses_segment(call), SEGMENT),
        (uses_add(call), ADD),
        (uses_add_deep(call), ADD_DEEP),
    ] {
        if used {
            out.push('\n');
            out.push_str(helper);
        }
    }
    out.push_str("\nexport default async (input: Input, ctx) => {\n");
    out.push_str(&body);
    out.push_str(&format!(
        "  const answer = await ctx.fetch(`{address}`, {init});\n"
    ));
    out.push_str("  const text = await answer.text();\n");
    out.push_str(&format!(
        "  if (!answer.ok) throw new Error(`{} answered ${{answer.status}}: ${{text.slice(0, 1000)}}`);\n",
        in_template(&what)
    ));
    out.push_str("  const isJson = (answer.headers.get(\"content-type\") ?? \"\").includes(\"json\");\n");
    out.push_str(
        "  return { status: answer.status, body: isJson && text !== \"\" ? JSON.parse(text) : text };\n};\n",
    );
    out
}

/// A string literal of JavaScript.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Text inside of a template.
fn in_template(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '`' | '\\' | '$' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    out
}

/// Text inside of a comment that ends with its line.
fn in_comment(text: &str) -> String {
    text.chars()
        .filter(|c| matches!(c, ' '..='~'))
        .take(200)
        .collect()
}

/// `input.name` or `input["na-me"]`.
fn input(property: &str) -> String {
    if is_name(property) {
        format!("input.{property}")
    } else {
        format!("input[{}]", quoted(property))
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn uses_segment(call: &Call<'_>) -> bool {
    call.arguments
        .list
        .iter()
        .any(|argument| argument.way == Way::Path)
}

fn uses_add(call: &Call<'_>) -> bool {
    let repeats = |a: &Argument<'_>| a.way == Way::Repeated && matches!(a.kind, Kind::Object | Kind::Unknown);
    let body = call.arguments.body.as_ref();
    call.arguments.list.iter().any(repeats)
        || body.is_some_and(|body| matches!(body.way, BodyWay::Form { .. }))
}

fn uses_add_deep(call: &Call<'_>) -> bool {
    let body = call.arguments.body.as_ref();
    call.arguments
        .list
        .iter()
        .any(|argument| argument.way == Way::Deep)
        || body.is_some_and(|body| matches!(&body.way, BodyWay::Form { deep } if !deep.is_empty()))
}

fn input_type(call: &Call<'_>) -> String {
    let of_kind = |kind: Kind, scalar: &'static str| match kind {
        Kind::Scalar => scalar,
        Kind::Array => "unknown[]",
        Kind::Object => "Record<string, unknown>",
        Kind::Unknown => "unknown",
    };
    let arguments = call
        .arguments
        .list
        .iter()
        .map(|a| (&a.property, a.required, of_kind(a.kind, a.scalar_type)));
    let body = call.arguments.body.iter().map(|body| {
        let kind = match body.way {
            BodyWay::Form { .. } => "Record<string, unknown>",
            BodyWay::Text => "string",
            BodyWay::Json => "unknown",
        };
        (&body.property, body.required, kind)
    });
    let mut out = String::from("type Input = {\n");
    for (property, required, kind) in arguments.chain(body) {
        let name = if is_name(property) {
            property.clone()
        } else {
            quoted(property)
        };
        out.push_str(&format!("  {name}{}: {kind};\n", if required { "" } else { "?" }));
    }
    if out.ends_with("{\n") {
        "type Input = Record<string, never>;\n".to_owned()
    } else {
        format!("{out}}};\n")
    }
}

/// The path with its arguments, as the inside of a template.
fn path(call: &Call<'_>) -> String {
    let mut out = String::new();
    let mut rest = call.path;
    while let Some((before, from)) = rest.split_once('{') {
        let (name, after) = from.split_once('}').unwrap_or((from, ""));
        out.push_str(&literal_path(before));
        let argument = call
            .arguments
            .list
            .iter()
            .find(|a| a.way == Way::Path && a.wire == name);
        if let Some(argument) = argument {
            let value = input(&argument.property);
            out.push_str(&match argument.kind {
                Kind::Scalar => format!("${{segment({value})}}"),
                _ => format!("${{[{value}].flat().map(segment).join(\",\")}}"),
            });
        }
        rest = after;
    }
    out.push_str(&literal_path(rest));
    out
}

/// The fixed part of a path: what a URL would not have as it stands is escaped, `?` and `#` with it.
fn literal_path(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let stands = byte.is_ascii_alphanumeric() || b"/-._~!'()*+,;:@&=%".contains(&byte);
        if stands {
            out.push(char::from(byte))
        } else {
            out.push_str(&format!("%{byte:02X}"))
        }
    }
    out
}

/// Writes the statements that make the query; what to put behind the path.
fn query(call: &Call<'_>, body: &mut String) -> String {
    let in_query = |way: Way| !matches!(way, Way::Path | Way::Header);
    let arguments: Vec<&Argument<'_>> = call.arguments.list.iter().filter(|a| in_query(a.way)).collect();
    let credentials = call.credentials.iter().filter_map(|credential| match credential {
        Credential::Query { name, secret } => Some((name, secret)),
        _ => None,
    });
    let credentials: Vec<_> = credentials.collect();
    if arguments.is_empty() && credentials.is_empty() {
        return String::new();
    }
    body.push_str("  const query = new URLSearchParams();\n");
    let mut always = !credentials.is_empty();
    for argument in arguments {
        always |= argument.required && argument.kind == Kind::Scalar;
        body.push_str(&query_argument(argument));
    }
    for (name, secret) in credentials {
        body.push_str(&format!(
            "  query.append({}, ctx.secrets.{secret});\n",
            quoted(name)
        ));
    }
    if always {
        return "?${query}".to_owned();
    }
    body.push_str("  const search = query.size > 0 ? `?${query}` : \"\";\n");
    "${search}".to_owned()
}

fn query_argument(argument: &Argument<'_>) -> String {
    let (name, value) = (quoted(&argument.wire), input(&argument.property));
    let guard = if argument.required {
        String::new()
    } else {
        format!("if ({value} !== undefined) ")
    };
    match (argument.way, argument.kind) {
        (Way::Repeated, Kind::Scalar) => format!("  {guard}query.append({name}, String({value}));\n"),
        (Way::Repeated, Kind::Array) => {
            let list = if argument.required {
                value
            } else {
                format!("{value} ?? []")
            };
            format!("  for (const item of {list}) query.append({name}, String(item));\n")
        }
        // The properties of an object are parameters of their own.
        (Way::Repeated, Kind::Object) => {
            let object = if argument.required {
                value
            } else {
                format!("{value} ?? {{}}")
            };
            format!("  for (const [name, item] of Object.entries({object})) add(query, name, item);\n")
        }
        (Way::Joined(between), Kind::Object) => {
            format!(
                "  {guard}query.append({name}, Object.entries({value}).flat().join({}));\n",
                quoted(between)
            )
        }
        (Way::Joined(_), Kind::Scalar) => format!("  {guard}query.append({name}, String({value}));\n"),
        (Way::Joined(between), _) => {
            format!(
                "  {guard}query.append({name}, [{value}].flat().join({}));\n",
                quoted(between)
            )
        }
        (Way::Deep, _) => format!("  addDeep(query, {name}, {value});\n"),
        (Way::JsonParameter, _) => format!("  {guard}query.append({name}, JSON.stringify({value}));\n"),
        _ => format!("  add(query, {name}, {value});\n"),
    }
}

fn form(call: &Call<'_>, out: &mut String) {
    let Some(body) = &call.arguments.body else { return };
    let BodyWay::Form { deep } = &body.way else { return };
    let value = input(&body.property);
    let entries = if body.required {
        value
    } else {
        format!("{value} ?? {{}}")
    };
    out.push_str("  const form = new URLSearchParams();\n");
    if deep.is_empty() {
        out.push_str(&format!(
            "  for (const [name, value] of Object.entries({entries})) add(form, name, value);\n"
        ));
        return;
    }
    let names: Vec<String> = deep.iter().map(|name| quoted(name)).collect();
    out.push_str(&format!("  const deep = [{}];\n", names.join(", ")));
    out.push_str(&format!(
        "  for (const [name, value] of Object.entries({entries})) {{\n"
    ));
    out.push_str(
        "    if (deep.includes(name)) addDeep(form, name, value);\n    else add(form, name, value);\n  }\n",
    );
}

/// Writes the statements that make the headers, if it takes any; the expression for them.
fn headers(call: &Call<'_>, body: &mut String) -> String {
    let mut fixed: Vec<(String, String)> = Vec::new();
    if let Some(accept) = call.accept {
        fixed.push(("Accept".to_owned(), quoted(accept)));
    }
    for credential in call.credentials {
        match credential {
            Credential::Bearer { secret } => {
                fixed.push((
                    "Authorization".to_owned(),
                    format!("`Bearer ${{ctx.secrets.{secret}}}`"),
                ));
            }
            Credential::Basic { user, password } => {
                let value = format!("ctx.basicAuth(ctx.secrets.{user}, ctx.secrets.{password})");
                fixed.push(("Authorization".to_owned(), value));
            }
            Credential::Header { name, secret } => {
                fixed.push((name.clone(), format!("ctx.secrets.{secret}")))
            }
            Credential::Cookie { name, secret } => {
                fixed.push((
                    "Cookie".to_owned(),
                    format!("`{}=${{ctx.secrets.{secret}}}`", in_template(name)),
                ));
            }
            Credential::Query { .. } => {}
        }
    }
    if let Some(content) = call
        .arguments
        .body
        .as_ref()
        .filter(|body| !matches!(body.way, BodyWay::Form { .. }))
    {
        fixed.push(("Content-Type".to_owned(), quoted(&content.media_type)));
    }
    let lines: String = fixed
        .iter()
        .map(|(name, value)| {
            let name = if is_name(name) { name.clone() } else { quoted(name) };
            format!("      {name}: {value},\n")
        })
        .collect();
    let arguments: Vec<&Argument<'_>> = call
        .arguments
        .list
        .iter()
        .filter(|a| a.way == Way::Header)
        .collect();
    if arguments.is_empty() {
        return if lines.is_empty() {
            String::new()
        } else {
            format!("{{\n{lines}    }}")
        };
    }
    body.push_str(&format!(
        "  const headers = new Headers({{\n{}  }});\n",
        lines.replace("      ", "    ")
    ));
    for argument in arguments {
        let value = input(&argument.property);
        let guard = if argument.required {
            String::new()
        } else {
            format!("if ({value} !== undefined) ")
        };
        let text = match argument.kind {
            Kind::Scalar => format!("String({value})"),
            _ => format!("[{value}].flat().join(\",\")"),
        };
        body.push_str(&format!(
            "  {guard}headers.set({}, {text});\n",
            quoted(&argument.wire)
        ));
    }
    "headers".to_owned()
}

/// The second argument of `ctx.fetch`.
fn init(call: &Call<'_>, headers: &str) -> String {
    let mut out = format!("{{\n    method: {},\n", quoted(call.method));
    match headers {
        "" => {}
        "headers" => out.push_str("    headers,\n"),
        literal => out.push_str(&format!("    headers: {literal},\n")),
    }
    if let Some(body) = &call.arguments.body {
        let value = input(&body.property);
        out.push_str(&match body.way {
            BodyWay::Json => format!("    body: JSON.stringify({value}),\n"),
            BodyWay::Form { .. } => "    body: form,\n".to_owned(),
            BodyWay::Text => format!("    body: {value},\n"),
        });
    }
    out.push_str("  }");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_place() {
        assert_eq!(quoted("a\"b\\\n\u{2028}`$"), "\"a\\\"b\\\\\\n\\u{2028}`$\"");
        assert_eq!(in_template("`${x}\\\u{202e}"), "\\`\\${x}\\\\\\u{202e}");
        assert_eq!(in_comment("a\nb\u{2028}c\u{200b}"), "abc");
        assert_eq!(
            literal_path("/a b/`${x}?y#z\n"),
            "/a%20b/%60%24%7Bx%7D%3Fy%23z%0A"
        );
        assert_eq!(input("per-page"), "input[\"per-page\"]");
    }
}
