//! The native functions behind the prelude. What leaves the context becomes a frame to the parent; the rest is computed here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use rquickjs::{Ctx, Exception, Function, Object, Result, TypedArray};
use rustix::time::{ClockId, clock_gettime};
use url::{Url, form_urlencoded, quirks};

use super::library::Library;
use super::wire::{FromWorker, MAX_SENT_BYTES, Port, Setup, ToWorker};
use super::{LogLevel, QuestionKind, Redirect};

/// What the native functions of one call share with its pump.
#[derive(Debug)]
pub(super) struct World {
    port: Rc<RefCell<Port>>,
    /// Messages that came while a synchronous question was open.
    inbox: RefCell<VecDeque<(ToWorker, Bytes)>>,
    setup: Rc<Setup>,
    started: Cell<Instant>,
    cpu_before: Cell<Duration>,
    is_running: Cell<bool>,
    stop: Cell<Option<Stop>>,
    log_left: Cell<usize>,
    fetches: Cell<u32>,
    in_flight: Cell<u32>,
    is_asking: Cell<bool>,
}

/// Why everything must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Timeout,
    Cpu,
    /// The parent is gone, or talks nonsense.
    Gone,
}

impl World {
    pub(super) fn new(port: Rc<RefCell<Port>>, setup: Rc<Setup>) -> Self {
        Self {
            port,
            inbox: RefCell::default(),
            started: Cell::new(Instant::now()),
            cpu_before: Cell::default(),
            is_running: Cell::new(false),
            stop: Cell::new(None),
            log_left: Cell::new(setup.log_bytes),
            fetches: Cell::new(0),
            in_flight: Cell::new(0),
            is_asking: Cell::new(false),
            setup,
        }
    }

    /// From here on time counts.
    pub(super) fn start(&self) {
        self.started.set(Instant::now());
        self.cpu_before.set(cpu_time());
        self.is_running.set(true);
    }

    /// Why to stop, if so. Asked by the engine's interrupt handler and by the pump.
    pub(super) fn stop(&self) -> Option<Stop> {
        if self.stop.get().is_none() && self.is_running.get() {
            let elapsed = self.started.get().elapsed();
            if elapsed >= self.setup.wall {
                self.stop.set(Some(Stop::Timeout));
            // One thread uses no more processor time than passes, and asking for it is a system call.
            } else if elapsed >= self.setup.cpu
                && cpu_time().saturating_sub(self.cpu_before.get()) >= self.setup.cpu
            {
                self.stop.set(Some(Stop::Cpu));
            }
        }
        self.stop.get()
    }

    /// Whether a fetch is still to be answered.
    pub(super) fn is_fetching(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// Whether the client was asked something that this call will not hear the answer of.
    pub(super) fn is_asking(&self) -> bool {
        self.is_asking.get()
    }

    /// The next message, waiting at most `timeout` and never beyond the time limit.
    pub(super) fn receive(&self, timeout: Option<Duration>) -> Option<(ToWorker, Bytes)> {
        let kept = self.inbox.borrow_mut().pop_front();
        let message = kept.or_else(|| self.receive_fresh(timeout));
        if let Some((ToWorker::Fetched { .. }, _)) = message {
            self.in_flight.set(self.in_flight.get().saturating_sub(1));
        }
        message
    }

    pub(super) fn send(&self, message: &FromWorker, tail: &[u8]) {
        let sent = self.port.borrow_mut().send(message, tail);
        self.or_gone(sent);
    }

    fn receive_fresh(&self, timeout: Option<Duration>) -> Option<(ToWorker, Bytes)> {
        let timeout = if self.is_running.get() {
            let left = self.setup.wall.saturating_sub(self.started.get().elapsed());
            Some(timeout.map_or(left, |timeout| timeout.min(left)))
        } else {
            timeout
        };
        let received = self.port.borrow_mut().receive(timeout);
        self.or_gone(received).flatten()
    }

    fn or_gone<T>(&self, outcome: io::Result<T>) -> Option<T> {
        outcome.inspect_err(|_| self.stop.set(Some(Stop::Gone))).ok()
    }

    /// Asks the parent and waits. `None` when time is up or the parent gone.
    fn ask(&self, question: &FromWorker, tail: &[u8]) -> Option<std::result::Result<String, String>> {
        self.send(question, tail);
        while self.stop().is_none() {
            match self.receive_fresh(None) {
                Some((ToWorker::Answer(answer), _)) => return Some(answer),
                Some(other) => self.inbox.borrow_mut().push_back(other),
                None => {}
            }
        }
        None
    }

    fn log(&self, level: LogLevel, message: &str) {
        let left = self.log_left.get();
        if left == 0 {
            return;
        }
        let cut = message.floor_char_boundary(message.len().min(left));
        self.log_left.set(left.saturating_sub(cut.max(1)));
        self.send(
            &FromWorker::Log(level),
            message.get(..cut).unwrap_or_default().as_bytes(),
        );
    }
}

/// What `prelude/world.js` finds: the way to the parts, and to the native functions that they take.
pub(super) fn host<'js>(ctx: &Ctx<'js>, world: &Rc<World>, library: &Rc<Library>) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    let library = Rc::clone(library);
    let part = move |ctx: Ctx<'js>, name: String| part(&ctx, &library, &name);
    host.set("part", Function::new(ctx.clone(), part)?)?;
    let world = Rc::clone(world);
    let natives = move |ctx: Ctx<'js>| natives(&ctx, &world);
    host.set("natives", Function::new(ctx.clone(), natives)?)?;
    Ok(host)
}

/// Makes the object that the parts call `host`.
fn natives<'js>(ctx: &Ctx<'js>, world: &Rc<World>) -> Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    // A tool may have put a setter where properties are inherited from, which would be handed the functions.
    natives.set_prototype(None)?;
    add_calls(ctx, &natives, world)?;
    add_computations(ctx, &natives)?;
    Ok(natives)
}

/// The function that makes a part of the prelude.
fn part<'js>(ctx: &Ctx<'js>, library: &Library, name: &str) -> Result<Function<'js>> {
    let Some(part) = library.part(name) else {
        return Err(Exception::throw_internal(ctx, "there is no such part"));
    };
    let (part, evaluated) = part.load(ctx)?.eval()?;
    evaluated
        .result::<()>()
        .unwrap_or(Err(rquickjs::Error::Unknown))?;
    part.get("default")
}

/// What becomes a frame.
fn add_calls<'js>(ctx: &Ctx<'js>, host: &Object<'js>, world: &Rc<World>) -> Result<()> {
    let shared = Rc::clone(world);
    let now = move || shared.started.get().elapsed().as_secs_f64() * 1000.0;
    host.set("now", Function::new(ctx.clone(), now)?)?;

    let shared = Rc::clone(world);
    let log = move |level: String, message: String| {
        let level = match level.as_str() {
            "debug" => LogLevel::Debug,
            "warning" => LogLevel::Warning,
            "error" => LogLevel::Error,
            _ => LogLevel::Info,
        };
        shared.log(level, &message);
    };
    host.set("log", Function::new(ctx.clone(), log)?)?;

    let shared = Rc::clone(world);
    let progress = move |ctx: Ctx<'js>, progress: f64, total: Option<f64>, message: Option<String>| {
        // JSON has no other numbers.
        if !progress.is_finite() {
            return Err(Exception::throw_type(&ctx, "progress is a number"));
        }
        shared.send(
            &FromWorker::Progress {
                progress,
                total,
                message,
            },
            &[],
        );
        Ok(())
    };
    host.set("progress", Function::new(ctx.clone(), progress)?)?;

    let shared = Rc::clone(world);
    let basic_auth = move |ctx: Ctx<'js>, user: String, secret: String| {
        answered(&ctx, shared.ask(&FromWorker::BasicAuth { user, secret }, &[]))
    };
    host.set("basicAuth", Function::new(ctx.clone(), basic_auth)?)?;

    let shared = Rc::clone(world);
    let hmac = move |ctx: Ctx<'js>, algorithm: String, secret: String, data: String| {
        let data = sendable(&ctx, &data)?;
        answered(&ctx, shared.ask(&FromWorker::Hmac { algorithm, secret }, &data))
    };
    host.set("hmac", Function::new(ctx.clone(), hmac)?)?;

    let shared = Rc::clone(world);
    let ask = move |ctx: Ctx<'js>, kind: String, question: String| {
        let kind = match kind.as_str() {
            "elicit" => QuestionKind::Elicit,
            "sample" => QuestionKind::Sample,
            _ => QuestionKind::Roots,
        };
        if question.len() > MAX_SENT_BYTES {
            return Err(Exception::throw_range(&ctx, "at most 1 MiB can be sent"));
        }
        let answer = answered(&ctx, shared.ask(&FromWorker::Ask(kind), question.as_bytes()))?;
        if answer.is_empty() {
            shared.is_asking.set(true);
        }
        Ok(answer)
    };
    host.set("ask", Function::new(ctx.clone(), ask)?)?;

    let shared = Rc::clone(world);
    let fetch = move |ctx: Ctx<'js>,
                      url: String,
                      method: String,
                      headers: Vec<String>,
                      body: Option<String>,
                      redirect: String|
          -> Result<u32> {
        let has_body = body.is_some();
        let body = body.map_or(Ok(Vec::new()), |body| sendable(&ctx, &body))?;
        let redirect = match redirect.as_str() {
            "follow" => Redirect::Follow,
            "manual" => Redirect::Manual,
            "error" => Redirect::Error,
            _ => return Err(Exception::throw_type(&ctx, "redirect is follow, manual or error")),
        };
        let mut flat = headers.into_iter();
        let headers = std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect();
        let id = shared.fetches.get().wrapping_add(1);
        shared.fetches.set(id);
        shared.in_flight.set(shared.in_flight.get().saturating_add(1));
        shared.send(
            &FromWorker::Fetch {
                id,
                url,
                method,
                headers,
                redirect,
                has_body,
            },
            &body,
        );
        Ok(id)
    };
    host.set("fetch", Function::new(ctx.clone(), fetch)?)
}

/// What needs nobody.
fn add_computations<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    let bytes = |ctx: Ctx<'js>, bytes: Vec<u8>| TypedArray::<u8>::new(ctx, bytes);
    let encode = move |ctx: Ctx<'js>, text: String| bytes(ctx, text.into_bytes());
    host.set("encode", Function::new(ctx.clone(), encode)?)?;
    let decode = move |data: String, is_fatal: bool, keeps_mark: bool| decode(&data, is_fatal, keeps_mark);
    host.set("decode", Function::new(ctx.clone(), decode)?)?;
    host.set(
        "toBase64",
        Function::new(ctx.clone(), |text: String| to_base64(&text))?,
    )?;
    host.set(
        "fromBase64",
        Function::new(ctx.clone(), |text: String| from_base64(&text))?,
    )?;

    let parse_url = |url: String, base: Option<String>| parse_url(&url, base.as_deref());
    host.set("parseUrl", Function::new(ctx.clone(), parse_url)?)?;
    let change_url = |url: String, part: String, value: String| change_url(&url, &part, &value);
    host.set("changeUrl", Function::new(ctx.clone(), change_url)?)?;
    let parse_query = |query: String| {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        serde_json::to_string(&pairs).unwrap_or_else(|_| "[]".to_owned())
    };
    host.set("parseQuery", Function::new(ctx.clone(), parse_query)?)?;
    let serialize_query = |pairs: String| {
        let pairs: Vec<(String, String)> = serde_json::from_str(&pairs).unwrap_or_default();
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    };
    host.set("serializeQuery", Function::new(ctx.clone(), serialize_query)?)?;

    let random = move |ctx: Ctx<'js>, length: usize| {
        let mut random = vec![0; length.min(65_536)];
        getrandom::fill(&mut random).map_err(|_| Exception::throw_internal(&ctx, "no random numbers"))?;
        bytes(ctx, random)
    };
    host.set("random", Function::new(ctx.clone(), random)?)?;
    let digest =
        move |ctx: Ctx<'js>, algorithm: String, data: String| -> Result<Option<TypedArray<'js, u8>>> {
            let Some(algorithm) = digest_algorithm(&algorithm) else {
                return Ok(None);
            };
            let data = STANDARD.decode(data).unwrap_or_default();
            bytes(ctx, aws_lc_rs::digest::digest(algorithm, &data).as_ref().to_vec()).map(Some)
        };
    host.set("digest", Function::new(ctx.clone(), digest)?)
}

/// Processor time of this thread; a worker has one.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn answered(ctx: &Ctx<'_>, answer: Option<std::result::Result<String, String>>) -> Result<String> {
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(refusal)) => Err(Exception::throw_type(ctx, &refusal)),
        // The interrupt handler stops the tool next.
        None => Err(Exception::throw_type(ctx, "stopped")),
    }
}

fn sendable(ctx: &Ctx<'_>, data: &str) -> Result<Vec<u8>> {
    let data = STANDARD.decode(data).unwrap_or_default();
    if data.len() > MAX_SENT_BYTES {
        return Err(Exception::throw_range(ctx, "at most 1 MiB can be sent"));
    }
    Ok(data)
}

fn decode(data: &str, is_fatal: bool, keeps_mark: bool) -> Option<String> {
    let bytes = STANDARD.decode(data).ok()?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) if is_fatal => return None,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    match text.strip_prefix('\u{feff}') {
        Some(rest) if !keeps_mark => Some(rest.to_owned()),
        _ => Some(text),
    }
}

/// `btoa`: each character is a byte.
fn to_base64(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = text
        .chars()
        .map(|character| u8::try_from(character).ok())
        .collect();
    Some(STANDARD.encode(bytes?))
}

/// `atob`: forgiving about white space and padding.
fn from_base64(text: &str) -> Option<String> {
    const FORGIVING: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let compact: String = text
        .chars()
        .filter(|character| !character.is_ascii_whitespace())
        .collect();
    Some(
        FORGIVING
            .decode(compact)
            .ok()?
            .into_iter()
            .map(char::from)
            .collect(),
    )
}

/// The parts of a URL as JSON, for the `URL` class.
fn parse_url(url: &str, base: Option<&str>) -> Option<String> {
    let base = base.map(Url::parse).transpose().ok()?;
    let url = Url::options().base_url(base.as_ref()).parse(url).ok()?;
    Some(url_parts(&url))
}

/// A URL with one part changed; what cannot be changed so stays, as the URL standard has it.
fn change_url(url: &str, part: &str, value: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    let _ = match part {
        "protocol" => quirks::set_protocol(&mut url, value),
        "username" => quirks::set_username(&mut url, value),
        "password" => quirks::set_password(&mut url, value),
        "host" => quirks::set_host(&mut url, value),
        "hostname" => quirks::set_hostname(&mut url, value),
        "port" => quirks::set_port(&mut url, value),
        "pathname" => {
            quirks::set_pathname(&mut url, value);
            Ok(())
        }
        "search" => {
            quirks::set_search(&mut url, value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(&mut url, value);
            Ok(())
        }
        _ => Err(()),
    };
    Some(url_parts(&url))
}

fn url_parts(url: &Url) -> String {
    serde_json::json!({
        "href": quirks::href(url),
        "origin": quirks::origin(url),
        "protocol": quirks::protocol(url),
        "username": quirks::username(url),
        "password": quirks::password(url),
        "host": quirks::host(url),
        "hostname": quirks::hostname(url),
        "port": quirks::port(url),
        "pathname": quirks::pathname(url),
        "search": quirks::search(url),
        "hash": quirks::hash(url),
    })
    .to_string()
}

fn digest_algorithm(name: &str) -> Option<&'static aws_lc_rs::digest::Algorithm> {
    use aws_lc_rs::digest;
    match name.to_ascii_uppercase().as_str() {
        "SHA-1" => Some(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        "SHA-256" => Some(&digest::SHA256),
        "SHA-384" => Some(&digest::SHA384),
        "SHA-512" => Some(&digest::SHA512),
        _ => None,
    }
}
