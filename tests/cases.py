#!/usr/bin/env python3
"""Which test names which hostile case: makes docs/hostile-cases.md of tests/cases.txt and the tests.

    tests/cases.py            write it
    tests/cases.py --check    fail if it would be written otherwise, or if a case has neither a test
                              nor a reason
"""
import collections
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
LIST = ROOT / "docs" / "hostile-cases.md"
HEAD = """\
# The hostile cases, and the tests that name them

Made by `tests/cases.py`; `cargo test --test tidy` sees that it is true. A name that begins with
`case_061_` is the name of a test of case 61; `cargo test _061_` runs all of them.
"""


def tests():
    """Of each case the tests that name it: (file, name)."""
    of = collections.defaultdict(list)
    for folder in ["src", "tests", "fuzz/src", "examples"]:
        for file in sorted((ROOT / folder).rglob("*.rs")):
            if "target" in file.relative_to(ROOT).parts:
                continue
            for name in re.findall(r"fn (case_[a-z0-9_]+)", file.read_text()):
                for number in re.findall(r"(?<=_)(\d{3})(?=_)", re.match(r"case(_\d{3})+_", name)[0]):
                    of[int(number)].append((file.relative_to(ROOT), name))
    return of


def page(of):
    """The whole page, and what is wrong with it."""
    lines, wrong, numbers = [HEAD], [], []
    for line in (HERE / "cases.txt").read_text().splitlines():
        if match := re.fullmatch(r"(\d+) ([^|]+?)(?: \| (.+))?", line):
            number, title, reason = int(match[1]), match[2], match[3]
            numbers.append(number)
            lines.append(f"**{number}.** {title}")
            files = collections.defaultdict(list)
            for file, name in of.pop(number, []):
                files[file].append(name)
            if not files and not reason:
                wrong.append(f"case {number} has neither a test nor a reason: {title}")
            lines += [f"- `{file}`: {', '.join(f'`{name}`' for name in files[file])}"
                      for file in sorted(files)]
            lines += [f"- {reason}."] * bool(reason) + [""]
        elif not line.startswith("#"):
            lines += [f"## {line}", ""]
    if numbers != list(range(1, 127)):
        wrong.append("the cases are not 1 to 126")
    wrong += [f"{name} names case {number}, which there is not"
              for number, tests in of.items() for _, name in tests]
    return "\n".join(lines).rstrip() + "\n", wrong


def main():
    text, wrong = page(tests())
    if sys.argv[1:] == ["--check"]:
        if not LIST.exists() or LIST.read_text() != text:
            wrong.append("docs/hostile-cases.md is old: run tests/cases.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        LIST.write_text(text)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
