//! Quantities of bytes, as far as limits need them: read, added up, written.

/// Bytes of a quantity such as `256Mi`, `1G`, `1.5Gi` or `1e9`, rounded up; none where it can't be read.
pub fn bytes(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("m", 0.001),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("", 1.0),
    ];
    let suffix = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix));
    let (suffix, factor) = suffix?;
    let number: f64 = text[..text.len() - suffix.len()].parse().ok()?;
    let bytes = (number * factor).ceil();
    (0.0..9.0e18).contains(&bytes).then_some(bytes as u64)
}

/// As a quantity, in MiB where it is a whole number of them.
pub fn written(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes > 0 && bytes.is_multiple_of(MIB) { format!("{}Mi", bytes / MIB) } else { bytes.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("256Mi", Some(268_435_456)),
            ("1Gi", Some(1 << 30)),
            ("1.5Gi", Some(1_610_612_736)),
            ("1G", Some(1_000_000_000)),
            ("1e9", Some(1_000_000_000)),
            ("128", Some(128)),
            ("100m", Some(1)),
            ("0", Some(0)),
            ("", None),
            ("-1", None),
            ("many", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn sums_are_written_in_the_largest_whole_unit_that_we_use() {
        assert_eq!(written((256 << 20) + (1 << 30)), "1280Mi");
        assert_eq!(written(1_000_000_000), "1000000000");
    }
}
