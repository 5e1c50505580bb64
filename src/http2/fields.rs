//! The fields of a response, as HTTP/2 has them.

use hyper::header::{CONNECTION, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use hyper::{Response, StatusCode};

use crate::http::response::header_map;
use crate::port::message::{Headers, Status};

/// Fields that say something of the connection, which HTTP/2 says otherwise (RFC 9113, 8.2.2).
const OF_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The head of an interim response.
pub fn interim(status: &Status, headers: Headers) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::PROCESSING);
    *response.headers_mut() = header_map(headers).unwrap_or_default();
    strip(response.headers_mut());
    response
}

/// Leaves out what HTTP/2 does not have.
pub fn strip(headers: &mut HeaderMap) {
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    headers.remove(TE);
}
