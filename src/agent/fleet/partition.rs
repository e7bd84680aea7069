//! Which partition an app's records are in: as our producers (`murmur2_random`, see `bus::producer`) and Kafka's Java
//! client choose it.

/// The partition of `app` in a topic of `partitions`; `None` where that is 0.
pub(super) fn partition_of(app: &str, partitions: i32) -> Option<i32> {
    let positive = (murmur2(app.as_bytes()) & 0x7fff_ffff) as i32;
    positive.checked_rem(partitions)
}

/// MurmurHash2 by Austin Appleby, with the seed that Kafka uses.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let shifted = rest.iter().enumerate().map(|(at, byte)| u32::from(*byte) << (8 * at));
        hash = (hash ^ shifted.fold(0, |all, byte| all ^ byte)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What librdkafka checks its own by, from Kafka's Java client.
    #[test]
    fn hashes_as_java_does() {
        for (key, hash) in [
            ("kafka", 0xd067_cf64),
            ("giberish123456789", 0x8f55_2b0c),
            ("1234", 0x9fc9_7b14),
            ("234", 0xe7c0_09ca),
            ("34", 0x8739_30da),
            ("4", 0x5a4b_5ca1),
            ("PreAmbleWillBeRemoved,ThePrePartThatIs", 0x7842_4f1c),
            ("", 0x106e_08d9),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
        assert_eq!(partition_of("kafka", 8), Some(0x5067_cf64 % 8));
        assert_eq!(partition_of("kafka", 0), None);
    }
}
