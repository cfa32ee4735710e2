//! Which web pages may open a connection. Browsers send `Origin` with every upgrade; native SDKs normally do not.

use std::str::FromStr;

/// The list of allowed pages and what happens without an `Origin`. The default lets no page in, and native clients only
/// if [`OriginPolicy::allow_missing`] is set, which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPolicy {
    allowed: Vec<Pattern>,
    /// Whether clients without `Origin` may connect: native SDKs, which do not send one. Default: yes.
    pub allow_missing: bool,
}

/// An entry that can never match, or would match more than it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad origin {0:?}: expected https://host, https://host:port, https://*.host or * alone")]
pub struct BadOrigin(pub String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(Origin),
    /// Every host below `host`, not the host itself.
    Subdomains(Origin),
}

/// Scheme and host in lower case; the port only where it is not the scheme's own, as browsers write it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Default for OriginPolicy {
    fn default() -> Self {
        Self { allowed: Vec::new(), allow_missing: true }
    }
}

impl OriginPolicy {
    /// Allows the listed origins: `https://example.org`, `https://example.org:8443`, `https://*.example.org` (every
    /// host below it, at any depth, but not itself), or `*` for every page, `null` included.
    ///
    /// # Errors
    /// [`BadOrigin`] for anything else, such as `null`, a path, or `*` elsewhere.
    pub fn new<T: AsRef<str>>(allowed: &[T], allow_missing: bool) -> Result<Self, BadOrigin> {
        let allowed = allowed.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>()?;
        Ok(Self { allowed, allow_missing })
    }

    /// Every page and every native client.
    #[must_use]
    pub fn any() -> Self {
        Self { allowed: vec![Pattern::Any], allow_missing: true }
    }

    /// Whether a request with this `Origin` may connect.
    #[must_use]
    pub fn allow(&self, origin: Option<&str>) -> bool {
        let Some(text) = origin.filter(|text| !text.is_empty()) else {
            return self.allow_missing;
        };
        if self.allows_any() {
            return true;
        }
        text.parse().is_ok_and(|origin: Origin| self.allowed.iter().any(|pattern| pattern.matches(&origin)))
    }

    pub(super) fn allows_any(&self) -> bool {
        self.allowed.contains(&Pattern::Any)
    }
}

impl FromStr for Pattern {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let bad = || BadOrigin(text.to_owned());
        match text.split_once("://*.") {
            Some((scheme, host)) => {
                let origin: Origin = format!("{scheme}://{host}").parse().map_err(|()| bad())?;
                Ok(Self::Subdomains(origin))
            }
            None => text.parse().map(Self::Exact).map_err(|()| bad()),
        }
    }
}

impl Pattern {
    fn matches(&self, origin: &Origin) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Subdomains(parent) => {
                let below = origin.host.strip_suffix(&parent.host).and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(|labels| !labels.is_empty())
                    && (&origin.scheme, origin.port) == (&parent.scheme, parent.port)
            }
        }
    }
}

impl FromStr for Origin {
    type Err = ();

    /// Strict: `scheme://host[:port]` and nothing else, so that no user part, path or odd character can make one host
    /// look like another.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(())?;
        let scheme_ok = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let (host, port) = split_port(authority)?;
        if !scheme_ok || !host_ok(host) {
            return Err(());
        }
        let own_port = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Ok(Self { scheme: scheme.to_owned(), host: host.to_owned(), port: port.filter(|port| Some(*port) != own_port) })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), ()> {
    let host_end = authority.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = authority.get(host_end..).and_then(|rest| rest.find(':')).map(|at| at + host_end) else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(colon);
    let digits = port.strip_prefix(':').unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    Ok((host, Some(digits.parse().map_err(|_| ())?)))
}

fn host_ok(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.split('.').all(|label| !label.is_empty())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> OriginPolicy {
        OriginPolicy::new(allowed, true).unwrap()
    }

    #[test]
    fn exact_origins_match_in_any_case_and_with_the_default_port() {
        let policy =
            policy(&["https://Example.org", "http://localhost:3000", "https://other.org:443", "http://[::1]:80"]);
        for good in [
            "https://example.org",
            "HTTPS://EXAMPLE.ORG",
            "https://example.org:443",
            "http://localhost:3000",
            "https://other.org",
            "http://[::1]",
        ] {
            assert!(policy.allow(Some(good)), "{good}");
        }
        for bad in [
            "http://example.org",
            "https://example.org:8443",
            "https://www.example.org",
            "https://example.org.evil.com",
            "https://evil-example.org",
            "https://evilexample.org",
            "https://example.org@evil.com",
            "https://evil.com/https://example.org",
            "https://evil.com#https://example.org",
            "https://example.org/",
            "https://example.org:",
            "https://example.org:44x",
            "https://example.org:99999999",
            "https://example.org ",
            " https://example.org",
            "https://example.org.",
            "https://ex\u{430}mple.org",
            "example.org",
            "null",
            "file://",
            "http://localhost",
            "http://[::2]",
        ] {
            assert!(!policy.allow(Some(bad)), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_means_hosts_below_and_nothing_else() {
        let policy = policy(&["https://*.example.org"]);
        for good in ["https://a.example.org", "https://a.b.example.org", "https://A.Example.Org:443"] {
            assert!(policy.allow(Some(good)), "{good}");
        }
        for bad in [
            "https://example.org",
            "https://.example.org",
            "https://aexample.org",
            "https://a.example.org.evil.com",
            "https://a.example.org:8443",
            "http://a.example.org",
            "https://evil.com/.example.org",
            "https://evil.com?.example.org",
            "https://evil.com\\.example.org",
            "https://user@a.example.org",
            "null",
        ] {
            assert!(!policy.allow(Some(bad)), "{bad}");
        }
    }

    #[test]
    fn star_allows_every_page() {
        let policy = policy(&["*"]);
        for origin in ["https://anything.example", "null", "file://", "chrome-extension://abc"] {
            assert!(policy.allow(Some(origin)));
        }
        assert_eq!(policy, OriginPolicy::any());
    }

    #[test]
    fn a_missing_origin_is_a_matter_of_configuration() {
        let strict = OriginPolicy::new(&["*"], false).unwrap();
        assert!(!strict.allow(None) && !strict.allow(Some("")));
        assert!(strict.allow(Some("https://example.org")));
        let default = OriginPolicy::default();
        assert!(default.allow(None));
        assert!(!default.allow(Some("https://example.org")), "no page is let in unless listed");
        assert!(!default.allow(Some("null")));
    }

    #[test]
    fn entries_that_would_not_do_what_they_say_are_refused() {
        for bad in [
            "",
            "null",
            "example.org",
            "*.example.org",
            "https://*",
            "https://*.*.org",
            "https://a*.example.org",
            "https://example.org/",
            "https://example.org/app",
            "https://*.",
            "://example.org",
            "https://",
            "https://exa mple.org",
        ] {
            assert_eq!(OriginPolicy::new(&[bad], true), Err(BadOrigin(bad.to_owned())), "{bad}");
        }
    }
}
