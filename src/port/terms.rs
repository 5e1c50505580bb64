//! What the terms of the control plane are made of: each function takes a term of its kind, and refuses any other.

use bytes::Bytes;
use eetf::Term;

use super::message::{Pid, Undecodable};

/// The pairs of a map whose keys are atoms.
pub fn map(term: Term) -> Result<Vec<(String, Term)>, Undecodable> {
    let Term::Map(map) = term else { return Err(Undecodable) };
    map.map.into_iter().map(|(key, value)| Ok((atom(&key)?.to_owned(), value))).collect()
}

/// A number, or `None` for `infinity`.
pub fn or_infinity(term: &Term) -> Result<Option<u64>, Undecodable> {
    match term {
        Term::Atom(atom) if atom.name == "infinity" => Ok(None),
        number => integer(number).map(Some),
    }
}

/// `true` or `false`.
pub fn boolean(term: &Term) -> Result<bool, Undecodable> {
    match atom(term)? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Undecodable),
    }
}

/// A number of up to 64 bits.
pub fn integer(term: &Term) -> Result<u64, Undecodable> {
    match term {
        Term::FixInteger(number) => u64::try_from(number.value).map_err(|_| Undecodable),
        Term::BigInteger(number) => u64::try_from(&number.value).map_err(|_| Undecodable),
        _ => Err(Undecodable),
    }
}

/// The text of an atom.
pub fn atom(term: &Term) -> Result<&str, Undecodable> {
    match term {
        Term::Atom(atom) => Ok(&atom.name),
        _ => Err(Undecodable),
    }
}

/// The bytes of a binary.
pub fn binary(term: Term) -> Result<Bytes, Undecodable> {
    match term {
        Term::Binary(binary) => Ok(binary.bytes.into()),
        _ => Err(Undecodable),
    }
}

/// A process of the VM's node.
pub fn pid(term: &Term) -> Result<Pid, Undecodable> {
    match term {
        Term::Pid(pid) => Ok(Pid(u64::from(pid.id) << 32 | u64::from(pid.serial))),
        _ => Err(Undecodable),
    }
}
