//! Files of one folder, and nothing beside it.
use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use charkh::{
    Peer,
    http::{Conn, Framing, Request, Server, Status, http_date},
};

use super::{
    range::{self, Wanted},
    routes::{NOT_FOUND, Reply, Source},
};

/// A folder.
#[derive(Debug)]
pub struct Files {
    #[cfg(target_os = "linux")]
    folder: File,
    #[cfg(not(target_os = "linux"))]
    root: PathBuf,
}

/// What of a file is sent.
#[derive(Debug)]
pub(super) struct FileReply {
    status: Status,
    content_type: &'static str,
    tag: String,
    modified: String,
    len: u64,
    from: u64,
    size: u64,
    /// It stands at the first byte.
    file: Option<File>,
}

/// What browsers must be told.
const TYPES: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

impl Files {
    /// Those in this folder, and in folders within.
    ///
    /// # Errors
    /// It is not there, or is no folder.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref().canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
        }
        Ok(Self {
            #[cfg(target_os = "linux")]
            folder: File::open(&root)?,
            #[cfg(not(target_os = "linux"))]
            root,
        })
    }

    /// What a GET or HEAD is answered with.
    pub(super) fn reply(&self, request: &Request) -> Reply {
        if request.framing != Framing::None {
            // It would hold a file open for as long as its body takes.
            return Reply::Text(Status::BAD_REQUEST, "A file is asked for without a body.\n");
        }
        match self.find(request) {
            Ok(reply) => reply,
            // Who may not see it, or what it is instead, is nobody's business.
            Err(e) if is_absence(&e) => NOT_FOUND,
            Err(_) => Reply::Text(Status::SERVICE_UNAVAILABLE, "It cannot be read now.\n"),
        }
    }

    fn find(&self, request: &Request) -> io::Result<Reply> {
        let path = relative(request.path).ok_or(io::ErrorKind::NotFound)?;
        let mut name = path.clone();
        let mut file = self.open(&path)?;
        let ends_as_folder = request.path.ends_with('/');
        if file.metadata()?.is_dir() {
            if !ends_as_folder {
                let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
                return Ok(Reply::Moved(format!("{}/{query}", request.path)));
            }
            name = path.join("index.html");
            file = self.open(&name)?;
        } else if ends_as_folder {
            return Err(io::ErrorKind::NotFound.into());
        }
        match file.metadata()?.is_file() {
            true => Ok(Reply::File(Box::new(FileReply::new(request, &name, file)?))),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Nothing outside, wherever links lead, and whatever is put there meanwhile: the kernel looks.
    /// A pipe does not wait for its other end.
    #[cfg(target_os = "linux")]
    fn open(&self, path: &Path) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.folder, path, flags, Mode::empty(), within)?.into())
    }

    /// Nothing outside, as far as can be told before it is opened.
    #[cfg(not(target_os = "linux"))]
    fn open(&self, path: &Path) -> io::Result<File> {
        let path = self.root.join(path).canonicalize()?;
        match path.starts_with(&self.root) && (path.is_file() || path.is_dir()) {
            true => File::open(path),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// It is not there, or may not be seen.
fn is_absence(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::CrossesDevices // what leads outside
            | io::ErrorKind::InvalidFilename
    ) || is_loop(e)
}

/// Links that lead to each other. Std has no stable name for it.
fn is_loop(e: &io::Error) -> bool {
    cfg!(target_os = "linux") && e.raw_os_error() == Some(40)
}

/// A path below the root, if all of it is names: nothing that leads elsewhere, and nothing hidden.
fn relative(path: &str) -> Option<PathBuf> {
    let path = unescape(path.strip_prefix('/')?)?;
    let path = path.strip_suffix('/').unwrap_or(&path);
    let mut relative = PathBuf::new();
    if path.is_empty() {
        return Some(relative);
    }
    for name in path.split('/') {
        let is_hidden = name.starts_with('.') && name != ".well-known";
        if name.is_empty() || is_hidden || name.contains(['\\', ':', '\0']) {
            return None;
        }
        relative.push(name);
    }
    Some(relative)
}

/// `%20` is a blank. `None` if an escape is none, or what they make is no text.
fn unescape(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits =
            part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

impl FileReply {
    fn new(request: &Request, path: &Path, mut file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let age = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let len = metadata.len();
        let mut reply = Self {
            status: Status::OK,
            content_type: content_type(path),
            tag: format!("\"{:x}-{len:x}\"", age.as_nanos()),
            modified: http_date(age),
            len,
            from: 0,
            size: len,
            file: None,
        };
        if reply.is_known(request, age) {
            reply.status = Status::NOT_MODIFIED;
        } else if let Some(header) = request.header("Range")
            && request.method == "GET"
            && reply.is_still(request.header("If-Range"))
        {
            match range::wanted(header, len) {
                Wanted::All => {}
                Wanted::Nothing => reply.status = Status::RANGE_NOT_SATISFIABLE,
                Wanted::Part { from, size } => {
                    (reply.status, reply.from, reply.size) = (Status::PARTIAL_CONTENT, from, size);
                }
            }
        }
        file.seek(SeekFrom::Start(reply.from))?;
        Ok(Self { file: Some(file), ..reply })
    }

    /// The client has it.
    fn is_known(&self, request: &Request, age: Duration) -> bool {
        if let Some(list) = request.header("If-None-Match") {
            return range::matches(list, &self.tag);
        }
        let since = request.header("If-Modified-Since");
        let since = since.and_then(|text| std::str::from_utf8(text).ok());
        let since = since.and_then(|text| httpdate::parse_http_date(text).ok());
        since.is_some_and(|since| UNIX_EPOCH + Duration::from_secs(age.as_secs()) <= since)
    }

    /// What the client has a part of is this.
    fn is_still(&self, tag: Option<&[u8]>) -> bool {
        tag.is_none_or(|tag| [&self.tag, &self.modified].iter().any(|own| own.as_bytes() == tag))
    }

    /// Its head; what is behind that, if anything is.
    pub(super) fn write(
        &mut self,
        http: &mut Server,
        peer: &Peer,
        conn: &mut Conn,
    ) -> Option<Box<Source>> {
        let Self { status, ref tag, ref modified, len, from, size, .. } = *self;
        let response = http.answer(peer, conn, status);
        let response = response
            .header("ETag", tag.as_bytes())
            .header("Last-Modified", modified.as_bytes())
            .header("Accept-Ranges", b"bytes");
        match status {
            Status::NOT_MODIFIED => {
                response.no_body();
                return None;
            }
            Status::RANGE_NOT_SATISFIABLE => {
                response.header("Content-Range", format!("bytes */{len}").as_bytes()).body(b"");
                return None;
            }
            _ => {}
        }
        let response = response.header("Content-Type", self.content_type.as_bytes());
        let response = match status {
            Status::PARTIAL_CONTENT => {
                let range = format!("bytes {from}-{}/{len}", from + size - 1);
                response.header("Content-Range", range.as_bytes())
            }
            _ => response,
        };
        let has_body = response.length(size) && size > 0;
        let file = self.file.take().filter(|_| has_body)?;
        Some(Box::new(Source::File { file, left: size }))
    }
}

fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is = |(known, _): &&(&str, &str)| extension.eq_ignore_ascii_case(known);
    TYPES.iter().find(is).map_or("application/octet-stream", |&(_, name)| name)
}
