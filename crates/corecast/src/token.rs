//! `gentoken`: signs a connection or subscription token, for trying things and for tests.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use corecast_gateway::auth::{NewToken, TokenSigner};

use crate::cli::TokenArgs;
use crate::commands;
use crate::config::values::{Span, Value as _};
use crate::config::{Problems, convert};
use crate::exit::Failure;

/// Prints the token alone, so that scripts can take it.
pub(crate) fn generate(args: &TokenArgs, env: &BTreeMap<String, String>) -> Result<(), Failure> {
    let (settings, _) = commands::read(None, args.config.as_deref(), env)?;
    let key = convert::signing_key(&settings).map_err(Problems::one)?;
    let ttl = Span::parse_text(&args.ttl).map_err(|problem| Failure::Usage(format!("--ttl: {problem}")))?.0.as_secs();
    let info = args.info.as_deref().map(serde_json::from_str).transpose();
    let info = info.map_err(|problem| Failure::Usage(format!("--info: not JSON: {problem}")))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let token = NewToken {
        user: args.user.clone(),
        channel: args.channel.clone(),
        expires_at: (ttl > 0).then_some(now + ttl),
        issued_at: Some(now),
        audience: settings.auth.audience.into_iter().collect(),
        issuer: settings.auth.issuer,
        info,
        ..NewToken::default()
    };
    let signed = TokenSigner::new(&key).and_then(|signer| signer.sign(&token));
    commands::print(&format!("{}\n", signed.map_err(|problem| Failure::Runtime(problem.to_string()))?))
}
