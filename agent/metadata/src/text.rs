//! Keys and cursors as a database holds them: sorted by bytes, in ranges, without NUL; and rows sent to it many at a time.

use std::borrow::Cow;

use gosync_engine::ports::metadata::Cursor;
use serde::Serialize;

/// Rows of one statement.
pub(crate) const STATEMENT_ROWS_MAX: usize = 1_000;

/// The rows as JSON, for `jsonb_each` (`json_each` would write and parse a row anew for each of its columns): one fixed
/// statement takes any number of rows.
pub(crate) fn json<T: Serialize>(rows: &[T]) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Databases can't hold NUL as text. The spelling keeps the order of bytes, and that of a prefix is the spelling's prefix.
pub(crate) fn spell(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte < 2) {
        Cow::Owned(text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The opposite of [`spell`].
pub(crate) fn unspell(text: String) -> String {
    if !text.contains('\u{1}') {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        plain.push(match letter {
            '\u{1}' => match rest.next() {
                Some('\u{1}') => '\0',
                _ => '\u{1}',
            },
            other => other,
        });
    }
    plain
}

pub(crate) fn cursor_text(cursor: &Cursor) -> String {
    format!("{}:{}", cursor.sequence, cursor.row_id)
}

/// The opposite of [`cursor_text`].
pub(crate) fn cursor(text: &str) -> Result<Cursor, sqlx::Error> {
    let (sequence, row_id) = text.split_once(':').ok_or_else(|| undecodable(format!("the cursor {text}")))?;
    Ok(Cursor { sequence: sequence.parse().map_err(undecodable)?, row_id: row_id.into() })
}

pub(crate) fn undecodable(error: impl Into<sqlx::error::BoxDynError>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// Texts from `from` (included) until `until` (left out), as they stand in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextRange {
    pub(crate) from: String,
    pub(crate) until: Option<String>,
}

impl TextRange {
    /// What begins with `prefix` and comes after `after`.
    pub(crate) fn new(prefix: &str, after: Option<&str>) -> Self {
        // No text has a NUL, so nothing fits between a text and the same one with U+0001 behind it.
        let after = after.map(|after| format!("{after}\u{1}"));
        let from = match after {
            Some(after) if after.as_str() > prefix => after,
            _ => prefix.to_owned(),
        };
        Self { from, until: successor(prefix) }
    }

    /// The upper bound to compare keys with: text, or an empty BLOB, which SQLite sorts after every text.
    pub(crate) fn until(&self) -> Bound<'_> {
        Bound(self.until.as_deref())
    }
}

pub(crate) struct Bound<'a>(Option<&'a str>);

impl<'q> sqlx::Encode<'q, sqlx::Sqlite> for Bound<'_> {
    fn encode_by_ref(
        &self,
        arguments: &mut sqlx::sqlite::SqliteArgumentsBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        match self.0 {
            Some(text) => sqlx::Encode::<sqlx::Sqlite>::encode(text.to_owned(), arguments),
            None => sqlx::Encode::<sqlx::Sqlite>::encode(Vec::<u8>::new(), arguments),
        }
    }
}

impl sqlx::Type<sqlx::Sqlite> for Bound<'_> {
    fn type_info() -> sqlx::sqlite::SqliteTypeInfo {
        <String as sqlx::Type<sqlx::Sqlite>>::type_info()
    }
}

/// The least text after all that begin with `prefix`; `None` when there is none. UTF-8 sorts as its code points do.
fn successor(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_come_back_and_keep_their_order() {
        let texts = [
            "",
            "\0",
            "\0\0",
            "\0\u{1}",
            "\0a",
            "\u{1}",
            "\u{1}\0",
            "\u{1}\u{1}",
            "\u{1}\u{2}",
            "\u{2}",
            "a",
            "a\0",
            "a\0b",
            "ab",
        ];
        assert!(texts.is_sorted());
        let spelled: Vec<_> = texts.iter().map(|text| spell(text).into_owned()).collect();
        assert!(spelled.is_sorted(), "{spelled:?}");
        for (text, spelled) in texts.iter().zip(spelled) {
            assert!(!spelled.contains('\0'));
            assert_eq!(unspell(spelled), *text);
        }
    }

    #[test]
    fn a_range_holds_what_begins_with_its_prefix_and_nothing_else() {
        let range = TextRange::new("a/", None);
        assert_eq!((range.from.as_str(), range.until.as_deref()), ("a/", Some("a0")));
        assert_eq!(TextRange::new("", None), TextRange { from: String::new(), until: None });
        assert_eq!(TextRange::new("a\u{10ffff}", None).until.as_deref(), Some("b"));
        assert_eq!(TextRange::new("\u{10ffff}", None).until, None);
        assert_eq!(TextRange::new("\u{d7ff}", None).until.as_deref(), Some("\u{e000}"));
        assert_eq!(TextRange::new("a/", Some("a/b")).from, "a/b\u{1}");
        assert_eq!(TextRange::new("b/", Some("a/b")).from, "b/");
    }
}
