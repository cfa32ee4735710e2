//! WebSocket edge: sessions, chats, fan-out, router links.
