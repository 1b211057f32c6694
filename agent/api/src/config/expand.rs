//! Variables in strings: `${NAME}`, `${NAME:-default}`, `$NAME`, a leading `~`, and `$$` for a dollar.
//! A dollar before anything else stays a dollar.

/// Why a string could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The variable is not set. `braced` tells `${NAME}`, which is surely meant as one, from `$NAME`.
    Unset { name: String, braced: bool },
    /// `${` without its `}`.
    Open,
    /// A leading `~` with no home folder known.
    NoHome,
}

/// The string with its variables replaced by what `lookup` knows of them.
pub(crate) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    home: Option<&str>,
) -> Result<String, Failed> {
    let (mut out, rest) = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            (home.ok_or(Failed::NoHome)?.trim_end_matches('/').to_owned(), rest)
        }
        _ => (String::new(), text),
    };
    variables(rest, lookup, &mut out)?;
    Ok(out)
}

fn variables(text: &str, lookup: &dyn Fn(&str) -> Option<String>, out: &mut String) -> Result<(), Failed> {
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or(Failed::Open)?;
            let (name, default) = match after[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&after[..end], None),
            };
            match (lookup(name), default) {
                (Some(value), None) => out.push_str(&value),
                (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
                (_, Some(default)) => variables(default, lookup, out)?,
                (None, None) => {
                    return Err(Failed::Unset { name: name.to_owned(), braced: true });
                }
            }
            rest = &after[end + 1..];
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let name = &rest[..end];
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                out.push('$');
                continue;
            }
            out.push_str(&lookup(name).ok_or_else(|| Failed::Unset { name: name.to_owned(), braced: false })?);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(())
}

/// Where the `}` is that closes an opened `${`, passing over those of variables in its default.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A string that expands to `text` itself.
pub(crate) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, Failed> {
        let lookup = |name: &str| match name {
            "BUCKET" => Some("photos".to_owned()),
            "EMPTY" => Some(String::new()),
            "data_dir" => Some("/var/lib/gosync".to_owned()),
            _ => None,
        };
        expand(text, &lookup, Some("/home/ada"))
    }

    #[test]
    fn variables_take_their_value_or_default() {
        assert_eq!(of("${BUCKET}-$BUCKET/x"), Ok("photos-photos/x".into()));
        assert_eq!(of("${data_dir}/gosync.db"), Ok("/var/lib/gosync/gosync.db".into()));
        assert_eq!(of("${NONE:-eu}"), Ok("eu".into()));
        assert_eq!(of("${EMPTY:-eu}"), Ok("eu".into()));
        assert_eq!(of("a${EMPTY}b"), Ok("ab".into()));
        assert_eq!(of("${NONE:-${BUCKET}}/${NONE:-}"), Ok("photos/".into()));
    }

    #[test]
    fn a_doubled_dollar_and_a_dollar_before_no_name_are_dollars() {
        assert_eq!(of("pa$$word"), Ok("pa$word".into()));
        assert_eq!(of("~$*.docx"), Ok("~$*.docx".into()));
        assert_eq!(of("5$ and $5 and $"), Ok("5$ and $5 and $".into()));
        assert_eq!(of(&escape("a$BUCKET")), Ok("a$BUCKET".into()));
    }

    #[test]
    fn an_unset_variable_is_named() {
        let unset = |name: &str, braced| Err(Failed::Unset { name: name.into(), braced });
        assert_eq!(of("${NONE}"), unset("NONE", true));
        assert_eq!(of("$NONE.x"), unset("NONE", false));
        assert_eq!(of("${BUCKET"), Err(Failed::Open));
    }

    #[test]
    fn only_a_leading_tilde_is_the_home_folder() {
        assert_eq!(of("~"), Ok("/home/ada".into()));
        assert_eq!(of("~/Documents"), Ok("/home/ada/Documents".into()));
        assert_eq!(of("~bob/x"), Ok("~bob/x".into()));
        assert_eq!(of("/a/~"), Ok("/a/~".into()));
        assert_eq!(expand("~/x", &|_| None, None), Err(Failed::NoHome));
    }
}
