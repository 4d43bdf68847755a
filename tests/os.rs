//! What the real world does that a simulated one cannot: sleeps, and addresses to come from.

#[cfg(all(target_os = "linux", feature = "fine-sleep"))]
mod sleep {
    use std::{
        fs,
        net::{SocketAddr, TcpStream},
        time::Duration,
    };

    use charkh::net::{Event, Net, Os, SocketOptions, Token};

    const US: Duration = Duration::from_micros(1);
    const TRIES: usize = 100;

    /// How long one sleep took, and what ended it.
    fn sleep(os: &mut Os, timeout: Duration) -> (Duration, Vec<Event>) {
        let (start, mut events) = (os.now(), Vec::new());
        os.wait(Some(timeout), &mut events).unwrap();
        (os.now() - start, events)
    }

    #[test]
    fn a_fine_sleep_is_never_early_and_need_not_take_a_millisecond() {
        let mut os = Os::new().unwrap();
        for fine in [false, true, false] {
            os.sleep_finely(fine);
            let mut least = Duration::MAX;
            for timeout in [100 * US, 900 * US, 100 * US, 1300 * US].repeat(TRIES) {
                let (took, events) = sleep(&mut os, timeout);
                assert!(took >= timeout && events.is_empty(), "{timeout:?}: {took:?}, {events:?}");
                least = least.min(took);
            }
            assert_eq!(least < 1000 * US, fine, "{least:?}");
        }
    }

    #[test]
    fn a_long_sleep_is_short_of_its_time_at_first_and_then_never_early() {
        let mut os = Os::new().unwrap();
        os.sleep_finely(true);
        let (start, timeout) = (os.now(), 30_300 * US);
        let mut sleeps = 0;
        while let left = timeout.saturating_sub(os.now() - start)
            && !left.is_zero()
        {
            assert!(sleep(&mut os, left).1.is_empty());
            sleeps += 1;
        }
        assert!(sleeps <= 8, "{sleeps} sleeps");
    }

    /// The least time that a sleep took which something was to end at once.
    fn least(os: &mut Os, token: Token, mut something: impl FnMut(&mut Os)) -> Duration {
        let sleeps = (0..TRIES).map(|_| {
            something(os);
            let (took, events) = sleep(os, 7900 * US);
            assert!(events.iter().any(|event| event.token == token), "{events:?}");
            took
        });
        sleeps.min().unwrap()
    }

    #[test]
    fn what_comes_ends_a_fine_sleep() {
        let mut os = Os::new().unwrap();
        os.sleep_finely(true);
        let wake = os.waker().unwrap();
        assert!(least(&mut os, Token::Wake, |_| wake()) < 7900 * US);
        let (addr, options) = (SocketAddr::from(([127, 0, 0, 1], 0)), SocketOptions::default());
        let (mut listener, addr) = os.listen(addr, &options, Token::Listener(0)).unwrap();
        let least = least(&mut os, Token::Listener(0), |os| {
            while os.accept(&mut listener).is_ok() {}
            TcpStream::connect(addr).unwrap();
        });
        assert!(least < 7900 * US, "{least:?}");
    }

    #[test]
    fn the_slack_of_the_thread_goes_and_comes_back() {
        let thread = fs::read_link("/proc/thread-self").unwrap();
        let id = thread.file_name().unwrap().to_str().unwrap();
        let slack = || fs::read_to_string(format!("/proc/{id}/timerslack_ns")).unwrap();
        let (before, mut os) = (slack(), Os::new().unwrap());
        os.sleep_finely(true);
        assert_eq!(slack(), "1\n");
        os.sleep_finely(false);
        assert_eq!(slack(), before);
    }
}
