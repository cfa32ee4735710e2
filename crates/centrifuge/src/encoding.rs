//! Which of the two encodings a connection speaks, and how it chose.

/// A ping from the server in JSON, which is also the client's pong: an empty message.
pub const PING_JSON: &[u8] = b"{}";

/// A ping from the server in Protobuf, which is also the client's pong: an empty message behind its length.
pub const PING_PROTOBUF: &[u8] = &[0];

/// WebSocket subprotocol that asks for JSON. `centrifuge-js` offers none for JSON.
pub const SUBPROTOCOL_JSON: &str = "centrifuge-json";

/// WebSocket subprotocol that asks for Protobuf. The server must echo it.
pub const SUBPROTOCOL_PROTOBUF: &str = "centrifuge-protobuf";

/// How the messages of one connection are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Text frames of JSON objects joined by `\n`.
    #[default]
    Json,
    /// Binary frames of Protobuf messages, each behind its length as a varint.
    Protobuf,
}

impl Encoding {
    /// Both encodings, in the order of [`Encoding::index`].
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// Chooses from the offered subprotocols, in the client's order, then from the query parameter `format` or
    /// `cf_protocol`. The second value is the subprotocol to echo; `None` if the client offered none of ours.
    pub fn choose<'a>(
        offered: impl IntoIterator<Item = &'a str>,
        format: Option<&str>,
    ) -> (Self, Option<&'static str>) {
        for protocol in offered {
            match protocol {
                SUBPROTOCOL_JSON => return (Self::Json, Some(SUBPROTOCOL_JSON)),
                SUBPROTOCOL_PROTOBUF => return (Self::Protobuf, Some(SUBPROTOCOL_PROTOBUF)),
                _ => {}
            }
        }
        match format {
            Some("protobuf") => (Self::Protobuf, None),
            _ => (Self::Json, None),
        }
    }

    /// A dense index, for tables with one entry per encoding.
    pub const fn index(self) -> usize {
        match self {
            Self::Json => 0,
            Self::Protobuf => 1,
        }
    }

    /// The ping of this encoding, as the payload of a whole frame.
    pub const fn ping(self) -> &'static [u8] {
        match self {
            Self::Json => PING_JSON,
            Self::Protobuf => PING_PROTOBUF,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subprotocol_wins_over_query_and_is_echoed() {
        assert_eq!(Encoding::choose([], None), (Encoding::Json, None));
        assert_eq!(Encoding::choose([], Some("protobuf")), (Encoding::Protobuf, None));
        assert_eq!(Encoding::choose([], Some("json")), (Encoding::Json, None));
        assert_eq!(Encoding::choose([], Some("msgpack")), (Encoding::Json, None));
        assert_eq!(
            Encoding::choose(["mqtt", SUBPROTOCOL_PROTOBUF], None),
            (Encoding::Protobuf, Some(SUBPROTOCOL_PROTOBUF))
        );
        assert_eq!(
            Encoding::choose([SUBPROTOCOL_JSON, SUBPROTOCOL_PROTOBUF], Some("protobuf")),
            (Encoding::Json, Some(SUBPROTOCOL_JSON))
        );
        assert_eq!(Encoding::choose(["Centrifuge-Protobuf"], None), (Encoding::Json, None));
    }

    #[test]
    fn index_matches_the_order_of_all() {
        for (position, encoding) in Encoding::ALL.into_iter().enumerate() {
            assert_eq!(encoding.index(), position);
        }
    }
}
