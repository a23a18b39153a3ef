//! `serve`, `Server`, `serve_admin`, `bind` and `ConnectionGroup`, over real loopback sockets.
//!
//! Server and clients share one runtime of one thread, and its clock is paused: time only moves when nobody has anything to
//! do. What is on its way through the kernel is no such thing, so `pace` lets it move in small steps only, some
//! twenty times as fast as a real clock.
#![cfg(feature = "hyper")]

mod frames;
#[cfg(unix)]
#[path = "../logged/mod.rs"]
mod logged;
#[path = "../pace/mod.rs"]
mod pace;
mod party;
mod pipes;
mod support;

#[cfg(unix)]
mod accept_errors;
#[cfg(unix)]
mod accept_fn;
mod admin;
mod ages;
mod bounds;
mod connection_header;
#[cfg(feature = "axum")]
mod context;
mod events;
mod exempt;
mod extensions;
mod goaway;
mod group;
#[cfg(feature = "tonic")]
mod grpc_probes;
mod half_close;
mod half_frames;
mod header_blocks;
mod http1;
mod http2;
mod idle_ends;
#[cfg(unix)]
mod limits;
mod linger;
mod listener;
#[cfg(unix)]
mod names;
mod panics;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
mod races;
mod refusals;
mod request_bodies;
mod runtime;
mod service;
mod slow_readers;
#[cfg(target_os = "linux")]
mod sockets;
mod spawned;
mod tls;
mod trickling_heads;
mod tunnel;
mod upgrade;
mod versions;
#[cfg(unix)]
mod websockets;
