//! Reads Erlang's external term format, term by term: what `decode.rs` and `http.rs` are made of.
//!
//! Input comes from our own VM, yet nothing here trusts a length: what does not decode is an [`Undecodable`], never a panic.

use super::etf::{
    ATOM, ATOM_UTF8, BINARY, INTEGER, LARGE_TUPLE, LIST, MAP, NEW_PID, NIL, SMALL_ATOM, SMALL_ATOM_UTF8, SMALL_BIG,
    SMALL_INTEGER, SMALL_TUPLE, STRING, VERSION,
};
use super::message::{Pid, Undecodable};

/// Terms inside terms, so that no packet fills the stack. Our own deepest, 8, is a certificate of an identity of a host in `tls`.
const MAX_DEPTH: usize = 12;

/// Elements of a list for which room is made before they are read.
const MOST_AT_ONCE: usize = 4096;

/// What is left of a packet.
pub struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(packet: &'a [u8]) -> Result<Self, Undecodable> {
        match packet.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest }),
            _ => Err(Undecodable),
        }
    }

    pub fn tuple(&mut self) -> Result<u8, Undecodable> {
        let [tag, arity] = self.take()?;
        if tag == SMALL_TUPLE { Ok(arity) } else { Err(Undecodable) }
    }

    /// The head of a list: how many elements follow.
    pub fn list(&mut self) -> Result<u32, Undecodable> {
        match self.rest.first() {
            Some(&NIL) => Ok(0),
            Some(&LIST) => {
                self.rest = &self.rest[1..];
                Ok(u32::from_be_bytes(self.take()?))
            }
            _ => Err(Undecodable),
        }
    }

    /// The end of a proper list.
    pub fn tail(&mut self) -> Result<(), Undecodable> {
        let [tag] = self.take()?;
        if tag == NIL { Ok(()) } else { Err(Undecodable) }
    }

    /// The head of a map: how many pairs of terms follow.
    pub fn map(&mut self) -> Result<u32, Undecodable> {
        let [tag, a, b, c, d] = self.take()?;
        if tag == MAP { Ok(u32::from_be_bytes([a, b, c, d])) } else { Err(Undecodable) }
    }

    pub fn is_atom(&self) -> bool {
        matches!(self.rest.first(), Some(&(SMALL_ATOM_UTF8 | SMALL_ATOM | ATOM_UTF8 | ATOM)))
    }

    pub fn atom(&mut self) -> Result<&'a str, Undecodable> {
        let [tag] = self.take()?;
        let len = match tag {
            SMALL_ATOM_UTF8 | SMALL_ATOM => self.take().map(|[len]| usize::from(len))?,
            ATOM_UTF8 | ATOM => usize::from(u16::from_be_bytes(self.take()?)),
            _ => return Err(Undecodable),
        };
        std::str::from_utf8(self.bytes(len)?).map_err(|_| Undecodable)
    }

    /// One whole term of the kinds that the protocol has, as the bytes that it occupies. What comes out is safe for a
    /// decoder that allocates by declared lengths and panics on tags that it does not know.
    pub fn term(&mut self, depth: usize) -> Result<&'a [u8], Undecodable> {
        let start = self.rest;
        match *start.first().ok_or(Undecodable)? {
            _ if depth > MAX_DEPTH => return Err(Undecodable),
            SMALL_INTEGER | INTEGER | SMALL_BIG => drop(self.signed()?),
            SMALL_ATOM_UTF8 | SMALL_ATOM | ATOM_UTF8 | ATOM => drop(self.atom()?),
            BINARY => drop(self.binary()?),
            NEW_PID => drop(self.pid()?),
            NIL => self.tail()?,
            STRING => {
                let [_, high, low] = self.take()?;
                self.bytes(usize::from(u16::from_be_bytes([high, low])))?;
            }
            SMALL_TUPLE => {
                for _ in 0..self.tuple()? {
                    self.term(depth + 1)?;
                }
            }
            LIST => {
                for _ in 0..self.list()? {
                    self.term(depth + 1)?;
                }
                self.tail()?;
            }
            MAP | LARGE_TUPLE => {
                let [tag, a, b, c, d] = self.take()?;
                let terms = u64::from(u32::from_be_bytes([a, b, c, d])) * if tag == MAP { 2 } else { 1 };
                for _ in 0..terms {
                    self.term(depth + 1)?;
                }
            }
            _ => return Err(Undecodable),
        }
        Ok(&start[..start.len() - self.rest.len()])
    }

    /// All elements of a proper list.
    pub fn elements<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Undecodable>,
    ) -> Result<Vec<T>, Undecodable> {
        let length = self.list()?;
        let mut elements = Vec::with_capacity(MOST_AT_ONCE.min(length as usize)); // Whatever it says of its length.
        for _ in 0..length {
            elements.push(element(self)?);
        }
        self.tail().map(|()| elements)
    }

    /// A process of this node: its number and serial; its node and the node's incarnation are the VM's own.
    pub fn pid(&mut self) -> Result<Pid, Undecodable> {
        let [tag] = self.take()?;
        if tag != NEW_PID {
            return Err(Undecodable);
        }
        self.atom()?;
        let number = u64::from_be_bytes(self.take()?);
        let _incarnation: [u8; 4] = self.take()?;
        Ok(Pid(number))
    }

    pub fn bool(&mut self) -> Result<bool, Undecodable> {
        match self.atom()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Undecodable),
        }
    }

    pub fn binary(&mut self) -> Result<&'a [u8], Undecodable> {
        let [tag] = self.take()?;
        if tag != BINARY {
            return Err(Undecodable);
        }
        let len = u32::from_be_bytes(self.take()?);
        self.bytes(len as usize)
    }

    pub fn integer(&mut self) -> Result<u64, Undecodable> {
        u64::try_from(self.signed()?).map_err(|_| Undecodable)
    }

    /// A number, or `None` for `infinity`.
    pub fn or_infinity(&mut self) -> Result<Option<u64>, Undecodable> {
        if !self.is_atom() {
            return self.integer().map(Some);
        }
        if self.atom()? == "infinity" { Ok(None) } else { Err(Undecodable) }
    }

    /// An integer of up to 64 bits.
    pub fn signed(&mut self) -> Result<i128, Undecodable> {
        let [tag] = self.take()?;
        match tag {
            SMALL_INTEGER => self.take().map(|[byte]| i128::from(byte)),
            INTEGER => Ok(i128::from(i32::from_be_bytes(self.take()?))),
            SMALL_BIG => {
                let [len @ 1..=8, sign @ 0..=1] = self.take()? else { return Err(Undecodable) };
                let mut bytes = [0; 8];
                bytes[..usize::from(len)].copy_from_slice(self.bytes(usize::from(len))?);
                let value = i128::from(u64::from_le_bytes(bytes));
                Ok(if sign == 0 { value } else { -value })
            }
            _ => Err(Undecodable),
        }
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Undecodable)?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Undecodable> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Undecodable)?;
        self.rest = rest;
        Ok(head)
    }

    pub fn end(&self) -> Result<(), Undecodable> {
        if self.rest.is_empty() { Ok(()) } else { Err(Undecodable) }
    }
}
