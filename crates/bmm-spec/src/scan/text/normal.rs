//! A text as a reader of English sees it: without hidden characters, in plain letters.

use super::{
    confusable::{
        self, Reading, is_close_script, is_flag_part, is_formula_letter, is_fullwidth, is_greek, reading,
    },
    mapped::Mapped,
};
use crate::hidden::hidden;
use std::ops::Range;
use unicode_script::{Script, UnicodeScript};

/// What there is to do about a text beyond ASCII.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// It holds hidden characters.
    pub(crate) hidden: bool,
    /// It holds characters that read as others.
    letters: bool,
    /// Letters of other scripts that look like Latin ones are among them.
    lookalikes: bool,
    ideographs: bool,
}

impl Look {
    pub(crate) fn nothing(self) -> bool {
        !self.hidden && !self.letters
    }
}

/// Looks for hidden characters and for those that read as others.
pub(crate) fn look(text: &str) -> Look {
    let mut found = Look::default();
    for c in text.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            continue;
        }
        found.hidden |= hidden(c).is_some();
        match reading(c) {
            Reading::Itself => {}
            Reading::Foreign => found.ideographs |= is_ideograph(c),
            Reading::Lookalike(_) | Reading::Loose(_) => {
                found.letters = true;
                found.lookalikes = true;
            }
            Reading::Plain(_) | Reading::Styled(_) | Reading::Mark => found.letters = true,
        }
    }
    found
}

/// Where fullwidth letters are ordinary.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{9fff}' | '\u{ac00}'..='\u{d7ff}')
}

/// The text without hidden characters and terminal sequences.
pub(crate) fn visible(text: &str) -> Mapped {
    let mut made = Mapped::default();
    let mut rest = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if hidden(c).is_none() {
            continue;
        }
        made.copy(text, rest..at);
        let mut end = at + c.len_utf8();
        if let Some(length) = terminal_sequence(text.get(at..).unwrap_or_default()) {
            end = at + length;
            while chars.next_if(|(next, _)| *next < end).is_some() {}
        }
        rest = end;
    }
    made.copy(text, rest..text.len());
    made
}

/// A longer one is no sequence, or a terminal would wait for its end.
const MAX_SEQUENCE: usize = 256;

/// The length of the ANSI sequence (ECMA-48) at the start of a text.
fn terminal_sequence(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().take(MAX_SEQUENCE);
    let kind = match chars.next()?.1 {
        '\u{1b}' => chars.next()?.1,
        '\u{9b}' => '[',
        '\u{9d}' => ']',
        _ => return None,
    };
    match kind {
        '[' => chars
            .find(|(_, c)| matches!(c, '@'..='~'))
            .map(|(at, c)| at + c.len_utf8()),
        ']' | 'P' | '_' | '^' => {
            let (at, end) = chars.find(|(_, c)| matches!(c, '\u{7}' | '\u{9c}' | '\u{1b}'))?;
            let backslash = end == '\u{1b}' && text.get(at + 1..)?.starts_with('\\');
            Some(at + end.len_utf8() + usize::from(backslash))
        }
        _ => None,
    }
}

/// A text in plain letters, and where it was not.
#[derive(Debug, Default)]
pub(crate) struct Normal {
    pub(crate) text: Mapped,
    /// Words in which letters of another script or alphabet pass as Latin.
    pub(crate) disguised: Vec<Disguised>,
    /// ASCII letters stand in the text.
    pub(crate) among_latin: bool,
    /// Spans, in the source, of words in styled letters.
    pub(crate) styled: Vec<Range<usize>>,
}

/// A word that is not written in the letters it reads as.
#[derive(Debug)]
pub(crate) struct Disguised {
    /// In the source.
    pub(crate) span: Range<usize>,
    pub(crate) reads: String,
    /// ASCII letters stand among the others.
    pub(crate) mixed: bool,
    /// Too short to count alone.
    pub(crate) short: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// As it is, apart from accents and typography.
    Ordinary,
    /// In ASCII and letters that look like it.
    Mixed,
    /// In letters of another script only, each of which looks like ASCII.
    Whole,
}

struct Word {
    span: Range<usize>,
    class: Class,
    letters: usize,
    /// Its letters of another script are ones that formulas use.
    formula: bool,
}

/// Writes a text in plain letters.
pub(crate) fn plain_letters(text: &str, look: Look) -> Normal {
    let (words, genuine) = if look.lookalikes {
        words(text)
    } else {
        Default::default()
    };
    let ideographs = look.ideographs;
    let mut normal = Normal {
        among_latin: look.lookalikes && text.bytes().any(|b| b.is_ascii_alphabetic()),
        ..Normal::default()
    };
    let mut rest = 0;
    for word in words {
        let unmask = match word.class {
            Class::Mixed => true,
            Class::Whole => !genuine,
            Class::Ordinary => false,
        };
        plain_part(text, rest..word.span.start, (false, ideographs), &mut normal);
        let before = normal.text.text().len();
        plain_part(text, word.span.clone(), (unmask, ideographs), &mut normal);
        if unmask {
            normal.disguised.push(Disguised {
                reads: normal.text.text().get(before..).unwrap_or_default().to_owned(),
                mixed: word.class == Class::Mixed,
                // `ρx` is a formula, `usе` is none.
                short: word.letters < if word.formula { 4 } else { 2 },
                span: word.span.clone(),
            });
        }
        rest = word.span.end;
    }
    plain_part(text, rest..text.len(), (false, ideographs), &mut normal);
    normal
}

/// A stretch of a text, with letters of other scripts unmasked or left.
fn plain_part(text: &str, range: Range<usize>, (unmask, ideographs): (bool, bool), normal: &mut Normal) {
    let mut rest = range.start;
    let mut at = range.start;
    // Where a Latin letter ended last: accents go from Latin letters only, elsewhere they change the letter.
    let mut latin_end = usize::MAX;
    let bytes = text.as_bytes();
    while let Some(skipped) = bytes
        .get(at..range.end)
        .and_then(|part| part.iter().position(|byte| !byte.is_ascii()))
    {
        let after_ascii = at + skipped;
        if skipped > 0 && bytes.get(after_ascii - 1).is_some_and(u8::is_ascii_alphabetic) {
            latin_end = after_ascii;
        }
        at = after_ascii;
        let Some(c) = text.get(at..).and_then(|tail| tail.chars().next()) else {
            break;
        };
        let span = at..at + c.len_utf8();
        let (ascii, styled) = match reading(c) {
            Reading::Plain(ascii) => (Some(ascii), false),
            Reading::Styled(ascii) => (Some(ascii), true),
            Reading::Lookalike(ascii) | Reading::Loose(ascii) if unmask => (Some(ascii), false),
            Reading::Mark if latin_end == at => {
                normal.text.copy(text, rest..at);
                rest = span.end;
                at = rest;
                latin_end = rest;
                continue;
            }
            _ => (None, false),
        };
        at = span.end;
        let Some(ascii) = ascii else { continue };
        latin_end = span.end;
        normal.text.copy(text, rest..span.start);
        normal.text.put(ascii.as_str(), span.clone());
        rest = span.end;
        if styled && !is_flag_part(c) && !(ideographs && is_fullwidth(c)) {
            match normal.styled.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => normal.styled.push(span),
            }
        }
    }
    normal.text.copy(text, rest..range.end);
}

/// The words that hold letters of other scripts, and whether some are words of another script beyond doubt.
fn words(text: &str) -> (Vec<Word>, bool) {
    let mut found = Vec::new();
    let mut genuine = false;
    let mut start = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let in_word = c.is_alphanumeric() || (!c.is_ascii() && reading(c) == Reading::Mark);
        if in_word && start.is_none() {
            start = Some(at);
        }
        let ends = !in_word || chars.peek().is_none();
        if let Some(from) = start.filter(|_| ends) {
            let end = if in_word { at + c.len_utf8() } else { at };
            let word = text.get(from..end).unwrap_or_default();
            if !word.is_ascii() {
                let (class, letters, own) = classify(word);
                genuine |= own;
                if class != Class::Ordinary {
                    let formula = word.chars().all(|c| c.is_ascii() || is_formula_letter(c));
                    found.push(Word {
                        span: from..end,
                        class,
                        letters,
                        formula,
                    });
                }
            }
            start = None;
        }
    }
    (found, genuine)
}

/// Whether letters of several scripts other than Latin, which look alike, stand in one word.
#[derive(Default)]
struct Scripts {
    first: Option<Script>,
    several: bool,
}

impl Scripts {
    fn add(&mut self, c: char) {
        let script = match c {
            _ if c.is_ascii() => return,
            _ if is_close_script(c) => c.script(),
            _ => return,
        };
        if script == Script::Latin {
            return;
        }
        self.several |= self.first.is_some_and(|first| first != script);
        self.first.get_or_insert(script);
    }
}

/// What a word is written in, how many letters it has, and whether it is beyond doubt a word of another script.
fn classify(word: &str) -> (Class, usize, bool) {
    let (mut latin, mut alike, mut loose, mut foreign) = (0usize, 0usize, 0usize, 0usize);
    let (mut switches, mut latin_first, mut before) = (0usize, false, None);
    let mut close = true;
    let mut scripts = Scripts::default();
    for c in word.chars() {
        scripts.add(c);
        let of_latin = match reading(c) {
            Reading::Itself if c.is_ascii_digit() => continue,
            Reading::Itself => c.is_alphabetic(),
            Reading::Plain(_) => true,
            Reading::Mark | Reading::Styled(_) => continue,
            Reading::Lookalike(_) => {
                alike += 1;
                close &= is_close_script(c);
                false
            }
            Reading::Loose(_) => {
                loose += 1;
                false
            }
            Reading::Foreign => {
                foreign += 1;
                false
            }
        };
        latin += usize::from(of_latin);
        match before {
            None => latin_first = of_latin,
            Some(last) if last != of_latin => switches += 1,
            Some(_) => {}
        }
        before = Some(of_latin);
    }
    let letters = latin + alike + loose + foreign;
    // A Latin stem with an ending of the writer's own script is how loanwords are inflected.
    let inflected = latin_first && switches == 1 && latin >= 2;
    let class = if scripts.several && alike > 0 {
        // No language writes a word in two of these.
        Class::Mixed
    } else if foreign > 0 || alike + loose == 0 {
        Class::Ordinary
    } else if latin > 0 {
        let all_alike = loose == 0;
        if (all_alike && !(inflected && alike > 2))
            || (!all_alike && !inflected && (alike > 0 || !word.chars().any(is_greek)))
            || switches > 1
        {
            Class::Mixed
        } else {
            Class::Ordinary
        }
    } else if loose == 0 && letters >= 3 && close {
        Class::Whole
    } else {
        Class::Ordinary
    };
    (class, letters, latin == 0 && foreign + loose > 0)
}

/// The skeleton of a name: names with one skeleton cannot be told apart.
pub(crate) fn skeleton(name: &str) -> String {
    let seen = visible(name);
    let plain: String = seen
        .text()
        .chars()
        .flat_map(|c| {
            match confusable::reading(c) {
                Reading::Plain(a) | Reading::Styled(a) | Reading::Lookalike(a) => a.as_str().to_owned(),
                _ => c.to_string(),
            }
            .chars()
            .collect::<Vec<_>>()
        })
        .collect();
    unicode_security::confusable_detection::skeleton(&plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        plain_letters(visible(text).text(), look(text))
            .text
            .text()
            .to_owned()
    }

    #[test]
    fn texts_are_read_in_plain_letters() {
        for (text, expected) in [
            ("ig\u{200b}no\u{ad}re", "ignore"),
            (
                "\u{1b}[31mred\u{1b}[0m and \u{1b}]0;title\u{7}blue",
                "red and blue",
            ),
            ("ｉｇｎｏｒｅ 𝐚𝐥𝐥", "ignore all"),
            ("í\u{301}gn\u{f6}re “it”…", "ignore \"it\"..."),
            ("іgnоrе тhis", "ignore this"),
            ("сору the file", "copy the file"),
            ("ΙGNΟRΕ", "IGNORE"),
            ("Сервер сорок APIшки", "Сервер сорок APIшки"),
            ("API接口", "API接口"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }

    #[test]
    fn words_in_borrowed_letters_are_told_from_other_scripts() {
        let disguised = |text: &str| plain_letters(text, look(text)).disguised.len();
        for text in ["раypal", "Ьеfоrе", "usе it", "сору the file", "аdmіn", "ɡoogle"] {
            assert_eq!(disguised(text), 1, "{text:?}");
        }
        for text in [
            "Привет, мир: скачать PDFку и JSON-файл",
            "μm, Ω, Δt, β-blocker, kΩ, λx",
            "ɡəʊ /ˈʌðə/",
            "Überprüft café naïve Łódź smørrebrød",
            "東京API",
            "рост за год",
            "한국어Text",
            "العربيةtext",
        ] {
            assert_eq!(disguised(text), 0, "{text:?}");
        }
    }

    #[test]
    fn names_that_look_the_same_have_one_skeleton() {
        for (a, b) in [
            ("list", "1ist"),
            ("get_Item", "get_ltem"),
            ("read", "rеad"),
            ("form", "forrn"),
            ("a\u{200b}b", "ab"),
        ] {
            assert_eq!(skeleton(a), skeleton(b), "{a} {b}");
        }
        assert_ne!(skeleton("read"), skeleton("reads"));
    }
}
