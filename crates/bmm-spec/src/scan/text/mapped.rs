//! A text made from another one, with the way back to where each part of it came from.

use std::ops::Range;

/// A text that was derived from a source text. Spans of it can be mapped back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapped {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    /// Where it starts in the derived text.
    from: usize,
    /// What it was made from.
    source: Range<usize>,
    /// Byte for byte the same as its source.
    copied: bool,
}

impl Mapped {
    /// A text that as a whole was made from one stretch of the source.
    pub(crate) fn whole(text: String, source: Range<usize>) -> Self {
        let segments = vec![Segment {
            from: 0,
            source,
            copied: false,
        }];
        Self { text, segments }
    }

    /// A text as it is.
    pub(crate) fn same(text: &str) -> Self {
        let mut made = Self::default();
        made.copy(text, 0..text.len());
        made
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Appends a stretch of the source as it is.
    pub(crate) fn copy(&mut self, source: &str, range: Range<usize>) {
        let Some(part) = source.get(range.clone()).filter(|part| !part.is_empty()) else {
            return;
        };
        match self.segments.last_mut() {
            Some(last) if last.copied && last.source.end == range.start => last.source.end = range.end,
            _ => self.segments.push(Segment {
                from: self.text.len(),
                source: range,
                copied: true,
            }),
        }
        self.text.push_str(part);
    }

    /// Appends what a stretch of the source stands for.
    pub(crate) fn put(&mut self, replacement: &str, source: Range<usize>) {
        if replacement.is_empty() {
            return;
        }
        self.segments.push(Segment {
            from: self.text.len(),
            source,
            copied: false,
        });
        self.text.push_str(replacement);
    }

    /// The stretch of the source that a span of this text came from.
    pub(crate) fn back(&self, span: &Range<usize>) -> Range<usize> {
        let Some((first, start)) = self.segment(span.start) else {
            return 0..0;
        };
        let (last, end) = self
            .segment(span.end.saturating_sub(1).max(span.start))
            .unwrap_or((first, start));
        let from = if first.copied {
            (first.source.start + start).min(first.source.end)
        } else {
            first.source.start
        };
        let to = if last.copied && span.end > span.start {
            (last.source.start + end + 1).min(last.source.end)
        } else if last.copied {
            from
        } else {
            last.source.end
        };
        from..to.max(from)
    }

    /// The segment that holds a byte, and how far into it the byte is.
    fn segment(&self, at: usize) -> Option<(&Segment, usize)> {
        let index = self.segments.partition_point(|s| s.from <= at).checked_sub(1)?;
        let segment = self.segments.get(index)?;
        Some((segment, at - segment.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_find_their_way_back() {
        let source = "ab\u{200b}cd ef";
        let mut made = Mapped::default();
        made.copy(source, 0..2);
        made.copy(source, 5..7);
        made.put("&", 7..8);
        made.copy(source, 8..10);
        assert_eq!(made.text(), "abcd&ef");
        assert_eq!(made.back(&(0..7)), 0..10);
        assert_eq!(made.back(&(0..2)), 0..2);
        assert_eq!(made.back(&(1..3)), 1..6);
        assert_eq!(made.back(&(2..4)), 5..7);
        assert_eq!(made.back(&(4..5)), 7..8);
        assert_eq!(made.back(&(5..6)), 8..9);
        assert_eq!(made.back(&(7..7)), 10..10);
        assert_eq!(Mapped::default().back(&(0..0)), 0..0);
        let whole = Mapped::whole("plain".to_owned(), 3..20);
        assert_eq!(whole.back(&(1..2)), 3..20);
    }
}
