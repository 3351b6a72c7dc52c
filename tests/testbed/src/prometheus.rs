//! The real Prometheus in a temporary folder, scraping what the tests tell it to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Client, Url};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::guard;
use crate::port::free_port;
use crate::process::{Process, ProcessSpec};

/// How long Prometheus may take until it answers; it takes well under a second on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Prometheus cannot share a reserved port, so for a moment a connection may have the port that was free before it
/// started; then it is started again, this often.
const MOST_STARTS: u32 = 5;

/// A running Prometheus. Dropping it ends the process and deletes its folder.
#[derive(Debug)]
pub struct PrometheusServer {
    // Before the folder, so that the process has ended when the folder is deleted.
    process: Process,
    url: String,
    client: Client,
    folder: TempDir,
}

/// One series of the result of an instant query.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The labels of the series.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl PrometheusServer {
    /// Starts the Prometheus of this path on a free port and waits until it answers.
    ///
    /// # Errors
    /// When the process cannot be started, ends, or does not answer in time.
    pub async fn start(binary: &Path, options: &PrometheusOptions) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("prometheus-").context("no temporary folder for Prometheus")?;
        guard::remove_at_exit(folder.path())?;
        let configuration = folder.path().join("prometheus.yaml");
        std::fs::write(&configuration, options.configuration().to_string())
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let address = format!("127.0.0.1:{}", free_port().context("no free port for Prometheus")?);
        let process = ProcessSpec::new("prometheus", binary, folder.path())
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // Targets never change; without this the first scrape comes 5 seconds after the start.
            .arg("--scrape.discovery-reload-interval=100ms")
            .arg("--web.enable-lifecycle")
            .arg("--log.level=warn")
            .kill_on_drop();
        let process = Process::spawn(process)?;
        let client = crate::http::client()?;
        let server = Self { process, url: format!("http://{address}"), client, folder };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Base of its HTTP API, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process, to kill it, to read its log or to measure it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends the process; it keeps its data and its address for a [`restart`](Self::restart).
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.process.stop().await
    }

    /// Starts the process again, whether it runs or not, with its data, and waits until it answers.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.process.restart().await?;
        self.wait_until_ready().await
    }

    /// Stops the process from running (SIGSTOP): connections are accepted and never answered.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.freeze()
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.thaw()
    }

    /// Loads a file of rules under this name, in place of what was loaded under it before.
    ///
    /// # Errors
    /// When Prometheus refuses it, or does not answer.
    pub async fn load_rules(&self, name: &str, rules: &str) -> anyhow::Result<()> {
        let folder = self.folder.path().join("rules");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(folder.join(format!("{name}.yaml")), rules).context("cannot write the rules")?;
        let answer = self.client.post(format!("{}/-/reload", self.url)).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "Prometheus refused the rules {name}: {}", answer.text().await?);
        Ok(())
    }

    /// The result of an instant query now.
    ///
    /// # Errors
    /// When Prometheus does not answer, refuses the query, or the result is no vector.
    pub async fn query(&self, promql: &str) -> anyhow::Result<Vec<Sample>> {
        let mut url = Url::parse(&format!("{}/api/v1/query", self.url))?;
        url.query_pairs_mut().append_pair("query", promql);
        let answer: Value = self.client.get(url).send().await?.json().await?;
        ensure!(answer["status"] == "success", "Prometheus refused {promql}: {answer}");
        let series = answer["data"]["result"].as_array().context("no list of series")?;
        series.iter().map(sample).collect()
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let url = format!("{}/-/ready", self.url);
        let deadline = Instant::now() + START_TIMEOUT;
        let mut starts_left = MOST_STARTS;
        loop {
            let answer = self.client.get(&url).timeout(Duration::from_secs(2)).send().await;
            if self.process.is_running() {
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(());
                }
            } else if starts_left > 0 && self.process.log_tail().contains("address already in use") {
                starts_left -= 1;
                self.process.start()?;
            } else {
                self.process.ensure_running()?;
            }
            ensure!(Instant::now() < deadline, "Prometheus does not answer:\n{}", self.process.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn sample(series: &Value) -> anyhow::Result<Sample> {
    let labels = serde_json::from_value(series["metric"].clone()).context("no labels")?;
    let value = series["value"][1].as_str().context("no value: not an instant vector")?;
    Ok(Sample { labels, value: value.parse().with_context(|| format!("{value:?} is no number"))? })
}

/// What Prometheus scrapes, and how often.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// Time between two scrapes of a target, at least 100 ms. Scrapes time out after it.
    pub scrape_interval: Duration,
    /// How long samples are kept.
    pub retention: Duration,
    /// The scrape jobs, at least one.
    pub jobs: Vec<ScrapeJob>,
}

/// Targets that are scraped at `/metrics`.
#[derive(Debug, Clone)]
pub struct ScrapeJob {
    /// Name of the job, different from the others'.
    pub name: String,
    /// Hosts and ports, such as `127.0.0.1:40123`.
    pub targets: Vec<String>,
    /// Whether labels of the exporter win over those of the scrape, such as `job`.
    pub honor_labels: bool,
}

impl PrometheusOptions {
    /// Scrapes the traffic simulator at `target` every 5 seconds and keeps the samples for 2 hours.
    pub fn scraping(target: impl Into<String>) -> Self {
        Self {
            scrape_interval: Duration::from_secs(5),
            retention: Duration::from_secs(2 * 3600),
            jobs: vec![ScrapeJob { name: "traffic".to_owned(), targets: vec![target.into()], honor_labels: true }],
        }
    }

    /// The same with another time between two scrapes.
    #[must_use]
    pub fn every(mut self, scrape_interval: Duration) -> Self {
        self.scrape_interval = scrape_interval;
        self
    }

    /// The same with one more job, whose labels are Prometheus's own in case of doubt.
    #[must_use]
    pub fn with_job(mut self, name: impl Into<String>, target: impl Into<String>) -> Self {
        self.jobs.push(ScrapeJob { name: name.into(), targets: vec![target.into()], honor_labels: false });
        self
    }

    /// The configuration file; JSON is YAML, too.
    fn configuration(&self) -> Value {
        let interval = format!("{}ms", self.scrape_interval.as_millis());
        let jobs: Vec<Value> = self
            .jobs
            .iter()
            .map(|job| {
                json!({
                    "job_name": job.name,
                    "honor_labels": job.honor_labels,
                    "static_configs": [{"targets": job.targets}],
                })
            })
            .collect();
        let retention = format!("{}ms", self.retention.as_millis());
        json!({
            "storage": {"tsdb": {"retention": {"time": retention}}},
            // Only exporters that offer the protobuf format can have native histograms; others are asked for text.
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "scrape_native_histograms": true,
                "evaluation_interval": "1s",
            },
            "rule_files": ["rules/*.yaml"],
            "scrape_configs": jobs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_every_job_with_its_targets() {
        let options = PrometheusOptions::scraping("127.0.0.1:1111")
            .every(Duration::from_millis(500))
            .with_job("operator", "127.0.0.1:2222");
        let configuration = options.configuration();
        assert_eq!(configuration["global"]["scrape_interval"], "500ms");
        let jobs = configuration["scrape_configs"].as_array().expect("a list");
        assert_eq!(jobs[0]["honor_labels"], true);
        assert_eq!(jobs[1]["job_name"], "operator");
        assert_eq!(jobs[1]["static_configs"][0]["targets"][0], "127.0.0.1:2222");
    }

    #[test]
    fn values_beyond_numbers_are_read_as_prometheus_writes_them() {
        let series = |value| json!({"metric": {"pod": "a"}, "value": [1, value]});
        assert!(sample(&series("NaN")).expect("a sample").value.is_nan());
        assert_eq!(sample(&series("+Inf")).expect("a sample").value, f64::INFINITY);
        assert!(sample(&json!({"metric": {}, "values": []})).is_err());
    }
}
