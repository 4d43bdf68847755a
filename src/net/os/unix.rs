//! Unix sockets: their names, and the file of one that is listened at.
//!
//! A file outlives its server where that ends badly. Whoever comes next has to tell a stale one
//! from one that is served and from what is no socket at all: only the first may be replaced.
use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};
#[cfg(target_os = "linux")]
use std::{
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd},
};

use log::{debug, info};
use mio::net::UnixListener;
#[cfg(target_os = "linux")]
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvFlags, ReturnFlags, SocketAddrUnix, SocketFlags, acceptfrom_with,
    },
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::UnixAddr;

use super::super::SocketOptions;

/// Names without a file.
const HAS_ABSTRACT: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Bytes of a path or a name, at most.
const NAME_MAX: usize = if HAS_ABSTRACT { 107 } else { 103 };

/// Listen at `addr`, with a file if it is to have one. The file is gone when that is dropped.
pub(super) fn listen(
    addr: &UnixAddr,
    options: &SocketOptions,
) -> io::Result<(Socket, Option<SocketFile>)> {
    let name = sock_addr(addr)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let (lock, file) = match addr {
        UnixAddr::Path(path) => {
            let lock = lock(folder(path));
            (lock, Some(bind(&socket, &name, path)?))
        }
        _ if options.unix_mode.is_some() => {
            let text = "a name without a file has no permissions";
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        _ => {
            socket.bind(&name).map_err(|e| if is_taken(&e) { in_use() } else { e })?;
            (None, None)
        }
    };
    // Nobody can connect to what does not listen yet, so nobody was there before.
    if let (Some(mode), Some(file)) = (options.unix_mode, &file) {
        file.set_mode(mode)?;
    }
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    drop(lock); // from now on it can be seen that somebody is here
    Ok((socket, file))
}

/// Begin to connect, which here is done at once or not at all.
pub(super) fn connect(addr: &UnixAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&sock_addr(addr)?).map_err(|e| match e.kind() {
        // No event would tell when there is room, so it is a failure like any other.
        ErrorKind::WouldBlock => {
            io::Error::new(ErrorKind::ConnectionRefused, "the server's backlog is full")
        }
        _ => e,
    })?;
    Ok(socket)
}

/// Read, and say whether that has stopped behind descriptors, which the kernel closes because there
/// is no room for them.
#[cfg(target_os = "linux")]
pub(super) fn recv(stream: impl AsFd, into: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut room = RecvAncillaryBuffer::new(&mut []);
    let into = &mut [IoSliceMut::new(into)];
    let came = rustix::net::recvmsg(stream, into, &mut room, RecvFlags::empty())?;
    Ok((came.bytes, came.flags.contains(ReturnFlags::CTRUNC)))
}

/// Not mio's, which does not see abstract names.
#[cfg(target_os = "linux")]
pub(super) fn accept(listener: &UnixListener) -> io::Result<(OwnedFd, UnixAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, addr) = acceptfrom_with(listener, flags)?;
    let addr = addr.and_then(|addr| SocketAddrUnix::try_from(addr).ok());
    Ok((stream, addr.as_ref().map_or(UnixAddr::Unnamed, name)))
}

#[cfg(target_os = "linux")]
fn name(addr: &SocketAddrUnix) -> UnixAddr {
    match (addr.path_bytes(), addr.abstract_name()) {
        (Some(path), _) => UnixAddr::path(OsStr::from_bytes(path)),
        // An empty one is rustix' word for none.
        (None, Some(name)) if !name.is_empty() => UnixAddr::abstract_name(name),
        _ => UnixAddr::Unnamed,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn accept(listener: &UnixListener) -> io::Result<(OwnedFd, UnixAddr)> {
    let (stream, addr) = listener.accept()?;
    Ok((stream.into(), addr.as_pathname().map_or(UnixAddr::Unnamed, UnixAddr::path)))
}

/// What a socket that somebody else has made is called.
pub(super) fn name_of(addr: &SockAddr) -> UnixAddr {
    match (addr.as_pathname(), addr.as_abstract_namespace()) {
        (Some(path), _) => UnixAddr::path(path),
        (None, Some(name)) => UnixAddr::abstract_name(name),
        (None, None) => UnixAddr::Unnamed,
    }
}

fn sock_addr(addr: &UnixAddr) -> io::Result<SockAddr> {
    let wrong = |text: &str| Err(io::Error::new(ErrorKind::InvalidInput, text));
    let (what, name) = match addr {
        UnixAddr::Unnamed => return wrong("nobody can find a socket without a name"),
        UnixAddr::Abstract(_) if !HAS_ABSTRACT => {
            let text = "this system knows no sockets without a file";
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        UnixAddr::Abstract(name) => ("name", &name[..]),
        UnixAddr::Path(path) => match path.as_os_str().as_bytes() {
            [] => return wrong("its path is empty"),
            path if path.contains(&0) => return wrong("its path has a zero byte in it"),
            path => ("path", path),
        },
    };
    if name.len() > NAME_MAX {
        let len = name.len();
        return wrong(&format!("its {what} has {len} bytes, and may have {NAME_MAX} at most"));
    }
    match addr {
        UnixAddr::Abstract(_) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
        _ => SockAddr::unix(OsStr::from_bytes(name)),
    }
}

/// Make the file. A stale one gives way.
fn bind(socket: &Socket, name: &SockAddr, path: &Path) -> io::Result<SocketFile> {
    let mut bound = socket.bind(name);
    if bound.as_ref().is_err_and(is_taken) {
        remove_stale(path, name)?;
        bound = socket.bind(name);
    }
    let folder = folder(path).display();
    let says = |kind, text: String| Err(io::Error::new(kind, text));
    match bound {
        Ok(()) => SocketFile::of(path),
        Err(e) if is_taken(&e) => Err(in_use()), // by somebody who was faster
        Err(e) => match e.kind() {
            kind @ ErrorKind::NotFound => says(kind, format!("there is no directory {folder}")),
            kind @ ErrorKind::PermissionDenied => {
                says(kind, format!("permission denied: no file can be made in {folder}"))
            }
            _ => Err(e),
        },
    }
}

/// Remove what is at this path, if it is a socket at which nobody listens.
fn remove_stale(path: &Path, name: &SockAddr) -> io::Result<()> {
    let stale = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    let kind = stale.file_type();
    if !kind.is_socket() {
        let what = match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => "a directory",
            (_, true) => "a symbolic link",
            _ => "a file that is no socket",
        };
        let text = format!("there is {what} of that name, which is left alone");
        return Err(io::Error::new(ErrorKind::AlreadyExists, text));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(name) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        // Its backlog may be full, it may be another's, of another kind: it is not known to be
        // dead, and that is enough.
        _ => return Err(in_use()),
    }
    info!("{} is of a server that has ended: it is replaced", path.display());
    match remove_this(path, &stale) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            let text = format!("nobody listens there any more, but its file stays: {e}");
            Err(io::Error::new(e.kind(), text))
        }
        _ => Ok(()),
    }
}

/// Remove the file of this number and no other: something else may have come to its place. So it is
/// looked at where nobody expects it, and put back if it is not the one.
fn remove_this(path: &Path, file: &fs::Metadata) -> io::Result<()> {
    let aside = folder(path).join(format!(".charkh-stale-{}", std::process::id()));
    fs::rename(path, &aside)?;
    let there = fs::symlink_metadata(&aside)?;
    if (there.dev(), there.ino()) == (file.dev(), file.ino()) {
        return fs::remove_file(&aside);
    }
    // A link takes no place that is taken.
    fs::hard_link(&aside, path).map_err(|e| {
        io::Error::new(e.kind(), format!("what came to its place is {} now: {e}", aside.display()))
    })?;
    fs::remove_file(&aside)?;
    Err(io::Error::new(ErrorKind::AlreadyExists, "another file has come to its place"))
}

fn is_taken(e: &io::Error) -> bool {
    e.kind() == ErrorKind::AddrInUse
}

fn in_use() -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, "another server listens there")
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

/// Between the question whether a file is stale and the moment when its successor listens, which
/// looks as dead as a stale one, nobody else of us may ask: each would remove what the other has
/// just made. The directory is locked for that long. Where it cannot be locked, or is by somebody
/// who keeps it, two that start at once may both succeed, and one of them is found by nobody.
#[cfg(target_os = "linux")]
fn lock(folder: &Path) -> Option<fs::File> {
    use std::{thread, time::Duration};
    let folder = match fs::File::open(folder) {
        Ok(folder) => folder,
        Err(e) => {
            debug!("{} is not locked: {e}", folder.display());
            return None; // `bind` has better words for what is wrong with it
        }
    };
    for _ in 0..LOCK_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => thread::sleep(Duration::from_millis(1)),
            Err(Errno::INTR) => {}
            _ => break,
        }
    }
    Some(folder)
}

/// Each waits a millisecond. Whoever does what we do is done in less.
#[cfg(target_os = "linux")]
const LOCK_TRIES: usize = 1000;

#[cfg(not(target_os = "linux"))]
fn lock(_: &Path) -> Option<fs::File> {
    None
}

/// The file of a socket of ours. It goes with this, if it is still ours then: another server may
/// have been put in our place.
///
/// To be dropped before the socket, which keeps the file's number from being another's.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// Absolute, or a change of the working directory would lead elsewhere.
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let there = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: there.dev(), inode: there.ino() })
    }

    /// Of this file, whatever stands in its place by now: a link to another must not be followed.
    #[cfg(target_os = "linux")]
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
        let there = file.metadata()?;
        if !there.file_type().is_socket() || (there.dev(), there.ino()) != (self.device, self.inode)
        {
            let text = "another file has come to the place of its own";
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
        let named = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(named, fs::Permissions::from_mode(mode))
    }

    #[cfg(not(target_os = "linux"))]
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Self { path, device, inode } = self;
        let is_ours = |there: &fs::Metadata| (there.dev(), there.ino()) == (*device, *inode);
        let removed = match fs::symlink_metadata(&*path) {
            Ok(there) if is_ours(&there) => fs::remove_file(&*path),
            Ok(_) => return debug!("{} is another's now, and stays", path.display()),
            Err(e) => Err(e),
        };
        if let Err(e) = removed {
            debug!("{} cannot be removed: {e}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net};

    use super::*;

    /// A folder with a socket in it, which keeps the file's number, and a file that is somebody
    /// else's.
    fn folder(name: &str) -> (PathBuf, (PathBuf, net::UnixListener), PathBuf) {
        let folder = std::env::temp_dir().join(format!("charkh-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (socket, other) = (folder.join("socket"), folder.join("other"));
        let listener = net::UnixListener::bind(&socket).unwrap();
        fs::write(&other, "dear").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        (folder, (socket, listener), other)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn case_113_a_link_in_the_place_of_the_file_is_not_followed() {
        let (folder, (socket, _listener), other) = folder("mode");
        let file = SocketFile::of(&socket).unwrap();
        file.set_mode(0o606).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o606);
        fs::remove_file(&socket).unwrap();
        symlink(&other, &socket).unwrap();
        assert!(file.set_mode(0o666).is_err());
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(fs::symlink_metadata(&socket).is_ok(), "it was not its own");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn case_112_what_came_to_the_place_of_a_stale_file_is_put_back() {
        let (folder, (socket, _listener), other) = folder("stale");
        let stale = fs::symlink_metadata(&socket).unwrap();
        fs::rename(&other, &socket).unwrap();
        assert!(remove_this(&socket, &stale).is_err());
        assert_eq!(fs::read(&socket).unwrap(), b"dear");
        let there = fs::symlink_metadata(&socket).unwrap();
        remove_this(&socket, &there).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
