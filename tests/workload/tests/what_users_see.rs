//! The service and the load generator together, on this machine's own addresses.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use workload::load::{Failure, Load, Outcome, Plan, ask};

const PATIENCE: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(2);

/// The service as a process of its own, killed at the end.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    /// Starts one and waits until it listens.
    async fn start(variables: &[(&str, &str)]) -> Self {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_workload"));
        command.arg("serve").env("LISTEN", address.to_string()).env("VERSION", "ochre").env("POD", "ochre-1");
        let child = command.envs(variables.iter().copied()).spawn().expect("it starts");
        let service = Self { child, address };
        let until = tokio::time::Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(tokio::time::Instant::now() < until, "it does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        service
    }

    async fn ask(&self) -> Outcome {
        ask(self.address, TIMEOUT).await.outcome
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn every_response_names_its_version_and_its_pod() {
    let service = Service::start(&[]).await;
    let response = ask(service.address, TIMEOUT).await;
    assert_eq!(response.outcome, Outcome::Status(200));
    assert_eq!((response.version.as_deref(), response.pod.as_deref()), (Some("ochre"), Some("ochre-1")));
    let line = serde_json::to_value(&response).expect("JSON");
    assert_eq!(line["status"], 200);
}

#[tokio::test]
async fn errors_come_in_their_share() {
    let service = Service::start(&[("ERROR_RATIO", "0.5"), ("DELAY", "0ms")]).await;
    let load = Load::start(Plan { target: service.address, rate: 200.0, timeout: TIMEOUT });
    let until = tokio::time::Instant::now() + PATIENCE;
    while load.responses().len() < 400 {
        assert!(tokio::time::Instant::now() < until, "only {} answers", load.responses().len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let responses = load.responses();
    let failed = responses.iter().filter(|response| response.outcome == Outcome::Status(500)).count();
    // Ten standard deviations to each side.
    assert!((100..=300).contains(&(failed * 400 / responses.len())), "{failed} of {}", responses.len());
}

#[tokio::test]
async fn a_crash_is_a_broken_connection_and_then_nobody_listens() {
    let mut service = Service::start(&[("CRASH_AT", "2")]).await;
    assert_eq!(service.ask().await, Outcome::Status(200));
    assert_eq!(service.ask().await, Outcome::Error(Failure::Broken));
    // The connection is closed before the port is.
    assert_eq!(service.child.wait().expect("it ended").code(), Some(1));
    assert_eq!(service.ask().await, Outcome::Error(Failure::Refused));
}

#[tokio::test]
async fn who_waits_too_long_gives_up() {
    let service = Service::start(&[("DELAY", "1m")]).await;
    let response = ask(service.address, Duration::from_millis(100)).await;
    assert_eq!(response.outcome, Outcome::Error(Failure::Timeout));
    assert!(response.took >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_slow_start_answers_503() {
    let service = Service::start(&[("START_UP", "1m"), ("READINESS", "lies")]).await;
    assert_eq!(service.ask().await, Outcome::Status(503));
}

#[tokio::test]
async fn an_abrupt_end_breaks_what_is_under_way_and_a_graceful_one_answers_it() {
    for (ending, expected) in [("abrupt", Outcome::Error(Failure::Broken)), ("graceful", Outcome::Status(200))] {
        let service = Service::start(&[("ENDING", ending), ("DELAY", "500ms")]).await;
        let asking = tokio::spawn(ask(service.address, TIMEOUT));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let killed = Command::new("kill").arg(service.child.id().to_string()).status().expect("kill runs");
        assert!(killed.success());
        assert_eq!(asking.await.expect("an answer").outcome, expected, "{ending}");
    }
}
