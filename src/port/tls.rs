//! What the VM says of TLS: certificates, keys, and how clients are met (docs/port-protocol.md, "TLS").
//!
//! Comes in: a term of `control.rs`. Goes out: the settings of [`crate::transport::tls`].

use eetf::Term;

use super::message::Undecodable;
use super::terms::{atom, binary, boolean, integer, map};
use crate::transport::tls::{Clients, Identity, Key, Options, Revocation, Settings, Tickets, Verify};

/// `#{default => Options, hosts => [{Name, Options}], ask => boolean()}`
pub fn settings(term: Term) -> Result<Settings, Undecodable> {
    let mut settings = Settings::default();
    for (key, value) in map(term)? {
        match key.as_str() {
            "default" => settings.default = options(value)?,
            "hosts" => {
                let host = |term| pair(term).and_then(|(name, value)| Ok((text(name)?, options(value)?)));
                settings.hosts = list(value, host)?;
            }
            "ask" => settings.ask = boolean(&value)?,
            _ => return Err(Undecodable),
        }
    }
    Ok(settings)
}

/// One host's.
pub fn options(term: Term) -> Result<Options, Undecodable> {
    let mut options = Options::default();
    for (key, value) in map(term)? {
        match key.as_str() {
            "identities" => options.identities = list(value, identity)?,
            "clients" => options.clients = clients(value)?,
            "versions" => options.versions = list(value, number)?,
            "ciphers" => options.ciphers = Some(list(value, number)?),
            "groups" => options.groups = Some(list(value, number)?),
            "honor_cipher_order" => options.honor_cipher_order = boolean(&value)?,
            "alpn" => options.alpn = list(value, bytes)?,
            "tickets" => {
                options.tickets = match atom(&value)? {
                    "disabled" => Tickets::None,
                    "stateless" => Tickets::Stateless,
                    "stateful" => Tickets::Stateful,
                    _ => return Err(Undecodable),
                }
            }
            "reuse_sessions" => options.reuse_sessions = boolean(&value)?,
            _ => return Err(Undecodable),
        }
    }
    Ok(options)
}

/// A host's name.
pub fn text(term: Term) -> Result<String, Undecodable> {
    String::from_utf8(bytes(term)?).map_err(|_| Undecodable)
}

/// `{[Certificate], {Form, Key}}`
fn identity(term: Term) -> Result<Identity, Undecodable> {
    let (chain, key) = pair(term)?;
    let (form, der) = pair(key)?;
    let der = bytes(der)?;
    let key = match atom(&form)? {
        "pkcs1" => Key::Pkcs1(der),
        "pkcs8" => Key::Pkcs8(der),
        "sec1" => Key::Sec1(der),
        _ => return Err(Undecodable),
    };
    Ok(Identity { chain: list(chain, bytes)?, key })
}

/// `#{verify, authorities, depth, revocation, crls}`
fn clients(term: Term) -> Result<Clients, Undecodable> {
    let mut clients = Clients::default();
    for (key, value) in map(term)? {
        match key.as_str() {
            "verify" => {
                clients.verify = match atom(&value)? {
                    "nobody" => Verify::Nobody,
                    "willing" => Verify::Willing,
                    "everybody" => Verify::Everybody,
                    _ => return Err(Undecodable),
                }
            }
            "authorities" => clients.authorities = list(value, bytes)?,
            "depth" => clients.depth = usize::try_from(integer(&value)?).unwrap_or(usize::MAX),
            "revocation" => {
                clients.revocation = match atom(&value)? {
                    "nobody" => Revocation::Nobody,
                    "chain" => Revocation::Chain,
                    "peer" => Revocation::Peer,
                    "best_effort" => Revocation::BestEffort,
                    _ => return Err(Undecodable),
                }
            }
            "crls" => clients.crls = list(value, bytes)?,
            _ => return Err(Undecodable),
        }
    }
    Ok(clients)
}

fn list<T>(term: Term, element: impl FnMut(Term) -> Result<T, Undecodable>) -> Result<Vec<T>, Undecodable> {
    match term {
        Term::List(list) => list.elements.into_iter().map(element).collect(),
        // Small numbers.
        Term::ByteList(list) => {
            list.bytes.into_iter().map(|byte| eetf::FixInteger::from(byte).into()).map(element).collect()
        }
        _ => Err(Undecodable),
    }
}

fn pair(term: Term) -> Result<(Term, Term), Undecodable> {
    let Term::Tuple(tuple) = term else { return Err(Undecodable) };
    let [first, second] = <[Term; 2]>::try_from(tuple.elements).map_err(|_| Undecodable)?;
    Ok((first, second))
}

fn number(term: Term) -> Result<u16, Undecodable> {
    u16::try_from(integer(&term)?).map_err(|_| Undecodable)
}

fn bytes(term: Term) -> Result<Vec<u8>, Undecodable> {
    binary(term).map(Into::into)
}
