//! What a container leaves behind in its pod's status when it ends: the receipts of its last flush, short enough to be kept.

use super::request::Flushed;
use super::state::Receipt;

/// A kubelet keeps 12 KiB of all containers of a pod together: this much comes through in a pod of twelve.
const SHARE_BYTES: usize = 1024;

impl Flushed {
    /// The receipts as JSON: what was not flushed first, with as many paths and reasons as there is room for. Of more mirrors
    /// than [`Receipt::BYTES_MAX`] has room for the last are left out.
    #[must_use]
    pub fn termination_message(&self) -> String {
        let lean = |receipt: &Receipt| Receipt { cursor: None, tree: None, ..receipt.clone() };
        let mut flushed = Self { receipts: self.receipts.iter().map(lean).collect() };
        flushed.receipts.sort_by_key(|receipt| receipt.flushed);
        loop {
            let text = serde_json::to_string(&flushed).unwrap_or_default();
            let shortened = text.len() > SHARE_BYTES && (flushed.drop_a_path() || flushed.drop_a_reason());
            if !shortened && (text.len() <= Receipt::BYTES_MAX || flushed.receipts.pop().is_none()) {
                return text;
            }
        }
    }

    /// Of whoever names most.
    fn drop_a_path(&mut self) -> bool {
        let longest = self.receipts.iter_mut().max_by_key(|receipt| receipt.pending.first.len());
        longest.is_some_and(|receipt| receipt.pending.first.pop().is_some())
    }

    fn drop_a_reason(&mut self) -> bool {
        self.receipts.iter_mut().rev().any(|receipt| receipt.reason.take().is_some())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::super::state::ReceiptPending;
    use super::*;

    fn receipt(number: usize, flushed: bool) -> Receipt {
        let first = (0..5).map(|path| format!("folder-{number}/{}-{path}", "x".repeat(200))).collect();
        Receipt {
            mirror: format!("mirror-{number}"),
            device: "trainer-0".to_owned(),
            cursor: Some("17-abc".to_owned()),
            flushed,
            hydrated: true,
            files: 1,
            bytes: 2,
            pending: ReceiptPending { files: 9, bytes: 90, first: if flushed { Vec::new() } else { first } },
            tree: Some("0".repeat(64)),
            reason: (!flushed).then(|| "y".repeat(Receipt::REASON_CHARS_MAX)),
            started: None,
            finished: None,
        }
    }

    fn read(flushed: &Flushed) -> (usize, Flushed) {
        let text = flushed.termination_message();
        (text.len(), serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn one_receipt_keeps_its_numbers_and_some_of_its_paths_in_a_twelfth_of_what_a_pod_has() {
        let (length, kept) = read(&Flushed { receipts: vec![receipt(1, false)] });
        assert!(length <= SHARE_BYTES, "{length}");
        assert_eq!(kept.receipts[0].pending.files, 9);
        assert!((1..5).contains(&kept.receipts[0].pending.first.len()));
        assert!(kept.receipts[0].reason.is_some() && kept.receipts[0].tree.is_none());
    }

    #[test]
    fn what_was_not_flushed_is_there_before_anything_else_however_many_mirrors_there_are() {
        let mut receipts: Vec<Receipt> = (0..60).map(|number| receipt(number, true)).collect();
        receipts.extend((60..64).map(|number| receipt(number, false)));
        let (length, kept) = read(&Flushed { receipts });
        assert!(length <= Receipt::BYTES_MAX, "{length}");
        let names: Vec<&str> = kept.receipts.iter().take(4).map(|receipt| receipt.mirror.as_str()).collect();
        assert_eq!(names, ["mirror-60", "mirror-61", "mirror-62", "mirror-63"]);
        assert!(kept.receipts.len() < 64 && kept.receipts.iter().take(4).all(|receipt| receipt.pending.files == 9));
    }
}
