//! What is printed: chapters, narration, commands with their real output, and what is being waited for.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use testbed::cluster::Cluster;

const POLL: Duration = Duration::from_millis(100);
/// How often a wait says how it stands where lines cannot be written over, as in the log of a build machine.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Columns of narration and of the line that is written over: longer ones would wrap and could not be.
const WIDTH: usize = 100;

/// What a look at a condition brought.
pub(crate) enum Seen<T> {
    /// It holds.
    Done(T),
    /// It does not yet; this is how it stands.
    NotYet(String),
}

/// Prints to standard output, with colour and overwritten lines only on a terminal.
pub(crate) struct Story {
    terminal: bool,
    colour: bool,
}

impl Story {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { terminal, colour: terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    /// A heading.
    pub(crate) fn chapter(&self, title: &str) {
        println!("\n{}\n", self.bold(&format!("=== {title} ===")));
    }

    /// A paragraph of narration.
    pub(crate) fn say(&self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() >= WIDTH {
                println!("{line}");
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        println!("{line}\n");
    }

    /// Runs kubectl, and prints the command and what it answered.
    pub(crate) async fn kubectl(&self, cluster: &Cluster, arguments: &[&str]) -> Result<()> {
        self.command("kubectl", arguments);
        self.output(&cluster.kubectl(arguments).await?);
        Ok(())
    }

    /// Runs Helm, and prints the command and what it answered.
    pub(crate) async fn helm(&self, cluster: &Cluster, arguments: &[&str]) -> Result<()> {
        self.command("helm", arguments);
        self.output(&cluster.helm(arguments).await?);
        Ok(())
    }

    /// Waits until a look finds what it looks for, and returns that with the time it took. Says meanwhile how it stands.
    ///
    /// # Errors
    /// When a look fails, or nothing was found in time.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl AsyncFnMut() -> Result<Seen<T>>,
    ) -> Result<(T, Duration)> {
        let began = Instant::now();
        let mut next_line = LINE_EVERY;
        if !self.terminal {
            println!("... {what}: at most {} s", patience.as_secs());
        }
        loop {
            let seen = look().await?;
            let waited = began.elapsed();
            let standing = match seen {
                Seen::Done(found) => {
                    self.overwrite("");
                    println!("... {what}: took {:.1} s\n", waited.as_secs_f64());
                    return Ok((found, waited));
                }
                Seen::NotYet(standing) => standing,
            };
            if waited > patience {
                self.overwrite("");
                bail!("{what}: not so after {} s. It stands at: {standing}", patience.as_secs());
            }
            let line = format!("... {what}: {} s; {standing}", waited.as_secs());
            self.overwrite(&line);
            if !self.terminal && waited >= next_line {
                println!("{}", cut(&line));
                next_line += LINE_EVERY;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn command(&self, program: &str, arguments: &[&str]) {
        let quoted = arguments.iter().map(|argument| match argument.contains([' ', '"', '{']) {
            true => format!("'{argument}'"),
            false => (*argument).to_owned(),
        });
        let mut lines = vec![format!("$ {program}")];
        for argument in quoted {
            // A flag begins a line of its own where the one before is full.
            match lines.last_mut() {
                Some(line) if line.len() + argument.len() < WIDTH => {
                    line.push(' ');
                    line.push_str(&argument);
                }
                _ => lines.push(format!("    {argument}")),
            }
        }
        println!("{}", self.bold(&lines.join(" \\\n")));
    }

    fn output(&self, text: &str) {
        println!("{}\n", text.trim_end());
    }

    /// Writes over the line that the cursor is in.
    fn overwrite(&self, line: &str) {
        if self.terminal {
            print!("\r\x1b[K{}", cut(line));
            // A terminal that is gone is noticed by the next whole line.
            let _ = std::io::stdout().flush();
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
