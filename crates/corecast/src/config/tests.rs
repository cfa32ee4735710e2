//! Claim: what is configured is what runs. Sources override each other in the documented order, nothing is ignored silently,
//! and the written documentation is the schema.

use std::collections::BTreeMap;
use std::path::Path;

use super::load::{Origin, load};
use super::validate::{check, cpu_list, listen_address};
use super::values::{Size, Span};
use super::{Origins, Problems, Settings, render};
use crate::cli::Role;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Loads a file with this text and these variables.
fn read(text: &str, pairs: &[(&str, &str)]) -> Result<(Settings, Origins), Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    let mut settings = Settings::default();
    let strip = |problem: &String| problem.replace(&format!("{}", path.display()), "c.toml");
    match load(&mut settings, Some(&path), &env(pairs)) {
        Ok(origins) => Ok((settings, origins)),
        Err(Problems(problems)) => Err(problems.iter().map(strip).collect()),
    }
}

fn problem(text: &str, pairs: &[(&str, &str)]) -> String {
    let problems = read(text, pairs).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

fn checked(text: &str, role: Option<Role>) -> Vec<String> {
    let (settings, origins) = read(text, &[]).unwrap();
    check(&settings, &origins, role).err().unwrap_or_default().0
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let text = "[gateway]\nlisten = \"1.1.1.1:1\"\ncores = 3\n";
    let (settings, origins) = read(text, &[("CORECAST_GATEWAY_LISTEN", "2.2.2.2:2")]).unwrap();
    assert_eq!(settings.gateway.listen, "2.2.2.2:2");
    assert_eq!(settings.gateway.cores, 3);
    assert_eq!(settings.gateway.path, "/connection/websocket");
    let origin = |key: &str| origins.get(&("gateway".to_owned(), key.to_owned()));
    assert_eq!(origin("listen"), Some(&Origin::Env("CORECAST_GATEWAY_LISTEN".to_owned())));
    assert!(matches!(origin("cores"), Some(Origin::File { line: 3, .. })));
    assert_eq!(origin("path"), None);
}

#[test]
fn every_setting_can_be_set_by_file_and_by_environment() {
    let sample = |kind: &str| match kind {
        kind if kind.starts_with("bytes") => "\"7KiB\"",
        kind if kind.starts_with("time") => "\"7s\"",
        "true or false" => "true",
        "whole number" => "7",
        kind if kind.starts_with("list") => "[\"seven\"]",
        "one of `auto` `hash` `cpu`" => "\"hash\"",
        "one of `text` `json`" => "\"json\"",
        "one of `HS256` `HS384` `HS512`" => "\"HS384\"",
        "text" | "secret text" => "\"seven\"",
        kind => panic!("{kind} has no sample"),
    };
    let mut count = 0;
    for section in Settings::default().sections() {
        for entry in section.entries() {
            let literal = sample(entry.kind);
            let (_, origins) = read(&format!("[{}]\n{} = {literal}", section.table(), entry.key), &[]).unwrap();
            assert_eq!(origins.len(), 1);
            let name = super::schema::env_name(section.table(), entry.key);
            let text = literal.trim_matches(['"', '[', ']']).trim_matches('"');
            let (_, origins) = read("", &[(&name, text)]).unwrap();
            assert_eq!(origins.len(), 1, "{name}");
            count += 1;
        }
    }
    assert!(count > 60, "the schema has only {count} settings");
}

#[test]
fn an_unknown_key_is_an_error_with_file_line_and_the_nearest_known_name() {
    assert_eq!(
        problem("[gateway]\n\nlisen = \"x\"", &[]),
        "c.toml:3: unknown key `lisen` in [gateway]; did you mean `listen`?"
    );
    assert_eq!(
        problem("[gatewya]\nlisten = \"x\"", &[]),
        "c.toml:1: unknown section [gatewya]; did you mean `gateway`?"
    );
    assert_eq!(problem("[gateway]\nfrobnicate = 1", &[]), "c.toml:2: unknown key `frobnicate` in [gateway]");
    assert!(problem("gateway = 1", &[]).starts_with("c.toml:1: `gateway` is a section"));
}

#[test]
fn an_unknown_variable_is_an_error_but_not_one_that_is_not_a_setting() {
    assert_eq!(
        problem("", &[("CORECAST_GATEWAY_LISTN", "x")]),
        "unknown environment variable CORECAST_GATEWAY_LISTN; did you mean `CORECAST_GATEWAY_LISTEN`?"
    );
    let others = [
        ("PATH", "/bin"),
        ("CORECAST_CONFIG", "c.toml"),
        ("CORECAST_BIN", "target/release/corecast"),
        ("CORECAST_LOAD_TOKEN", "eyJ"),
        ("CORECAST_SERVICE_HOST", "10.0.0.1"),
        ("CORECAST_SERVICE_PORT_HTTP", "80"),
        ("CORECAST_PORT", "tcp://10.0.0.1:80"),
        ("CORECAST_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(read("", &others).unwrap().1.is_empty());
}

#[test]
fn a_wrong_value_is_an_error_that_says_what_would_be_right() {
    let wrong = problem("[timing]\nping = 25", &[]);
    assert!(wrong.starts_with("c.toml:2: timing.ping: "), "{wrong}");
    let wrong = problem("[timing]\nping = \"25 parsecs\"", &[]);
    assert!(wrong.starts_with("c.toml:2: timing.ping: `25 parsecs` is not a time"), "{wrong}");
    let wrong = problem("", &[("CORECAST_GATEWAY_CORES", "many")]);
    assert_eq!(wrong, "environment variable CORECAST_GATEWAY_CORES: `many` is not a whole number from 0 to 65535");
    let wrong = problem("[gateway]\ncores = 70000", &[]);
    assert!(wrong.starts_with("c.toml:2: gateway.cores: "), "{wrong}");
    let wrong = problem("[gateway]\nlisten = ", &[]);
    assert!(wrong.starts_with("c.toml:2: not valid TOML"), "{wrong}");
    let wrong = problem("[gateway]\ncores = 1\ncores = 2", &[]);
    assert!(wrong.starts_with("c.toml:3: not valid TOML: duplicate key"), "{wrong}");
}

#[test]
fn all_problems_are_reported_together() {
    let text = "[gateway]\nlisen = 1\ncores = \"x\"\n[nonsense]\n";
    assert_eq!(read(text, &[("CORECAST_X", "1")]).unwrap_err().len(), 4);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let mut settings = Settings::default();
    let Problems(problems) = load(&mut settings, Some(Path::new("/nonexistent/c.toml")), &env(&[])).unwrap_err();
    assert!(problems[0].starts_with("/nonexistent/c.toml: cannot be read: No such file"), "{problems:?}");
}

#[test]
fn lists_and_sizes_read_the_same_from_file_and_environment() {
    let (settings, _) =
        read("[limits]\nmessage = \"64KiB\"\nfirst_frame = 4096", &[("CORECAST_GATEWAY_ROUTERS", "a:1, b:2,")])
            .unwrap();
    assert_eq!(settings.limits.message, Size::kib(64));
    assert_eq!(settings.limits.first_frame, Size(4_096));
    assert_eq!(settings.gateway.routers, ["a:1", "b:2"]);
    assert_eq!(settings.timing.ping, Span::secs(25));
}

#[test]
fn broken_relations_name_the_keys_the_place_and_the_way_out() {
    let problems = checked("[limits]\noutbox_soft = \"1MiB\"", None);
    assert_eq!(problems.len(), 1, "{problems:?}");
    for part in ["limits.outbox_soft = \"1MiB\" must be below limits.outbox_hard = \"256KiB\"", ":2", "Lower the first"]
    {
        assert!(problems[0].contains(part), "{part} is missing in {problems:?}");
    }
    for (text, part) in [
        ("[timing]\npong = \"30s\"", "timing.pong"),
        ("[timing]\nanswer = \"6s\"", "timing.answer"),
        ("[limits]\nmessage = \"1MiB\"", "512KiB"),
        ("[limits]\nchat_name = 300", "between 1 and 255"),
        ("[limits]\nfirst_frame = \"256KiB\"", "limits.message"),
        ("[gateway]\ncores = 0", "gateway.cores"),
        ("[gateway]\ncpus = \"3-1\"", "list of CPUs"),
        ("[gateway]\nlisten = \"example.org:80\"", "gateway.listen"),
        ("[gateway]\npath = \"ws\"", "must begin with /"),
        ("[gateway]\ntrusted_proxies = [\"lan\"]", "`lan`"),
        ("[ring]\nreceive_buffers = 1000", "power of two"),
        ("[link]\nsecret = \"short\"", "at least 16"),
        ("[link]\nsecret = \"0123456789abcdef\"\nsecret_file = \"x\"", "remove one"),
        ("[link]\nsecret_file = \"/nonexistent\"", "/nonexistent"),
        ("[link]\nslots = 20000", "link.slots"),
        ("[router]\nlinks = 0", "router.links must be 1 to 1,500"),
        ("[router]\nlink_hard = \"9MiB\"", "router.link_hard must be at least 2 MiB over"),
        ("[auth]\nallowed_origins = [\"example.org\"]", "auth.allowed_origins: bad origin \"example.org\""),
        ("[auth]\ntoken_keys = [\"RS256\"]", "ALGORITHM:FILE"),
        ("[auth]\ntoken_keys = [\"HS256:/x\"]", "auth.token_secret_file"),
        ("[auth]\ntoken_keys = [\"RS256:/nonexistent\"]", "cannot read /nonexistent"),
        ("[auth]\ntoken_keys = [\"FOO:/x\"]", "unknown algorithm FOO"),
        ("[users]\npublish = [\"a*b\"]", "users.publish: bad chat pattern"),
        ("[admin]\ndemo_websocket = \"chat.example.org\"", "admin.demo_websocket"),
        ("[admin]\ndemo_websocket = \"ws://x;script-src\"", "admin.demo_websocket"),
    ] {
        let problems = checked(text, None);
        assert!(problems.len() == 1 && problems[0].contains(part), "{text}: {problems:?}");
    }
}

#[test]
fn each_role_says_what_it_cannot_start_without() {
    assert!(checked("", Some(Role::Standalone)).is_empty());
    assert!(checked("", Some(Role::Router)).iter().any(|problem| problem.contains("link.secret")));
    let problems = checked("[link]\nsecret = \"0123456789abcdef\"", Some(Role::Gateway));
    assert!(problems.iter().any(|problem| problem.contains("gateway.routers")), "{problems:?}");
}

#[test]
fn steering_by_cpu_needs_a_cpu_for_each_core_and_an_imbalance_is_a_share_of_the_mean() {
    let steered = |cpus: &str| checked(&format!("[gateway]\nsteering = \"cpu\"\ncores = 2\ncpus = \"{cpus}\""), None);
    assert_eq!(steered("3,1"), Vec::<String>::new());
    for (cpus, has) in [("", 0), ("0", 1), ("1,1", 1)] {
        let problems = steered(cpus);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(&format!("has {has} for 2")), "{problems:?}");
        assert!(problems[0].contains("gateway.steering is from"), "{problems:?}");
    }
    assert!(problem("[gateway]\nsteering = \"rss\"", &[]).contains("`auto` `hash` `cpu`"));
    for imbalance in [0, 100, 125] {
        assert!(checked(&format!("[gateway]\nimbalance = {imbalance}"), None).is_empty(), "{imbalance}");
    }
    for imbalance in [1, 99, 102_401] {
        let problems = checked(&format!("[gateway]\nimbalance = {imbalance}"), None);
        assert!(problems.len() == 1 && problems[0].contains("gateway.imbalance"), "{problems:?}");
    }
    let (settings, _) = read("[gateway]\nsteering = \"hash\"\nimbalance = 150", &[]).unwrap();
    let routers = super::convert::endpoints(&Settings {
        gateway: super::Gateway { routers: vec!["unix:@r".into()], ..super::Gateway::default() },
        ..Settings::default()
    });
    let config = super::convert::gateway(&settings, routers.unwrap(), &super::values::Secret::new("s")).unwrap();
    assert_eq!((config.steering, config.imbalance), (corecast_gateway::config::Steering::Hash, 150));
}

#[test]
fn addresses_and_cpu_lists() {
    assert_eq!(listen_address("localhost:80").unwrap().to_string(), "127.0.0.1:80");
    assert_eq!(listen_address("[::]:80").unwrap().to_string(), "[::]:80");
    for wrong in ["", "80", ":80", "0.0.0.0", "0.0.0.0:70000", "host:80"] {
        assert!(listen_address(wrong).unwrap_err().contains("127.0.0.1:8000"), "{wrong}");
    }
    assert_eq!(cpu_list("0-2, 5").unwrap(), [0, 1, 2, 5]);
    assert!(cpu_list("").unwrap().is_empty());
    for wrong in ["a", "2-1", "1-", "-", "0-99999999999", "1.5"] {
        assert!(cpu_list(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_router_has_a_name_of_its_own_where_it_is_given_one() {
    use super::convert::{endpoints, split_endpoint};
    assert_eq!(split_endpoint("10.0.0.1:7000"), ("10.0.0.1:7000", "10.0.0.1:7000"));
    assert_eq!(split_endpoint("r1@10.0.0.1:7000"), ("r1", "10.0.0.1:7000"));
    assert_eq!(split_endpoint("r1@unix:/run/a@b"), ("r1", "unix:/run/a@b"));
    assert_eq!(split_endpoint("unix:@name.0"), ("unix:@name.0", "unix:@name.0"));
    let mut settings = Settings::default();
    settings.gateway.routers = vec!["r1@127.0.0.1:7000".into(), "unix:@name.0".into()];
    let endpoints = endpoints(&settings).unwrap();
    assert_eq!((endpoints[0].name.as_str(), endpoints[1].name.as_str()), ("r1", "unix:@name.0"));
    settings.gateway.routers = vec!["nowhere".into()];
    assert!(super::convert::endpoints(&settings).unwrap_err().contains("`nowhere` cannot be looked up"));
}

#[test]
fn the_defaults_file_is_valid_and_changes_nothing() {
    let text = render::default_toml();
    assert!(read(&text, &[]).unwrap().1.is_empty());
    // With every setting uncommented it still reads, and every value is the default.
    let active: String = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .filter(|line| !line.ends_with("= \"\"") || line.starts_with("name") || line.starts_with("cpus"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (settings, origins) = read(&active, &[]).unwrap();
    assert!(origins.len() > 70, "{active}");
    assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn every_setting_is_documented() {
    for section in Settings::default().sections() {
        assert!(!section.doc().is_empty(), "[{}]", section.table());
        for entry in section.entries() {
            let text = entry.doc.join(" ");
            assert!(text.trim_end().ends_with('.') && text.len() > 10, "{}.{}: {text}", section.table(), entry.key);
        }
    }
}

#[test]
fn the_written_reference_is_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONFIGURATION.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let made = render::markdown();
    assert!(
        written == made,
        "docs/CONFIGURATION.md is not what the schema says: run `cargo run -p corecast -- configdoc > docs/CONFIGURATION.md`"
    );
}
