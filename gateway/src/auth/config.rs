//! What an operator configures.

use super::keys::{KeyConfig, KeyError};
use super::origin::OriginPolicy;
use super::permission::Permissions;

/// Everything that decides who may do what. The default denies all.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// Keys that verify connection and subscription tokens. Without keys every token is invalid. Default: none.
    pub keys: Vec<KeyConfig>,
    /// If set, `aud` of every token must be or contain it. If not, `aud` is not looked at. Default: none.
    pub audience: Option<String>,
    /// If set, `iss` of every token must be it. If not, `iss` is not looked at. Default: none.
    pub issuer: Option<String>,
    /// Seconds by which `nbf` may lie in the future, for clocks that differ. Default: 0.
    pub not_before_leeway: u64,
    /// Whether clients without a token may connect, as the anonymous user `""`. Default: no.
    pub anonymous: bool,
    /// Treat a client that brings a token as one without, as long as there are no keys to check it with. Default: no.
    pub ignore_tokens_without_keys: bool,
    /// What users with a name may do without a subscription token.
    pub users: Permissions,
    /// What anonymous users may do without a subscription token.
    pub anonymous_users: Permissions,
    /// Which web pages may connect.
    pub origins: OriginPolicy,
}

impl AuthConfig {
    /// Anyone may do anything from any page: for `corecast standalone`, which says so loudly.
    #[must_use]
    pub fn standalone() -> Self {
        Self {
            anonymous: true,
            ignore_tokens_without_keys: true,
            users: Permissions::all(),
            anonymous_users: Permissions::all(),
            origins: OriginPolicy::any(),
            ..Self::default()
        }
    }

    /// What an operator should know at start; empty if nothing is suspicious.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.keys.iter().filter_map(KeyConfig::warning).collect();
        if self.origins.allows_any() {
            warnings.push("any web page may connect: the list of origins contains *".to_owned());
        }
        if self.keys.is_empty() && self.ignore_tokens_without_keys {
            warnings.push("tokens are not checked: no key is configured".to_owned());
        }
        warnings
    }
}

/// Why a configuration cannot be used. The operator is to blame.
#[derive(Debug, thiserror::Error)]
pub enum AuthConfigError {
    /// A key is unusable.
    #[error("token key {position}{}: {error}", .id.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default())]
    Key {
        /// In the list, from 1.
        position: usize,
        /// The key's id, if it has one.
        id: Option<String>,
        /// What is wrong.
        error: KeyError,
    },
    /// Two keys with one id and one algorithm.
    #[error("two token keys have the id {0} and the same algorithm")]
    DuplicateKey(String),
}
