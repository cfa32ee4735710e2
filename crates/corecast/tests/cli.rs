//! Claim: the command line does what its help says, with the exit codes that scripts rely on.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::Write as _;
use std::process::{Command, Output};

fn corecast(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    command.env_clear().args(arguments).envs(env.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs and checks the exit code; gives what was printed to the standard output and error.
fn run(arguments: &[&str], env: &[(&str, &str)], code: i32) -> (String, String) {
    let output = corecast(arguments, env);
    let (out, error) = (text(&output.stdout).to_owned(), text(&output.stderr).to_owned());
    assert_eq!(output.status.code(), Some(code), "corecast {arguments:?}\n{out}\n{error}");
    (out, error)
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

#[test]
fn version_and_help() {
    let (out, _) = run(&["version"], &[], 0);
    assert!(out.starts_with(concat!("corecast ", env!("CARGO_PKG_VERSION"))), "{out}");
    assert_eq!(run(&["--version"], &[], 0).0.trim(), out.trim());
    let (help, _) = run(&["--help"], &[], 0);
    for command in
        ["standalone", "gateway", "router", "load", "checkconfig", "defaultconfig", "configdoc", "gentoken", "version"]
    {
        assert!(help.contains(command), "{command} is missing in:\n{help}");
        let (own, _) = run(&[command, "--help"], &[], 0);
        assert!(own.contains("Usage:"), "{own}");
    }
    assert!(help.contains("78 wrong configuration"), "{help}");
}

#[test]
fn load_is_the_load_generator() {
    let (out, _) = run(&["load", "list"], &[], 0);
    assert!(out.contains("article-node"), "{out}");
    run(&["load", "run", "no-such-scenario", "--target", "127.0.0.1:1"], &[], 2);
}

#[test]
fn wrong_usage_is_2() {
    run(&[], &[], 2);
    run(&["nonsense"], &[], 2);
    run(&["standalone", "--nonsense"], &[], 2);
    run(&["standalone", "--cores", "many"], &[], 2);
    let key = [("CORECAST_AUTH_TOKEN_SECRET", "a secret of at least thirty-two bytes")];
    let (_, error) = run(&["gentoken", "--ttl", "soon"], &key, 2);
    assert!(error.contains("--ttl") && error.contains("is not a time"), "{error}");
}

#[test]
fn wrong_configuration_is_78_with_every_problem_on_a_line() {
    let bad = file("[gateway]\nlisen = \"x\"\ncores = 0\n\n[limits]\nmessage = \"tall\"\n");
    let path = bad.path().to_str().unwrap();
    let (_, error) = run(&["checkconfig", "--config", path], &[("CORECAST_NONSENSE", "1")], 78);
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert_eq!(lines[0], format!("corecast: {path}:2: unknown key `lisen` in [gateway]; did you mean `listen`?"));
    assert!(lines[1].starts_with(&format!("corecast: {path}:6: limits.message: `tall` is not a size")), "{error}");
    assert_eq!(lines[2], "corecast: unknown environment variable CORECAST_NONSENSE");
    for command in ["standalone", "gateway", "router"] {
        run(&[command, "--config", path], &[], 78);
    }
    let (_, error) = run(&["checkconfig", "--config", "/nonexistent.toml"], &[], 78);
    assert!(error.contains("/nonexistent.toml: cannot be read"), "{error}");
    let (_, error) = run(&["checkconfig", "gateway"], &[], 78);
    assert!(error.contains("link.secret is not set") && error.contains("--router"), "{error}");
    let (_, error) = run(&["standalone", "--listen", "nowhere"], &[], 78);
    assert!(error.contains("gateway.listen is from --listen"), "{error}");
}

#[test]
fn a_secret_never_reaches_the_terminal() {
    let bad = file("[link]\nsecret = \"hunter2\"\n[admin]\napi_key = [\"hunter2\"]\n[auth]\ntoken_secret = 31337\n");
    let (out, error) = run(&["checkconfig", "--config", bad.path().to_str().unwrap()], &[], 78);
    assert!(!out.contains("hunter2") && !error.contains("hunter2") && !error.contains("31337"), "{out}{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn the_default_configuration_is_valid_and_the_environment_names_a_file() {
    let (defaults, _) = run(&["defaultconfig"], &[], 0);
    let defaults = file(&defaults);
    let path = defaults.path().to_str().unwrap();
    let (out, _) = run(&["checkconfig", "standalone", "--config", path], &[], 0);
    assert!(out.contains("valid") && out.contains(path) && out.contains("0 settings differ"), "{out}");
    let (out, _) = run(&["checkconfig"], &[("CORECAST_CONFIG", path)], 0);
    assert!(out.contains(path), "{out}");
}

#[test]
fn a_token_is_signed_with_the_configured_key_and_claims() {
    let secret = "a secret of at least thirty-two bytes";
    let env =
        [("CORECAST_AUTH_TOKEN_SECRET", secret), ("CORECAST_AUTH_ISSUER", "tests"), ("CORECAST_AUTH_AUDIENCE", "chat")];
    let (token, _) = run(&["gentoken", "--user", "42", "--ttl", "10m", "--info", r#"{"name":"Ada"}"#], &env, 0);
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    rules.set_audience(&["chat"]);
    rules.set_issuer(&["tests"]);
    let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
    let claims = jsonwebtoken::decode::<serde_json::Value>(token.trim(), &key, &rules).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["info"]["name"]), (&"42".into(), &"Ada".into()));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
    assert!(claims.get("channel").is_none());

    let (token, _) = run(&["gentoken", "--user", "42", "--ttl", "0s", "--channel", "news"], &env, 0);
    rules.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<serde_json::Value>(token.trim(), &key, &rules).unwrap().claims;
    assert_eq!(claims["channel"], "news");
    assert!(claims.get("exp").is_none());

    let (_, error) = run(&["gentoken", "--user", "42"], &[], 78);
    assert!(error.contains("auth.token_secret"), "{error}");
}

#[test]
fn a_router_needs_its_secret_and_says_which_port_is_taken() {
    let (_, error) = run(&["router"], &[], 78);
    assert!(error.contains("link.secret is not set"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let secret = [("CORECAST_LINK_SECRET", "0123456789abcdef0123456789abcdef")];
    let (_, error) = run(&["router", "--listen", &address, "--admin", "127.0.0.1:0"], &secret, 69);
    assert!(error.contains(&address) && error.contains("in use") && error.contains("--listen"), "{error}");
    let (_, error) = run(&["router", "--listen", "127.0.0.1:0", "--admin", &address], &secret, 69);
    assert!(error.contains(&address) && error.contains("in use") && error.contains("--admin"), "{error}");
}
