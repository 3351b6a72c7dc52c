//! Logs: one line an event on standard error, as JSON or text, with fields rather than sentences.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use tracing::{Subscriber, error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("log filter {filter:?}: {source}; write a level such as \"info\", or \"info,gatekeeper::measure=debug\"")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Set up twice.
    #[error(transparent)]
    Twice(#[from] TryInitError),
}

/// Sends logs to standard error from now on, panics included: standard output belongs to what a command prints.
///
/// `filter` is a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), optionally followed by `target=level` pairs.
///
/// # Errors
/// When the filter cannot be read, or logging is set up already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    subscriber(format, filter, std::io::stderr)?.try_init()?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parsed = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(parsed);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match format {
        // A decision's fields stand at the top of its object, where queries on logs look for them; of the spans around
        // it the innermost is enough, as a reconcile has one.
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true).with_span_list(false))),
        LogFormat::Text => Box::new(registry.with(lines.with_ansi(false))),
    })
}

/// A panic in one task must be seen where everything else is, in the same form.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let reason = panic.payload_as_str().unwrap_or("no message");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(location, reason, backtrace, "panic");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::{info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `act` logs.
    fn logged(format: LogFormat, filter: &str, act: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(format, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_has_the_fields_at_the_top_and_the_span_beside_them() {
        let line = logged(LogFormat::Json, "info", || {
            let _span = info_span!("reconcile", deployment = "oz/tin").entered();
            info!(burn_rate = 14.2, "decision");
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["burn_rate"], 14.2);
        assert_eq!(line["message"], "decision");
        assert_eq!(line["span"]["deployment"], "oz/tin");
    }

    #[test]
    fn the_filter_holds_back_what_is_below_the_level() {
        let lines = logged(LogFormat::Text, "warn", || info!("nobody reads this"));
        assert_eq!(lines, "");
    }

    #[test]
    fn a_filter_that_cannot_be_read_says_what_to_write() {
        let error = subscriber(LogFormat::Text, "gatekeeper=loud", std::io::sink).err().unwrap().to_string();
        assert!(error.contains("\"gatekeeper=loud\"") && error.contains("\"info\""), "{error}");
    }

    #[test]
    fn a_panic_is_a_line_like_any_other() {
        let line = logged(LogFormat::Json, "info", || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(log_panic));
            let caught = std::panic::catch_unwind(|| panic!("the wheel came off"));
            std::panic::set_hook(before);
            assert!(caught.is_err());
        });
        let line: Value = serde_json::from_str(line.lines().find(|line| line.contains("the wheel")).unwrap()).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["reason"], "the wheel came off");
        assert!(line["location"].as_str().unwrap().contains("telemetry.rs"), "{line}");
    }
}
