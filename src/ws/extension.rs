//! The negotiation of compression (RFC 7692, 5 and 7.1): the client's offers in, the server's answer out. Pure.
//!
//! The answers are Cowboy's to the letter, as of Cowlib 2.14, with one difference. RFC 7692, 7.1 wants an offer refused
//! that names a parameter twice; Cowlib refuses it only if both are equal, and otherwise answers with both. We refuse both.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use super::Strategy;

/// What the listener allows: Cowboy's `deflate_opts`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeflateOpts {
    /// `level`: -1 (zlib's default), 0 (none) to 9.
    pub level: i32,
    /// `mem_level`: 1 to 9.
    pub mem_level: u8,
    /// `strategy`.
    pub strategy: Strategy,
    /// `server_context_takeover`: the server's messages may refer to earlier ones.
    pub server_context_takeover: bool,
    /// `client_context_takeover`: the client's messages may.
    pub client_context_takeover: bool,
    /// `server_max_window_bits`: 8 to 15.
    pub server_max_window_bits: u8,
    /// `client_max_window_bits`: 8 to 15.
    pub client_max_window_bits: u8,
    /// `max_idle`, in milliseconds: how long a compressor outlives its connection's last message. Not one of Cowboy's.
    pub max_idle: Duration,
}

/// What one connection compresses with: the options, as the client's offer has narrowed them.
pub type Agreement = DeflateOpts;

/// There is no such option, or it has no such value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadOption;

impl Default for DeflateOpts {
    fn default() -> DeflateOpts {
        DeflateOpts {
            level: 9,
            mem_level: 8,
            strategy: Strategy::Default,
            server_context_takeover: true,
            client_context_takeover: true,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
            max_idle: Duration::from_secs(10),
        }
    }
}

impl DeflateOpts {
    /// Sets the option that Cowboy calls `key`; `value` is an atom's name or a number.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), BadOption> {
        match key {
            "level" => {
                self.level = match value {
                    "none" => 0,
                    "best_speed" => 1,
                    "best_compression" => 9,
                    "default" => -1,
                    _ => number(value, 0, 9)?.into(),
                }
            }
            "mem_level" => self.mem_level = number(value, 1, 9)?,
            "strategy" => {
                self.strategy = match value {
                    "default" => Strategy::Default,
                    "filtered" => Strategy::Filtered,
                    "huffman_only" => Strategy::HuffmanOnly,
                    "rle" => Strategy::Rle,
                    _ => return Err(BadOption),
                }
            }
            "server_context_takeover" => self.server_context_takeover = takeover(value)?,
            "client_context_takeover" => self.client_context_takeover = takeover(value)?,
            "server_max_window_bits" => self.server_max_window_bits = number(value, 8, 15)?,
            "client_max_window_bits" => self.client_max_window_bits = number(value, 8, 15)?,
            "max_idle" => self.max_idle = Duration::from_millis(value.parse().map_err(|_| BadOption)?),
            _ => return Err(BadOption),
        }
        Ok(())
    }
}

fn number(value: &str, min: u8, max: u8) -> Result<u8, BadOption> {
    value.parse().ok().filter(|number| (min..=max).contains(number)).ok_or(BadOption)
}

fn takeover(value: &str) -> Result<bool, BadOption> {
    match value {
        "takeover" => Ok(true),
        "no_takeover" => Ok(false),
        _ => Err(BadOption),
    }
}

/// Takes the first acceptable offer of a `sec-websocket-extensions` header (several ones joined by `, `). Gives the header
/// of the answer and what it means. A malformed header offers nothing here; Cowboy's upgrade has answered it with 400.
pub fn negotiate(offers: &str, options: &DeflateOpts) -> Option<(String, Agreement)> {
    parse(offers)?.iter().find_map(|offer| match offer.name {
        "permessage-deflate" => permessage_deflate(&offer.parameters, options),
        // The browser draft of permessage-deflate. Whatever its parameters ask for, it is granted in full.
        "x-webkit-deflate-frame" => Some((
            offer.name.to_owned(),
            Agreement {
                server_context_takeover: true,
                client_context_takeover: true,
                server_max_window_bits: 15,
                client_max_window_bits: 15,
                ..*options
            },
        )),
        _ => None,
    })
}

fn permessage_deflate(parameters: &[Parameter<'_>], options: &DeflateOpts) -> Option<(String, Agreement)> {
    let mut offer = Offer::default();
    for (name, value) in parameters {
        let value = value.as_deref();
        match *name {
            "server_no_context_takeover" => once(&mut offer.server_no_context_takeover, flag(value)?)?,
            "client_no_context_takeover" => once(&mut offer.client_no_context_takeover, flag(value)?)?,
            "server_max_window_bits" => once(&mut offer.server_max_window_bits, window_bits(value?)?)?,
            "client_max_window_bits" => match value {
                Some(value) => once(&mut offer.client_max_window_bits, Some(window_bits(value)?))?,
                None => once(&mut offer.client_max_window_bits, None)?,
            },
            _ => return None,
        }
    }
    // A client that does not say it can narrow its window cannot be asked to.
    if offer.client_max_window_bits.is_none() && options.client_max_window_bits < 15 {
        return None;
    }
    let agreement = Agreement {
        server_context_takeover: options.server_context_takeover && offer.server_no_context_takeover.is_none(),
        client_context_takeover: options.client_context_takeover && offer.client_no_context_takeover.is_none(),
        server_max_window_bits: narrow(options.server_max_window_bits, offer.server_max_window_bits),
        client_max_window_bits: narrow(options.client_max_window_bits, offer.client_max_window_bits.flatten()),
        ..*options
    };
    Some((offer.answer(&agreement, options), agreement))
}

/// The parameters of one offer; the inner option is the value of a parameter that may have one or not.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: Option<()>,
    client_no_context_takeover: Option<()>,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Offer {
    /// The answer's header. The order is Cowlib's: what the listener narrows, what the client has asked for, what the
    /// listener wants beyond that.
    fn answer(&self, agreement: &Agreement, options: &DeflateOpts) -> String {
        let mut answer = String::from("permessage-deflate");
        let mut add = |parameter: &str, bits: Option<u8>| {
            // Writing to a string does not fail.
            let _ = match bits {
                Some(bits) => write!(answer, "; {parameter}={bits}"),
                None => write!(answer, "; {parameter}"),
            };
        };
        let (server_bits, client_bits) = (agreement.server_max_window_bits, agreement.client_max_window_bits);
        let echoed = self.server_max_window_bits == Some(server_bits);
        if !echoed && server_bits < 15 {
            add("server_max_window_bits", Some(server_bits));
        }
        if options.server_context_takeover && !agreement.server_context_takeover {
            add("server_no_context_takeover", None);
        }
        if options.client_context_takeover && !agreement.client_context_takeover {
            add("client_no_context_takeover", None);
        }
        if self.client_max_window_bits == Some(None) {
            add("client_max_window_bits", Some(client_bits));
        }
        if echoed {
            add("server_max_window_bits", Some(server_bits));
        }
        if matches!(self.client_max_window_bits, Some(Some(_))) {
            add("client_max_window_bits", Some(client_bits));
        }
        if !options.client_context_takeover {
            add("client_no_context_takeover", None);
        }
        if !options.server_context_takeover {
            add("server_no_context_takeover", None);
        }
        answer
    }
}

/// Sets a parameter that may be there once.
fn once<T>(parameter: &mut Option<T>, value: T) -> Option<()> {
    parameter.replace(value).is_none().then_some(())
}

/// A parameter without a value.
fn flag(value: Option<&str>) -> Option<()> {
    value.is_none().then_some(())
}

/// A value from 8 to 15, without a leading zero (RFC 7692, 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    (8..=15).find(|bits| bits.to_string() == value)
}

fn narrow(ours: u8, theirs: Option<u8>) -> u8 {
    theirs.map_or(ours, |theirs| theirs.min(ours))
}

/// One element of the header.
#[derive(Debug, Eq, PartialEq)]
struct Extension<'a> {
    name: &'a str,
    parameters: Vec<Parameter<'a>>,
}

type Parameter<'a> = (&'a str, Option<Cow<'a, str>>);

/// Parses the header (RFC 6455, 9.1) as Cowlib does: white space and commas before an element, white space after a name or
/// a value and after a semicolon. `None` if it is malformed.
fn parse(header: &str) -> Option<Vec<Extension<'_>>> {
    let mut rest = Rest(header);
    let mut extensions = Vec::new();
    loop {
        rest.skip(&[' ', '\t', ',']);
        if rest.0.is_empty() {
            break;
        }
        let mut extension = Extension { name: rest.token()?, parameters: Vec::new() };
        loop {
            rest.skip(&[' ', '\t']);
            if !rest.eat(';') {
                break;
            }
            rest.skip(&[' ', '\t']);
            let name = rest.token()?;
            let value = if rest.eat('=') { Some(rest.value()?) } else { None };
            extension.parameters.push((name, value));
        }
        extensions.push(extension);
        if !rest.0.is_empty() && !rest.eat(',') {
            return None;
        }
    }
    if extensions.is_empty() { None } else { Some(extensions) }
}

/// What is left of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, characters: &[char]) {
        self.0 = self.0.trim_start_matches(characters);
    }

    fn eat(&mut self, character: char) -> bool {
        let rest = self.0.strip_prefix(character);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A token of at least one character (RFC 9110, 5.6.2).
    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() { None } else { Some(token) }
    }

    /// A token, or one in quotes, where it may be empty and escaped.
    fn value(&mut self) -> Option<Cow<'a, str>> {
        if !self.eat('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        loop {
            if self.eat('"') {
                return Some(Cow::Owned(value));
            }
            self.eat('\\');
            let character = self.0.chars().next().filter(|c| is_token(*c))?;
            self.eat(character);
            value.push(character);
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}
