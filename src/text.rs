//! Texts that others wrote, made safe to be shown: on terminals, in conditions, events, logs and statuses.
//!
//! Never: a text that is compared or sent back. Those stay as they came.

/// Whether a character does something instead of showing something: controls (C0, DEL, C1), marks that turn the direction of
/// writing, separators of lines, and what has no width.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// One line of words, without hidden characters, of at most so many bytes.
///
/// Of a text that is far longer only the beginning is looked at.
pub fn clean(text: &str, most: usize) -> String {
    let beginning = cut(text, most.saturating_mul(8));
    let spaced: String = beginning.chars().map(|c| if hidden(c) { ' ' } else { c }).collect();
    let mut line = String::with_capacity(spaced.len().min(most));
    for word in spaced.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        let room = most.saturating_sub(line.len());
        let piece = cut(word, room.saturating_sub(gap));
        if piece.is_empty() {
            break;
        }
        if gap == 1 {
            line.push(' ');
        }
        line.push_str(piece);
    }
    line
}

/// At most so many bytes of the beginning, and no half characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_turns_a_line_is_left() {
        for (text, wanted) in [
            ("a plain text", "a plain text"),
            ("a\u{1b}[31mred\u{1b}[0m", "a [31mred [0m"),
            ("\u{1b}]0;title\u{7}x", "]0;title x"),
            ("c1 \u{9b}31m\u{85}next\u{90}x", "c1 31m next x"),
            ("a\r\n\tb\u{2028}c\u{2029}d\u{0}\u{7f}e", "a b c d e"),
            ("\u{202e}txt.exe\u{202c} \u{2066}x\u{2069} \u{61c}y\u{200f}", "txt.exe x y"),
            ("zero\u{200b}width\u{feff}and\u{ad}soft", "zero width and soft"),
            ("\u{e0041}tag \u{fff9}x\u{fffb}", "tag x"),
            ("\u{e4}\u{f6} \u{4f60}\u{597d} \u{1f511}", "\u{e4}\u{f6} \u{4f60}\u{597d} \u{1f511}"),
            ("", ""),
            ("\u{1b}", ""),
        ] {
            assert_eq!(clean(text, 100), wanted, "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_by_bytes_between_characters() {
        assert_eq!(clean(&"x".repeat(5_000_000), 256).len(), 256);
        assert_eq!(clean(&"\u{1f511}".repeat(5_000_000), 255).len(), 252);
        assert_eq!(clean(&"\u{1b}".repeat(5_000_000), 256), "");
        assert_eq!(clean("ab cd", 3), "ab");
        assert_eq!(clean("ab cd", 4), "ab c");
        assert_eq!(clean("ab \u{e4}", 4), "ab");
        assert_eq!(clean("\u{e4}", 1), "");
        assert_eq!(clean("x", 0), "");
    }

    proptest::proptest! {
        #[test]
        fn a_clean_text_is_short_and_stays_as_it_is(text in ".{0,200}|(?s).{0,200}", most in 0_usize..300) {
            let once = clean(&text, most);
            assert!(once.len() <= most && !once.chars().any(hidden) && once.trim() == once);
            assert_eq!(clean(&once, most), once);
        }
    }
}
