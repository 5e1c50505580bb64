//! What the messages say. The same on every run: made from their numbers alone.

const NAMES: [&str; 16] = [
    "saddle", "river", "dust", "herd", "north", "fence", "rain", "lantern", "valley", "horse", "trail", "ember",
    "canyon", "grass", "bridge", "wagon",
];

/// A text of `size` letters.
pub fn plain(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

/// `count` JSON texts of `size` bytes each, all different: lists of trades, as a feed of prices might send them.
pub fn json(count: u64, size: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| one_json(number, size)).collect()
}

fn one_json(number: u64, size: usize) -> Vec<u8> {
    let mut random = Random(number + 1);
    let mut text = format!(r#"{{"feed":"trades","number":{number},"trades":["#);
    loop {
        let trade = format!(
            r#"{{"id":{},"symbol":"{}","price":{}.{:02},"side":"{}","at":{}}},"#,
            random.next(),
            NAMES[random.below(NAMES.len() as u64) as usize],
            random.below(1000),
            random.below(100),
            if random.below(2) == 0 { "buy" } else { "sell" },
            1_700_000_000_000 + random.below(10_000_000_000),
        );
        if text.len() + trade.len() + MORE.len() + 2 > size {
            break;
        }
        text.push_str(&trade);
    }
    text.push_str(MORE);
    while text.len() + 2 < size {
        text.push(char::from(b'0' + random.below(10) as u8));
    }
    text.push_str("]}");
    text.into_bytes()
}

/// Begins the list's last element, a number as long as it takes to fill the text.
const MORE: &str = "1";

/// Knuth's 64-bit linear congruential generator (MMIX), of which the upper half is used.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_text_has_the_size_asked_for() {
        for text in json(50, 200).into_iter().chain(json(50, 1024)) {
            assert!(text.len() == 200 || text.len() == 1024);
            serde_json::from_slice::<serde_json::Value>(&text).expect("JSON");
        }
    }
}
