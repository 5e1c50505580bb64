//! The `sec-websocket-extensions` header of a request (RFC 6455, 9.1): text in, names and parameters out.

use std::borrow::Cow;

/// One element of the header.
#[derive(Debug, Eq, PartialEq)]
pub struct Extension<'a> {
    /// A token, in the case in which it was sent.
    pub name: &'a str,
    /// In the order in which they were sent.
    pub parameters: Vec<Parameter<'a>>,
}

/// A name and perhaps a value, without the quotes it may have had.
pub type Parameter<'a> = (&'a str, Option<Cow<'a, str>>);

/// Parses the header (RFC 6455, 9.1) as Cowlib does: white space and commas before an element, white space after a name or
/// a value and after a semicolon. `None` if it is malformed.
pub fn parse(header: &str) -> Option<Vec<Extension<'_>>> {
    let mut rest = Rest(header);
    let mut extensions = Vec::new();
    loop {
        rest.skip(&[' ', '\t', ',']);
        if rest.0.is_empty() {
            break;
        }
        let mut extension = Extension { name: rest.token()?, parameters: Vec::new() };
        loop {
            rest.skip(&[' ', '\t']);
            if !rest.eat(';') {
                break;
            }
            rest.skip(&[' ', '\t']);
            let name = rest.token()?;
            let value = if rest.eat('=') { Some(rest.value()?) } else { None };
            extension.parameters.push((name, value));
        }
        extensions.push(extension);
        if !rest.0.is_empty() && !rest.eat(',') {
            return None;
        }
    }
    if extensions.is_empty() { None } else { Some(extensions) }
}

/// What is left of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, characters: &[char]) {
        self.0 = self.0.trim_start_matches(characters);
    }

    fn eat(&mut self, character: char) -> bool {
        let rest = self.0.strip_prefix(character);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A token of at least one character (RFC 9110, 5.6.2).
    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() { None } else { Some(token) }
    }

    /// A token, or one in quotes, where it may be empty and escaped.
    fn value(&mut self) -> Option<Cow<'a, str>> {
        if !self.eat('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        loop {
            if self.eat('"') {
                return Some(Cow::Owned(value));
            }
            self.eat('\\');
            let character = self.0.chars().next().filter(|c| is_token(*c))?;
            self.eat(character);
            value.push(character);
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements in a form that shows where each begins and ends.
    fn parsed(header: &str) -> Option<String> {
        let extensions = parse(header)?;
        let parameter = |(name, value): &Parameter<'_>| {
            format!("[{name}{}]", value.as_ref().map_or(String::new(), |v| format!("={v}")))
        };
        let extension =
            |e: &Extension<'_>| format!("{}{}", e.name, e.parameters.iter().map(parameter).collect::<String>());
        Some(extensions.iter().map(extension).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_parameters_and_values_are_told_apart() {
        assert_eq!(parsed("foo"), Some("foo".into()));
        assert_eq!(parsed("foo;a;b=1 ; c=\"\\2x\",bar"), Some("foo[a][b=1][c=2x] bar".into()));
        assert_eq!(parsed(" ,\t, foo ; a=\"\" , "), Some("foo[a=]".into()));
    }

    #[test]
    fn a_malformed_header_is_none() {
        for header in [
            "",
            " , ",
            "foo;",
            "foo; =1",
            "foo; a=",
            "foo; a= 1",
            "foo; a=\"1",
            "foo; a=\"1 2\"",
            "foo bar",
            "foo, ;",
            "é",
        ] {
            assert_eq!(parsed(header), None, "{header}");
        }
    }
}
