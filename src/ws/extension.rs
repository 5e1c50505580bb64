//! The negotiation of compression (RFC 7692, 5 and 7.1): the client's offers in, the server's answer out. Pure.
//!
//! The answers are Cowboy's to the letter, as of Cowlib 2.14, with two differences. Cowlib takes every offer of
//! x-webkit-deflate-frame, and does not do what its parameters say; we refuse an offer with any that we do not know or cannot
//! do. RFC 7692, 7.1 wants an offer refused that names a parameter twice; Cowlib refuses it only if both are equal, and
//! otherwise answers with both. We refuse both.

use std::fmt::Write;
use std::time::Duration;

pub use zlib_rs::Strategy;

use super::offers::{self, Parameter};

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
    /// `history`: bytes sent before a message that it may refer to, with `server_context_takeover`. Not one of Cowboy's.
    pub history: u16,
    /// `max_idle`, in milliseconds: how long the history outlives its connection's last message. Not one of Cowboy's.
    pub max_idle: Duration,
    /// Each frame is compressed for itself, or is not, and says which: x-webkit-deflate-frame. Not an option.
    pub per_frame: bool,
}

/// What one connection compresses with: the options, as the client's offer has narrowed them.
pub type Agreement = DeflateOpts;

/// There is no such option, or it has no such value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadOption;

impl Default for DeflateOpts {
    fn default() -> DeflateOpts {
        DeflateOpts {
            // Cowboy's is 9, which costs more and gains nothing: docs/decisions/0004-shared-compressors.md.
            level: 6,
            mem_level: 8,
            strategy: Strategy::Default,
            server_context_takeover: true,
            client_context_takeover: true,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
            history: 8192,
            max_idle: Duration::from_secs(10),
            per_frame: false,
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
            "history" => {
                self.history = value.parse().ok().filter(|size| *size <= 1 << 15).ok_or(BadOption)?;
            }
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
    offers::parse(offers)?.iter().find_map(|offer| match offer.name {
        "permessage-deflate" => permessage_deflate(&offer.parameters, options),
        "x-webkit-deflate-frame" => Some((offer.name.to_owned(), webkit_deflate_frame(&offer.parameters, options)?)),
        _ => None,
    })
}

/// The draft that was before permessage-deflate (draft-tyoshino-hybi-websocket-perframe-deflate). What its parameters ask for
/// concerns what the server sends. The answer, Cowlib's, asks for nothing: so the client may do all that it can.
fn webkit_deflate_frame(parameters: &[Parameter<'_>], options: &DeflateOpts) -> Option<Agreement> {
    let (mut no_context_takeover, mut max_window_bits) = (None, None);
    for (name, value) in parameters {
        match *name {
            "no_context_takeover" => once(&mut no_context_takeover, flag(value.as_deref())?)?,
            "max_window_bits" => once(&mut max_window_bits, window_bits(value.as_deref()?)?)?,
            _ => return None,
        }
    }
    Some(Agreement {
        server_context_takeover: options.server_context_takeover && no_context_takeover.is_none(),
        client_context_takeover: true,
        server_max_window_bits: narrow(options.server_max_window_bits, max_window_bits),
        client_max_window_bits: 15,
        per_frame: true,
        ..*options
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn options(settings: &str) -> DeflateOpts {
        let mut options = DeflateOpts::default();
        for setting in settings.split_whitespace() {
            let (key, value) = setting.split_once('=').unwrap();
            options.set(key, value).unwrap();
        }
        options
    }

    fn answer(settings: &str, offers: &str) -> Option<String> {
        negotiate(offers, &options(settings)).map(|(answer, _)| answer)
    }

    /// The file holds what Cowlib answers; `extensions.escript` beside it writes it.
    #[test]
    fn answers_are_those_of_cowlib() {
        let lines =
            include_str!("../../test/rust/vectors/ws/extensions.txt").lines().filter(|line| !line.starts_with('#'));
        let mut ours = [0; 2];
        for line in lines {
            let (settings, line) = line.split_once('\t').unwrap();
            let (offers, cowlibs) = line.rsplit_once('\t').unwrap();
            let narrow = options(settings).client_max_window_bits < 15 && !offers.contains("client_max_window_bits");
            let twice = offers::parse(offers).is_some_and(|extensions| extensions.iter().any(names_twice));
            let expected = match cowlibs {
                "malformed" => {
                    assert_eq!(offers::parse(offers), None, "{offers}");
                    None
                }
                "none" => None,
                // Cowlib 2.13 takes these two; 2.14 has corrected the first.
                _ if narrow && cowlibs != "x-webkit-deflate-frame" => None,
                _ if twice => None,
                "x-webkit-deflate-frame" if offers.contains("bogus") => None,
                _ => Some(cowlibs.to_owned()),
            };
            ours[usize::from(expected.is_some())] += 1;
            assert_eq!(answer(settings, offers), expected, "{settings} {offers}");
        }
        assert!(ours[0] > 300 && ours[1] > 300, "{ours:?}");
    }

    fn names_twice(extension: &offers::Extension<'_>) -> bool {
        let names: HashSet<_> = extension.parameters.iter().map(|(name, _)| name).collect();
        names.len() < extension.parameters.len()
    }

    /// The rules one by one, as the manual of a server would list them.
    #[test]
    fn each_parameter_has_its_answer() {
        let defaults = "";
        let yes = |settings, offer: &str, expected: &str| {
            let offer = format!("permessage-deflate{offer}");
            assert_eq!(answer(settings, &offer), Some(format!("permessage-deflate{expected}")), "{settings} {offer}");
        };
        let no = |settings, offer: &str| assert_eq!(answer(settings, &format!("permessage-deflate{offer}")), None);

        yes(defaults, "", "");
        yes("server_max_window_bits=10", "", "; server_max_window_bits=10");
        no("client_max_window_bits=10", "");
        yes(defaults, "; server_max_window_bits=10", "; server_max_window_bits=10");
        yes(defaults, "; server_max_window_bits=15", "; server_max_window_bits=15");
        yes("server_max_window_bits=10", "; server_max_window_bits=9", "; server_max_window_bits=9");
        yes("server_max_window_bits=10", "; server_max_window_bits=11", "; server_max_window_bits=10");
        for value in ["", "=", "=7", "=16", "=08", "=a"] {
            no(defaults, &format!("; server_max_window_bits{value}"));
        }
        yes(defaults, "; client_max_window_bits", "; client_max_window_bits=15");
        yes("client_max_window_bits=10", "; client_max_window_bits", "; client_max_window_bits=10");
        yes("client_max_window_bits=10", "; client_max_window_bits=9", "; client_max_window_bits=9");
        yes("client_max_window_bits=10", "; client_max_window_bits=11", "; client_max_window_bits=10");
        yes(defaults, "; server_max_window_bits=\"10\"", "; server_max_window_bits=10");
        yes(defaults, "; server_no_context_takeover", "; server_no_context_takeover");
        yes(defaults, "; client_no_context_takeover", "; client_no_context_takeover");
        yes("server_context_takeover=no_takeover", "", "; server_no_context_takeover");
        yes("client_context_takeover=no_takeover", "", "; client_no_context_takeover");
        no(defaults, "; server_no_context_takeover=1");
        no(defaults, "; client_no_context_takeover; client_no_context_takeover");
        no(defaults, "; server_max_window_bits=10; server_max_window_bits=11");
        no(defaults, "; client_max_window_bits; client_max_window_bits=10");
        no(defaults, "; bogus");
        assert_eq!(answer(defaults, "PERMESSAGE-DEFLATE"), None);
        yes(defaults, "; bogus, permessage-deflate; client_max_window_bits", "; client_max_window_bits=15");
    }

    #[test]
    fn the_agreement_is_the_narrower_of_offer_and_options() {
        let ours = options("server_max_window_bits=12 client_max_window_bits=11 level=3 mem_level=2 strategy=rle");
        let agreed = |offer: &str| negotiate(offer, &ours).unwrap().1;
        let narrow = agreed(
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8; server_no_context_takeover",
        );
        assert_eq!(
            narrow,
            Agreement { server_max_window_bits: 9, client_max_window_bits: 8, server_context_takeover: false, ..ours }
        );
        let wide =
            agreed("permessage-deflate; server_max_window_bits=15; client_max_window_bits; client_no_context_takeover");
        assert_eq!(wide, Agreement { client_context_takeover: false, ..ours });
    }

    /// Whose parameters ask for less of what the server sends, while the client may do what it can.
    #[test]
    fn of_the_draft_only_offers_are_taken_that_are_kept() {
        let ours = options("server_max_window_bits=12 client_max_window_bits=11 level=3");
        let draft = Agreement { client_max_window_bits: 15, per_frame: true, ..ours };
        let agreed = |parameters| negotiate(&format!("x-webkit-deflate-frame{parameters}"), &ours);
        for (parameters, agreement) in [
            ("", draft),
            ("; max_window_bits=8", Agreement { server_max_window_bits: 8, ..draft }),
            ("; max_window_bits=15", draft),
            ("; no_context_takeover", Agreement { server_context_takeover: false, ..draft }),
        ] {
            assert_eq!(agreed(parameters), Some(("x-webkit-deflate-frame".to_owned(), agreement)));
        }
        for parameters in [
            "; max_window_bits",
            "; max_window_bits=7",
            "; max_window_bits=16",
            "; no_context_takeover=1",
            "; no_context_takeover; no_context_takeover",
            "; max_window_bits=9; max_window_bits=9",
            "; bogus",
        ] {
            assert_eq!(agreed(parameters), None, "{parameters}");
        }
    }

    #[test]
    fn an_option_out_of_range_is_refused() {
        let mut options = DeflateOpts::default();
        for (key, value) in [
            ("level", "10"),
            ("level", "-2"),
            ("mem_level", "0"),
            ("mem_level", "10"),
            ("strategy", "fixed"),
            ("server_max_window_bits", "7"),
            ("client_max_window_bits", "16"),
            ("server_context_takeover", "true"),
            ("client_context_takeover", ""),
            ("history", "32769"),
            ("max_idle", "-1"),
            ("window_bits", "15"),
        ] {
            assert_eq!(options.set(key, value), Err(BadOption));
        }
        assert_eq!(options, DeflateOpts::default());
    }
}
