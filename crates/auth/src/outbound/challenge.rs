//! What an upstream says of the credential it wants: `WWW-Authenticate`, read.
//!
//! Sources: RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9728 section 5.1.

/// The longest header that is looked at, in bytes.
const HEADER_MAX: usize = 8 * 1024;
/// Scopes that are taken from one text, and characters of each.
const SCOPES_MAX: usize = 64;
const SCOPE_LEN_MAX: usize = 256;

/// A challenge for a bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Challenge {
    /// Where the upstream describes itself.
    pub(super) resource_metadata: Option<String>,
    /// What a token must be good for.
    pub(super) scopes: Vec<String>,
    /// The error code.
    pub(super) error: Option<String>,
}

impl Challenge {
    /// The first challenge for a bearer token among the values of the header.
    pub(super) fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        values
            .into_iter()
            .filter(|value| value.len() <= HEADER_MAX)
            .flat_map(challenges)
            .find(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, parameters)| Self::of(parameters))
    }

    /// Whether more scopes are wanted than the token has (RFC 6750 section 3.1).
    pub(super) fn wants_more(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }

    fn of(parameters: Vec<(String, String)>) -> Self {
        let mut challenge = Self::default();
        for (name, value) in parameters {
            match name.to_ascii_lowercase().as_str() {
                "resource_metadata" => challenge.resource_metadata = Some(value),
                "scope" => challenge.scopes = scopes(&value),
                "error" => challenge.error = Some(value),
                _ => {}
            }
        }
        challenge
    }
}

/// The scopes in a text, each once (RFC 6749 section 3.3); those that are none are left out.
pub(super) fn scopes(text: &str) -> Vec<String> {
    let is_char = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let mut scopes: Vec<String> = Vec::new();
    for scope in text.split(' ') {
        let fits = !scope.is_empty() && scope.len() <= SCOPE_LEN_MAX && scope.bytes().all(is_char);
        if fits && scopes.len() < SCOPES_MAX && !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

type Parameters = Vec<(String, String)>;

/// Schemes and their parameters.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else {
            return found;
        };
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        let parameters = found.last_mut().map(|(_, parameters)| parameters);
        match (
            value.map(|value| value.trim_start_matches([' ', '\t'])),
            parameters,
        ) {
            (Some(value), Some(parameters)) => {
                let Some((text, after)) = quoted(value).or_else(|| {
                    let (text, after) = token(value)?;
                    Some((text.to_owned(), after))
                }) else {
                    // The rest of a token68, which is no parameter.
                    rest = value.trim_start_matches('=');
                    continue;
                };
                parameters.push((word.to_owned(), text));
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => {
                found.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_char = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/:".contains(byte);
    let end = text.bytes().take_while(|byte| is_char(byte)).count();
    (end > 0).then(|| text.split_at(end))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, inner.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_found_among_others_and_however_it_is_written() {
        let metadata = "https://mcp.example.com/.well-known/oauth-protected-resource";
        for header in [
            format!(
                "Bearer resource_metadata=\"{metadata}\", scope=\"a b\", error=\"invalid_token\""
            ),
            format!(
                "bearer  error=invalid_token ,scope = \"a b\",  resource_metadata=\"{metadata}\""
            ),
            format!(
                "Basic realm=\"x, Bearer scope=\\\"z\\\"\", Bearer resource_metadata=\"{metadata}\", scope=\"a  b a\", error=invalid_token"
            ),
            format!(
                "Negotiate YWJj==, Bearer resource_metadata={metadata}, scope=\"a b\", error=invalid_token, DPoP scope=\"c\""
            ),
        ] {
            let challenge = Challenge::read([header.as_str()]).unwrap();
            assert_eq!(
                challenge.resource_metadata.as_deref(),
                Some(metadata),
                "{header}"
            );
            assert_eq!(challenge.scopes, ["a", "b"], "{header}");
            assert_eq!(
                challenge.error.as_deref(),
                Some("invalid_token"),
                "{header}"
            );
        }
    }

    #[test]
    fn what_is_no_challenge_for_a_bearer_token_is_none() {
        for header in [
            "",
            ",,",
            "Basic realm=\"a\"",
            "=x",
            "\"Bearer\"",
            "scope=\"a\"",
        ] {
            assert_eq!(Challenge::read([header]), None, "{header}");
        }
        let bare = Challenge::read(["Bearer"]).unwrap();
        assert_eq!(bare, Challenge::default());
        // Broken off: what came before stands.
        let broken = Challenge::read(["Bearer scope=\"a\", error=\"inv"]).unwrap();
        assert_eq!((broken.scopes, broken.error), (vec!["a".to_owned()], None));
        let long = format!("Bearer scope=\"{}\"", "a ".repeat(HEADER_MAX));
        assert_eq!(Challenge::read([long.as_str()]), None);
    }

    #[test]
    fn scopes_that_could_break_out_of_a_request_are_left_out() {
        assert_eq!(scopes("a \"b\" c\\ d\u{e9} e&f"), ["a", "e&f"]);
        assert_eq!(scopes(&"s ".repeat(500)).len(), 1);
        let many: String = (0..500).map(|n| format!("s{n} ")).collect();
        assert_eq!(scopes(&many).len(), SCOPES_MAX);
    }
}
