//! Making tokens, for `corecast gentoken`, tests and load.

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use super::keys::{KeyConfig, KeyError};

/// What a new token says. Fields that are `None` or empty are left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewToken {
    /// User id; always there, empty = anonymous.
    #[serde(rename = "sub")]
    pub user: String,
    /// The chat, which makes it a subscription token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Unix seconds.
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Unix seconds.
    #[serde(rename = "iat", skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<u64>,
    /// Unix seconds.
    #[serde(rename = "nbf", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Unix seconds at which the connection or subscription expires, apart from the token; 0 = never.
    #[serde(rename = "expire_at", skip_serializing_if = "Option::is_none")]
    pub session_expires_at: Option<u64>,
    /// For whom.
    #[serde(rename = "aud", skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// From whom.
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Shown to other members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<serde_json::Value>,
    /// Server-side subscriptions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
}

/// Signs tokens with one key.
pub struct TokenSigner {
    header: Header,
    key: EncodingKey,
}

impl TokenSigner {
    /// With a secret or a private key; its id, if any, becomes `kid`.
    ///
    /// # Errors
    /// [`KeyError`] if the key cannot be read or is not a private key of its algorithm, which one signature shows.
    pub fn new(config: &KeyConfig) -> Result<Self, KeyError> {
        let mut header = Header::new(config.algorithm.library());
        header.kid.clone_from(&config.id);
        let signer = Self { header, key: config.encoding_key()? };
        signer.sign(&NewToken::default())?;
        Ok(signer)
    }

    /// The signed token.
    ///
    /// # Errors
    /// [`KeyError::Signing`] if the library cannot sign with this key.
    pub fn sign(&self, token: &NewToken) -> Result<String, KeyError> {
        self.sign_claims(token)
    }

    /// Signs any claims: what [`NewToken`] has no field for.
    ///
    /// # Errors
    /// [`KeyError::Signing`] if the library cannot sign with this key.
    pub fn sign_claims(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        jsonwebtoken::encode(&self.header, claims, &self.key).map_err(KeyError::Signing)
    }
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TokenSigner").field("algorithm", &self.header.alg).finish_non_exhaustive()
    }
}
