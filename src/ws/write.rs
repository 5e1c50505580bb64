//! Frames to a client, appended to a buffer.

use super::frame::{MAX_CONTROL, Written};
use super::names::{Control, Data, OpCode};

/// Appends a frame of its own, uncompressed.
pub fn frame(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let header = Written::new(true, false, opcode, payload.len() as u64);
    out.reserve(header.as_bytes().len() + payload.len());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(payload);
}

/// Appends a compressed frame of its own: `compress` appends what the payload becomes. An empty message is the single byte 0
/// (RFC 7692, 7.2.3.6).
pub fn compressed(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>, compress: impl FnOnce(&mut Vec<u8>)) {
    let gap = Gap::open(payload.len(), out);
    if payload.is_empty() {
        out.push(0);
    } else {
        compress(out);
    }
    gap.fill(true, true, opcode, out);
}

/// Room for the header of a frame whose payload is appended before its size is known.
pub struct Gap {
    start: usize,
    size: usize,
}

impl Gap {
    /// Leaves room for the header of a payload of about `size` bytes.
    pub fn open(size: usize, out: &mut Vec<u8>) -> Gap {
        let start = out.len();
        let size = Written::new(true, true, OpCode::Data(Data::Continue), size as u64).as_bytes().len();
        out.resize(start + size, 0);
        Gap { start, size }
    }

    /// Nothing has been appended.
    pub fn is_empty(&self, out: &[u8]) -> bool {
        out.len() == self.start + self.size
    }

    /// Writes the header of what has been appended.
    pub fn fill(self, fin: bool, rsv1: bool, opcode: OpCode, out: &mut Vec<u8>) {
        let payload = self.start + self.size;
        let header = Written::new(fin, rsv1, opcode, (out.len() - payload) as u64);
        let header = header.as_bytes();
        // Compression has usually not changed the length of the length, so this moves nothing.
        if header.len() == self.size {
            out[self.start..payload].copy_from_slice(header);
        } else {
            out.splice(self.start..payload, header.iter().copied());
        }
    }
}

/// Appends a control frame; of a payload above 125 bytes the rest is cut off.
pub fn control(control: Control, payload: &[u8], out: &mut Vec<u8>) {
    frame(OpCode::Control(control), &payload[..payload.len().min(MAX_CONTROL)], out);
}
