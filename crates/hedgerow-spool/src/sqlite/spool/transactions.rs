//! Divides appends into transactions.

use std::ops::Range;

use tokio::sync::oneshot;

use crate::error::SpoolError;
use crate::event::SpooledEvent;

/// When the events of a transaction reach this size in bytes, the next transaction begins. On a disk that
/// has just become full, the file may have to grow by this and the size of the log.
pub(super) const PACK_BYTES: usize = 1 << 20;

/// A request to store events.
pub(super) struct Append {
    pub(super) project: String,
    pub(super) events: Vec<SpooledEvent>,
    pub(super) reply: oneshot::Sender<Result<(), SpoolError>>,
}

/// A range of events of one append.
pub(super) struct AppendPart {
    pub(super) append: usize,
    pub(super) events: Range<usize>,
}

/// Divides appends into transactions. One append may be in several transactions. Its answer is sent when
/// all its events are durable; if a later part fails, the client sends the whole append again.
pub(super) fn pack(appends: &[Append]) -> Vec<Vec<AppendPart>> {
    let (mut packs, mut pack, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (append, request) in appends.iter().enumerate() {
        let mut start = 0;
        for (index, event) in request.events.iter().enumerate() {
            bytes += event.body().len();
            if bytes >= PACK_BYTES {
                let events = start..index + 1;
                pack.push(AppendPart { append, events });
                packs.push(std::mem::take(&mut pack));
                (start, bytes) = (index + 1, 0);
            }
        }
        if start < request.events.len() {
            let events = start..request.events.len();
            pack.push(AppendPart { append, events });
        }
    }
    if !pack.is_empty() {
        packs.push(pack);
    }
    packs
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_event_is_in_exactly_one_transaction_in_order_and_none_is_too_large() {
        let sizes: [&[usize]; 6] = [
            &[300_000; 9],
            &[100],
            &[],
            &[2_000_000, 100, 2_000_000],
            &[PACK_BYTES],
            &[1; 3],
        ];
        let appends: Vec<Append> = sizes
            .iter()
            .map(|sizes| Append {
                project: "shop".to_owned(),
                events: sizes
                    .iter()
                    .map(|size| {
                        let text = format!("{{\"p\":\"{}\"}}", "x".repeat(*size));
                        SpooledEvent::new(Bytes::from(text), SystemTime::now()).unwrap()
                    })
                    .collect(),
                reply: oneshot::channel().0,
            })
            .collect();
        let packs = pack(&appends);
        let mut seen = Vec::new();
        for pack in &packs {
            let mut bytes = 0;
            for part in pack {
                for event in part.events.clone() {
                    seen.push((part.append, event));
                    bytes += sizes[part.append][event];
                }
            }
            assert!(bytes < PACK_BYTES + 2_000_000, "{bytes}");
        }
        let expected: Vec<(usize, usize)> = sizes
            .iter()
            .enumerate()
            .flat_map(|(append, sizes)| (0..sizes.len()).map(move |event| (append, event)))
            .collect();
        assert_eq!(seen, expected);
    }
}
