//! Where data leaves: results, logs, errors and requests, each held against what is declared.

use super::{
    Flow,
    graph::Graph,
    labels::{self, Labels, Value},
    transfer::method_name,
    url::{Part, Parts, Urls},
};
use crate::{
    code::range,
    model::SecretPlace,
    rule::{Confidence, Rule},
    scan::{Hit, capability::Capabilities, code::hosts::judge_url},
};
use oxc_ast::{
    AstKind,
    ast::{Argument, AssignmentTarget, CallExpression, Expression, ObjectPropertyKind},
};
use oxc_span::{GetSpan, Span};
use std::collections::BTreeSet;

/// Names of things that belong to a conversation, not to a tool.
const CONVERSATION: &[&str] = &[
    "conversation",
    "context",
    "history",
    "messages",
    "transcript",
    "system",
    "systemprompt",
    "prompt",
    "memory",
    "session",
    "chat",
    "chathistory",
    "conversationhistory",
    "reasoning",
    "thoughts",
    "user",
    "env",
    "tools",
];

/// Judges what has flowed where.
pub(super) fn judge<'s>(mut graph: Graph<'s, '_>) -> Flow {
    let module = graph.module;
    let mut sinks = Sinks {
        urls: Urls::new(&mut graph),
        hits: Vec::new(),
        capabilities: Capabilities::default(),
    };
    let graph = sinks.urls.graph();
    let returned: Vec<&'s Expression<'s>> = graph
        .mains
        .iter()
        .filter_map(|main| graph.functions.get(*main))
        .flat_map(|f| f.returned.clone())
        .collect();
    for value in returned {
        sinks.leak(value, "returns");
    }
    for node in module.semantic.nodes().iter() {
        match node.kind() {
            AstKind::ThrowStatement(throw) => sinks.leak(&throw.argument, "throws an error with"),
            AstKind::CallExpression(call) => sinks.call(call),
            AstKind::AssignmentExpression(assignment) => sinks.redirect(&assignment.left, &assignment.right),
            AstKind::StaticMemberExpression(member) => {
                let object = sinks.concrete(sinks.value(&member.object).own);
                sinks.secret_read(object, Some(member.property.name.as_str()));
            }
            AstKind::ComputedMemberExpression(member) => {
                let object = sinks.concrete(sinks.value(&member.object).own);
                if object & labels::SECRETS != 0 {
                    let name = sinks.urls.graph().spelled(&member.expression);
                    sinks.secret_read(object, name.as_deref());
                }
            }
            _ => {}
        }
    }
    sinks.finish()
}

struct Sinks<'g, 's, 'm> {
    urls: Urls<'g, 's, 'm>,
    hits: Vec<Hit>,
    capabilities: Capabilities,
}

/// The host of a request, as far as it is known.
enum Host {
    Known(String),
    /// Made of something; what stands behind the unknown part, if it ends the host.
    Unknown {
        of: Labels,
        suffix: Option<String>,
    },
    /// Not an absolute URL.
    None,
}

impl<'s> Sinks<'_, 's, '_> {
    fn value(&self, expression: &Expression<'s>) -> Value {
        self.urls.read().value(expression)
    }

    fn concrete(&self, labels: Labels) -> u64 {
        self.urls.read().concrete(labels)
    }

    fn hit(&mut self, rule: Rule, span: Span, message: impl Into<String>, confidence: Confidence) {
        self.hits
            .push(Hit::new(rule, range(span), message).with_confidence(confidence));
    }

    /// A value that somebody else will read.
    fn leak(&mut self, value: &'s Expression<'s>, how: &str) {
        let found = self.value(value);
        let flat = self.urls.graph().flat(found);
        let facts = self.concrete(flat);
        for secret in labels::secrets(facts) {
            let direct = labels::secrets(flat.facts).any(|other| other == secret);
            let message = format!("{how} {}", self.name(secret));
            let confidence = if direct {
                Confidence::High
            } else {
                Confidence::Medium
            };
            self.hit(Rule::SecretToOutput, value.span(), message, confidence);
        }
    }

    fn name(&self, secret: Option<usize>) -> String {
        match secret.and_then(|index| self.urls.read().interface.secrets.get(index)) {
            Some(secret) => format!("the secret `{}`", secret.name),
            None => "a secret".to_owned(),
        }
    }

    fn secret_read(&mut self, object: u64, name: Option<&str>) {
        if object & labels::SECRETS == 0 {
            return;
        }
        match name {
            Some(name) => drop(self.capabilities.secrets.insert(name.to_owned())),
            None => self.capabilities.any_secret = true,
        }
    }

    fn call(&mut self, call: &'s CallExpression<'s>) {
        let callee = call.callee.without_parentheses();
        let what = self.concrete(self.value(callee).own);
        let arguments: Vec<&'s Expression<'s>> = call
            .arguments
            .iter()
            .filter_map(Argument::as_expression)
            .collect();
        if what & labels::LOG != 0 {
            self.capabilities.logs = true;
            for argument in arguments {
                self.leak(argument, "logs");
            }
            return;
        }
        if method_name(callee) == Some("reject") || self.urls.read().settles(callee, 1).is_some() {
            for argument in &arguments {
                self.leak(argument, "rejects with");
            }
        }
        if what & labels::FETCH == 0 {
            return;
        }
        match (method_name(callee), arguments.as_slice()) {
            (Some("bind"), _) => {}
            (Some("call"), [_, url, options @ ..]) => self.request(url, options.first().copied()),
            (_, [url, options @ ..]) => self.request(url, options.first().copied()),
            _ => {
                self.capabilities.any_host = true;
                self.capabilities.methods.insert("*".to_owned());
            }
        }
    }

    fn request(&mut self, url: &'s Expression<'s>, options: Option<&'s Expression<'s>>) {
        self.methods(options);
        let in_url = self.carried(url);
        let in_options = options.map_or(0, |options| self.carried(options));
        self.capabilities.sends_arguments |= (in_url | in_options) & labels::ARGUMENTS != 0;
        let mut hosts = Vec::new();
        for parts in self.urls.of(url) {
            let host = self.host(&parts);
            self.destination(url, &parts, &host);
            hosts.push(host);
        }
        for secret in labels::secrets(in_url | in_options) {
            let only_url = labels::secrets(in_url).any(|other| other == secret);
            self.secret_sent(secret, &hosts, url, options, only_url);
        }
        self.undeclared_sent(url, in_url | in_options);
    }

    /// What is part of a request.
    fn carried(&mut self, value: &'s Expression<'s>) -> u64 {
        let value = self.value(value);
        let flat = self.urls.graph().flat(value);
        self.concrete(flat)
    }

    fn methods(&mut self, options: Option<&'s Expression<'s>>) {
        let Some(options) = options else {
            self.capabilities.methods.insert("GET".to_owned());
            return;
        };
        match self.property(options, "method") {
            Property::Is(value) => {
                for text in self.urls.texts(value) {
                    self.capabilities
                        .methods
                        .insert(text.map_or("*".to_owned(), |text| text.to_uppercase()));
                }
            }
            Property::Missing => drop(self.capabilities.methods.insert("GET".to_owned())),
            Property::Unknown => drop(self.capabilities.methods.insert("*".to_owned())),
        }
    }

    /// A field of an object that is written out in the code.
    fn property(&mut self, object: &'s Expression<'s>, name: &str) -> Property<'s> {
        let mut literal = object.without_parentheses();
        if let Expression::Identifier(id) = literal {
            literal = match self
                .urls
                .read()
                .folder
                .symbol(id)
                .map(|symbol| self.urls.values(symbol))
            {
                Some([one]) => one.value.without_parentheses(),
                _ => return Property::Unknown,
            };
        }
        let Expression::ObjectExpression(literal) = literal else {
            return Property::Unknown;
        };
        let mut found = Property::Missing;
        for property in &literal.properties {
            match property {
                ObjectPropertyKind::ObjectProperty(property) => {
                    let key = self.urls.graph().folder.key(&property.key, property.computed);
                    match key {
                        Some(key) if key == name => found = Property::Is(&property.value),
                        Some(_) => {}
                        None => found = Property::Unknown,
                    }
                }
                ObjectPropertyKind::SpreadProperty(_) => found = Property::Unknown,
            }
        }
        found
    }

    fn host(&self, parts: &Parts) -> Host {
        let mut text = String::new();
        let mut of: Option<Labels> = None;
        let mut suffix = String::new();
        for part in parts {
            match (part, &mut of) {
                (Part::Text(more), None) => {
                    text.push_str(more);
                    if let Some(authority) = authority(&text) {
                        return Host::Known(authority);
                    }
                }
                (Part::Text(more), Some(_)) => {
                    suffix.push_str(more);
                    if suffix.contains(['/', '?', '#', '\\']) {
                        break;
                    }
                }
                // The host ended in a scheme that is relative, or stands whole in front.
                (Part::Unknown(labels), None) => {
                    if text.starts_with('/') && !text.starts_with("//") {
                        return Host::None;
                    }
                    of = Some(*labels);
                }
                (Part::Unknown(labels), Some(sum)) => {
                    *sum = sum.or(*labels);
                    suffix.clear();
                }
            }
        }
        match of {
            None => match authority(&format!("{text}/")) {
                Some(authority) => Host::Known(authority),
                None => Host::None,
            },
            Some(of) => {
                let end = suffix.split(['/', '?', '#', '\\']).next().unwrap_or_default();
                let whole = end.len() > 2 && end.starts_with('.') && text.contains("://");
                Host::Unknown {
                    of,
                    suffix: whole.then(|| end.to_ascii_lowercase()),
                }
            }
        }
    }

    fn destination(&mut self, url: &'s Expression<'s>, parts: &Parts, host: &Host) {
        let start: String = match parts.first() {
            Some(Part::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let whole = parts.len() == 1 && !start.is_empty();
        let judged = judge_url(&start, whole, self.urls.read().interface.hosts);
        if let Some((rule, message)) = judged {
            self.hit(rule, url.span(), message, Confidence::High);
        }
        match host {
            Host::None => {}
            Host::Known(authority) => {
                let host = authority.trim_end_matches('.').to_ascii_lowercase();
                self.capabilities
                    .hosts
                    .insert(host.trim_end_matches(":443").to_owned());
            }
            Host::Unknown { of, suffix } => {
                let facts = self.concrete(*of);
                match suffix {
                    Some(suffix) => drop(self.capabilities.hosts.insert(format!("*{suffix}"))),
                    None => self.capabilities.any_host = true,
                }
                self.computed_host(url.span(), facts, suffix.as_deref());
            }
        }
    }

    fn computed_host(&mut self, span: Span, facts: u64, suffix: Option<&str>) {
        let covered = suffix.is_some_and(|suffix| self.allows_under(suffix));
        if let Some(suffix) = suffix.filter(|_| !covered) {
            let message = format!(
                "fetches from hosts under `{}`, which allowedDomains does not allow",
                suffix.trim_start_matches('.')
            );
            self.hit(Rule::UndeclaredHost, span, message, Confidence::Medium);
            return;
        }
        let confidence = match (
            facts & (labels::ARG_FREE | labels::ARG_UNDECLARED) != 0,
            facts & labels::ARG_CLOSED != 0,
        ) {
            (true, _) if covered => Confidence::Medium,
            (true, _) => Confidence::High,
            (false, true) => Confidence::Low,
            (false, false) => return,
        };
        self.hit(
            Rule::DynamicHost,
            span,
            "the host of a request is made of an argument",
            confidence,
        );
    }

    /// Is there an allowed host with this end?
    fn allows_under(&self, suffix: &str) -> bool {
        let suffix = suffix.split(':').next().unwrap_or(suffix);
        let hosts = &self.urls.read().interface.hosts;
        hosts.iter().any(|pattern| {
            pattern.matches(&format!("any{suffix}"), pattern.port())
                || !pattern.is_wildcard() && pattern.host().ends_with(suffix)
        })
    }

    /// `url.hostname = …` and its like.
    fn redirect(&mut self, target: &'s AssignmentTarget<'s>, value: &'s Expression<'s>) {
        let AssignmentTarget::StaticMemberExpression(member) = target else {
            return;
        };
        if !matches!(member.property.name.as_str(), "hostname" | "host" | "href")
            || self.capabilities_without_url(&member.object)
        {
            return;
        }
        for mut parts in self.urls.of(value) {
            if member.property.name != "href" {
                parts.insert(0, Part::Text("https://".to_owned()));
                if let [Part::Text(scheme), Part::Text(host), ..] = parts.as_mut_slice() {
                    *scheme += host;
                    parts.remove(1);
                }
            }
            let host = self.host(&parts);
            self.destination(value, &parts, &host);
        }
    }

    /// Only a name that holds a `new URL(…)` has a host to change.
    fn capabilities_without_url(&self, object: &'s Expression<'s>) -> bool {
        let Expression::Identifier(id) = object.without_parentheses() else {
            return true;
        };
        let writes = self
            .urls
            .read()
            .folder
            .symbol(id)
            .map(|symbol| self.urls.values(symbol))
            .unwrap_or_default();
        !writes.iter().any(|write| {
            matches!(write.value.without_parentheses(), Expression::NewExpression(new)
                if matches!(&new.callee, Expression::Identifier(name) if name.name == "URL"))
        })
    }

    fn secret_sent(
        &mut self,
        secret: Option<usize>,
        hosts: &[Host],
        url: &'s Expression<'s>,
        options: Option<&'s Expression<'s>>,
        in_url: bool,
    ) {
        let name = self.name(secret);
        let interface = self.urls.read().interface;
        let Some(declared) = secret.and_then(|index| interface.secrets.get(index)) else {
            // One of them: it must be allowed to go there whichever it is. Of one that is not declared, the reading is the finding.
            let known = hosts.iter().filter_map(|host| match host {
                Host::Known(authority) => Some(split_port(authority)),
                _ => None,
            });
            let astray = known.into_iter().any(|(host, port)| {
                interface
                    .secrets
                    .iter()
                    .any(|one| !one.domains.iter().any(|pattern| pattern.matches(host, port)))
            });
            if astray {
                let message = "sends a secret to a host where not every secret is declared to go";
                self.hit(Rule::SecretToOutput, url.span(), message, Confidence::High);
            }
            return;
        };
        let place = declared.place;
        let mut found = Vec::new();
        for host in hosts {
            match host {
                Host::Known(authority) => {
                    let (host, port) = split_port(authority);
                    if !declared.domains.iter().any(|pattern| pattern.matches(host, port)) {
                        found.push((
                            format!("sends {name} to `{authority}`, where it is not declared to go"),
                            Confidence::High,
                        ));
                    }
                }
                Host::Unknown { of, suffix } => {
                    let bound = suffix.as_deref().is_some_and(|suffix| {
                        declared.domains.iter().any(|pattern| {
                            pattern.matches(&format!("any{suffix}"), pattern.port())
                                || !pattern.is_wildcard() && pattern.host().ends_with(suffix)
                        })
                    });
                    if !bound && self.concrete(*of) & (labels::ARG_FREE | labels::ARG_UNDECLARED) != 0 {
                        found.push((
                            format!("sends {name} to a host that an argument names"),
                            Confidence::Low,
                        ));
                    }
                }
                Host::None => {}
            }
        }
        let wrong = if in_url {
            !matches!(place, SecretPlace::Query | SecretPlace::Path)
        } else {
            let at = |this: &mut Self, part: &str| match options.map(|options| this.property(options, part)) {
                Some(Property::Is(value)) => {
                    let facts = this.carried(value);
                    labels::secrets(facts).any(|other| other == secret)
                }
                _ => false,
            };
            match place {
                SecretPlace::Header => at(self, "body") && !at(self, "headers"),
                SecretPlace::Body => at(self, "headers") && !at(self, "body"),
                SecretPlace::Query | SecretPlace::Path => at(self, "headers") || at(self, "body"),
            }
        };
        if wrong {
            let message = format!(
                "sends {name} in another place than the declared one ({})",
                place_name(place)
            );
            found.push((message, Confidence::Low));
        }
        for (message, confidence) in found {
            self.hit(Rule::SecretToOutput, url.span(), message, confidence);
        }
    }

    /// Arguments that no schema declares, and parts of `ctx` that do not exist.
    fn undeclared_sent(&mut self, url: &'s Expression<'s>, facts: u64) {
        if facts & labels::CTX_UNDECLARED != 0 {
            self.hit(
                Rule::ArgumentExfiltration,
                url.span(),
                "sends something of `ctx` that is not part of it",
                Confidence::High,
            );
        }
        if facts & labels::ARG_UNDECLARED != 0 {
            let graph = self.urls.read();
            let names: BTreeSet<&str> = graph
                .read
                .iter()
                .map(String::as_str)
                .filter(|name| !graph.interface.inputs.known.contains_key(*name))
                .collect();
            let conversation = names
                .iter()
                .any(|name| CONVERSATION.contains(&plain(name).as_str()));
            let list = names
                .iter()
                .take(5)
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!("sends arguments that inputSchema does not declare: {list}");
            let confidence = if conversation {
                Confidence::High
            } else {
                Confidence::Medium
            };
            self.hit(Rule::ArgumentExfiltration, url.span(), message, confidence);
        }
    }

    fn finish(mut self) -> Flow {
        let graph = self.urls.read();
        if graph.unsettled {
            let message = "moves its data through more names than can be followed";
            self.hit(Rule::Obfuscated, Span::new(0, 0), message, Confidence::Medium);
        }
        let graph = self.urls.read();
        self.capabilities.arguments = graph.read.clone();
        self.capabilities.all_arguments = graph.read_all;
        let globals = graph.module.semantic.scoping().root_unresolved_references();
        self.capabilities.globals = globals.keys().map(|name| name.to_string()).collect();
        self.capabilities.timers = ["setTimeout", "setInterval"]
            .iter()
            .any(|name| self.capabilities.globals.contains(*name));
        Flow {
            hits: self.hits,
            capabilities: self.capabilities,
        }
    }
}

enum Property<'s> {
    Is(&'s Expression<'s>),
    Missing,
    Unknown,
}

fn place_name(place: SecretPlace) -> &'static str {
    match place {
        SecretPlace::Header => "header",
        SecretPlace::Query => "query",
        SecretPlace::Body => "body",
        SecretPlace::Path => "path",
    }
}

/// A name without case and separators.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The authority of an absolute URL whose authority has ended.
fn authority(text: &str) -> Option<String> {
    let (scheme, rest) = text.trim_start().split_once(':')?;
    if scheme.is_empty()
        || !scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return None;
    }
    let rest = rest.trim_start_matches(['/', '\\']);
    let end = rest.find(['/', '\\', '?', '#'])?;
    rest.get(..end).filter(|host| !host.is_empty()).map(str::to_owned)
}

fn split_port(authority: &str) -> (&str, u16) {
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(443)),
        None => (authority, 443),
    }
}
