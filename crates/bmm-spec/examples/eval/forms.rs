//! Ways to put words where a person does not see them and a model does.

/// Makes a text in which another is hidden.
pub(crate) type Hide = fn(&str) -> String;

/// A form's name, and what makes a text of it. What is hidden stands behind an innocent sentence, except for letters that only look
/// like others.
pub(crate) const FORMS: &[(&str, Hide)] = &[
    ("tag characters", tag),
    ("zero-width characters", zero_width),
    ("variation selectors", variation_selectors),
    ("bidirectional override", bidi),
    ("base64", base64),
    ("homoglyphs", homoglyphs),
];

const CARRIER: &str = "Adds two numbers.";

fn tag(text: &str) -> String {
    let hidden = text.chars().filter(|c| matches!(c, ' '..='~'));
    let hidden = hidden.filter_map(|c| char::from_u32(0xe_0000 + u32::from(c)));
    format!("{CARRIER}{}", hidden.collect::<String>())
}

fn zero_width(text: &str) -> String {
    let bits = text
        .bytes()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let hidden = bits.map(|bit| if bit == 0 { '\u{200b}' } else { '\u{200c}' });
    format!("{CARRIER}{}", hidden.collect::<String>())
}

/// One selector a byte, as in the emoji that carry whole messages.
fn variation_selectors(text: &str) -> String {
    let hidden = text.bytes().filter_map(|byte| match byte {
        0..16 => char::from_u32(0xfe00 + u32::from(byte)),
        _ => char::from_u32(0xe_0100 + u32::from(byte) - 16),
    });
    format!("{CARRIER} 😀{}", hidden.collect::<String>())
}

/// Stored backwards, shown forwards.
fn bidi(text: &str) -> String {
    format!(
        "{CARRIER} \u{202e}{}\u{202c}",
        text.chars().rev().collect::<String>()
    )
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = format!("{CARRIER} ");
    for chunk in text.as_bytes().chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for position in 0..4 {
            let letter = ALPHABET.get((bits >> (18 - 6 * position) & 63) as usize);
            let letter = letter.filter(|_| position <= chunk.len());
            out.push(char::from(*letter.unwrap_or(&b'=')));
        }
    }
    out
}

/// Cyrillic letters for the Latin ones they look like.
fn homoglyphs(text: &str) -> String {
    let swap = |c| match c {
        'a' => 'а',
        'c' => 'с',
        'e' => 'е',
        'i' => 'і',
        'o' => 'о',
        'p' => 'р',
        's' => 'ѕ',
        'x' => 'х',
        'y' => 'у',
        'A' => 'А',
        'B' => 'В',
        'C' => 'С',
        'E' => 'Е',
        'H' => 'Н',
        'I' => 'І',
        'K' => 'К',
        'M' => 'М',
        'O' => 'О',
        'P' => 'Р',
        'T' => 'Т',
        'X' => 'Х',
        c => c,
    };
    text.chars().map(swap).collect()
}
