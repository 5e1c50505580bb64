//! What a flag can say besides a number: a time, no limit, a rate, a choice.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

use crate::reception;
use crate::transport::line::frames;
use crate::transport::listener;

/// How a port is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Share {
    /// Nobody may listen there yet; others may join.
    Take,
    /// Others may listen there already.
    Join,
}

impl From<Share> for listener::Share {
    fn from(share: Share) -> Self {
        match share {
            Share::Take => Self::Take,
            Share::Join => Self::Join,
        }
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Http,
    Http2,
}

impl From<Protocol> for reception::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http => Self::Http,
            Protocol::Http2 => Self::Http2,
        }
    }
}

/// How often something may happen: `N:MS`, or `N:infinity`.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub frames::Rate);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, period) = text.split_once(':').ok_or("not N:MS")?;
        let count = count.parse().map_err(|_| "not N:MS")?;
        Ok(Self(frames::Rate { count, period: period.parse::<Timeout>()?.0 }))
    }
}

/// A number, or `infinity` (`None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrInfinity<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrInfinity<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "infinity" => Ok(Self(None)),
            number => number.parse().map(|n| Self(Some(n))).map_err(|_| "neither a number nor infinity".into()),
        }
    }
}

/// A time in milliseconds, or `infinity` (`None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<Duration>);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let OrInfinity(ms) = text.parse::<OrInfinity<u64>>()?;
        Ok(Self(ms.map(Duration::from_millis)))
    }
}

/// Levels of a log event, least important last.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warning => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_milliseconds_or_infinity() {
        assert_eq!("0".parse(), Ok(Timeout(Some(Duration::ZERO))));
        assert_eq!("infinity".parse(), Ok(Timeout(None)));
        assert!("-1".parse::<Timeout>().is_err());
        assert!("1s".parse::<Timeout>().is_err());
    }
}
