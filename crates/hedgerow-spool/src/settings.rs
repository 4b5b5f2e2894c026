//! What a kind of spool is told by a configuration. A kind lists its settings; the reader of the
//! configuration reads each of them by its form and says where a mistake stands, so that a kind knows
//! neither the format of the file nor where its secrets are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The form of a setting. `expected` says in a message what is taken.
#[derive(Debug)]
pub enum SettingForm {
    /// A path, as a [`SettingValue::Path`]. One that is relative begins at the configuration's folder.
    Path {
        /// Such as "the path of a folder".
        expected: &'static str,
    },
    /// A text, as a [`SettingValue::Text`].
    Text {
        /// Such as "a name of 1 to 64 letters".
        expected: &'static str,
        /// The form, a regular expression, for editors: the kind itself says the mistake.
        pattern: &'static str,
    },
    /// A secret, from a variable, a file or as it stands, as a [`SettingValue::Text`]. Never empty.
    Secret {
        /// Such as "env:NAME, file:PATH or the password itself".
        expected: &'static str,
    },
    /// Texts that may hold a secret, one or several, as [`SettingValue::Texts`].
    Secrets {
        /// What each of them is.
        expected: &'static str,
        /// The form of each, a regular expression, for editors.
        pattern: &'static str,
    },
    /// The path of a file that holds a secret; its content is a [`SettingValue::Text`].
    SecretFile {
        /// Such as "the path of a credentials file".
        expected: &'static str,
        /// Whether a file holds what it must.
        holds: fn(&str) -> bool,
        /// What is said of a file that does not: "holds no …".
        otherwise: &'static str,
    },
    /// The path of a PEM file with a certificate or several, as a [`SettingValue::Path`].
    Certificates,
    /// The path of a PEM file with a private key, as a [`SettingValue::Path`].
    PrivateKey,
    /// A whole number within these bounds, as a [`SettingValue::Number`].
    Number {
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
}

/// The value of a setting. No `Debug`: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// Of a [`SettingForm::Text`], [`SettingForm::Secret`] or [`SettingForm::SecretFile`].
    Text(String),
    /// Of [`SettingForm::Secrets`], in their order.
    Texts(Vec<String>),
    /// Of a [`SettingForm::Path`], [`SettingForm::Certificates`] or [`SettingForm::PrivateKey`].
    Path(PathBuf),
    /// Of a [`SettingForm::Number`].
    Number(usize),
    /// The setting is there, and the configuration has said that it is mistaken.
    Mistaken,
}

/// The settings that a configuration has for a spool.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SpoolSettings(BTreeMap<&'static str, SettingValue>);

impl SpoolSettings {
    /// Sets the value of a key.
    pub fn set(&mut self, key: &'static str, value: SettingValue) {
        self.0.insert(key, value);
    }

    /// Whether the key is given, with or without a mistake.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The text of a key, unless it is missing or mistaken.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            SettingValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of a key, unless it is missing or mistaken.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.0.get(key)? {
            SettingValue::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// The path of a key, unless it is missing or mistaken.
    pub fn path(&self, key: &str) -> Option<&Path> {
        match self.0.get(key)? {
            SettingValue::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The number of a key, unless it is missing or mistaken.
    pub fn number(&self, key: &str) -> Option<usize> {
        match self.0.get(key)? {
            SettingValue::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// A mistake that a kind of spool has found in its settings. No message repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingMistake {
    /// A key should not stand there, or not alone.
    Key {
        /// The key.
        key: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A value cannot be taken.
    Value {
        /// Its key.
        key: &'static str,
        /// Which one, where there are several.
        index: usize,
        /// What is wrong.
        message: String,
    },
}

impl SettingMistake {
    /// A key that should not stand there, or not alone.
    pub fn of_key(key: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Key { key, message }
    }

    /// A value that cannot be taken; of several the one with this index.
    pub fn of_value(key: &'static str, index: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Value {
            key,
            index,
            message,
        }
    }
}
