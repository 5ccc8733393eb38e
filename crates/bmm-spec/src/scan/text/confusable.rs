//! Characters that read as others: which ASCII does a reader of English see in a character of another script or style?
//!
//! After UTS #39 (confusable skeletons, mixed scripts), with the lookalikes of people added to those of fonts.

use std::sync::LazyLock;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_script::{Script, UnicodeScript};

/// At most so many ASCII characters stand for one.
const MAX_ASCII: usize = 6;

/// How a character reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As itself, and it is no letter of another script.
    Itself,
    /// A Latin letter with accents, a ligature, typographic punctuation: ordinary writing of this.
    Plain(Ascii),
    /// A letter made for decoration or formulas.
    Styled(Ascii),
    /// A letter of another script that looks the same.
    Lookalike(Ascii),
    /// A letter of another script that is taken for this one beside Latin letters.
    Loose(Ascii),
    /// A letter of another script that reads as nothing Latin.
    Foreign,
    /// A mark on the letter before it.
    Mark,
}

/// A few ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ascii {
    bytes: [u8; MAX_ASCII],
    len: u8,
}

impl Ascii {
    /// From characters that are all ASCII and few.
    fn new(chars: impl Iterator<Item = char>) -> Option<Self> {
        let mut ascii = Self {
            bytes: [0; MAX_ASCII],
            len: 0,
        };
        for c in chars {
            let slot = ascii.bytes.get_mut(usize::from(ascii.len))?;
            *slot = u8::try_from(c).ok().filter(u8::is_ascii)?;
            ascii.len += 1;
        }
        (ascii.len > 0).then_some(ascii)
    }

    fn one(c: char) -> Self {
        let mut bytes = [0; MAX_ASCII];
        if let Some(slot) = bytes.first_mut() {
            *slot = u8::try_from(c).unwrap_or(b'?');
        }
        Self { bytes, len: 1 }
    }

    pub(crate) fn as_str(&self) -> &str {
        let used = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(used).unwrap_or_default()
    }
}

/// The readings of a block of characters, looked up once.
struct Block {
    first: u32,
    end: u32,
    readings: LazyLock<Vec<Reading>>,
}

impl Block {
    fn reading(&self, code: u32) -> Reading {
        usize::try_from(code - self.first)
            .ok()
            .and_then(|index| self.readings.get(index))
            .copied()
            .unwrap_or(Reading::Itself)
    }
}

fn readings(first: u32, end: u32) -> Vec<Reading> {
    (first..end)
        .map(|code| char::from_u32(code).map_or(Reading::Itself, look_up))
        .collect()
}

/// Accents, Greek, Cyrillic, Armenian.
static LETTERS: Block = Block {
    first: 0x80,
    end: 0x600,
    readings: LazyLock::new(|| readings(0x80, 0x600)),
};

/// Punctuation, arrows, symbols, punctuation of ideographs.
static SYMBOLS: Block = Block {
    first: 0x2000,
    end: 0x3041,
    readings: LazyLock::new(|| readings(0x2000, 0x3041)),
};

/// How a character reads.
pub(crate) fn reading(c: char) -> Reading {
    match u32::from(c) {
        0..0x80 => Reading::Itself,
        code if code < LETTERS.end => LETTERS.reading(code),
        code if (SYMBOLS.first..SYMBOLS.end).contains(&code) => SYMBOLS.reading(code),
        // Kana, ideographs, Hangul, Yi: letters of their own, most of the texts that are not ASCII.
        0x3041..=0xa4cf | 0xac00..=0xd7ff | 0xf900..=0xfaff | 0x20000..=0x323af => {
            if c.is_alphabetic() {
                Reading::Foreign
            } else {
                Reading::Itself
            }
        }
        code if is_fullwidth(c) => match char::from_u32(code - 0xfee0) {
            Some(letter) if letter.is_ascii_alphabetic() => Reading::Styled(Ascii::one(letter)),
            Some(other) => Reading::Plain(Ascii::one(other)),
            None => Reading::Itself,
        },
        0x1f300..=0x1faff => Reading::Itself,
        _ => look_up(c),
    }
}

fn look_up(c: char) -> Reading {
    if is_combining_mark(c) {
        return Reading::Mark;
    }
    if c.is_whitespace() {
        let line = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
        return Reading::Plain(Ascii::one(if line { '\n' } else { ' ' }));
    }
    if let Some(punctuation) = punctuation(c) {
        return Reading::Plain(Ascii::one(punctuation));
    }
    if let Some(letter) = boxed(c) {
        return Reading::Styled(Ascii::one(letter));
    }
    let mut base = c.nfkd().filter(|part| !is_combining_mark(*part));
    match (base.next(), base.next()) {
        (Some(only), None) if only != c && !only.is_ascii() => return look_up(only),
        (Some(first), second) if first != c => {
            let whole = [Some(first), second].into_iter().flatten().chain(base);
            return match Ascii::new(whole) {
                Some(ascii) if is_styled(c) => Reading::Styled(ascii),
                Some(ascii) => Reading::Plain(ascii),
                None if c.is_alphabetic() => Reading::Foreign,
                None => Reading::Itself,
            };
        }
        _ => {}
    }
    if !c.is_alphabetic() {
        return Reading::Itself;
    }
    let latin = c.script() == Script::Latin;
    if let Some(ascii) = skeleton(c) {
        return if latin && !is_phonetic(c) {
            Reading::Plain(ascii)
        } else {
            Reading::Lookalike(ascii)
        };
    }
    match loose(c) {
        Some(letter) => Reading::Loose(Ascii::one(letter)),
        None if latin && !is_phonetic(c) => Reading::Itself,
        None => Reading::Foreign,
    }
}

/// The letters of the confusable skeleton, if they are ASCII.
fn skeleton(c: char) -> Option<Ascii> {
    let mut buffer = [0; 4];
    let shape: String =
        unicode_security::confusable_detection::skeleton(c.encode_utf8(&mut buffer)).collect();
    // The skeleton of `I`, `l`, `1` and `|` is `l`, that of `m` is `rn`: back to what a reader takes them for.
    let shape = match shape.as_str() {
        "l" if c.is_uppercase() => "I",
        "rn" => "m",
        other => other,
    };
    let letters = shape.bytes().all(|b| b.is_ascii_alphanumeric());
    Ascii::new(shape.chars()).filter(|_| letters)
}

/// What people read into letters whose shapes are close, though no font makes them the same.
fn loose(c: char) -> Option<char> {
    Some(match c {
        'в' | 'ь' => 'b',
        'г' => 'r',
        'к' | 'κ' => 'k',
        'м' => 'm',
        'н' | 'ћ' => 'h',
        'п' | 'η' => 'n',
        'т' | 'τ' => 't',
        'и' | 'μ' | 'υ' => 'u',
        'ω' | 'ш' => 'w',
        'я' | 'Я' => 'R',
        'ε' | 'є' => 'e',
        'И' | 'Й' => 'N',
        'Ц' => 'U',
        'χ' => 'x',
        'β' => 'B',
        'δ' => 'd',
        'ι' => 'i',
        'λ' => 'l',
        'ѵ' | 'ν' => 'v',
        'з' | 'З' => '3',
        'б' => '6',
        _ => return None,
    })
}

fn punctuation(c: char) -> Option<char> {
    Some(match c {
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{2bc}' | '\u{b4}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{ab}' | '\u{bb}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{3002}' => '.',
        '\u{ff61}' => '.',
        _ => return None,
    })
}

/// Letters in boxes and circles that have no decomposition, regional indicators among them.
fn boxed(c: char) -> Option<char> {
    let first = match c {
        '\u{1f150}'..='\u{1f169}' => 0x1f150,
        '\u{1f170}'..='\u{1f189}' => 0x1f170,
        '\u{1f1e6}'..='\u{1f1ff}' => 0x1f1e6,
        _ => return None,
    };
    let offset = u8::try_from(u32::from(c) - first).ok()?;
    Some(char::from(b'A'.checked_add(offset)?))
}

/// Two regional indicators are a flag.
pub(crate) fn is_flag_part(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Fullwidth forms, ordinary among ideographs.
pub(crate) fn is_fullwidth(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}')
}

fn is_styled(c: char) -> bool {
    let range = matches!(c, '\u{1d400}'..='\u{1d7ff}' | '\u{24b6}'..='\u{24e9}' | '\u{249c}'..='\u{24b5}' | '\u{1f110}'..='\u{1f149}' | '\u{2b0}'..='\u{2ff}' | '\u{1d2c}'..='\u{1d6a}' | '\u{2090}'..='\u{209c}' | '\u{2c7c}'..='\u{2c7d}' | '\u{2070}'..='\u{207f}' | '\u{210a}'..='\u{2113}' | '\u{211b}'..='\u{2134}')
        || is_fullwidth(c);
    range
        && c.nfkd()
            .all(|part| part.is_ascii_alphabetic() || part == '(' || part == ')')
}

/// Latin letters of phonetic alphabets: small capitals, `ɡ`, `ɑ`.
fn is_phonetic(c: char) -> bool {
    matches!(c, '\u{1c0}'..='\u{1c3}' | '\u{250}'..='\u{2af}' | '\u{1d00}'..='\u{1dbf}' | '\u{2c60}'..='\u{2c7f}' | '\u{a720}'..='\u{a7ff}' | '\u{ab30}'..='\u{ab6f}')
}

/// Scripts in which whole words can pass as Latin.
pub(crate) fn is_close_script(c: char) -> bool {
    matches!(
        c.script(),
        Script::Cyrillic
            | Script::Greek
            | Script::Armenian
            | Script::Cherokee
            | Script::Coptic
            | Script::Lisu
            | Script::Latin
    )
}

/// Small Greek letters that formulas and units use.
pub(crate) fn is_formula_letter(c: char) -> bool {
    matches!(c, 'α'..='ω' | '\u{b5}') && !matches!(c, 'ο' | 'ι' | 'υ')
}

pub(crate) fn is_greek(c: char) -> bool {
    matches!(c, '\u{b5}' | '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(c: char) -> String {
        match reading(c) {
            Reading::Plain(a) => format!("plain {}", a.as_str()),
            Reading::Styled(a) => format!("styled {}", a.as_str()),
            Reading::Lookalike(a) => format!("like {}", a.as_str()),
            Reading::Loose(a) => format!("loose {}", a.as_str()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn characters_read_as_people_read_them() {
        for (c, expected) in [
            ('a', "Itself"),
            ('é', "plain e"),
            ('ﬁ', "plain fi"),
            ('…', "plain ..."),
            ('’', "plain '"),
            ('\u{a0}', "plain  "),
            ('ø', "Itself"),
            ('𝐢', "styled i"),
            ('ｉ', "styled i"),
            ('Ⓘ', "styled I"),
            ('🅸', "styled I"),
            ('а', "like a"),
            ('І', "like I"),
            ('ο', "like o"),
            ('ɡ', "like g"),
            ('т', "loose t"),
            ('ж', "Foreign"),
            ('中', "Foreign"),
            ('。', "plain ."),
            ('\u{301}', "Mark"),
            ('→', "Itself"),
        ] {
            assert_eq!(read(c), expected, "{c:?}");
        }
    }
}
