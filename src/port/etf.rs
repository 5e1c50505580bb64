//! Writes Erlang's external term format: the handful of tags that our events are made of, straight into a buffer.
//!
//! A writer of fixed shapes costs a few nanoseconds a term, a general encoder over a tree some hundreds
//! (docs/decisions/0001-two-codecs.md). What it writes is held against the crate `eetf` by property tests.
//! Source: "External Term Format", Erlang run-time system user's guide.

pub(super) const VERSION: u8 = 131;
pub(super) const NEW_PID: u8 = 88;
pub(super) const SMALL_INTEGER: u8 = 97;
pub(super) const INTEGER: u8 = 98;
pub(super) const ATOM: u8 = 100;
pub(super) const SMALL_TUPLE: u8 = 104;
pub(super) const LARGE_TUPLE: u8 = 105;
pub(super) const NIL: u8 = 106;
pub(super) const STRING: u8 = 107;
pub(super) const LIST: u8 = 108;
pub(super) const BINARY: u8 = 109;
pub(super) const SMALL_BIG: u8 = 110;
pub(super) const SMALL_ATOM: u8 = 115;
pub(super) const MAP: u8 = 116;
pub(super) const ATOM_UTF8: u8 = 118;
pub(super) const SMALL_ATOM_UTF8: u8 = 119;

/// Appends terms to a buffer. A compound term's head says how many terms follow; the caller writes them next.
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    /// The head of a tuple of `arity` terms.
    pub fn tuple(&mut self, arity: u8) -> &mut Self {
        self.0.extend_from_slice(&[SMALL_TUPLE, arity]);
        self
    }

    /// The head of a map of `pairs` keys with their values; the keys must differ.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.0.push(MAP);
        self.length(pairs)
    }

    /// The head of a proper list; [`Writer::nil`] ends it. An empty list is `nil` alone.
    pub fn list(&mut self, length: usize) -> &mut Self {
        if length > 0 {
            self.0.push(LIST);
            self.length(length);
        }
        self
    }

    /// The empty list, and the end of every list.
    pub fn nil(&mut self) -> &mut Self {
        self.0.push(NIL);
        self
    }

    /// An atom: one of the protocol's own names, never a client's.
    pub fn atom(&mut self, name: &'static str) -> &mut Self {
        self.0.extend_from_slice(&[SMALL_ATOM_UTF8, name.len() as u8]);
        self.0.extend_from_slice(name.as_bytes());
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.atom(if value { "true" } else { "false" })
    }

    /// A binary.
    pub fn binary(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.push(BINARY);
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    /// A non-negative integer.
    pub fn integer(&mut self, value: u64) -> &mut Self {
        if let Ok(byte) = u8::try_from(value) {
            self.0.extend_from_slice(&[SMALL_INTEGER, byte]);
        } else if let Ok(word) = i32::try_from(value) {
            self.0.push(INTEGER);
            self.0.extend_from_slice(&word.to_be_bytes());
        } else {
            let len = 8 - value.leading_zeros() as u8 / 8;
            self.0.extend_from_slice(&[SMALL_BIG, len, 0]);
            self.0.extend_from_slice(&value.to_le_bytes()[..usize::from(len)]);
        }
        self
    }

    /// A 32-bit length. What we send is bounded far below that (a packet is a few MiB at most).
    fn length(&mut self, length: usize) -> &mut Self {
        self.0.extend_from_slice(&(length as u32).to_be_bytes());
        self
    }
}
