//! A browser that does what a test says, so that it can also do what no browser would, and the pages that it is shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use testkit::world::Exchange;

/// Redirects, and pages that say where to go on, one after another.
const STEPS_MAX: usize = 20;

/// What a page is like.
pub(crate) struct Page {
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str())
    }

    pub(crate) fn cookies(&self) -> impl Iterator<Item = &str> {
        let set = |(name, _): &&(String, String)| name == "set-cookie";
        self.headers
            .iter()
            .filter(set)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn location(&self) -> Result<&str> {
        self.header("location").context("no location")
    }

    /// Where it goes on to by itself.
    pub(crate) fn next(&self) -> Option<String> {
        let refresh = "http-equiv=\"refresh\" content=\"0;url=";
        let by_page = || {
            self.text
                .split(refresh)
                .nth(1)?
                .split('"')
                .next()
                .map(unescape)
        };
        match self.status {
            302 | 303 => self.header("location").map(str::to_owned),
            _ => by_page(),
        }
    }

    /// The fields of the form that has a field or a button of this name and, if one is given, of this value.
    pub(crate) fn form(&self, name: &str, value: &str) -> Result<(String, Vec<(String, String)>)> {
        let has = format!("name=\"{name}\"");
        let is = format!("value=\"{value}\"");
        let form = self
            .text
            .split("<form")
            .skip(1)
            .filter_map(|form| form.split("</form>").next())
            .find(|form| {
                form.split('<')
                    .any(|tag| tag.contains(&has) && (value.is_empty() || tag.contains(&is)))
            })
            .with_context(|| format!("no form with {name} on {}:\n{}", self.url, self.text))?;
        let action = attribute(form.split('>').next().unwrap_or_default(), "action");
        let fields = form
            .split('<')
            .filter(|tag| tag.starts_with("input"))
            .filter_map(|tag| {
                let value = attribute(tag, "value").unwrap_or_default();
                Some((attribute(tag, "name")?, value))
            })
            .collect();
        Ok((action.unwrap_or_default(), fields))
    }

    pub(crate) fn field(&self, name: &str) -> Result<String> {
        let (_, fields) = self.form(name, "")?;
        let found = fields.into_iter().find(|(found, _)| found == name);
        Ok(found.context("no such field")?.1)
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
    rest.split('"').next().map(unescape)
}

fn unescape(text: &str) -> String {
    [
        "&#38;&", "&amp;&", "&#34;\"", "&#39;'", "&quot;\"", "&lt;<", "&gt;>",
    ]
    .iter()
    .fold(text.to_owned(), |text, pair| {
        let (from, to) = pair.split_at(pair.len() - 1);
        text.replace(from, to)
    })
}

pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
        encoded
    })
}

pub(crate) fn encoded(fields: &[(String, String)]) -> String {
    let pairs = fields
        .iter()
        .map(|(name, value)| [&*encode(name), &*encode(value)].join("="));
    pairs.collect::<Vec<_>>().join("&")
}

/// A browser: cookies by host, and no opinion.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) jars: BTreeMap<String, BTreeMap<String, String>>,
}

impl Browser {
    /// One request, `head` being what else it says; nothing is followed.
    pub(crate) async fn send(
        &mut self,
        url: &str,
        verb: &str,
        head: &str,
        body: &str,
    ) -> Result<Page> {
        let rest = url.strip_prefix("http://").context("not plain HTTP")?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        let path = if path.is_empty() { "/" } else { path };
        let address: SocketAddr = host.parse()?;
        // The port is no part of what a cookie is for; two servers of one test are on one host all the same.
        let jar = self.jars.entry(host.to_owned()).or_default();
        let cookies: Vec<String> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = format!(
            "{verb} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: text/html\r\n"
        );
        if !cookies.is_empty() {
            write!(request, "Cookie: {}\r\n", cookies.join("; "))?;
        }
        write!(
            request,
            "{head}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Exchange::send(address, request.as_bytes()).await?;
        let text = String::from_utf8(answer.body().await?)?;
        let page = Page {
            url: url.to_owned(),
            status: answer.status,
            headers: answer.headers.clone(),
            text,
        };
        for line in page.cookies() {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').context("a cookie without a value")?;
            let attributes = attributes.to_ascii_lowercase();
            if attributes.contains("max-age=0") || attributes.contains("expires=thu, 01 jan 1970") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(page)
    }

    pub(crate) async fn get(&mut self, url: &str) -> Result<Page> {
        self.send(url, "GET", "", "").await
    }

    /// As one of its own pages would.
    pub(crate) async fn post(&mut self, url: &str, fields: &[(String, String)]) -> Result<Page> {
        let origin = origin(url)?;
        let head =
            format!("Origin: {origin}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        self.send(url, "POST", &head, &encoded(fields)).await
    }

    /// Fills in a page's form, the one with the first of the fields, and sends it.
    pub(crate) async fn submit(&mut self, page: &Page, filled: &[(&str, &str)]) -> Result<Page> {
        let (first, value) = filled.first().context("nothing filled in")?;
        let button = page.form(first, value).or_else(|_| page.form(first, ""));
        let (action, mut fields) = button?;
        for (name, value) in filled {
            fields.retain(|(found, _)| found != name);
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        self.post(&resolve(&page.url, &action)?, &fields).await
    }

    /// Is told `status`, and gets no session.
    pub(crate) async fn refused(&mut self, url: &str, status: u16) -> Result<()> {
        let page = self.get(url).await?;
        ensure!(page.status == status, "{url}: {}", page.status);
        let opened = |line: &str| is_session(line) && !line.contains("Max-Age=0");
        ensure!(!page.cookies().any(opened), "{url} opens a session");
        Ok(())
    }

    /// Goes wherever it is sent, as long as that is not what `stop` looks for.
    pub(crate) async fn follow(&mut self, mut page: Page, stop: &str) -> Result<Page> {
        for _ in 0..STEPS_MAX {
            let Some(next) = page.next() else {
                return Ok(page);
            };
            let next = resolve(&page.url, &next)?;
            if !stop.is_empty() && next.contains(stop) {
                return Ok(page);
            }
            page = self.get(&next).await?;
        }
        bail!("no end at {}", page.url)
    }
}

fn origin(url: &str) -> Result<String> {
    let host = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    Ok(format!("http://{}", host.context("not plain HTTP")?))
}

fn resolve(base: &str, to: &str) -> Result<String> {
    Ok(if to.starts_with("http") {
        to.to_owned()
    } else if to.is_empty() {
        base.to_owned()
    } else {
        origin(base)? + to
    })
}

/// Whether a cookie is that of a session; without TLS its name ends in the gate's port.
pub(crate) fn is_session(cookie: &str) -> bool {
    cookie.starts_with("portcullis-") && !cookie.starts_with("portcullis-visit")
}
