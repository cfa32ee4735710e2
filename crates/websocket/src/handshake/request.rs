//! The client's request, as a server receives it.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::head::{HEADERS_MAX, HandshakeLimits, Head, HeadError};
use super::refusal::Refusal;
use super::{contains_element, elements, is_token, is_visible};

/// Parses one opening handshake, in any chunks.
#[derive(Debug)]
pub struct RequestParser {
    head: Head,
    limits: HandshakeLimits,
}

/// What [`RequestParser::feed`] made of a chunk.
#[derive(Debug)]
pub enum Progress {
    /// The head has not ended; feed the next chunk.
    Incomplete,
    /// The handshake is acceptable as far as RFC 6455 goes. Path, Origin and subprotocol are the caller's to judge.
    Complete {
        /// The request.
        request: Box<Request>,
        /// How many bytes of this chunk belonged to it. What follows are frames.
        consumed: usize,
    },
}

impl RequestParser {
    /// A parser for one connection.
    #[must_use]
    pub fn new(limits: HandshakeLimits) -> Self {
        Self { head: Head::default(), limits }
    }

    /// Takes the next chunk. After [`Progress::Complete`] or an error the parser is spent.
    ///
    /// # Errors
    /// [`Refusal`]: what is wrong with the request.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Progress, Refusal> {
        let complete = self.head.feed(chunk, &self.limits).map_err(|error| match error {
            HeadError::BareLineFeed => Refusal::BareLineFeed,
            HeadError::TooLarge => Refusal::TooLarge,
            HeadError::TooManyReads => Refusal::TooManyReads,
        })?;
        let Some(complete) = complete else {
            return Ok(Progress::Incomplete);
        };
        let request = Request::parse(complete.head, self.limits.headers)?;
        Ok(Progress::Complete { request: Box::new(request), consumed: complete.consumed })
    }

    /// Heap memory held for an incomplete head, in bytes.
    #[must_use]
    pub const fn buffered(&self) -> usize {
        self.head.memory_bytes()
    }
}

/// An acceptable opening handshake. Holds a copy of the head, at most [`HandshakeLimits::head_bytes`] long.
#[derive(Debug)]
pub struct Request {
    head: Box<[u8]>,
    path: Span,
    query: Span,
    host: Span,
    origin: Option<Span>,
    key: Span,
    fields: Box<[Field]>,
}

/// A range of the head.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
}

impl Request {
    /// The path of the request target, as sent (not percent-decoded); starts with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.text(self.path) {
            "" => "/",
            path => path,
        }
    }

    /// The first query parameter of this name, decoded as HTML forms are (`+` is a space). `None` if it is absent or does
    /// not decode to UTF-8.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.text(self.query).split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(key)? == name).then(|| form_decode(value))?
        })
    }

    /// The Host header, or the authority of an absolute request target (RFC 9112 section 3.2.2).
    #[must_use]
    pub fn host(&self) -> &str {
        self.text(self.host)
    }

    /// The Origin header; browsers always send it, other clients rarely.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.map(|span| self.text(span))
    }

    /// The subprotocols that the client offers, the preferred one first.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.headers("Sec-WebSocket-Protocol").flat_map(elements)
    }

    /// The first subprotocol in the client's order that is also in `supported`.
    #[must_use]
    pub fn choose_protocol<'s>(&self, supported: &[&'s str]) -> Option<&'s str> {
        self.protocols().find_map(|offered| supported.iter().find(|&&known| known == offered).copied())
    }

    /// The value of the first header of this name, in any case, if that is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// The values of all headers of this name, in order, without those that are not UTF-8. For headers that proxies
    /// repeat, such as X-Forwarded-For.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(move |field| self.bytes(field.name).eq_ignore_ascii_case(name.as_bytes()))
            .filter_map(|field| core::str::from_utf8(self.bytes(field.value)).ok())
    }

    /// Sec-WebSocket-Key.
    pub(super) fn key(&self) -> &str {
        self.text(self.key)
    }

    fn bytes(&self, span: Span) -> &[u8] {
        self.head.get(span.start..span.end).unwrap_or_default()
    }

    /// The text of a span that was checked to be ASCII when it was parsed.
    fn text(&self, span: Span) -> &str {
        core::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }

    fn parse(head: &[u8], headers_max: usize) -> Result<Self, Refusal> {
        let mut storage = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let storage = storage.get_mut(..headers_max.min(HEADERS_MAX)).unwrap_or_default();
        let mut parsed = httparse::Request::new(storage);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(Refusal::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyHeaders),
            Err(httparse::Error::Version) => return Err(Refusal::HttpVersion),
            Err(_) => return Err(Refusal::Malformed),
        }
        if parsed.version != Some(1) {
            return Err(Refusal::HttpVersion);
        }
        if parsed.method != Some("GET") {
            return Err(Refusal::Method);
        }
        let target = Target::parse(parsed.path.unwrap_or_default())?;
        let fields = Fields(parsed.headers);
        let host_header = fields.required("Host")?;
        let host = target.authority.unwrap_or(host_header);
        if !is_host(host_header) || !is_host(host) {
            return Err(Refusal::InvalidHeader("Host"));
        }
        fields.refuse_body()?;
        let key = fields.upgrade()?;
        let origin = fields.single("Origin")?;
        if origin.is_some_and(|origin| !is_visible(origin)) {
            return Err(Refusal::InvalidHeader("Origin"));
        }
        fields.check_protocols()?;
        let span = |part: &[u8]| Span::of(part, head);
        Ok(Self {
            path: span(target.path.as_bytes()),
            query: span(target.query.as_bytes()),
            host: span(host.as_bytes()),
            origin: origin.map(|origin| span(origin.as_bytes())),
            key: span(key.as_bytes()),
            fields: fields
                .0
                .iter()
                .map(|field| Field { name: span(field.name.as_bytes()), value: span(field.value) })
                .collect(),
            head: head.into(),
        })
    }
}

impl Span {
    /// Where `part`, a slice of `whole`, lies in it. A slice from elsewhere (an empty literal) yields an empty range.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        match start.checked_add(part.len()) {
            Some(end) if end <= whole.len() => Self { start, end },
            _ => Self::default(),
        }
    }
}

/// The parsed request target (RFC 9112 section 3.2).
struct Target<'a> {
    /// Only of the absolute form, which clients send to proxies and servers have to accept.
    authority: Option<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Target<'a> {
    fn parse(target: &'a str) -> Result<Self, Refusal> {
        if !is_visible(target) || target.contains('#') {
            return Err(Refusal::Target);
        }
        let (authority, rest) = if target.starts_with('/') {
            (None, target)
        } else {
            let (scheme, rest) = target.split_once("://").ok_or(Refusal::Target)?;
            if !["http", "https", "ws", "wss"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
                return Err(Refusal::Target);
            }
            let (authority, rest) =
                rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len())).unwrap_or((rest, ""));
            (Some(authority), rest)
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self { authority, path, query })
    }
}

/// The rules of RFC 6455 section 4.2.1 for the header fields.
struct Fields<'f, 'h>(&'f [httparse::Header<'h>]);

impl<'h> Fields<'_, 'h> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = Result<&'h str, Refusal>> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(move |field| core::str::from_utf8(field.value).map_err(|_| Refusal::InvalidHeader(name)))
    }

    fn single(&self, name: &'static str) -> Result<Option<&'h str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next().transpose()?;
        if values.next().is_some() {
            return Err(Refusal::Duplicate(name));
        }
        Ok(first)
    }

    fn required(&self, name: &'static str) -> Result<&'h str, Refusal> {
        self.single(name)?.ok_or(Refusal::Missing(name))
    }

    fn any_contains(&self, name: &'static str, element: &str) -> bool {
        self.all(name).flatten().any(|value| contains_element(value, element))
    }

    /// Two parsers that disagree on where a body ends disagree on where the frames begin.
    fn refuse_body(&self) -> Result<(), Refusal> {
        let length = self.single("Content-Length")?;
        if length.is_some_and(|length| length != "0") || self.all("Transfer-Encoding").next().is_some() {
            return Err(Refusal::Body);
        }
        Ok(())
    }

    /// Checks that this is an upgrade to a version that we speak; answers the key.
    fn upgrade(&self) -> Result<&'h str, Refusal> {
        if !self.any_contains("Upgrade", "websocket") {
            return Err(Refusal::NotAnUpgrade);
        }
        if self.all("Connection").next().is_none() {
            return Err(Refusal::Missing("Connection"));
        }
        if !self.any_contains("Connection", "Upgrade") {
            return Err(Refusal::InvalidHeader("Connection"));
        }
        if self.required("Sec-WebSocket-Version")? != "13" {
            return Err(Refusal::ProtocolVersion);
        }
        let key = self.required("Sec-WebSocket-Key")?;
        if !is_key(key) {
            return Err(Refusal::InvalidHeader("Sec-WebSocket-Key"));
        }
        Ok(key)
    }

    fn check_protocols(&self) -> Result<(), Refusal> {
        const NAME: &str = "Sec-WebSocket-Protocol";
        for value in self.all(NAME) {
            if !elements(value?).all(is_token) {
                return Err(Refusal::InvalidHeader(NAME));
            }
        }
        Ok(())
    }
}

/// Base64 of 16 bytes. Bits of the last character that carry no data may be set, as in some clients.
fn is_key(key: &str) -> bool {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let mut nonce = [0; 18];
    LENIENT.decode_slice(key, &mut nonce).is_ok_and(|length| length == 16)
}

/// Not empty, and nothing that would end an authority (RFC 3986 section 3.2) or names a user.
fn is_host(host: &str) -> bool {
    is_visible(host) && !host.contains(['/', '?', '#', '@', '\\', ','])
}

/// Decodes `%xx` and `+`. What is no escape stands for itself.
fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        decoded.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    (high << 4) | low
                }
                _ => first,
            },
            _ => first,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
