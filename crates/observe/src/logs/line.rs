//! One event as one line: nothing in a field can end the line, look like another one, or move a terminal's cursor.

use std::fmt::{self, Debug, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use tracing::Event;
use tracing::field::{Field, Visit};

/// What is kept of one field, in bytes; the rest is cut off.
pub const FIELD_BYTES_MAX: usize = 8 * 1024;
/// What is kept of one line; fields that come later are left out.
pub const LINE_BYTES_MAX: usize = 32 * 1024;

/// The event as a JSON object: `timestamp`, `level`, the fields (`message` among them) and `target`.
pub(super) fn json(event: &Event<'_>, at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    let (level, target) = (event.metadata().level(), event.metadata().target());
    let mut line = format!(
        "{{\"timestamp\":\"{}\",\"level\":\"{level}\"",
        at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
    );
    event.record(&mut Object(&mut line));
    line.push_str(",\"target\":");
    push_string(&mut line, &target);
    line.push('}');
    line
}

/// A field of a text line: `name=value`, the message alone without its name.
///
/// # Errors
/// If it cannot be written.
pub fn text_field(writer: &mut dyn Write, field: &Field, value: &dyn Debug) -> fmt::Result {
    let name = field.name();
    if name != "message" {
        write!(writer, "{name}=")?;
    }
    let mut shown = Shown::new(writer, |writer, char| {
        write!(writer, "{}", char.escape_default())
    });
    let written = write!(shown, "{value:?}");
    shown.end(written)
}

/// Writes fields into an object that is open.
struct Object<'a>(&'a mut String);

impl Object<'_> {
    fn name(&mut self, field: &Field) -> bool {
        if self.0.len() >= LINE_BYTES_MAX {
            return false;
        }
        self.0.push(',');
        push_string(self.0, &field.name());
        self.0.push(':');
        true
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        if self.name(field) {
            self.0.push_str(&value.to_string());
        }
    }
}

impl Visit for Object<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, value);
        } else {
            self.bare(field, "null");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.name(field) {
            push_string(self.0, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.name(field) {
            push_string(self.0, &format_args!("{value:?}"));
        }
    }
}

fn push_string(line: &mut String, value: &dyn fmt::Display) {
    line.push('"');
    let mut shown = Shown::new(line, |line, char| match char {
        '\n' => line.write_str("\\n"),
        '\r' => line.write_str("\\r"),
        '\t' => line.write_str("\\t"),
        char => {
            let mut units = [0; 2];
            let mut units = char.encode_utf16(&mut units).iter();
            units.try_for_each(|unit| write!(line, "\\u{unit:04x}"))
        }
    });
    shown.is_quoted = true;
    let written = write!(shown, "{value}");
    // A String takes everything; what is too long was cut.
    let _whole = shown.end(written);
    line.push('"');
}

/// Lets through what is harmless, has `escape` write the rest, and ends after [`FIELD_BYTES_MAX`].
struct Shown<'a, E> {
    inner: &'a mut dyn Write,
    escape: E,
    /// Also quotes and backslashes are escaped.
    is_quoted: bool,
    left: usize,
    is_cut: bool,
}

impl<'a, E: Fn(&mut dyn Write, char) -> fmt::Result> Shown<'a, E> {
    fn new(inner: &'a mut dyn Write, escape: E) -> Self {
        Self {
            inner,
            escape,
            is_quoted: false,
            left: FIELD_BYTES_MAX,
            is_cut: false,
        }
    }

    /// That it was cut is no failure, and shows.
    fn end(self, written: fmt::Result) -> fmt::Result {
        if self.is_cut {
            self.inner.write_str("…")
        } else {
            written
        }
    }
}

impl<E: Fn(&mut dyn Write, char) -> fmt::Result> Write for Shown<'_, E> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.left < char.len_utf8() {
                self.is_cut = true;
                // Whatever formats the rest may stop.
                return Err(fmt::Error);
            }
            self.left -= char.len_utf8();
            if is_harmful(char) {
                (self.escape)(self.inner, char)?;
            } else if self.is_quoted && matches!(char, '"' | '\\') {
                self.inner.write_char('\\')?;
                self.inner.write_char(char)?;
            } else {
                self.inner.write_char(char)?;
            }
        }
        Ok(())
    }
}

/// What ends a line for some reader, moves a terminal's cursor, or turns the order of letters around.
fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'
                ..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}
