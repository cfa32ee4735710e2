//! The one source of the configuration's schema: a section is declared once, by [`section!`], with a type, a default, a text
//! and a limit for each setting. From that declaration come the values the program reads, the keys that the file and the
//! environment may set, `corecast defaultconfig` and `docs/CONFIGURATION.md`.
//!
//! Invariants worth naming:
//! - What is documented is what is parsed: there is no second list of keys.
//! - A setting has the same name everywhere: `[section] key` in the file, `CORECAST_SECTION_KEY` in the environment.

use toml::Spanned;
use toml::de::DeValue;

/// Beginning of every environment variable that is a setting.
pub(crate) const ENV_PREFIX: &str = "CORECAST_";

/// What is known of one setting.
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    pub(crate) kind: &'static str,
    /// Lines of the declaration's doc comment.
    pub(crate) doc: &'static [&'static str],
    /// What happens at the limit, or with a wrong value; empty where there is none.
    pub(crate) limit: &'static str,
    /// The current value as a TOML literal; `None` while it has none.
    pub(crate) value: Option<String>,
}

/// One table of the configuration file.
pub(crate) trait Section {
    fn table(&self) -> &'static str;
    fn doc(&self) -> &'static [&'static str];
    fn entries(&self) -> Vec<Entry>;
    /// Sets a key from text (environment); `None` if the section has no such key.
    fn set_text(&mut self, key: &str, text: &str) -> Option<Result<(), String>>;
    /// Sets a key from a value of the file; `None` if the section has no such key.
    fn set_toml(&mut self, key: &str, value: Spanned<DeValue<'_>>) -> Option<Result<(), String>>;
}

/// The environment variable of a setting.
pub(crate) fn env_name(table: &str, key: &str) -> String {
    format!("{ENV_PREFIX}{}_{}", table.to_ascii_uppercase(), key.to_ascii_uppercase())
}

/// Declares a section: its settings with documentation, type, default and what happens at the limit.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        struct $name:ident = $table:literal {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident: $kind:ty = $default:expr, limit $limit:literal;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $($(#[doc = $field_doc])* pub(crate) $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::config::schema::Section for $name {
            fn table(&self) -> &'static str {
                $table
            }

            fn doc(&self) -> &'static [&'static str] {
                &[$($doc),*]
            }

            fn entries(&self) -> Vec<$crate::config::schema::Entry> {
                vec![$($crate::config::schema::Entry {
                    key: stringify!($field),
                    kind: <$kind as $crate::config::values::Value>::KIND,
                    doc: &[$($field_doc),*],
                    limit: $limit,
                    value: $crate::config::values::Value::to_toml(&self.$field),
                }),*]
            }

            fn set_text(&mut self, key: &str, text: &str) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($field) => Some(
                        <$kind as $crate::config::values::Value>::parse_text(text).map(|value| self.$field = value),
                    ),)*
                    _ => None,
                }
            }

            fn set_toml(
                &mut self,
                key: &str,
                value: toml::Spanned<toml::de::DeValue<'_>>,
            ) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($field) => Some(
                        $crate::config::schema::from_toml(value).map(|value| self.$field = value),
                    ),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use section;

/// Declares the whole configuration as a list of sections.
macro_rules! settings {
    ($(#[doc = $doc:literal])* struct $name:ident { $($field:ident: $kind:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: $kind,)*
        }

        impl $name {
            pub(crate) fn sections(&self) -> Vec<&dyn $crate::config::schema::Section> {
                vec![$(&self.$field),*]
            }

            pub(crate) fn section_mut(&mut self, table: &str) -> Option<&mut dyn $crate::config::schema::Section> {
                match table {
                    $(stringify!($field) => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use settings;

/// Reads one value of a file; the error is in one line and without a position, which the caller knows better.
pub(crate) fn from_toml<T: for<'de> serde::Deserialize<'de>>(value: Spanned<DeValue<'_>>) -> Result<T, String> {
    let read = T::deserialize(serde::de::IntoDeserializer::into_deserializer(value));
    read.map_err(|error: toml::de::Error| error.message().to_owned())
}
