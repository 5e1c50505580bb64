//! Bytes that are there seldom and for a short time: eight bytes where there are none, instead of a vector's 24.

use std::ops::Deref;

/// Bytes that are kept until more have come.
#[derive(Default)]
pub struct Kept(#[expect(clippy::box_collection, reason = "it is small where there is nothing")] Option<Box<Vec<u8>>>);

impl Kept {
    /// Appends some.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().extend_from_slice(bytes);
        }
    }

    /// The bytes, to be changed.
    pub fn vec(&mut self) -> &mut Vec<u8> {
        self.0.get_or_insert_default()
    }

    /// Takes all.
    pub fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |bytes| *bytes)
    }
}

impl From<Vec<u8>> for Kept {
    fn from(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes)))
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}
