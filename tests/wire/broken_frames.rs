//! Frames that break the rules of RFC 9113, each with the effect on its stream or connection.

use super::connections::{begun, get, head, setting, update};
use super::support::frames::{frame, Outcome};
use super::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
pub const COMPRESSION_ERROR: u32 = 9;

/// The frames, and the outcome of the first stream.
pub type Row = (&'static str, Vec<Vec<u8>>, &'static [Outcome]);

pub fn rows() -> Vec<Row> {
    use Outcome::{GoAway, Reset, Status};
    const PROTOCOL: &[Outcome] = &[GoAway(PROTOCOL_ERROR)];
    // For some errors with their own code, the library reports the general one (h2 0.4).
    const SIZE: &[Outcome] = &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)];
    const FLOW: &[Outcome] = &[GoAway(FLOW_CONTROL_ERROR), GoAway(PROTOCOL_ERROR)];
    const COMPRESSION: &[Outcome] = &[GoAway(COMPRESSION_ERROR), GoAway(PROTOCOL_ERROR)];
    const WELL: &[Outcome] = &[Status(200)];
    let open = || begun(1, "/shelf");
    vec![
        (
            "an unknown frame",
            vec![frame(0xbe, 0xff, 0, b"what"), get(1, "/shelf")],
            WELL,
        ),
        (
            "a leave-taking in mid-upload",
            vec![
                open(),
                frame(GOAWAY, 0, 0, &[0; 8]),
                frame(DATA, END_STREAM, 1, b"x"),
            ],
            WELL,
        ),
        (
            "priorities in a ring",
            vec![
                frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]),
                frame(PRIORITY, 0, 3, &[0, 0, 0, 5, 9]),
                frame(PRIORITY, 0, 5, &[0, 0, 0, 1, 9]),
                get(1, "/shelf"),
            ],
            WELL,
        ),
        (
            "a stream that depends on itself",
            vec![open(), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])],
            &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)],
        ),
        (
            "a head that depends on itself",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM | 0x20,
                1,
                &[&[0, 0, 0, 1, 9], &head("/shelf")[..]].concat(),
            )],
            &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)],
        ),
        (
            "a short priority",
            vec![open(), frame(PRIORITY, 0, 1, &[0, 0, 0, 3])],
            SIZE,
        ),
        (
            "a priority of no stream",
            vec![frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 9])],
            PROTOCOL,
        ),
        ("DATA of no stream", vec![frame(DATA, 0, 0, b"x")], PROTOCOL),
        (
            "DATA of a stream that is none",
            vec![frame(DATA, 0, 5, b"x")],
            PROTOCOL,
        ),
        (
            "HEADERS of no stream",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 0, &head("/shelf"))],
            PROTOCOL,
        ),
        (
            "HEADERS of a server's stream",
            vec![get(2, "/shelf")],
            PROTOCOL,
        ),
        (
            "HEADERS of a stream that has passed",
            vec![get(5, "/shelf"), get(3, "/shelf")],
            &[GoAway(PROTOCOL_ERROR), GoAway(STREAM_CLOSED)],
        ),
        (
            "padding longer than its frame",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM | 8,
                1,
                &[200, 0, 0],
            )],
            PROTOCOL,
        ),
        (
            "DATA with padding longer than it",
            vec![open(), frame(DATA, 8, 1, &[9, 0, 0])],
            PROTOCOL,
        ),
        (
            "SETTINGS of a stream",
            vec![frame(SETTINGS, 0, 1, &[])],
            PROTOCOL,
        ),
        (
            "SETTINGS of an odd length",
            vec![frame(SETTINGS, 0, 0, &[0; 5])],
            SIZE,
        ),
        (
            "an ACK with settings",
            vec![frame(SETTINGS, ACK, 0, &[0; 6])],
            SIZE,
        ),
        ("ENABLE_PUSH of 2", vec![setting(2, 2)], PROTOCOL),
        ("a window of 2^31", vec![setting(4, 1 << 31)], FLOW),
        ("a frame size of 1", vec![setting(5, 1)], PROTOCOL),
        ("a frame size of 2^24", vec![setting(5, 1 << 24)], PROTOCOL),
        (
            "a window that overflows by settings",
            vec![
                open(),
                update(1, 0x7fff_ffff - 65_535),
                setting(4, 0x7fff_ffff),
            ],
            FLOW,
        ),
        (
            "PING of an odd length",
            vec![frame(PING, 0, 0, &[0; 7])],
            SIZE,
        ),
        (
            "PING of a stream",
            vec![frame(PING, 0, 1, &[0; 8])],
            PROTOCOL,
        ),
        ("an update of nothing", vec![update(0, 0)], PROTOCOL),
        (
            "a stream's update of nothing",
            vec![open(), update(1, 0)],
            &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)],
        ),
        (
            "an update that overflows",
            vec![update(0, 0x7fff_ffff)],
            FLOW,
        ),
        (
            "a stream's update that overflows",
            vec![open(), update(1, 0x7fff_ffff)],
            &[Reset(FLOW_CONTROL_ERROR), GoAway(FLOW_CONTROL_ERROR)],
        ),
        (
            "an update of an odd length",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            SIZE,
        ),
        (
            "an update of a stream that is none",
            vec![update(7, 1)],
            PROTOCOL,
        ),
        (
            "a reset of a stream that is none",
            vec![frame(RST_STREAM, 0, 7, &[0, 0, 0, 8])],
            PROTOCOL,
        ),
        (
            "a reset of no stream",
            vec![frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])],
            PROTOCOL,
        ),
        (
            "a reset of an odd length",
            vec![open(), frame(RST_STREAM, 0, 1, &[0; 3])],
            SIZE,
        ),
        (
            "a client's promise",
            vec![
                open(),
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2], &head("/shelf")[..]].concat(),
                ),
            ],
            PROTOCOL,
        ),
        (
            "a frame that is too large",
            vec![open(), frame(DATA, 0, 1, &[0; 16_385])],
            SIZE,
        ),
        (
            "a continuation of nothing",
            vec![frame(CONTINUATION, END_HEADERS, 1, &head("/shelf"))],
            PROTOCOL,
        ),
        (
            "a frame within a head",
            vec![
                frame(HEADERS, END_STREAM, 1, &head("/shelf")),
                frame(PING, 0, 0, &[0; 8]),
            ],
            PROTOCOL,
        ),
        (
            "a continuation of another stream",
            vec![
                frame(HEADERS, END_STREAM, 1, &head("/shelf")[..9]),
                frame(CONTINUATION, END_HEADERS, 3, &head("/shelf")[9..]),
            ],
            PROTOCOL,
        ),
        (
            "a head in two frames",
            vec![
                frame(HEADERS, END_STREAM, 1, &head("/shelf")[..9]),
                frame(CONTINUATION, END_HEADERS, 1, &head("/shelf")[9..]),
            ],
            WELL,
        ),
        (
            "a field that is in no table",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[0xff, 0x80, 0x7f],
            )],
            COMPRESSION,
        ),
        (
            "a text that is cut short",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[0x10, 0x7f, 0x10, b'a'],
            )],
            COMPRESSION,
        ),
        (
            "a code that is none",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[0x10, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'a'],
            )],
            COMPRESSION,
        ),
        (
            "a number that overflows",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 16])],
            COMPRESSION,
        ),
        (
            "a table larger than allowed",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x3f, 0xe1, 0xff, 0x7f], &head("/shelf")[..]].concat(),
            )],
            COMPRESSION,
        ),
    ]
}
