//! The settings that a kind of spool gets from the configuration. A kind lists its settings. The reader
//! of the configuration reads each of them by its form and reports the position of a mistake, so a kind
//! knows neither the format of the file nor where its secrets are stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The form of a setting. A message about a mistake states `expected`: the values that are accepted.
#[derive(Debug)]
pub enum SettingForm {
    /// A path, as a [`SettingValue::Path`]. A relative path starts at the configuration's folder.
    Path {
        /// Such as "the path of a folder".
        expected: &'static str,
    },
    /// A string, as a [`SettingValue::Text`].
    Text {
        /// Such as "a name of 1 to 64 letters".
        expected: &'static str,
        /// A regular expression for editors. The kind itself reports a value that does not match.
        pattern: &'static str,
    },
    /// A secret, as a [`SettingValue::Text`]. It is read from an environment variable or a file, or is
    /// written in the configuration itself. Never empty.
    Secret {
        /// Such as "env:NAME, file:PATH or the password itself".
        expected: &'static str,
    },
    /// One or more strings that may contain a secret, as [`SettingValue::Texts`].
    Secrets {
        /// A description of each string.
        expected: &'static str,
        /// A regular expression for each string, for editors.
        pattern: &'static str,
    },
    /// The path of a file that contains a secret. The value is the file's content, as a
    /// [`SettingValue::Text`].
    SecretFile {
        /// Such as "the path of a credentials file".
        expected: &'static str,
        /// Returns whether the file's content is valid.
        holds: fn(&str) -> bool,
        /// The message about a file that is not valid: "holds no …".
        otherwise: &'static str,
    },
    /// The path of a PEM file with one or more certificates, as a [`SettingValue::Path`].
    Certificates,
    /// The path of a PEM file with a private key, as a [`SettingValue::Path`].
    PrivateKey,
    /// A whole number within these bounds, as a [`SettingValue::Number`].
    Number {
        /// The minimum.
        least: usize,
        /// The maximum.
        most: usize,
    },
}

/// The value of a setting. No `Debug`: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// The value of a [`SettingForm::Text`], [`SettingForm::Secret`] or [`SettingForm::SecretFile`].
    Text(String),
    /// The values of [`SettingForm::Secrets`], in their order.
    Texts(Vec<String>),
    /// The value of a [`SettingForm::Path`], [`SettingForm::Certificates`] or
    /// [`SettingForm::PrivateKey`].
    Path(PathBuf),
    /// The value of a [`SettingForm::Number`].
    Number(usize),
    /// The setting is present but wrong, and the reader of the configuration has reported it.
    Mistaken,
}

/// The settings of a spool in a configuration.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SpoolSettings(BTreeMap<&'static str, SettingValue>);

impl SpoolSettings {
    /// Sets the value of a key.
    pub fn set(&mut self, key: &'static str, value: SettingValue) {
        self.0.insert(key, value);
    }

    /// Returns whether the key is present, with or without a mistake.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the string of a key, unless it is missing or mistaken.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            SettingValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the strings of a key, unless they are missing or mistaken.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.0.get(key)? {
            SettingValue::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// Returns the path of a key, unless it is missing or mistaken.
    pub fn path(&self, key: &str) -> Option<&Path> {
        match self.0.get(key)? {
            SettingValue::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the number of a key, unless it is missing or mistaken.
    pub fn number(&self, key: &str) -> Option<usize> {
        match self.0.get(key)? {
            SettingValue::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// A mistake that a kind of spool found in its settings. No message contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingMistake {
    /// A key is not allowed, conflicts with another key, or needs another key.
    Key {
        /// The key.
        key: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A value is not accepted.
    Value {
        /// The key of the value.
        key: &'static str,
        /// The index of the value, if the key has several.
        index: usize,
        /// What is wrong.
        message: String,
    },
}

impl SettingMistake {
    /// Creates a [`Key`](Self::Key) mistake.
    pub fn of_key(key: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Key { key, message }
    }

    /// Creates a [`Value`](Self::Value) mistake. `index` selects the value, if the key has several.
    pub fn of_value(key: &'static str, index: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Value {
            key,
            index,
            message,
        }
    }
}
