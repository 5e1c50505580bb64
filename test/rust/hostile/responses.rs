//! Clients that ask for much and take nothing.

use std::io::{Read, Write};

use crate::support::{MIB, Served, connect_narrow, head};

#[test]
fn a_response_that_is_not_read_costs_a_window() {
    let server = Served::start(&["--sndbuf", "16384"]);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = connect_narrow(server.port);
            client.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").expect("writes");
            head(&mut client);
            client
        })
        .collect();
    server.serves();
    // Window, one piece above it, and one in hyper's hands.
    server.never_more_than(clients.len() * (256 + 64 + 128) * 1024 + 4 * MIB);
}

#[test]
fn a_response_that_is_read_late_is_whole() {
    let server = Served::start(&[]);
    let mut client = connect_narrow(server.port);
    client.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("writes");
    assert!(head(&mut client).starts_with("HTTP/1.1 200"));
    server.serves();
    let mut body = Vec::new();
    client.read_to_end(&mut body).expect("ends");
    assert_eq!(body.iter().filter(|byte| **byte == b'x').count(), 64 * MIB);
    server.never_more_than(8 * MIB);
}
