//! The service and the load generator as one program.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use workload::load::{Load, Plan, resolve};
use workload::metrics::{UsersMetrics, serve_users};
use workload::parse_duration;
use workload::serve::{Behaviour, serve};

#[derive(Parser)]
#[command(about = "An HTTP service that can go wrong in many ways, and a load generator that records every response")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Serve until SIGTERM
    Serve(Box<Behaviour>),
    /// Ask at a fixed rate and print each response as a line of JSON
    Load {
        /// Who is asked: HOST:PORT
        #[arg(long)]
        target: String,
        /// Requests a second
        #[arg(long, default_value_t = 50.0)]
        rate: f64,
        /// For how long
        #[arg(long, default_value = "1m", value_parser = parse_duration)]
        lasting: Duration,
        /// Who has no answer after so long gives up
        #[arg(long, default_value = "3s", value_parser = parse_duration)]
        timeout: Duration,
        /// Where it serves /metrics with what it saw
        #[arg(long)]
        listen: Option<SocketAddr>,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Task::Serve(behaviour) => serve(*behaviour).await,
        Task::Load { target, rate, lasting, timeout, listen } => {
            ensure!(rate > 0.0 && rate <= 10_000.0, "--rate {rate} is not above 0 and at most 10000");
            let load = Load::start(Plan { target: resolve(&target).await?, rate, timeout });
            let metrics = Arc::new(UsersMetrics::new());
            if let Some(listen) = listen {
                let serving = serve_users(listen, Arc::clone(&metrics));
                tokio::spawn(async move {
                    if let Err(error) = serving.await {
                        eprintln!("{error:#}");
                    }
                });
            }
            let end = tokio::time::Instant::now() + lasting;
            loop {
                let is_over = tokio::time::Instant::now() >= end;
                print(&load, &metrics)?;
                if is_over {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn print(load: &Load, metrics: &UsersMetrics) -> Result<()> {
    let mut output = std::io::stdout().lock();
    for response in load.take() {
        metrics.count(response.outcome);
        writeln!(output, "{}", serde_json::to_string(&response)?).context("print a response")?;
    }
    Ok(())
}
