//! The masking of client frames (RFC 6455, 5.3): every payload byte is combined with one of the key's four bytes.
//! The operation is its own inverse, and works in place.

/// Masks or unmasks `payload`, whose first byte belongs to `key[0]`.
///
/// Written over words, which the compiler turns into vector instructions.
pub fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The key for what follows after `count` bytes of payload.
pub fn advance(mut key: [u8; 4], count: usize) -> [u8; 4] {
    key.rotate_left(count % 4);
    key
}

/// The key for what came before the last `count` bytes of payload: undoes [`advance`].
pub fn retreat(mut key: [u8; 4], count: usize) -> [u8; 4] {
    key.rotate_right(count % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_meets_the_key_byte_of_its_index() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for size in 0..70 {
            let plain: Vec<u8> = (0..size).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut masked = plain.clone();
            apply(&mut masked, key);
            assert_eq!(masked, expected);
        }
    }

    #[test]
    fn a_payload_masked_in_two_pieces_is_masked_the_same() {
        let key = [1, 2, 4, 8];
        let mut whole = [0xaa; 23];
        apply(&mut whole, key);
        for cut in 0..=whole.len() {
            let mut pieces = [0xaa; 23];
            let (first, second) = pieces.split_at_mut(cut);
            apply(first, key);
            apply(second, advance(key, cut));
            assert_eq!(retreat(advance(key, cut), cut), key);
            assert_eq!(pieces, whole);
        }
    }
}
