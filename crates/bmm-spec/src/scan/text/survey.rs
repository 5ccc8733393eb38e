//! One look at every byte of a text: which of the slower detectors have anything to do?

const HIGH: u16 = 1;
const CONTROL: u16 = 2;
const PERCENT: u16 = 4;
const AMPERSAND: u16 = 8;
const BACKSLASH: u16 = 16;
const ANGLE: u16 = 32;
/// Part of the alphabets of base64 and base64url.
const RUN: u16 = 64;
const BLANK: u16 = 128;
const DIGIT: u16 = 256;
/// Connects commands of a shell.
const PIPE: u16 = 512;
/// Starts an option or a path, after a blank.
const OPTION: u16 = 1024;

/// The shortest run that is worth decoding.
pub(crate) const MIN_RUN: usize = 16;
/// So many short tokens with digits in a row may be character codes: those of ASCII letters have one in every notation.
const MIN_CODES: usize = 8;
/// So many blanks in a row push what follows out of sight.
pub(crate) const MIN_BLANKS: usize = 200;

static CLASSES: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0u8;
    loop {
        let class = match byte {
            b'\t' | b'\n' | b'\r' | b' ' => BLANK,
            0..=0x1f | 0x7f => CONTROL,
            0x80.. => HIGH,
            b'0'..=b'9' => RUN | DIGIT,
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => RUN,
            b'+' | b'/' | b'-' => RUN | OPTION,
            b'|' | b'$' | b'>' => PIPE,
            b'%' => PERCENT,
            b'&' => AMPERSAND,
            b'\\' => BACKSLASH,
            b'<' => ANGLE,
            _ => 0,
        };
        #[allow(clippy::indexing_slicing, reason = "a byte is an index into 256 entries")]
        {
            table[byte as usize] = class;
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// What a text holds, as far as bytes tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    classes: u16,
    /// A long run of the base64 alphabet.
    pub(crate) run: bool,
    /// Many tokens that may be character codes, one after another.
    pub(crate) codes: bool,
    /// A gap that pushes what follows out of sight.
    pub(crate) gap: bool,
    /// An option or an absolute path.
    option: bool,
}

impl Survey {
    pub(crate) fn of(text: &str) -> Self {
        let mut found = Self::default();
        let (mut run, mut codes, mut blanks) = (0usize, 0usize, 0usize);
        let (mut digits, mut option) = (0, false);
        for byte in text.bytes() {
            let class = CLASSES.get(usize::from(byte)).copied().unwrap_or_default();
            found.classes |= class;
            if class & RUN != 0 {
                option |= run == 0 && blanks > 0 && class & OPTION != 0;
                run += 1;
                blanks = 0;
                digits |= class & DIGIT;
                continue;
            }
            if run > 0 {
                found.run |= run >= MIN_RUN;
                codes = if digits != 0 && run <= 8 { codes + 1 } else { 0 };
                found.codes |= codes >= MIN_CODES;
                // A sign alone is a dash.
                found.option |= option && run > 1;
                option = false;
                run = 0;
                digits = 0;
            }
            blanks = if class == BLANK { blanks + 1 } else { 0 };
            found.gap |= blanks >= MIN_BLANKS;
        }
        found.option |= option && run > 1;
        found.run |= run >= MIN_RUN;
        found.codes |= codes + 1 >= MIN_CODES;
        found
    }

    /// Characters beyond printable ASCII.
    pub(crate) fn unusual(self) -> bool {
        self.classes & (HIGH | CONTROL) != 0
    }

    /// Spellings of characters by number or name.
    pub(crate) fn escapes(self) -> bool {
        self.classes & (PERCENT | AMPERSAND | BACKSLASH) != 0
    }

    /// Signs of a command line. A few commands need none, so this alone does not tell.
    pub(crate) fn commands(self) -> bool {
        self.option || self.classes & (PIPE | ANGLE) != 0
    }

    /// Markup.
    pub(crate) fn markup(self) -> bool {
        self.classes & ANGLE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_prose_needs_no_closer_look() {
        let plain = Survey::of("Returns the current time in UTC, as text (RFC 3339).\n");
        assert!(!plain.unusual() && !plain.escapes() && !plain.markup() && !plain.gap);
        assert!(!plain.run && !plain.codes);
        assert!(Survey::of("x SGVsbG8gd29ybGQh").run);
        assert!(Survey::of("68 65 6c 6c 6f 20 77 6f 72 6c 64").codes);
        assert!(Survey::of("é").unusual() && Survey::of("\u{1b}").unusual());
        assert!(Survey::of("a%20b").escapes() && Survey::of("<!--").markup());
        assert!(Survey::of(&format!("a{}b", "\n".repeat(MIN_BLANKS))).gap);
    }
}
