//! A look at a page in a real browser, without a screen. `layout.js` says what is wrong with it.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const LAYOUT: &str = include_str!("layout.js");
/// A desk, two tablets and a phone, in pixels.
const WIDTHS: [u32; 4] = [1200, 821, 800, 360];
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// What is wrong with a page, and for each width how many charts were seen on it: lines such as
/// `at 360: 4 charts seen`. None if there is no browser, and a line of standard error says so.
pub(crate) fn layout(page: &str) -> Option<Vec<String>> {
    let Some(browser) = browser() else {
        eprintln!("not tested: no Chromium is installed");
        return None;
    };
    let folder = env::temp_dir().join(format!("charkh-browser-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let wrapper = folder.join("wrapper.html");
    fs::write(&wrapper, wrap(page)).unwrap();
    let said = run(&browser, &wrapper, &folder.join("profile"));
    fs::remove_dir_all(&folder).unwrap();
    let lines = said.split_once("<pre id=\"complaints\">").and_then(|(_, rest)| {
        rest.split_once("</pre>").map(|(lines, _)| lines.lines().map(String::from).collect())
    });
    Some(lines.unwrap_or_else(|| panic!("the browser came to no end: {said:.2000}")))
}

fn browser() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut folders = env::split_paths(&path);
    folders.find_map(|folder| {
        BROWSERS.iter().map(|name| folder.join(name)).find(|path| path.is_file())
    })
}

/// The page as it is, in frames of its own that the script outside can look into.
fn wrap(page: &str) -> String {
    let source = page.replace('&', "&amp;").replace('"', "&quot;");
    let frame =
        |width| format!("<iframe width='{width}' height='3000' srcdoc=\"{source}\"></iframe>");
    format!(
        "<!DOCTYPE html><meta charset='utf-8'><title>A look</title><script>{LAYOUT}</script>\n\
         <pre id='complaints'></pre>\n{}",
        WIDTHS.map(frame).concat()
    )
}

fn run(browser: &Path, page: &Path, profile: &Path) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--timeout=60000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
