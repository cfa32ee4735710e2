//! Claim: the tree keeps the rules of ARCHITECTURE.md. Crates depend on each other only along the allowed edges, `unsafe`
//! stands in `crates/ring` alone, state machines do no I/O, and the style rules that matter hold.
//!
//! Each rule is a function from the tree to its violations, and each has a test that it can fail.

#![allow(clippy::unwrap_used)] // helpers of tests, too

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of ours each may name under `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
const EDGES: &[(&str, &[&str])] = &[
    ("corecast", &["corecast-gateway", "corecast-loadgen", "corecast-router", "corecast-tuning"]),
    ("corecast-gateway", &["corecast-centrifuge", "corecast-ring", "corecast-websocket", "corecast-wire"]),
    ("corecast-router", &["corecast-ring", "corecast-wire"]),
    ("corecast-loadgen", &["corecast-centrifuge", "corecast-ring", "corecast-websocket"]),
    ("corecast-ring", &[]),
    ("corecast-websocket", &[]),
    ("corecast-centrifuge", &[]),
    ("corecast-wire", &[]),
    ("corecast-tuning", &[]),
    // Not part of the product: they may reach what they test or measure.
    (
        "corecast-benches",
        &[
            "corecast-centrifuge",
            "corecast-gateway",
            "corecast-loadgen",
            "corecast-router",
            "corecast-ring",
            "corecast-websocket",
            "corecast-wire",
        ],
    ),
    ("corecast-conformance", &["corecast-ring", "corecast-websocket"]),
    ("corecast-faults", &[]),
    ("corecast-hostile", &["corecast-faults"]),
    ("xtask", &[]),
];

/// Folders (of modules) and files that are state machines: time and randomness are arguments, I/O happens elsewhere.
const STATE_MACHINES: &[&str] = &[
    "crates/websocket/src/",
    "crates/centrifuge/src/",
    "crates/wire/src/",
    "gateway/src/session",
    "gateway/src/chat",
    "gateway/src/fanout",
    "gateway/src/outbox",
    "gateway/src/link",
    "router/src/chat",
    "router/src/core",
    "router/src/log",
];

/// What a state machine never names: the ring, sockets, files, threads, clocks, random sources.
const IMPURE: &[&str] = &[
    "corecast_ring",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "getrandom",
];

const LINES_PER_FILE_MAX: usize = 800;
const LINES_PER_FUNCTION_MAX: usize = 70;

#[test]
fn crates_depend_on_each_other_only_along_the_allowed_edges() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for manifest in manifests() {
        let name = manifest.name();
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} has no row in EDGES"));
            continue;
        };
        wrong.extend(
            manifest.ours().filter(|edge| !allowed.contains(edge.as_str())).map(|edge| format!("{name} -> {edge}")),
        );
    }
    assert!(wrong.is_empty(), "edges that ARCHITECTURE.md does not allow: {wrong:#?}");
}

#[test]
fn every_crate_is_named_in_the_architecture_and_takes_the_workspace_lints() {
    let architecture = read("ARCHITECTURE.md");
    let members = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut wrong = Vec::new();
    for manifest in manifests() {
        let folder = manifest.folder.display().to_string();
        if !architecture.contains(&format!("`{folder}`")) && !architecture.contains(&format!("{folder}/")) {
            wrong.push(format!("{folder} is not in ARCHITECTURE.md"));
        }
        if !members.contains(&format!("\"{folder}\"")) {
            wrong.push(format!("{folder} is not a member of the workspace"));
        }
        let lints = manifest.table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if lints != Some(true) {
            wrong.push(format!("{folder}/Cargo.toml does not take [lints] from the workspace"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let silent: Vec<_> = section
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with('#') && !line.starts_with("corecast-"))
        .filter(|line| !line.contains(" # "))
        .collect();
    assert!(silent.is_empty(), "dependencies without a reason in Cargo.toml: {silent:#?}");
    for manifest in manifests() {
        for (name, value) in manifest.dependencies() {
            let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            assert!(inherited, "{}: {name} is not taken from [workspace.dependencies]", manifest.folder.display());
        }
    }
}

#[test]
fn unsafe_stands_in_the_ring_alone() {
    let wrong =
        violations(
            |source| {
                if source.path.starts_with("crates/ring/") { Vec::new() } else { unsafe_lines(&source.text) }
            },
        );
    assert!(wrong.is_empty(), "unsafe outside crates/ring: {wrong:#?}");
}

#[test]
fn each_unsafe_of_the_ring_says_why_it_is_sound() {
    let wrong = violations(|source| {
        if source.path.starts_with("crates/ring/") { undocumented_unsafe(&source.text) } else { Vec::new() }
    });
    assert!(wrong.is_empty(), "unsafe without a SAFETY comment: {wrong:#?}");
}

#[test]
fn state_machines_do_no_io_and_read_no_clock() {
    let mut seen = BTreeSet::new();
    let wrong = violations(|source| {
        let Some(machine) = STATE_MACHINES.iter().find(|machine| source.path.starts_with(*machine)) else {
            return Vec::new();
        };
        seen.insert(*machine);
        if source.is_test() { Vec::new() } else { impure_lines(source.product()) }
    });
    assert!(wrong.is_empty(), "I/O, clock or randomness in a state machine: {wrong:#?}");
    let missing: Vec<_> = STATE_MACHINES.iter().filter(|machine| !seen.contains(*machine)).collect();
    assert!(missing.is_empty(), "state machines of this test's list that are gone: {missing:?}");
}

#[test]
fn files_and_functions_fit_a_reader() {
    let wrong = violations(|source| {
        if source.is_test() {
            return Vec::new();
        }
        let lines = source.product().lines().count();
        let mut wrong = long_functions(source.product());
        if lines > LINES_PER_FILE_MAX {
            wrong.push(format!("{lines} lines, at most {LINES_PER_FILE_MAX}"));
        }
        wrong
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["todo!(", "unimplemented!(", "dbg!(", "TODO", "FIXME", "XXX", "#[ignore"];
    let wrong = violations(|source| {
        if source.path == "xtask/tests/architecture.rs" {
            return Vec::new();
        }
        let unfinished = |line: &&str| words.iter().any(|word| line.contains(word));
        source.text.lines().filter(unfinished).map(str::to_owned).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let promises = read("docs/GUARANTEES.md");
    let rows = promises.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 3);
    for row in rows.filter(|row| !row.starts_with("| promise")) {
        let spans: Vec<_> = row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        assert!(!spans.is_empty(), "a promise without a test: {row}");
        for path in spans.into_iter().filter(|span| span.contains('/')) {
            assert!(root().join(path).exists(), "{path} is named in docs/GUARANTEES.md and does not exist");
        }
    }
}

#[test]
fn the_rules_can_fail() {
    assert_eq!(unsafe_lines("fn a() {\n    unsafe { b() }\n}").len(), 1);
    assert_eq!(unsafe_lines("#![allow(unsafe_code)]").len(), 1);
    assert!(unsafe_lines("// unsafe { in words }\n\"not unsafe: {}\"").is_empty());
    assert_eq!(undocumented_unsafe("let a = 1;\nunsafe { b() }").len(), 1);
    assert!(undocumented_unsafe("// SAFETY: b is fine.\nunsafe { b() }").is_empty());
    assert_eq!(impure_lines("let now = Instant::now();").len(), 1);
    assert!(impure_lines("//! never calls Instant::now").is_empty());
    let long = format!("fn long() {{\n{}}}\n", "    work();\n".repeat(LINES_PER_FUNCTION_MAX));
    assert_eq!(long_functions(&long).len(), 1);
    assert!(long_functions("fn short() {\n    work();\n}\n").is_empty());
    assert!(long_functions(&format!("fn declared(\n    a: u8,\n);\n{long}")).len() == 1);
}

fn unsafe_lines(text: &str) -> Vec<String> {
    let forms = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe extern",
        "unsafe trait",
        "allow(unsafe_code)",
        "expect(unsafe_code)",
    ];
    let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    code.filter(|line| forms.iter().any(|form| line.contains(form)) && !line.contains('"')).map(str::to_owned).collect()
}

/// An unsafe block or impl whose statement is not preceded by a comment with `SAFETY` (clippy checks blocks; this adds impls and `unsafe fn`).
fn undocumented_unsafe(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut wrong = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let opens = ["unsafe {", "unsafe impl"].iter().any(|form| line.contains(form)) && !line.starts_with("//");
        let above = index.saturating_sub(8)..=index;
        if opens && !lines[above].iter().any(|line| line.contains("SAFETY:")) {
            wrong.push(format!("line {}: {line}", index + 1));
        }
    }
    wrong
}

fn impure_lines(text: &str) -> Vec<String> {
    let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    code.filter(|line| IMPURE.iter().any(|word| line.contains(word))).map(str::to_owned).collect()
}

/// Functions of formatted source: from a line that declares one to the closing brace at the same indentation.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut wrong = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        let declares = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "const fn ",
            "pub const fn ",
            "unsafe fn ",
        ]
        .iter()
        .any(|form| code.starts_with(form));
        if !declares {
            continue;
        }
        let signature = lines[start..].iter().position(|line| line.ends_with(['{', '}', ';'])).unwrap_or(0);
        let close = format!("{}}}", " ".repeat(indent));
        let body = if lines[start + signature].ends_with('{') { &lines[start..] } else { &[] };
        let length = body.iter().position(|line| *line == close).map_or(1, |end| end + 1);
        if length > LINES_PER_FUNCTION_MAX {
            wrong.push(format!("line {}: {length} lines, at most {LINES_PER_FUNCTION_MAX}: {code}", start + 1));
        }
    }
    wrong
}

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The part before the unit tests, which by our order stand at the bottom.
    fn product(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(&self.text)
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

fn violations(mut rule: impl FnMut(&Source) -> Vec<String>) -> Vec<String> {
    let sources = sources();
    assert!(sources.len() > 10, "the sources were not found");
    sources
        .iter()
        .flat_map(|source| {
            rule(source).into_iter().map(|wrong| format!("{}: {wrong}", source.path)).collect::<Vec<_>>()
        })
        .collect()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            found.push(Source { path: path.strip_prefix(root()).unwrap().display().to_string(), text });
        }
    });
    found
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" && name != "artefacts" {
                walk(&path, visit);
            }
        } else {
            visit(&path);
        }
    }
}

struct Manifest {
    folder: PathBuf,
    table: toml::Table,
}

impl Manifest {
    fn name(&self) -> String {
        self.table["package"]["name"].as_str().unwrap().to_owned()
    }

    fn dependencies(&self) -> impl Iterator<Item = (&String, &toml::Value)> {
        ["dependencies", "dev-dependencies", "build-dependencies"]
            .into_iter()
            .filter_map(|section| self.table.get(section)?.as_table())
            .flatten()
    }

    fn ours(&self) -> impl Iterator<Item = String> {
        self.dependencies().map(|(name, _)| name.clone()).filter(|name| name.starts_with("corecast"))
    }
}

/// The manifests of the workspace's crates. `fuzz/` is a workspace of its own: cargo-fuzz builds it with other flags.
fn manifests() -> Vec<Manifest> {
    let mut found = Vec::new();
    walk(&root(), &mut |path| {
        let folder = path.parent().unwrap().strip_prefix(root()).unwrap().to_path_buf();
        if path.ends_with("Cargo.toml") && folder != Path::new("") && folder != Path::new("fuzz") {
            let table = fs::read_to_string(path).unwrap().parse().unwrap();
            found.push(Manifest { folder, table });
        }
    });
    assert!(found.len() > 10, "the manifests were not found");
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
