//! What the standard methods give for values that are known.

use super::{Const, MAX_LEN};
use oxc_syntax::operator::BinaryOperator;

pub(super) fn method_of(target: Const, method: &str, arguments: &[Const]) -> Option<Const> {
    let first = arguments.first();
    let index = |at: usize| match arguments.get(at) {
        Some(Const::Number(n)) => whole(*n),
        _ => None,
    };
    let text_of = |at: usize| arguments.get(at).cloned().map(spell);
    Some(match (target, method) {
        (Const::List(list), "join") => {
            let separator = first.cloned().map_or(",".to_owned(), spell);
            Const::Text(list.into_iter().map(spell).collect::<Vec<_>>().join(&separator))
        }
        (Const::List(mut list), "reverse" | "toReversed") => {
            list.reverse();
            Const::List(list)
        }
        (Const::List(mut list), "concat") => {
            for argument in arguments {
                match argument {
                    Const::List(more) => list.extend(more.iter().cloned()),
                    one => list.push(one.clone()),
                }
            }
            Const::List(list)
        }
        (Const::List(list), "slice") => {
            let start = index(0).unwrap_or(0);
            let end = index(1).unwrap_or(list.len());
            Const::List(
                list.into_iter()
                    .skip(start)
                    .take(end.saturating_sub(start))
                    .collect(),
            )
        }
        (Const::List(list), "flat") => Const::List(list.into_iter().flat_map(flattened).collect()),
        (Const::List(list), "valueOf") => Const::List(list),
        (Const::List(list), "at") => list.into_iter().nth(index(0)?)?,
        (Const::List(list), "toString") => Const::Text(spell(Const::List(list))),
        (Const::Text(mut text), "concat") => {
            arguments.iter().for_each(|a| text.push_str(&spell(a.clone())));
            Const::Text(text)
        }
        (Const::Text(text), "split") => {
            let separator = text_of(0)?;
            let parts = if separator.is_empty() {
                text.chars().map(|c| Const::Text(c.to_string())).collect()
            } else {
                text.split(&separator)
                    .map(|part| Const::Text(part.to_owned()))
                    .collect()
            };
            Const::List(parts)
        }
        (Const::Text(text), "toString" | "valueOf" | "normalize") => Const::Text(text),
        (Const::Text(text), "trim") => Const::Text(text.trim().to_owned()),
        (Const::Text(text), "toLowerCase" | "toLocaleLowerCase") => Const::Text(text.to_lowercase()),
        (Const::Text(text), "toUpperCase" | "toLocaleUpperCase") => Const::Text(text.to_uppercase()),
        (Const::Text(text), "charAt" | "at") => Const::Text(text.chars().nth(index(0)?)?.to_string()),
        (Const::Text(text), "slice" | "substring" | "substr") => {
            let (start, second) = (index(0)?, index(1).unwrap_or(MAX_LEN));
            let len = if method == "substr" {
                second
            } else {
                second.saturating_sub(start)
            };
            Const::Text(text.chars().skip(start).take(len).collect())
        }
        (Const::Text(text), "charCodeAt" | "codePointAt") => {
            let unit = text.chars().nth(index(0).unwrap_or(0))?;
            Const::Number(f64::from(u32::from(unit)))
        }
        (Const::Text(text), "repeat") => {
            let count = index(0)?;
            if text.len().saturating_mul(count) > MAX_LEN {
                return None;
            }
            Const::Text(text.repeat(count))
        }
        (Const::Text(text), "replace") => {
            let (from, to) = (text_of(0)?, text_of(1)?);
            Const::Text(text.replacen(&from, &to, 1))
        }
        (Const::Text(text), "replaceAll") => {
            let (from, to) = (text_of(0)?, text_of(1)?);
            if from.is_empty() || to.len() > 16 {
                return None;
            }
            Const::Text(text.replace(&from, &to))
        }
        (Const::Number(number), "toString") => Const::Text(in_radix(whole(number)?, index(0).unwrap_or(10))?),
        _ => return None,
    })
}

fn flattened(value: Const) -> Vec<Const> {
    match value {
        Const::List(list) => list,
        one => vec![one],
    }
}

/// `String.fromCharCode`, or bytes that are decoded.
pub(super) fn from_codes(codes: Vec<Const>) -> Option<Const> {
    let mut text = String::new();
    for code in codes {
        let code = match code {
            Const::Number(code) => code,
            Const::Text(text) => text.parse().ok()?,
            Const::List(_) => return None,
        };
        text.push(char::from_u32(u32::try_from(whole(code)?).ok()?)?);
    }
    Some(Const::Text(text))
}

/// `Buffer.from(value, encoding)`, as the text that it holds.
pub(super) fn bytes_of(arguments: &[Const]) -> Option<Const> {
    match (arguments.first()?, arguments.get(1)) {
        (Const::List(codes), _) => from_codes(codes.clone()),
        (Const::Text(text), Some(Const::Text(encoding))) => match encoding.as_str() {
            "base64" | "base64url" => {
                base64_decoded(&text.replace('-', "+").replace('_', "/")).map(Const::Text)
            }
            "hex" => {
                let digits: Vec<u32> = text.chars().map_while(|c| c.to_digit(16)).collect();
                let pairs = digits.chunks_exact(2);
                pairs
                    .map(|pair| match pair {
                        [high, low] => char::from_u32(high * 16 + low),
                        _ => None,
                    })
                    .collect::<Option<String>>()
                    .map(Const::Text)
            }
            _ => Some(Const::Text(text.clone())),
        },
        (Const::Text(text), None) => Some(Const::Text(text.clone())),
        _ => None,
    }
}

pub(super) fn arithmetic(operator: BinaryOperator, left: Const, right: Const) -> Option<Const> {
    match (operator, left, right) {
        (BinaryOperator::Addition, Const::Number(a), Const::Number(b)) => Some(Const::Number(a + b)),
        (BinaryOperator::Addition, a, b) => Some(Const::Text(spell(a) + &spell(b))),
        (operator, Const::Number(a), Const::Number(b)) => Some(Const::Number(match operator {
            BinaryOperator::Subtraction => a - b,
            BinaryOperator::Multiplication => a * b,
            BinaryOperator::Division => a / b,
            BinaryOperator::Remainder => a % b,
            BinaryOperator::Exponential => a.powf(b),
            BinaryOperator::ShiftLeft => {
                a * f64::from(u32::try_from(whole(b)?).ok().filter(|b| *b < 31)?).exp2()
            }
            BinaryOperator::BitwiseXOR => {
                f64::from(u32::try_from(whole(a)?).ok()? ^ u32::try_from(whole(b)?).ok()?)
            }
            _ => return None,
        })),
        _ => None,
    }
}

pub(super) fn items(value: Const) -> Vec<Const> {
    match value {
        Const::List(list) => list,
        Const::Text(text) => text.chars().map(|c| Const::Text(c.to_string())).collect(),
        Const::Number(_) => Vec::new(),
    }
}

pub(super) fn spell(value: Const) -> String {
    match value {
        Const::Text(text) => text,
        Const::Number(number) => number.to_string(),
        Const::List(list) => list.into_iter().map(spell).collect::<Vec<_>>().join(","),
    }
}

pub(super) fn whole(number: f64) -> Option<usize> {
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    // In range and without a fraction, so the cast is exact.
    (number.fract() == 0.0 && (0.0..MAX_EXACT).contains(&number)).then_some(number as usize)
}

fn in_radix(mut number: usize, radix: usize) -> Option<String> {
    let base = u32::try_from(radix).ok().filter(|base| (2..=36).contains(base))?;
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(u32::try_from(number % radix).ok()?, base)?);
        number /= radix;
        if number == 0 {
            return Some(digits.into_iter().rev().collect());
        }
    }
}

pub(super) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(hex.unwrap_or(*byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn base64_decoded(text: &str) -> Option<String> {
    let (mut out, mut buffer, mut bits) = (Vec::new(), 0u32, 0u32);
    for byte in text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(buffer >> bits & 0xff).ok()?);
        }
    }
    // `atob` gives one character per byte.
    Some(out.into_iter().map(char::from).collect())
}
