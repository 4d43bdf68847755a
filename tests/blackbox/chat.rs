//! The chat, as two people at terminals see it.
use std::{io::Write, net::TcpStream};

use crate::support::{Server, read_line, read_to_end};

/// The next line that is not about coming and going.
fn heard(client: &mut TcpStream) -> String {
    loop {
        let line = read_line(client);
        if !line.ends_with(" joined") && !line.ends_with(" left") {
            return line;
        }
    }
}

fn say(client: &mut TcpStream, line: &str) {
    client.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// In the room: whoever comes after hears what is said after.
fn enter(server: &Server, name: &str) -> TcpStream {
    let mut client = server.connect();
    assert!(read_line(&mut client).starts_with("* you are guest-"));
    say(&mut client, &format!("/nick {name}"));
    assert_eq!(heard(&mut client), format!("* you are {name}"));
    client
}

#[test]
fn what_one_says_the_others_hear() {
    let server = Server::new("--protocol chat");
    let mut ann = enter(&server, "ann");
    let mut bob = enter(&server, "bob");
    assert_eq!(heard(&mut ann), "* guest-2 is now bob");
    say(&mut ann, "hello");
    assert_eq!(heard(&mut bob), "ann: hello");
    say(&mut bob, "/nick ann");
    assert_eq!(heard(&mut bob), "* ann is taken");
    say(&mut bob, "/who");
    assert_eq!(heard(&mut bob), "* 2: ann, bob");
    say(&mut bob, "/dance");
    assert_eq!(heard(&mut bob), "* there are /nick NAME, /who and /quit");
    say(&mut bob, "/quit");
    assert_eq!(read_to_end(&mut bob), b"* goodbye\n");
    assert_eq!(read_line(&mut ann), "* bob left");
    drop((ann, bob));
    server.stop();
}

#[test]
fn case_070_nobody_paints_on_anothers_terminal() {
    let server = Server::new("--protocol chat");
    let mut ann = enter(&server, "ann");
    let mut bob = enter(&server, "bob");
    heard(&mut ann);
    say(&mut bob, "\x1b[2J\x1b]0;owned\x07\u{9b}31m\rann: I give up\u{202e}");
    let line = heard(&mut ann);
    assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    assert!(line.starts_with(r"bob: \u{1b}[2J"), "{line:?}");
    bob.write_all(b"\xff\xfe\n").unwrap();
    assert_eq!(heard(&mut bob), "* that was no UTF-8; nobody heard it");
    for name in ["a\x1b[31m", "a b", "", &"n".repeat(33), "\u{202e}nna"] {
        say(&mut bob, &format!("/nick {name}"));
        let says = heard(&mut bob);
        assert!(says.starts_with("* a name ") || says == "* write /nick and a name", "{says}");
    }
    drop((ann, bob));
    server.stop();
}

#[test]
fn case_049_a_room_of_two_hundred_hears_everything() {
    let server = Server::new("--protocol chat");
    let mut room: Vec<TcpStream> = (0..200).map(|n| enter(&server, &format!("p{n}"))).collect();
    let mut ann = enter(&server, "ann");
    for n in 0..20 {
        say(&mut ann, &format!("message {n}"));
    }
    for client in &mut room {
        let mut lines = (0..).map(|_| heard(client)).filter(|line| line.starts_with("ann: "));
        for n in 0..20 {
            assert_eq!(lines.next().unwrap(), format!("ann: message {n}"));
        }
    }
    drop((ann, room));
    server.stop();
}

#[test]
fn case_046_who_says_too_much_is_told_although_more_is_on_its_way() {
    let server = Server::new("--protocol chat");
    for n in 0..200 {
        let mut client = server.connect();
        read_line(&mut client);
        // Unread input at the time of the close: a reset would take the last words away.
        client.write_all(&vec![b'x'; 1001 + n * 500]).unwrap();
        let words = read_to_end(&mut client);
        let words = String::from_utf8(words).unwrap();
        assert!(words.ends_with("* a line has at most 1000 bytes; goodbye\n"), "{words:?}");
        // The end has come, and still the server takes what was on its way.
        (0..3).for_each(|_| client.write_all(b"and one more thing").unwrap());
    }
    server.stop();
}
