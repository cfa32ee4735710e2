//! `corecast load …`: the command line of the generator. Data goes to stdout, everything else to stderr.
//!
//! Exit codes: 0 passed · 1 failed or ended early · 2 wrong usage · 69 the target cannot be reached or refuses · 78 wrong
//! scenario · 98 the generator was late, the figures are invalid · 99 a threshold is broken.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use corecast_ring::affinity;

use crate::agent::serve::{Agent, AgentConfig};
use crate::null::{Faults, NullConfig, NullServer};
use crate::output::live::Live;
use crate::output::{diff, files, report, result, text};
use crate::run::{self, RunError, RunOptions};
use crate::scenario::{Adjust, Arrivals, Publisher, Scenario, Span, library};
use crate::search::{Search, Step};
use crate::summary::Summary;
use crate::target::Protocol;

const EXAMPLES: &str = "Examples:
  corecast load list
  corecast load run article-node --target ws://127.0.0.1:8000 --connections 15000 --out results/a
  corecast load run my.toml --target 127.0.0.1:8000 --threshold 'deliver.p99<50ms' --threshold 'missing==0'
  corecast load diff results/a results/b

Exit codes: 0 passed, 1 failed or ended early, 2 wrong usage, 69 target not reachable or refusing, 78 wrong scenario,
98 the generator was late (figures invalid), 99 a threshold is broken.";

/// Arguments of `corecast load`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct LoadArgs {
    #[command(subcommand)]
    command: LoadCommand,
}

#[derive(Debug, Subcommand)]
enum LoadCommand {
    /// Run a scenario against a target, check every delivery, and report
    Run(Box<RunArgs>),
    /// List the ready scenarios
    List {
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Print a scenario: a ready one with its comments, or a file with all defaults filled in
    Show {
        /// Name or file
        scenario: String,
    },
    /// Compare two runs (or two folders of rounds) figure by figure, with their spread
    Diff {
        /// Folder or summary.json of the first
        a: PathBuf,
        /// Folder or summary.json of the second
        b: PathBuf,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write the HTML report of a stored run anew
    Report {
        /// Folder or summary.json
        run: PathBuf,
        /// Where to write it; default: report.html beside the summary
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Find the highest message rate at which conditions hold, by whole runs
    Search(Box<SearchArgs>),
    /// Wait for a controller (`run --agent`) and do a part of its runs
    Agent(AgentArgs),
    /// Run the null server: a broadcaster without any limits, the ceiling of every comparison
    Null(NullArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Name of a ready scenario (see `list`) or a TOML file
    scenario: String,
    /// Where the target is: ws://HOST:PORT/PATH, HOST:PORT or unix:/path; several: members take turns
    #[arg(long, short, required = true, value_delimiter = ',')]
    target: Vec<String>,
    /// What the target speaks
    #[arg(long, short, value_enum, default_value = "centrifuge-json")]
    protocol: Protocol,
    /// Member connections in total
    #[arg(long, short = 'c')]
    connections: Option<u64>,
    /// Messages per second in total; groups keep their shares
    #[arg(long, short)]
    rate: Option<f64>,
    /// Bytes of each message
    #[arg(long)]
    size: Option<usize>,
    /// Measured time, such as 30s
    #[arg(long, short)]
    duration: Option<Span>,
    /// Published but not measured before it
    #[arg(long)]
    warmup: Option<Span>,
    /// Patience with deliveries after the last publish
    #[arg(long)]
    drain: Option<Span>,
    /// New connections per second
    #[arg(long)]
    connect_rate: Option<f64>,
    /// Spacing of the messages
    #[arg(long, value_enum)]
    arrivals: Option<Arrivals>,
    /// Who publishes: a few connections of their own, or the first member of each chat
    #[arg(long, value_enum)]
    publish_by: Option<Publisher>,
    /// Number of dedicated publishing connections
    #[arg(long)]
    publishers: Option<u16>,
    /// Own lateness (p99) above which the run is invalid
    #[arg(long)]
    max_lateness: Option<Span>,
    /// Condition such as 'deliver.p99<50ms'; repeatable; a broken one ends with exit code 99
    #[arg(long)]
    threshold: Vec<String>,
    /// JWT for the connect command
    #[arg(long, env = "CORECAST_LOAD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Prefix of chat names; default: c and two characters that change from run to run
    #[arg(long)]
    prefix: Option<String>,
    /// Seed of the schedule and of everything drawn at random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Process of the target to watch; repeatable; default: whoever listens on its port on this host
    #[arg(long)]
    server_pid: Vec<u32>,
    /// CPUs for the generator's threads, such as 1 or 2-5
    #[arg(long)]
    cpus: Option<String>,
    /// At least so many rings (threads that hold members)
    #[arg(long)]
    rings: Option<u32>,
    /// Local address to connect from; repeatable; default: as many loopback addresses as are needed
    #[arg(long, value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// Gather wake-ups for this long: less CPU, and up to as much latency more
    #[arg(long, default_value = "0")]
    window: Span,
    /// Agent that does a part of the work; repeatable; this process then only leads
    #[arg(long, value_delimiter = ',')]
    agent: Vec<String>,
    /// What the agents want to hear
    #[arg(long, env = "CORECAST_LOAD_SECRET", hide_env_values = true, default_value = "")]
    agent_secret: String,
    /// Skip the calibration against the null server
    #[arg(long)]
    no_calibration: bool,
    /// Free text that tells this run from others
    #[arg(long, default_value = "")]
    label: String,
    /// Folder for summary.json, report.html, latency.hlog and *.hgrm
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Repeat so often, each round in its own folder round-N
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    json: bool,
    /// No live view
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct SearchArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Rate of the first step; default: a quarter of the scenario's
    #[arg(long)]
    first: Option<f64>,
    /// Never try more
    #[arg(long, default_value_t = 1_000_000.0)]
    highest: f64,
    /// Stop when the interval is narrower than this share
    #[arg(long, default_value_t = 0.05)]
    resolution: f64,
    /// Most runs
    #[arg(long, default_value_t = 16)]
    steps: u32,
}

#[derive(Debug, Args)]
struct AgentArgs {
    /// Where to wait; keep it on an internal network
    #[arg(long, default_value = "127.0.0.1:8200")]
    listen: SocketAddr,
    /// Controllers must know it
    #[arg(long, env = "CORECAST_LOAD_SECRET", hide_env_values = true, default_value = "")]
    secret: String,
    /// CPUs for the workers, such as 1 or 2-5
    #[arg(long)]
    cpus: Option<String>,
    /// Local address to connect from; repeatable
    #[arg(long, value_delimiter = ',')]
    source: Vec<IpAddr>,
}

#[derive(Debug, Args)]
struct NullArgs {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8100")]
    listen: SocketAddr,
    /// CPU to pin it to
    #[arg(long)]
    cpu: Option<usize>,
    /// Most connections
    #[arg(long, default_value_t = 16_384)]
    connections: u32,
}

/// Runs the command; everything has been said when it returns.
pub fn main(args: LoadArgs) -> ExitCode {
    let outcome = match args.command {
        LoadCommand::Run(args) => run_rounds(&args),
        LoadCommand::List { json } => list(json),
        LoadCommand::Show { scenario } => show(&scenario),
        LoadCommand::Diff { a, b, json } => compare(&a, &b, json),
        LoadCommand::Report { run, out } => rewrite(&run, out),
        LoadCommand::Search(args) => find_limit(&args),
        LoadCommand::Agent(args) => agent(args),
        LoadCommand::Null(args) => null(&args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("corecast load: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_rounds(args: &RunArgs) -> Result<u8, RunError> {
    let mut options = options(args)?;
    let mut worst = 0;
    for round in 1..=args.rounds {
        if args.rounds > 1 {
            options.out = args.out.as_ref().map(|folder| folder.join(format!("round-{round}")));
            eprintln!("round {round} of {}", args.rounds);
        }
        let mut live = Live::new(args.quiet);
        let finished = run::run(&options, &mut live);
        live.end();
        let finished = finished?;
        let summary = &finished.summary;
        if args.json {
            println!("{}", files::json(summary));
        } else {
            print!("{}", result::render(summary));
        }
        match &options.out {
            Some(folder) => eprintln!("  report      {}", files::write(&finished, folder)?.display()),
            None => eprintln!("  (--out DIR writes a report, the histograms and the summary)"),
        }
        worst = worse(worst, summary.verdict.outcome.exit_code());
    }
    Ok(worst)
}

fn find_limit(args: &SearchArgs) -> Result<u8, RunError> {
    let mut options = options(&args.run)?;
    if options.scenario.thresholds.is_empty() {
        options.scenario.thresholds.push("deliver.p99<50ms".to_owned());
    }
    let conditions = options.scenario.thresholds.join(", ");
    let first = args.first.unwrap_or_else(|| options.scenario.rate() / 4.0);
    if first.is_nan() || first <= 0.0 {
        return Err(RunError::Usage("the scenario publishes nothing: give --first RATE".to_owned()));
    }
    let out = options.out.take();
    let mut search = Search::new(first, args.highest, args.resolution.clamp(0.001, 1.0), args.steps);
    let mut steps = Vec::new();
    while let Some(rate) = search.poll() {
        Adjust { rate: Some(rate), ..Adjust::default() }.apply(&mut options.scenario);
        options.out = out.as_ref().map(|folder| folder.join(format!("rate-{rate:.0}")));
        let mut live = Live::new(args.run.quiet);
        let finished = run::run(&options, &mut live);
        live.end();
        let finished = finished?;
        if let Some(folder) = &options.out {
            files::write(&finished, folder)?;
        }
        // The generator has been calibrated by the first step.
        options.calibrate = false;
        let step = Step::of(rate, &finished.summary);
        eprintln!("{}", step_line(&step));
        search.tell(rate, step.holds);
        let interrupted = options.interrupt.load(std::sync::atomic::Ordering::Relaxed);
        steps.push(step);
        if interrupted {
            break;
        }
    }
    let (holds, breaks) = search.result();
    if args.run.json {
        let result = serde_json::json!({
            "schema": 1, "conditions": conditions, "holds_at": holds, "breaks_at": breaks, "steps": steps,
        });
        println!("{result}");
    } else {
        let shown = |rate: Option<f64>| rate.map_or_else(|| "no rate tried".to_owned(), text::amount);
        println!("{conditions}: holds at {} msg/s, breaks at {} msg/s", shown(holds), shown(breaks));
    }
    Ok(if holds.is_some() { 0 } else { 99 })
}

fn step_line(step: &Step) -> String {
    let mark = if step.holds { "✓" } else { "✗" };
    let cpu = step.cpu_per_delivery_us.map_or_else(String::new, |cpu| format!(", {cpu:.2} µs of CPU each"));
    let why = step.reasons.first().map_or_else(String::new, |why| format!(" · {why}"));
    format!(
        "{mark} {} msg/s: {} deliveries/s, p99 {}{cpu}{why}",
        text::amount(step.rate),
        text::amount(step.deliveries_per_second),
        text::time(step.p99 as f64)
    )
}

fn agent(args: AgentArgs) -> Result<u8, RunError> {
    let cpus = args.cpus.as_deref().map_or_else(|| Ok(Vec::new()), usable_cpus)?;
    let (listen, secret, sources) = (args.listen, args.secret, args.source);
    if secret.is_empty() && !listen.ip().is_loopback() {
        eprintln!("anybody who reaches {listen} can make this host generate load: set CORECAST_LOAD_SECRET");
    }
    let wrong = |error: std::io::Error| RunError::Setup(format!("{listen}: {error}"));
    let agent = Agent::bind(AgentConfig { listen, secret, cpus, sources }).map_err(wrong)?;
    eprintln!("agent waits on {}", agent.address().map_err(wrong)?);
    agent.serve(None, |text| eprintln!("{text}")).map_err(wrong)?;
    Ok(0)
}

/// Of several rounds: a failure says most, then an invalid run, then a broken threshold.
fn worse(a: u8, b: u8) -> u8 {
    let rank = |code: u8| [0, 99, 98, 1].iter().position(|known| *known == code).unwrap_or(4);
    if rank(b) > rank(a) { b } else { a }
}

fn options(args: &RunArgs) -> Result<RunOptions, RunError> {
    let mut scenario = load(&args.scenario)?;
    let adjust = Adjust {
        connections: args.connections,
        rate: args.rate,
        size: args.size,
        connect_rate: args.connect_rate,
        warmup: args.warmup,
        duration: args.duration,
        drain: args.drain,
        arrivals: args.arrivals,
        publish_by: args.publish_by,
        publishers: args.publishers,
        lateness_max: args.max_lateness,
        thresholds: args.threshold.clone(),
    };
    adjust.apply(&mut scenario);
    scenario.check(&args.scenario)?;
    let cpus = match &args.cpus {
        None => Vec::new(),
        Some(list) => usable_cpus(list)?,
    };
    let interrupt = Arc::new(AtomicBool::new(false));
    // A second Ctrl-C ends the process the usual way.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let registered = signal_hook::flag::register_conditional_shutdown(signal, 130, interrupt.clone())
            .and_then(|_| signal_hook::flag::register(signal, interrupt.clone()));
        registered.map_err(|error| RunError::Setup(format!("signal {signal}: {error}")))?;
    }
    Ok(RunOptions {
        targets: args.target.clone(),
        protocol: args.protocol,
        prefix: args.prefix.clone(),
        token: args.token.clone(),
        seed: args.seed,
        label: args.label.clone(),
        pids: args.server_pid.clone(),
        cpus,
        rings: args.rings,
        sources: args.source.clone(),
        window: args.window.duration(),
        out: args.out.clone(),
        calibrate: !args.no_calibration,
        agents: args.agent.clone(),
        agent_secret: args.agent_secret.clone(),
        interrupt,
        ..RunOptions::new(scenario)
    })
}

fn usable_cpus(list: &str) -> Result<Vec<usize>, RunError> {
    let cpus = affinity::parse_list(list).map_err(|error| RunError::Usage(format!("--cpus: {error}")))?;
    let available = affinity::available().map_err(|error| RunError::Setup(format!("CPU affinity: {error}")))?;
    match cpus.iter().find(|cpu| !available.contains(cpu)) {
        None => Ok(cpus),
        Some(cpu) => Err(RunError::Usage(format!("--cpus: CPU {cpu} is not available; there are {available:?}"))),
    }
}

/// A ready scenario by name, or a file.
fn load(name: &str) -> Result<Scenario, RunError> {
    if let Some(entry) = library::find(name) {
        return Ok(entry.load());
    }
    let path = Path::new(name);
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Scenario::parse(&text, name)?),
        Err(error) if path.extension().is_some() || name.contains('/') => {
            Err(RunError::Usage(format!("{name}: {error}")))
        }
        Err(_) => {
            let known: Vec<&str> = library::ALL.iter().map(|entry| entry.name).collect();
            let known = known.join(", ");
            Err(RunError::Usage(format!("there is no scenario {name:?}; ready ones are {known}; or give a TOML file")))
        }
    }
}

fn list(json: bool) -> Result<u8, RunError> {
    if json {
        let entries: Vec<_> = library::ALL
            .iter()
            .map(|entry| {
                let scenario = entry.load();
                serde_json::json!({
                    "name": entry.name,
                    "about": scenario.about,
                    "connections": scenario.connections(),
                    "messages_per_second": scenario.rate(),
                    "deliveries_per_second": scenario.deliveries(),
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "schema": 1, "scenarios": entries }));
        return Ok(0);
    }
    for entry in library::ALL {
        let scenario = entry.load();
        println!("{:<14}{}", entry.name, scenario.about);
        println!("{:<14}{}", "", scenario.outline());
    }
    Ok(0)
}

fn show(name: &str) -> Result<u8, RunError> {
    match library::find(name) {
        Some(entry) => print!("{}", entry.text),
        None => print!("{}", load(name)?.to_toml()),
    }
    Ok(0)
}

fn compare(a: &Path, b: &Path, json: bool) -> Result<u8, RunError> {
    let read = |path: &Path| -> Result<Vec<Summary>, RunError> { files::read_all(path).map_err(RunError::Usage) };
    let (a, b) = (read(a)?, read(b)?);
    if json {
        let lines = diff::compare(&a, &b);
        let not_the_same = a.first().zip(b.first()).map(|(a, b)| diff::circumstances(a, b)).unwrap_or_default();
        println!("{}", serde_json::json!({ "schema": 1, "not_the_same": not_the_same, "figures": lines }));
    } else {
        print!("{}", diff::render(&a, &b));
    }
    Ok(0)
}

fn rewrite(run: &Path, out: Option<PathBuf>) -> Result<u8, RunError> {
    let summary = files::read(run).map_err(RunError::Usage)?;
    let folder = if run.is_dir() { run } else { run.parent().unwrap_or_else(|| Path::new(".")) };
    let path = out.unwrap_or_else(|| folder.join("report.html"));
    std::fs::write(&path, report::render(&summary)).map_err(|error| RunError::Output { path: path.clone(), error })?;
    println!("{}", path.display());
    Ok(0)
}

fn null(args: &NullArgs) -> Result<u8, RunError> {
    corecast_ring::limits::raise_descriptors().map_err(|error| RunError::Setup(error.to_string()))?;
    let (listen, cpu, connections) = (args.listen, args.cpu, args.connections);
    let config = NullConfig { listen, cpu, connections, faults: Faults::default() };
    let server = NullServer::start(config).map_err(|error| RunError::Setup(format!("{listen}: {error}")))?;
    eprintln!("null server on {}: /connection/websocket speaks centrifuge, / speaks raw", server.address());
    server.join();
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn run_args(words: &str) -> Result<RunOptions, RunError> {
        let line = Line::try_parse_from(std::iter::once("load").chain(words.split(' '))).expect("it parses");
        let LoadCommand::Run(args) = line.load.command else { panic!("not a run: {words}") };
        options(&args)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Line::command().debug_assert();
    }

    #[test]
    fn flags_change_the_scenario() {
        let options =
            run_args("run article-node -t 127.0.0.1:1 -c 15000 -r 20000 --duration 5s --threshold missing==0");
        let scenario = options.unwrap().scenario;
        assert_eq!((scenario.chats[0].count, scenario.rate(), scenario.duration), (3_000, 20_000.0, Span::seconds(5)));
        assert_eq!(scenario.thresholds, ["missing==0"]);
    }

    #[test]
    fn wrong_words_are_answered_with_what_is_known() {
        let error = run_args("run artcle-node -t 127.0.0.1:1").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("article-node"), "{error}");
        assert_eq!(run_args("run no/such/file.toml -t 127.0.0.1:1").unwrap_err().exit_code(), 2);
        let error = run_args("run idle -t 127.0.0.1:1 --cpus 4095").unwrap_err();
        assert!(error.to_string().contains("CPU 4095"), "{error}");
        assert_eq!(run_args("run idle -t 127.0.0.1:1 --size 3").unwrap_err().exit_code(), 78);
    }

    #[test]
    fn the_worst_round_decides() {
        assert_eq!([0, 99, 0].into_iter().fold(0, worse), 99);
        assert_eq!([98, 99].into_iter().fold(0, worse), 98);
        assert_eq!([98, 1, 99].into_iter().fold(0, worse), 1);
    }

    #[test]
    fn ready_scenarios_are_listed_and_shown() {
        assert_eq!(list(false).unwrap(), 0);
        assert_eq!(list(true).unwrap(), 0);
        assert_eq!(show("mixed").unwrap(), 0);
        assert!(show("nothing").is_err());
    }
}
