//! Keys: each with its algorithm, chosen by the operator.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jsonwebtoken::{DecodingKey, EncodingKey};

/// How tokens of a key are signed. ES512 is not offered: the library has no P-521.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// Name in `alg`, for each algorithm.
const NAMES: [(&str, Algorithm); 9] = [
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
];

/// Bytes of an uncompressed point on P-256: a marker and two coordinates.
const P256_POINT_BYTES: usize = 1 + 2 * 32;
/// The same on P-384.
const P384_POINT_BYTES: usize = 1 + 2 * 48;
/// Bytes of an Ed25519 public key.
const ED25519_BYTES: usize = 32;

impl Algorithm {
    /// As it stands in `alg` of a token's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, algorithm)| *algorithm == self).map_or("", |(name, _)| name)
    }

    /// Whether the key is a shared secret.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// Shortest secret that gives the algorithm its strength, in bytes (RFC 7518, 3.2); 0 if there is no secret.
    const fn secret_bytes(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            _ => 0,
        }
    }

    pub(super) const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, algorithm)| *algorithm).ok_or_else(|| KeyError::UnknownAlgorithm(name.to_owned()))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One key of the configuration.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// Matched with `kid` of a token's header. A token without `kid` is tried with every key of its algorithm, a token
    /// with one only with the keys of that id and those without an id.
    pub id: Option<String>,
    /// The only algorithm that this key verifies (or signs).
    pub algorithm: Algorithm,
    /// The key itself.
    pub material: KeyMaterial,
}

/// Where a key comes from. `Debug` does not show secrets.
#[derive(Clone)]
pub enum KeyMaterial {
    /// A shared secret for HS256, HS384, HS512.
    Secret(Vec<u8>),
    /// A PEM text: public key (to verify) or private key (to sign).
    Pem(String),
    /// A file with a PEM text or, for HS256, HS384, HS512, a secret. A line end at the end of a secret is cut off.
    File(PathBuf),
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(secret) => write!(formatter, "Secret(<{} bytes>)", secret.len()),
            Self::Pem(text) => write!(formatter, "Pem(<{} bytes>)", text.len()),
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Why a key is unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not one of the supported names.
    #[error("unknown algorithm {0}: expected HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384 or EdDSA")]
    UnknownAlgorithm(String),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A secret without a byte.
    #[error("the secret is empty")]
    EmptySecret,
    /// A PEM text where a secret belongs: the first half of the mix-up that makes public keys into secrets.
    #[error("{0} needs a secret, not a PEM text")]
    NotASecret(Algorithm),
    /// A secret where a PEM text belongs.
    #[error("{0} needs a PEM text, not a secret")]
    NotPem(Algorithm),
    /// The PEM text does not hold a key of this algorithm.
    #[error("no {what} key for {algorithm} in the PEM text")]
    WrongKey {
        /// The algorithm asked for.
        algorithm: Algorithm,
        /// `public` or `private`.
        what: &'static str,
    },
    /// The library cannot sign with it.
    #[error("signing failed: {0}")]
    Signing(jsonwebtoken::errors::Error),
}

/// Beginning of what is a PEM text and can hardly be meant as a secret.
const PEM_MARK: &[u8] = b"-----BEGIN ";

/// End of the first line of a PEM text with a private key of any kind. The library takes the two halves of an RSA key for
/// each other and fails only when it is used.
const PRIVATE_MARK: &[u8] = b"PRIVATE KEY-----";

impl KeyConfig {
    /// A shared secret without an id.
    #[must_use]
    pub fn secret(algorithm: Algorithm, secret: impl Into<Vec<u8>>) -> Self {
        Self { id: None, algorithm, material: KeyMaterial::Secret(secret.into()) }
    }

    /// A PEM text without an id.
    #[must_use]
    pub fn pem(algorithm: Algorithm, pem: impl Into<String>) -> Self {
        Self { id: None, algorithm, material: KeyMaterial::Pem(pem.into()) }
    }

    /// The same key with an id.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// What an operator should know about this key, if anything.
    pub(super) fn warning(&self) -> Option<String> {
        let wanted = self.algorithm.secret_bytes();
        match &self.material {
            KeyMaterial::Secret(secret) if secret.len() < wanted => Some(format!(
                "the secret for {} has {} bytes; below {wanted} it is the weakest part of the signature",
                self.algorithm,
                secret.len(),
            )),
            _ => None,
        }
    }

    pub(super) fn decoding_key(&self) -> Result<DecodingKey, KeyError> {
        let algorithm = self.algorithm;
        if algorithm.is_symmetric() {
            return Ok(DecodingKey::from_secret(&self.read_secret()?));
        }
        let pem = self.read_pem(false)?;
        let (key, point_bytes) = match algorithm {
            Algorithm::Es256 => (DecodingKey::from_ec_pem(&pem), Some(P256_POINT_BYTES)),
            Algorithm::Es384 => (DecodingKey::from_ec_pem(&pem), Some(P384_POINT_BYTES)),
            Algorithm::EdDsa => (DecodingKey::from_ed_pem(&pem), Some(ED25519_BYTES)),
            _ => (DecodingKey::from_rsa_pem(&pem), None),
        };
        let wrong = || self.wrong_key(false);
        let key = key.map_err(|_| wrong())?;
        let bytes = key.try_get_as_bytes().map_err(|_| wrong())?;
        // A key on another curve would parse and then verify nothing.
        if point_bytes.is_some_and(|expected| bytes.len() != expected) { Err(wrong()) } else { Ok(key) }
    }

    pub(super) fn encoding_key(&self) -> Result<EncodingKey, KeyError> {
        let algorithm = self.algorithm;
        if algorithm.is_symmetric() {
            return Ok(EncodingKey::from_secret(&self.read_secret()?));
        }
        let pem = self.read_pem(true)?;
        let key = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_pem(&pem),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(&pem),
            _ => EncodingKey::from_rsa_pem(&pem),
        };
        key.map_err(|_| self.wrong_key(true))
    }

    const fn wrong_key(&self, private: bool) -> KeyError {
        KeyError::WrongKey { algorithm: self.algorithm, what: if private { "private" } else { "public" } }
    }

    fn read_secret(&self) -> Result<Vec<u8>, KeyError> {
        let secret = match &self.material {
            KeyMaterial::Secret(secret) => secret.clone(),
            KeyMaterial::Pem(_) => return Err(KeyError::NotASecret(self.algorithm)),
            KeyMaterial::File(path) => {
                let mut secret = read_file(path)?;
                while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    secret.pop();
                }
                secret
            }
        };
        if secret.is_empty() {
            Err(KeyError::EmptySecret)
        } else if secret.trim_ascii_start().starts_with(PEM_MARK) {
            Err(KeyError::NotASecret(self.algorithm))
        } else {
            Ok(secret)
        }
    }

    fn read_pem(&self, private: bool) -> Result<Vec<u8>, KeyError> {
        let pem = match &self.material {
            KeyMaterial::Pem(text) => text.clone().into_bytes(),
            KeyMaterial::File(path) => read_file(path)?,
            KeyMaterial::Secret(_) => return Err(KeyError::NotPem(self.algorithm)),
        };
        let is_private = pem.windows(PRIVATE_MARK.len()).any(|window| window == PRIVATE_MARK);
        if is_private == private { Ok(pem) } else { Err(self.wrong_key(private)) }
    }
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|error| KeyError::File { path: path.clone(), error })
}
