//! The last bytes of what one side has sent: what its next message may refer to (RFC 7692, 7.2.3.2). Pure.

/// The last bytes, in a ring that grows up to its size.
pub struct History {
    /// Grows up to `size` bytes.
    bytes: Vec<u8>,
    /// Where the oldest byte is, once `bytes` is full; 0 before.
    at: usize,
    size: usize,
}

impl History {
    /// A history of the last `size` bytes, which holds nothing yet.
    pub fn new(size: usize) -> History {
        History { bytes: Vec::new(), at: 0, size }
    }

    /// Appends bytes; the oldest go.
    pub fn push(&mut self, piece: &[u8]) {
        let piece = &piece[piece.len().saturating_sub(self.size)..];
        let size = self.bytes.len() + piece.len();
        if self.bytes.capacity() < size.min(self.size) {
            let capacity = size.next_power_of_two().min(self.size);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        let (grow, wrap) = piece.split_at(piece.len().min(self.size - self.bytes.len()));
        self.bytes.extend_from_slice(grow);
        let (until_end, from_start) = wrap.split_at(wrap.len().min(self.size - self.at));
        self.bytes[self.at..self.at + until_end.len()].copy_from_slice(until_end);
        self.bytes[..from_start.len()].copy_from_slice(from_start);
        if !wrap.is_empty() {
            self.at = (self.at + wrap.len()) % self.size;
        }
    }

    /// The last `most` bytes, or all where there are not so many; in two parts, the older first.
    pub fn last(&self, most: usize) -> [&[u8]; 2] {
        let (newer, older) = self.bytes.split_at(self.at);
        let newer = &newer[newer.len().saturating_sub(most)..];
        let most = most - newer.len();
        [&older[older.len().saturating_sub(most)..], newer]
    }

    /// Forgets everything, and holds no memory.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_those_that_were_pushed_last() {
        for size in [0, 1, 7, 8] {
            for piece in [1, 2, 7, 8, 9, 30] {
                let mut history = History::new(size);
                let mut all = Vec::new();
                for n in 0..9u8 {
                    let bytes: Vec<u8> = (0..piece).map(|i| n.wrapping_mul(31).wrapping_add(i)).collect();
                    history.push(&bytes);
                    all.extend(bytes);
                    for most in [0, 1, 5, size, usize::MAX] {
                        let expected = &all[all.len().saturating_sub(most.min(size))..];
                        assert_eq!(history.last(most).concat(), expected, "{size} {piece} {most}");
                    }
                    assert!(history.bytes.capacity() <= size);
                }
            }
        }
    }

    #[test]
    fn a_cleared_history_begins_anew() {
        let mut history = History::new(4);
        history.push(b"Hello");
        history.clear();
        assert_eq!(history.last(9).concat(), b"");
        history.push(b"abc");
        assert_eq!(history.last(9).concat(), b"abc");
    }
}
