//! The page: one file, and what a browser may do with it.
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use charkh::http::Response;
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("page.html");

/// The page, with its policy.
#[derive(Debug)]
pub(super) struct Page {
    policy: String,
}

impl Default for Page {
    /// Its own script and its own style run, told from others by what is in them; and it may talk
    /// to this host. Whatever else somebody might smuggle into it does not happen.
    fn default() -> Self {
        let script = hash_of("<script>", "</script>");
        let style = hash_of("<style>", "</style>");
        let policy = format!(
            "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self { policy }
    }
}

impl Page {
    /// All of it.
    pub(super) fn put(&self, response: Response) {
        response
            .header("Content-Type", b"text/html; charset=utf-8")
            .header("Content-Security-Policy", self.policy.as_bytes())
            .header("X-Content-Type-Options", b"nosniff")
            .header("Referrer-Policy", b"no-referrer")
            .header("Cache-Control", b"no-cache")
            .body(PAGE.as_bytes());
    }
}

/// What a policy calls the element between these two.
fn hash_of(begin: &str, end: &str) -> String {
    let inner = PAGE.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    let digest = Sha256::digest(inner.map_or("", |(inner, _)| inner));
    format!("'sha256-{}'", BASE64.encode(digest))
}
