//! JavaScript's conversions of values (mapping 1.8), and the texts that stand for a missing value
//! (docs/repairs.md).

use serde_json::{Map, Number, Value};

/// False are missing values, null, `false`, 0 and the empty text; all other values are true.
pub fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(truth)) => *truth,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(_) | Value::Object(_)) => true,
    }
}

/// `{...value}`: an object's entries, an array's elements by index, a text's UTF-16 units.
pub fn spread(value: Option<&Value>) -> Map<String, Value> {
    let indexed = |items: Vec<Value>| {
        let items = items.into_iter().enumerate();
        items.map(|(at, item)| (at.to_string(), item)).collect()
    };
    match value {
        Some(Value::Object(entries)) => entries.clone(),
        Some(Value::Array(items)) => indexed(items.clone()),
        // Half a surrogate pair cannot be sent (posthog-ingestion 1.6).
        Some(Value::String(text)) => indexed(
            text.encode_utf16()
                .map(|unit| Value::from(String::from_utf16_lossy(&[unit])))
                .collect(),
        ),
        _ => Map::new(),
    }
}

/// A number as `String(number)`; digits beyond the precision of a double stay.
pub fn number_text(number: &Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    let double = number.as_f64().unwrap();
    if double == 0.0 {
        return "0".to_owned();
    }
    let sign = if double < 0.0 { "-" } else { "" };
    let shortest = format!("{:e}", double.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap();
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap();
    let count = digits.len() as i32;
    // The position of the point, counted from the first digit.
    let point = exponent + 1;
    let text = if count <= point && point <= 21 {
        format!("{digits}{}", "0".repeat((point - count) as usize))
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{whole}.{fraction}")
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", "0".repeat(-point as usize))
    } else {
        let (first, others) = digits.split_at(1);
        let dot = if others.is_empty() { "" } else { "." };
        format!("{first}{dot}{others}e{exponent:+}")
    };
    format!("{sign}{text}")
}

/// The words of programming languages for no value, without blank text.
pub fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    ["undefined", "null", "none"].contains(&lower.as_str())
        || ["nil", "NaN", "(null)", "<nil>", "<null>", "[object Object]"].contains(&text)
}

/// The text of a value, unless it stands for a missing value.
pub fn says(value: Option<&Value>) -> Option<&str> {
    let text = value?.as_str()?;
    (!text.trim().is_empty() && !is_placeholder(text)).then_some(text)
}
