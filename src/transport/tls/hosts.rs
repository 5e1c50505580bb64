//! Which configuration a client gets, by the name of the host that it wants (SNI).
//!
//! Names are those of the settings, or the application is asked: once for each, and again after a while. What it has answered is
//! kept, for so many names and no more.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use rustls::ServerConfig;
use tokio::sync::Notify;

use super::config::{self, Invalid, Memory};
use super::options::{self, Options, Settings};

/// How long an answer holds: as long as OTP keeps a file's content.
const HOLDS: Duration = Duration::from_secs(120);

/// Names whose answers are kept.
const NAMES: usize = 1000;

/// Questions without an answer at a time; who wants another name waits.
const QUESTIONS: usize = 100;

/// Sessions that are kept for clients that come back: OTP's number, for those that name no host, and again for all hosts of
/// the settings together.
const SESSIONS: usize = 1000;

/// The same of one host where there may be many: the least of one of the settings, and what one has that was asked for.
const HOST_SESSIONS: usize = 10;

/// The configurations.
pub struct Hosts {
    table: RefCell<Table>,
    /// Puts a question to the application.
    ask: Box<dyn Fn(&str)>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    /// `None` until there are settings.
    default: Option<Arc<ServerConfig>>,
    hosts: FxHashMap<String, Arc<ServerConfig>>,
    /// What is remembered of the clients of each host of the settings; the default's has no name.
    memories: FxHashMap<String, Memory>,
    asks: bool,
    questions: usize,
    answers: FxHashMap<String, Answer>,
}

enum Answer {
    /// Not yet.
    Awaited,
    /// `None`: clients of this name are turned away.
    Given(Option<Arc<ServerConfig>>, Instant),
}

impl Hosts {
    /// Without settings nobody gets a configuration.
    pub fn new(ask: impl Fn(&str) + 'static) -> Self {
        Self { table: RefCell::default(), ask: Box::new(ask), changed: Notify::new() }
    }

    /// From here on new clients get what the settings say, if all of it is valid; else nothing changes. What is remembered
    /// of clients is forgotten where they are judged, or remembered, otherwise than before.
    pub fn set(&self, settings: &Settings) -> Result<(), Invalid> {
        let mut table = self.table.borrow_mut();
        let mut memories = FxHashMap::default();
        let mut configured = |name: &str, options: &Options, sessions| {
            let memory = match table.memories.get(name) {
                Some(memory) if memory.suits(options) => memory.clone(),
                _ => Memory::new(options, sessions)?,
            };
            let config = config::build(options, &memory)?;
            memories.insert(name.to_owned(), memory);
            Ok(config)
        };
        let default = configured("", &settings.default, SESSIONS)?;
        let each = (SESSIONS / settings.hosts.len().max(1)).max(HOST_SESSIONS);
        let hosts = settings.hosts.iter();
        let hosts = hosts.map(|(name, options)| match configured(name, options, each) {
            Ok(config) => Ok((name.to_lowercase(), config)),
            Err(invalid) => Err(Invalid::Host(name.clone(), Box::new(invalid))),
        });
        let hosts = hosts.collect::<Result<_, _>>()?;
        let unanswered = table.answers.drain().filter(|(_, answer)| matches!(answer, Answer::Awaited));
        let answers = unanswered.collect();
        table.answers = answers;
        (table.default, table.hosts, table.memories, table.asks) = (Some(default), hosts, memories, settings.ask);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The application's answer about a name.
    pub fn answer(&self, name: &str, answer: &options::Answer) -> Result<(), Invalid> {
        let built = match answer {
            options::Answer::Options(options) => {
                Memory::new(options, HOST_SESSIONS).and_then(|memory| config::build(options, &memory)).map(Some)
            }
            options::Answer::Default => Ok(self.table.borrow().default.clone()),
            options::Answer::Refused => Ok(None),
        };
        let mut table = self.table.borrow_mut();
        if let Some(Answer::Awaited) = table.answers.remove(name) {
            table.questions -= 1;
            table.make_room();
            let config = built.as_ref().ok().cloned().flatten();
            table.answers.insert(name.to_owned(), Answer::Given(config, Instant::now()));
        }
        self.changed.notify_waiters();
        built.map(drop)
    }

    /// Waits until there are settings.
    pub async fn configured(&self) {
        while self.table.borrow().default.is_none() {
            self.changed.notified().await;
        }
    }

    /// The configuration for everybody, if there is no need to know the name.
    pub fn only(&self) -> Option<Arc<ServerConfig>> {
        let table = self.table.borrow();
        table.default.clone().filter(|_| table.hosts.is_empty() && !table.asks)
    }

    /// The configuration for a client that wants this name, or none at all. `None` turns it away.
    pub async fn find(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        let name = name.map(str::to_lowercase);
        loop {
            {
                let mut table = self.table.borrow_mut();
                let Some(name) = &name else { return table.default.clone() };
                if let Some(config) = table.hosts.get(name) {
                    return Some(Arc::clone(config));
                }
                if !table.asks {
                    return table.default.clone();
                }
                match table.answers.get(name) {
                    Some(Answer::Given(config, at)) if at.elapsed() < HOLDS => return config.clone(),
                    Some(Answer::Awaited) => {}
                    _ if table.questions < QUESTIONS => {
                        table.questions += 1;
                        table.answers.insert(name.clone(), Answer::Awaited);
                        (self.ask)(name);
                    }
                    _ => {}
                }
            }
            self.changed.notified().await;
        }
    }
}

impl Table {
    /// Forgets old answers, or any, where there are as many as may be kept.
    fn make_room(&mut self) {
        if self.answers.len() < NAMES {
            return;
        }
        self.answers.retain(|_, answer| !matches!(answer, Answer::Given(_, at) if at.elapsed() >= HOLDS));
        let oldest = |(name, answer): (&String, &Answer)| match answer {
            Answer::Given(_, at) => Some((*at, name.clone())),
            Answer::Awaited => None,
        };
        if self.answers.len() >= NAMES
            && let Some((_, name)) = self.answers.iter().filter_map(oldest).min()
        {
            self.answers.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::transport::tls::options::{Identity, Tickets};

    fn settings(change: impl FnOnce(&mut Options)) -> Settings {
        let vector = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("test/vectors/tls").join(name);
        let mut settings =
            Settings::of(Identity::from_files(&vector("server.crt"), &vector("server.key")).expect("files"));
        change(&mut settings.default);
        settings
    }

    /// What new clients get after both settings.
    fn after(first: &Settings, second: &Settings) -> [Arc<ServerConfig>; 2] {
        let hosts = Hosts::new(|_| {});
        [first, second].map(|settings| {
            hosts.set(settings).expect("is valid");
            hosts.only().expect("there are settings")
        })
    }

    #[test]
    fn new_settings_of_sessions_hold_for_new_clients() {
        let [_, config] = after(&settings(|_| {}), &settings(|options| options.tickets = Tickets::Stateless));
        assert!(config.ticketer.enabled());
        let [_, config] = after(&settings(|_| {}), &settings(|options| options.reuse_sessions = true));
        assert!(config.session_storage.can_cache());
        let [_, config] = after(&settings(|options| options.reuse_sessions = true), &settings(|_| {}));
        assert!(!config.session_storage.can_cache());
    }

    /// There may be many, each with files of its own.
    #[test]
    fn a_host_that_cannot_be_configured_is_named() {
        let mut settings = settings(|_| {});
        let versionless = Options { versions: Vec::new(), ..settings.default.clone() };
        settings.hosts = vec![("good.example".into(), settings.default.clone()), ("bad.example".into(), versionless)];
        let invalid = Hosts::new(|_| {}).set(&settings).expect_err("there is no version").to_string();
        assert!(invalid.starts_with("host bad.example: versions and ciphers: "), "{invalid}");
    }

    #[test]
    fn sessions_outlive_what_does_not_concern_them() {
        let kept = |options: &mut Options| options.reuse_sessions = true;
        let other_alpn = |options: &mut Options| {
            kept(options);
            options.alpn = vec![b"http/1.1".to_vec()];
        };
        let [before, config] = after(&settings(kept), &settings(other_alpn));
        assert!(before.session_storage.put(b"number".to_vec(), b"session".to_vec()));
        assert!(config.session_storage.get(b"number").is_some());
        let other_judges = |options: &mut Options| {
            kept(options);
            options.clients.depth = 7;
        };
        let [before, config] = after(&settings(kept), &settings(other_judges));
        assert!(before.session_storage.put(b"number".to_vec(), b"session".to_vec()));
        assert!(config.session_storage.get(b"number").is_none());
    }
}
