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
use super::options::{self, Clients, Options, Settings};

/// How long an answer holds: as long as OTP keeps a file's content.
const HOLDS: Duration = Duration::from_secs(120);

/// Names whose answers are kept.
const NAMES: usize = 1000;

/// Questions without an answer at a time; who wants another name waits.
const QUESTIONS: usize = 100;

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
    /// What is remembered of the clients of each host, and who judged them; the default's has no name.
    memories: FxHashMap<String, (Clients, Memory)>,
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
    /// of clients is forgotten where they are judged otherwise than before.
    pub fn set(&self, settings: &Settings) -> Result<(), Invalid> {
        let mut table = self.table.borrow_mut();
        let mut memories = FxHashMap::default();
        let mut configured = |name: &str, options: &Options| {
            let memory = match table.memories.get(name) {
                Some((clients, memory)) if *clients == options.clients => memory.clone(),
                _ => Memory::new(options)?,
            };
            let config = config::build(options, &memory)?;
            memories.insert(name.to_owned(), (options.clients.clone(), memory));
            Ok(config)
        };
        let default = configured("", &settings.default)?;
        let hosts = settings.hosts.iter().map(|(name, options)| Ok((name.to_lowercase(), configured(name, options)?)));
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
                Memory::new(options).and_then(|memory| config::build(options, &memory)).map(Some)
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
