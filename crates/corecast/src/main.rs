//! WebSocket gateway for chats of any size.

fn main() {}
