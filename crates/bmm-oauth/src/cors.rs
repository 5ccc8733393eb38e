//! What browsers are told (Fetch standard, section 3.3). Any origin may speak to these endpoints, since none of them looks at a
//! cookie; authorize and consent, which do, never come here.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Request headers of MCP clients, beyond the ones every browser may send.
const MCP_REQUEST_HEADERS: &str = "authorization, content-type, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, last-event-id, dpop";
const MCP_METHODS: &str = "GET, POST, DELETE, OPTIONS";
const MCP_EXPOSED: &str = "mcp-session-id, www-authenticate, dpop-nonce";
/// Longest answer to the question which headers may be sent.
const MAX_ALLOWED_BYTES: usize = 1024;

/// Whether this is a CORS preflight, which carries no credentials and must be answered before authentication.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight for an MCP endpoint. `Mcp-Param-*` headers are allowed as they are asked for.
pub(crate) fn mcp_preflight(request: &HeaderMap, response: &mut HeaderMap) {
    let mut allowed = MCP_REQUEST_HEADERS.to_owned();
    for name in requested_headers(request) {
        if name.as_str().starts_with("mcp-param-") && allowed.len() + name.as_str().len() < MAX_ALLOWED_BYTES
        {
            allowed.push_str(", ");
            allowed.push_str(name.as_str());
        }
    }
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(MCP_METHODS),
    );
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    response.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
}

/// Lets a page read the answer of an MCP endpoint. What the service decided about origins itself stands.
pub(crate) fn expose_mcp(response: &mut HeaderMap) {
    let any = HeaderValue::from_static("*");
    response.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(any);
    response.append(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(MCP_EXPOSED),
    );
}

/// Headers for documents and endpoints that any page may use, with `methods` as the preflight's answer.
pub(crate) fn public_endpoint(response: &mut HeaderMap, methods: &'static str) {
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    response.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, mcp-protocol-version, dpop"),
    );
    response.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
}

fn requested_headers(request: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lists = request
        .get_all(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
}
