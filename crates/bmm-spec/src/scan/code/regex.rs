//! Regular expressions that can take exponential time: a repetition whose body can be split in many ways.

/// How sure it is that some text makes the expression slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Danger {
    /// Something must match behind the repetition, so a match can fail late.
    Certain,
    /// Only if what uses the match asks for more.
    Possible,
}

/// Deepest nesting of groups that is looked into.
const MAX_GROUPS: usize = 32;
/// A repetition up to this many times is small.
const MAX_SMALL: u32 = 50;

/// Judges a pattern, in one pass over it.
pub(super) fn danger(pattern: &str) -> Option<Danger> {
    // Two repetitions are needed, or a choice inside of one.
    let signs = pattern.bytes().filter(|b| matches!(b, b'+' | b'*' | b'{' | b'|'));
    if signs.count() < 2 || !pattern.contains('(') {
        return None;
    }
    let mut reader = Reader {
        rest: pattern,
        found: None,
    };
    reader.alternatives(0)?;
    let behind = reader.found?;
    let must_match = behind.chars().any(|c| !matches!(c, ')' | '?' | '*' | '+'));
    Some(if must_match {
        Danger::Certain
    } else {
        Danger::Possible
    })
}

/// Characters an element matches: a bit each for ASCII, the last one for all others, of which nobody knows whether they are the same.
type Set = u128;
const OTHERS: Set = 1 << 127;
const ALL: Set = Set::MAX;

/// One element of a sequence.
#[derive(Clone, Debug)]
struct Element {
    set: Set,
    /// May match nothing.
    optional: bool,
    /// Repeats without a small bound.
    repeats: bool,
}

struct Reader<'p> {
    rest: &'p str,
    /// What stands behind the first dangerous repetition.
    found: Option<&'p str>,
}

impl<'p> Reader<'p> {
    /// `a|b|c` up to a closing bracket or the end.
    fn alternatives(&mut self, depth: usize) -> Option<Vec<Vec<Element>>> {
        if depth > MAX_GROUPS {
            return None;
        }
        let mut all = vec![Vec::new()];
        while let Some(c) = self.rest.chars().next() {
            match c {
                ')' => break,
                '|' => {
                    self.skip(1);
                    all.push(Vec::new());
                }
                _ => {
                    let elements = self.element(c, depth)?;
                    all.last_mut()?.extend(elements);
                }
            }
        }
        Some(all)
    }

    /// One element with its quantifier; a group that does not repeat gives its elements.
    fn element(&mut self, c: char, depth: usize) -> Option<Vec<Element>> {
        let (set, inside) = match c {
            '(' => {
                self.skip(1);
                let looks = ["?=", "?!", "?<=", "?<!"]
                    .iter()
                    .any(|look| self.rest.starts_with(look));
                if let Some(rest) = self.rest.strip_prefix('?') {
                    let end = match rest.as_bytes() {
                        [b'<', b'=' | b'!', ..] => 2,
                        [b'<', ..] => rest.find('>')? + 1,
                        _ => rest.find([':', '=', '!'])? + 1,
                    };
                    self.rest = rest.get(end..)?;
                }
                let inside = self.alternatives(depth + 1)?;
                self.rest = self.rest.strip_prefix(')')?;
                if looks {
                    self.quantifier();
                    return Some(Vec::new());
                }
                let set = inside.iter().flatten().fold(0, |set, element| set | element.set);
                (set, Some(inside))
            }
            '[' => (self.class()?, None),
            '\\' => (self.escape()?, None),
            '.' => {
                self.skip(1);
                (ALL & !(1 << 10 | 1 << 13), None)
            }
            '^' | '$' => {
                self.skip(1);
                return Some(Vec::new());
            }
            c => {
                self.skip(c.len_utf8());
                (bit(c), None)
            }
        };
        let (optional, repeats) = self.quantifier();
        let Some(inside) = inside else {
            return Some(vec![Element {
                set,
                optional: optional || set == 0,
                repeats,
            }]);
        };
        if repeats && self.found.is_none() && is_ambiguous(&inside) {
            self.found = Some(self.rest);
        }
        match <[Vec<Element>; 1]>::try_from(inside) {
            Ok([only]) if !repeats && !optional => Some(only),
            Ok([only]) => Some(vec![Element {
                set,
                optional: optional || only.iter().all(|e| e.optional),
                repeats,
            }]),
            Err(many) => Some(vec![Element {
                set,
                optional: optional || many.iter().any(|one| one.iter().all(|e| e.optional)),
                repeats: repeats || many.iter().any(|one| matches!(one.as_slice(), [e] if e.repeats)),
            }]),
        }
    }

    /// May it match nothing, and does it repeat?
    fn quantifier(&mut self) -> (bool, bool) {
        let (optional, repeats, len) = match self.rest.as_bytes().first() {
            Some(b'*') => (true, true, 1),
            Some(b'+') => (false, true, 1),
            Some(b'?') => (true, false, 1),
            Some(b'{') => {
                let Some((counts, _)) = self.rest.get(1..).and_then(|rest| rest.split_once('}')) else {
                    return (false, false);
                };
                let (low, high) = counts.split_once(',').unwrap_or((counts, counts));
                let Ok(low) = low.parse::<u32>() else {
                    return (false, false);
                };
                let high = high.parse().unwrap_or(u32::MAX);
                (low == 0, high > MAX_SMALL && high != low, counts.len() + 2)
            }
            _ => return (false, false),
        };
        self.skip(len);
        if self.rest.starts_with('?') {
            self.skip(1);
        }
        (optional, repeats)
    }

    fn class(&mut self) -> Option<Set> {
        self.skip(1);
        let negated = self.rest.starts_with('^');
        if negated {
            self.skip(1);
        }
        let (mut set, mut last) = (0, None);
        loop {
            let c = self.rest.chars().next()?;
            match c {
                ']' => {
                    self.skip(1);
                    return Some(if negated { !set } else { set });
                }
                '\\' => {
                    set |= self.escape()?;
                    last = None;
                }
                '-' if last.is_some() && !self.rest.starts_with("-]") => {
                    self.skip(1);
                    let end = self.rest.chars().next()?;
                    if end == '\\' {
                        set |= self.escape()?;
                    } else {
                        self.skip(end.len_utf8());
                        let (low, high) = (u32::from(last?), u32::from(end).min(126));
                        set |= (low..=high).fold(0, |set, code| set | 1 << code.min(127));
                        set |= bit(end);
                    }
                    last = None;
                }
                c => {
                    self.skip(c.len_utf8());
                    set |= bit(c);
                    last = Some(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Option<Set> {
        self.skip(1);
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        let digits = ascii(|c| c.is_ascii_digit());
        let word = ascii(|c| c.is_ascii_alphanumeric() || c == '_');
        let space = ascii(|c| c.is_ascii_whitespace() || c == '\u{b}') | OTHERS;
        Some(match c {
            'd' => digits,
            'D' => !digits,
            'w' => word,
            'W' => !word,
            's' => space,
            'S' => ALL & !(space & !OTHERS),
            'b' | 'B' => 0,
            'n' => 1 << 10,
            'r' => 1 << 13,
            't' => 1 << 9,
            'p' | 'P' if self.rest.starts_with('{') => {
                self.rest = self.rest.split_once('}')?.1;
                ascii(|c| c.is_ascii_alphanumeric()) | OTHERS
            }
            'u' if self.rest.starts_with('{') => {
                self.rest = self.rest.split_once('}')?.1;
                OTHERS
            }
            'x' | 'u' => {
                let len = if c == 'x' { 2 } else { 4 };
                let code = self
                    .rest
                    .get(..len)
                    .and_then(|code| u32::from_str_radix(code, 16).ok());
                if code.is_some() {
                    self.skip(len);
                }
                code.and_then(char::from_u32).map_or(OTHERS, bit)
            }
            '1'..='9' | 'k' => ALL,
            c => bit(c),
        })
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }
}

/// Can a text be split into rounds of this body in more than one way?
fn is_ambiguous(alternatives: &[Vec<Element>]) -> bool {
    let long = alternatives.iter().any(|sequence| {
        sequence.iter().enumerate().any(|(at, element)| {
            let mut others = sequence.iter().enumerate().filter(|(other, _)| *other != at);
            element.repeats
                && others.all(|(_, other)| other.optional || other.set & element.set & !OTHERS != 0)
        })
    });
    if long {
        return true;
    }
    // Alternatives of one character each: more than 128 different ones overlap anyway.
    let mut seen = 0;
    alternatives.iter().any(|sequence| match sequence.as_slice() {
        [one] if !one.optional => {
            let overlaps = seen & one.set & !OTHERS != 0;
            seen |= one.set;
            overlaps
        }
        _ => false,
    })
}

fn bit(c: char) -> Set {
    1 << u32::from(c).min(127)
}

fn ascii(is: impl Fn(char) -> bool) -> Set {
    (0..127u8)
        .filter(|code| is(char::from(*code)))
        .fold(0, |set, code| set | 1 << code)
}

#[cfg(test)]
mod tests {
    use super::{Danger, danger};

    #[test]
    fn a_body_that_splits_in_many_ways_is_found() {
        for pattern in [
            "^(a+)+$",
            "(x+x+)+y",
            r"(\w+\s?)*$",
            "(a|a)*b",
            r"(.|\s)*x",
            r"(\d+,?)+;",
            r"((a+))*z",
            r#"("([^"\\]+|\\.)*")"#,
            r"(?:\s*\w+)*!",
            "(a{1,1000}){1,1000}b",
            r"(?<n>[a-z]+)*$",
        ] {
            assert_eq!(danger(pattern), Some(Danger::Certain), "{pattern}");
        }
        assert_eq!(danger("(a+)+"), Some(Danger::Possible));
    }

    #[test]
    fn repetitions_with_a_separator_are_left_alone() {
        for pattern in [
            r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
            r"(\s*,\s*\w+)*$",
            r"(?:[^\x22\\]|\\.)*x",
            r"(\.\d+)*$",
            "(ab|cd)+e",
            r"^(\d{1,3}\.){3}\d+$",
            r"(.|\n)*x",
            r"(?:\w+\.)+com",
            "(a+)b(c+)d",
            r"([A-Z][a-z]+)+$",
            r"\p{L}+(?:['’-]\p{L}+)*$",
            "((",
            "[",
            r"(a\",
        ] {
            assert_eq!(danger(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn long_patterns_take_linear_time() {
        for pattern in [
            "(a+)+".repeat(20_000),
            "(".repeat(50_000),
            "(a|".repeat(30_000),
            "[a-".repeat(30_000),
        ] {
            danger(&pattern);
        }
    }
}
